"""The page in a real browser, further on: two tabs, keys, what is doubtful, small windows, the login."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.annotating import Server, mask_of, write_clip
from tests.browser.conftest import Desk

from ultrasam.core.masks import encode_rle

CENTRE = (128, 96)  # of the frames of moving.tif, where the keyboard pointer begins

# Buttons that can be seen, each cut to what its panel shows of it.
BUTTONS = """() => [...document.querySelectorAll("button, input, select")].flatMap(element => {
    if (!element.offsetParent || element.closest("dialog, [popover]")) return [];
    let {left, top, right, bottom} = element.getBoundingClientRect();
    for (let box = element.parentElement; box; box = box.parentElement) {
        if (!["hidden", "auto", "scroll"].includes(getComputedStyle(box).overflowY)) continue;
        const edge = box.getBoundingClientRect();
        [left, top] = [Math.max(left, edge.left), Math.max(top, edge.top)];
        [right, bottom] = [Math.min(right, edge.right), Math.min(bottom, edge.bottom)];
    }
    const name = element.id || element.title || element.textContent;
    return right - left > 1 && bottom - top > 1 ? [{name, left, top, right, bottom}] : [];
})"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    write_clip(folder / "moving.tif", 16, 2.0)
    write_clip(folder / "other.tif", 4)
    return folder


def write_coco(path: Path, entries: Iterable[tuple[int, int, dict[str, Any]]], label: str = "cyst") -> Path:
    """Square masks of (object, frame, more) in moving.tif, as a COCO file."""
    entries = list(entries)
    frames = sorted({frame for _, frame, _ in entries})
    mask = np.zeros((192, 256), bool)
    mask[80:112, 70:110] = True
    about = {"width": 256, "height": 192, "file_name": "moving.tif"}
    content = {
        "images": [about | {"id": frame + 1, "frame": frame} for frame in frames],
        "categories": [{"id": 1, "name": label}],
        "annotations": [
            {
                "id": place + 1,
                "image_id": frame + 1,
                "category_id": 1,
                "segmentation": encode_rle(mask),
                "area": int(mask.sum()),
                "bbox": [70, 80, 40, 32],
                "iscrowd": 0,
                "object": number,
                **more,
            }
            for place, (number, frame, more) in enumerate(entries)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def import_file(desk: Desk, path: Path) -> None:
    desk.id("import-file").set_input_files(path)
    desk.id("toasts").get_by_text("imported from").wait_for()
    desk.ready()


def labels(desk: Desk) -> list[str]:
    return [found["label"] for found in desk.fetch(f"/api/scans/{desk.scan('moving.tif')}")["objects"]]


def wait_for(desk: Desk, what: list[Any]) -> None:
    """Until something is in a list that the page's requests fill."""
    for _ in range(200):
        if what:
            return
        desk.page.wait_for_timeout(20)
    pytest.fail("the request did not come")


@contextmanager
def held(desk: Desk, pattern: str) -> Iterator[None]:
    """Keep requests back until one is under way and the block has ended."""
    waiting: list[Any] = []
    over = False

    def take(route: Any) -> None:
        if over:
            route.continue_()
        else:
            waiting.append(route)

    desk.page.route(pattern, take)
    yield
    wait_for(desk, waiting)
    over = True
    for route in waiting:
        route.continue_()
    desk.ready()
    desk.page.unroute_all(behavior="wait")


def cut_off(desk: Desk) -> None:
    """The server cannot be reached from this tab."""
    desk.page.route("**/api/**", lambda route: route.abort())


def connect(desk: Desk) -> None:
    desk.id("banner").wait_for(state="visible")
    desk.page.unroute_all(behavior="wait")
    desk.id("banner").wait_for(state="hidden")
    desk.ready()


def walk(desk: Desk, start: tuple[float, float], to: tuple[float, float]) -> tuple[float, float]:
    """Move the keyboard pointer; where it stands then."""
    step = max(
        1.0, 4 / json.loads(desk.page.evaluate("document.getElementById('canvas').dataset.view"))["scale"]
    )
    place = list(start)
    for axis, (less, more) in enumerate((("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))):
        steps = round((to[axis] - start[axis]) / step)
        for count, prefix in ((abs(steps) // 8, "Shift+"), (abs(steps) % 8, "")):
            for _ in range(count):
                desk.page.keyboard.press(prefix + (more if steps > 0 else less))
        place[axis] += steps * step
    return place[0], place[1]


def test_a_class_chosen_while_the_first_click_is_under_way_counts(folder: Path, desk_of: Any) -> None:
    with Server(folder, "--classes", "one,two") as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        desk.press("p")  # no preview: only the click asks
        with held(desk, "**/prompt"):
            desk.page.mouse.click(*desk.at(90, 96))
            desk.page.keyboard.press("2")
        assert labels(desk) == ["two"]
        # The last choice counts, also where the one before it is under way.
        with held(desk, "**/objects/*"):
            desk.page.keyboard.press("1")
            desk.page.keyboard.press("2")
        assert labels(desk) == ["two"]
        # A new object takes the class that was chosen last.
        desk.press("n")
        desk.click(30, 170)
        assert labels(desk) == ["two", "two"]


def test_a_duplicated_tab_is_another_one(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        one = desk_of(server)
        one.open("moving.tif")
        one.click(90, 96)
        with one.page.context.expect_page() as opened:
            one.page.evaluate("void window.open(location.href)")
        two = Desk(opened.value, server, one.troubles, one.elsewhere)
        two.watch()
        two.ready()
        # A click that waited is made, whatever the other tab did meanwhile.
        one.press("n")
        cut_off(one)
        one.page.mouse.click(*one.at(30, 170))
        two.press("n")
        two.click(230, 30)
        connect(one)
        assert sorted(a["prompts"]["points"] for a in one.annotations("moving.tif")) == [
            [[pytest.approx(30, abs=0.5), pytest.approx(170, abs=0.5)]],
            [[pytest.approx(90, abs=0.5), pytest.approx(96, abs=0.5)]],
            [[pytest.approx(230, abs=0.5), pytest.approx(30, abs=0.5)]],
        ]
        # On the same object, it is refused, and said.
        one.page.bring_to_front()
        one.page.get_by_test_id("object-select").first.click()
        two.page.bring_to_front()
        two.page.get_by_test_id("object-select").first.click()
        one.ready()
        cut_off(one)
        one.page.mouse.click(*one.at(110, 96))
        two.click(20, 20, button="right")
        kept = two.annotations("moving.tif")
        connect(one)
        one.page.bring_to_front()
        one.id("toasts").get_by_text("Changed in another tab").wait_for()
        assert two.annotations("moving.tif") == kept
        # The last step is the other tab's: undo asks first.
        one.page.keyboard.press("Control+z")
        one.id("confirm").wait_for(state="visible")
        one.id("confirm-no").click()
        one.ready()
        assert one.annotations("moving.tif") == kept


def test_a_click_whose_answer_is_lost_is_made_once(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        desk.press("p")
        lost = []

        def lose(route: Any) -> None:
            status = route.fetch().status if route.request.url.endswith("/prompt") else None
            route.abort()
            lost.extend([] if status is None else [status])

        desk.page.route("**/api/**", lose)
        desk.page.mouse.click(*desk.at(90, 96))
        wait_for(desk, lost)
        connect(desk)
        assert lost == [200] and len(desk.annotations("moving.tif")) == 1
        desk.click(20, 20, button="right")  # and goes on with this object
        (made,) = desk.annotations("moving.tif")
        assert made["prompts"]["labels"] == [1, 0]


def objects(desk: Desk) -> int:
    return int(desk.page.get_by_test_id("object").count())


def test_an_older_answer_does_not_hide_a_click(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        one, two = desk_of(server), desk_of(server)
        for desk in (one, two):
            desk.open("moving.tif")
            desk.press("p")
        old: list[Any] = []
        one.page.route(
            f"**/api/scans/{one.scan('moving.tif')}",
            lambda route: route.continue_() if old else old.append((route, route.fetch())),
        )
        two.click(90, 96)
        wait_for(one, old)  # the scan as it is with this object only
        one.click(30, 170)
        route, answer = old[0]
        route.fulfill(response=answer)
        one.id("toasts").get_by_text("another tab").wait_for()
        one.ready()
        assert objects(one) == len(one.annotations("moving.tif")) == 2
        one.click(20, 20, button="right")  # still the object of the click
        assert sorted(len(a["prompts"]["labels"]) for a in one.annotations("moving.tif")) == [1, 2]


def test_clicks_after_an_undone_one_make_one_object(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        desk.press("p")
        desk.click(90, 96)
        undone: list[Any] = []
        asked: list[Any] = []
        desk.page.route("**/undo", lambda route: undone.append(route))
        desk.page.route("**/prompt", lambda route: asked.append(route))
        desk.page.keyboard.press("Control+z")
        desk.page.mouse.click(*desk.at(90, 96))
        wait_for(desk, undone)
        undone[0].continue_()
        wait_for(desk, asked)  # the object is gone, and what begins it again is under way
        desk.page.mouse.click(*desk.at(110, 96))
        asked.pop().continue_()
        wait_for(desk, asked)
        asked.pop().continue_()
        desk.ready()
        (made,) = desk.annotations("moving.tif")
        assert made["prompts"]["labels"] == [1, 1] and objects(desk) == 1


def test_an_undone_deletion_brings_its_axis_back(tmp_path: Path, desk_of: Any) -> None:
    sitk = pytest.importorskip("SimpleITK")
    folder = tmp_path / "volumes"
    folder.mkdir()
    voxels = np.random.default_rng(0).integers(0, 255, (20, 30, 40)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / "v.nii.gz"))
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("v.nii.gz")
        desk.press("p", "ArrowRight")
        axis = desk.id("axis").input_value()
        desk.click(15, 10)
        desk.page.keyboard.press("Shift+Delete")
        desk.id("confirm-yes").click()
        desk.ready()
        desk.id("axis").select_option("y" if axis == "x" else "x")
        desk.ready()
        desk.page.get_by_test_id("canvas").focus()
        desk.press("Control+z")
        assert desk.id("axis").input_value() == axis and objects(desk) == 1
        assert desk.id("frame-number").inner_text().startswith("2")


def test_after_an_import_a_click_still_has_a_class(folder: Path, tmp_path: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk, other = desk_of(server), desk_of(server)
        desk.open("moving.tif")
        other.open("other.tif")
        import_file(desk, write_coco(tmp_path / "in.json", [(1, 0, {})]))
        desk.press("n")
        desk.click(30, 170)
        known = [one["name"] for one in desk.fetch("/api/project")["classes"]]
        assert "cyst" in known and len(labels(desk)) == 2 and set(labels(desk)) <= set(known)
        # The other tab hears of the classes, and of those that are renamed there.
        other.id("class-list").get_by_text("cyst").wait_for()
        other.id("classes-edit").click()
        for field in other.page.get_by_test_id("class-name").all():
            field.fill(f"{field.input_value()} two")
        other.id("classes-save").click()
        other.ready()
        desk.id("class-list").get_by_text("cyst two").wait_for()
        desk.press("n")
        desk.click(230, 30)
        assert len(labels(desk)) == 3 and all(label.endswith(" two") for label in labels(desk))


def test_classes_that_two_tabs_edit(folder: Path, desk_of: Any) -> None:
    with Server(folder, "--classes", "one,two") as server:
        desk, other = desk_of(server), desk_of(server)
        for tab in (desk, other):
            tab.open("moving.tif")
            tab.id("classes-edit").click()
        for tab, name in ((desk, "first"), (other, "second")):
            tab.page.get_by_test_id("class-name").first.fill(name)
            tab.id("classes-save").click()
        other.id("classes-dialog").get_by_text("changed in another tab").wait_for()
        assert other.page.get_by_test_id("class-name").first.input_value() == "first"
        other.page.get_by_test_id("class-name").first.fill("second")
        other.id("classes-save").click()
        other.id("class-list").get_by_text("second").wait_for()
        assert [one["name"] for one in other.fetch("/api/project")["classes"]] == ["second", "two"]


def test_what_is_right_is_flagged_no_more(folder: Path, tmp_path: Path, desk_of: Any) -> None:
    doubts: list[tuple[int, int, dict[str, Any]]] = [
        (1, 0, {"score": 0.9}),
        (1, 3, {"origin": "tracked", "score": 0.8, "doubt": "the area changed suddenly"}),
        (1, 7, {"origin": "prompt", "score": 0.31}),
    ]
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        import_file(desk, write_coco(tmp_path / "in.json", doubts))
        # Next uncertain stays in this scan, on another frame.
        for key, frame, left in (("u", 3, "2"), ("u", 7, "2")):
            desk.press(key)
            assert desk.id("frame-number").inner_text() == f"{frame + 1} / 16"
            assert desk.id("to-check").inner_text() == left
        desk.id("object-list").get_by_text("low 0.31").wait_for()
        desk.id("doubt").get_by_text("0.31").wait_for()
        desk.id("accept").click()
        desk.ready()
        desk.id("doubt").wait_for(state="hidden")
        assert desk.annotations("moving.tif", 7)[0]["checked"] and desk.id("to-check").inner_text() == "1"
        desk.id("object-list").get_by_text("checked").wait_for()
        assert "low" not in desk.id("object-list").inner_text()
        desk.press("u", "y")
        assert desk.id("frame-number").inner_text() == "4 / 16"
        assert not desk.id("to-check").is_visible()
        assert desk.page.locator("#scan-list .is-doubtful").count() == 0
        # Undo takes that back.
        desk.press("Control+z", "Control+z")
        assert desk.id("to-check").inner_text() == "2"


def test_calliper_brush_and_polygon_by_keyboard(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        place: tuple[float, float] = CENTRE
        desk.press("d", "c")
        for end in ((46, 96), (134, 96), (90, 65), (90, 127)):
            place = walk(desk, place, end)
            desk.press("Enter")
        (made,) = desk.annotations("moving.tif")
        assert len(made["calliper"]) == 4 and mask_of(made)[96, 90]
        desk.press("n", "r")
        place = walk(desk, place, (180, 150))
        desk.page.keyboard.press("Enter")
        place = walk(desk, place, (220, 150))
        assert len(desk.annotations("moving.tif")) == 1  # not lifted yet
        desk.press("Enter")
        brushed = desk.annotations("moving.tif")[1]
        assert brushed["origin"] == "brush" and mask_of(brushed)[150, 185:215].all()
        desk.press("e", "Enter")
        place = walk(desk, place, (200, 150))
        desk.press("Enter")
        assert not mask_of(desk.annotations("moving.tif")[1])[150, 205:215].any()
        desk.press("n", "g")
        for corner in ((180, 20), (230, 20), (230, 60)):
            place = walk(desk, place, corner)
            desk.press("Enter")
        desk.press("Enter")
        drawn = mask_of(desk.annotations("moving.tif")[2])
        assert drawn[30, 220] and not drawn[55, 190]


def test_the_view_and_the_frames_by_keyboard(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("moving.tif")

        def view() -> Any:
            return json.loads(desk.page.evaluate("document.getElementById('canvas').dataset.view"))

        before = view()
        desk.press("Control+ArrowRight", "Control+ArrowDown")
        assert view()["x"] < before["x"] and view()["y"] < before["y"]
        desk.press("0", "c", ".", ".", ",")
        assert desk.id("frame-number").inner_text() == "2 / 16"
        desk.press("+", "+", "+", "+", "+", "+")
        near = view()
        walk(desk, CENTRE, (250, 96))
        desk.page.wait_for_timeout(50)
        assert view()["scale"] == near["scale"] and view()["x"] < near["x"]
        x, _ = desk.at(250, 96)
        box = desk.id("canvas").bounding_box()
        assert box["x"] <= x <= box["x"] + box["width"]
        # Only the first press of a key that is held counts for what is on or off.
        desk.page.keyboard.down("v")
        desk.page.keyboard.down("v")
        desk.page.keyboard.up("v")
        assert desk.id("masks").get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (768, 1024)])
def test_no_button_lies_over_another_one(
    folder: Path, tmp_path: Path, desk_of: Any, size: tuple[int, int]
) -> None:
    doubt = {"origin": "tracked", "score": 0.8, "doubt": "the area changed suddenly"}
    entries: list[tuple[int, int, dict[str, Any]]] = [(number, 0, {}) for number in range(1, 7)]
    entries += [(1, frame, doubt) for frame in range(1, 13)]
    with Server(folder) as server:
        desk = desk_of(server, size)
        desk.open("moving.tif")
        import_file(desk, write_coco(tmp_path / "in.json", entries, "object"))
        desk.press("u")
        assert desk.id("to-check").inner_text() == "12"
        desk.page.locator("#object-list .score.low").wait_for()
        assert desk.page.locator("#object-list .name").evaluate_all(
            "names => names.every(name => name.scrollWidth <= name.clientWidth)"
        )
        for tool in ("a", "r"):
            desk.press(tool)
            buttons = desk.page.evaluate(BUTTONS)
            names = {button["name"] for button in buttons}
            assert {
                "track-forward",
                "import",
                "export",
                "help",
                "done",
                "accept",
                "undo",
                "uncertain",
            } <= names
            for place, one in enumerate(buttons):
                assert one["left"] >= 0 and one["right"] <= size[0], one
                assert one["top"] >= 0 and one["bottom"] <= size[1], one
                for other in buttons[place + 1 :]:
                    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
                    down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
                    assert across <= 1 or down <= 1, (one, other)


def test_the_password_opens_the_page(folder: Path, tmp_path: Path, desk_of: Any) -> None:
    secret = tmp_path / "password"
    secret.write_text("right-password\n")
    with Server(folder, "--host", "127.0.0.1", "--password-file", str(secret)) as server:
        desk = desk_of(server)
        desk.page.goto(server.base)
        password = desk.page.get_by_label("Password")
        password.fill("wrong-password")
        desk.page.get_by_role("button", name="Open").click()
        assert "not the password" in desk.page.get_by_role("alert").inner_text()
        box = desk.page.locator(".door").bounding_box()
        assert abs(box["x"] + box["width"] / 2 - 640) < 2  # in the middle, as the style says
        password.fill("right-password")
        desk.page.get_by_role("button", name="Open").click()
        desk.ready()
        desk.choose("moving.tif")
        desk.click(90, 96)
        assert len(desk.annotations("moving.tif")) == 1
