"""The steps of a person on the page, through the HTTP interface, on the tiny model with its discs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.annotating import GREY, Tab, mask_of, two_tabs, write_clip, write_scans

import ultrasam
from ultrasam.annotate import editing as editing_module
from ultrasam.annotate.assist import TrackRequest
from ultrasam.annotate.editing import Asked, Target
from ultrasam.annotate.project import open_project
from ultrasam.annotate.server import make_desk
from ultrasam.annotate.store import By
from ultrasam.core.masks import run_lengths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scans(tmp_path / "scans")
    return tmp_path / "scans"


@pytest.fixture
def tabs(folder: Path, tiny_model: ultrasam.Model) -> Iterator[tuple[Tab, Tab]]:
    with open_project(folder) as project:
        project.classes.add(["nerve", "vessel"])
        yield two_tabs(project, tiny_model)


@pytest.fixture
def tab(tabs: tuple[Tab, Tab]) -> Tab:
    return tabs[0]


def test_the_project_lists_all_scans_and_what_is_annotated(tab: Tab) -> None:
    about = tab.call("GET", "/api/project")
    assert [(e["place"], e["kind"]) for e in about["scans"]] == [
        ("a.png", "image"),
        ("clip.tif", "image"),
        ("torn.png", "image"),
        ("deep/b.png", "image"),
    ]
    assert [(c["name"], c["key"]) for c in about["classes"]] == [("nerve", "1"), ("vessel", "2")]
    tab.click(tab.scan("a.png"), 0, 40, 60)
    entry = tab.call("GET", "/api/project")["scans"][0]
    assert (entry["objects"], entry["frames"], entry["done"]) == (1, 1, False)
    assert entry["least"] == pytest.approx(0.79)


def test_a_click_makes_an_object_and_further_ones_refine_it(tab: Tab, tiny_model: ultrasam.Model) -> None:
    scan = tab.scan("a.png")
    first = tab.click(scan, 0, 40, 60)
    second = tab.click(scan, 0, 90, 60, first)
    third = tab.click(scan, 0, 60, 60, second, positive=False)
    session = tiny_model.session(GREY)
    for annotation, result in (
        (first, session.click(40, 60)),
        (second, session.click(90, 60)),
        (third, session.click(60, 60, positive=False)),
    ):
        # Kept logits have steps of 1/8, so a pixel on the edge may fall to the other side.
        assert (mask_of(annotation) ^ result.mask).sum() <= 4
        assert annotation["score"] == pytest.approx(result.score, abs=1e-3)
    assert third["prompts"] == {"box": None, "points": [[40, 60], [90, 60], [60, 60]], "labels": [1, 1, 0]}
    assert third["measurements"]["unit"] == "px"
    assert third["measurements"]["area"] == mask_of(third).sum()
    assert len(tab.annotations(scan, 0)) == 1 and tab.annotations(scan, 0)[0] == third


def test_box_and_calliper(tab: Tab, tiny_model: ultrasam.Model) -> None:
    scan = tab.scan("a.png")
    box = tab.prompt(scan, 0, None, kind="box", box=[20, 20, 60, 70])["annotations"][0]
    assert np.array_equal(mask_of(box), tiny_model.session(GREY).box(20, 20, 60, 70).mask)
    ends = [[20, 50], [80, 50], [50, 30], [50, 70]]
    calliper = tab.prompt(scan, 0, None, kind="calliper", ends=ends)["annotations"][0]
    assert calliper["object"] != box["object"]
    assert calliper["calliper"] == ends and calliper["prompts"]["box"] == [20, 30, 80, 70]


def test_a_preview_keeps_nothing(tab: Tab) -> None:
    scan = tab.scan("a.png")
    shown = tab.prompt(scan, 0, None, kind="click", x=40, y=60, preview=True)
    assert mask_of(shown["annotations"][0]).any() and shown["annotations"][0]["version"] == 0
    about = tab.call("GET", f"/api/scans/{scan}")
    assert tab.annotations(scan, 0) == [] and about["objects"] == [] and about["undo"] == 0
    kept = tab.click(scan, 0, 40, 60)
    tab.prompt(scan, 0, kept, kind="click", x=90, y=60, preview=True)
    assert tab.annotations(scan, 0) == [kept]


def test_a_drawn_mask_is_kept_to_the_pixel_and_refined_by_the_next_click(tab: Tab) -> None:
    scan = tab.scan("a.png")
    drawn = np.zeros((96, 128), np.bool_)
    drawn[10:50, 20:90] = True
    drawn[30, 100] = True
    body = {"object": None, "base": None, "label": "vessel", "mask": run_lengths(drawn)}
    made = tab.call("PUT", f"/api/scans/{scan}/frames/0/mask", body)
    annotation = made["annotations"][0]
    assert np.array_equal(mask_of(annotation), drawn)
    assert (annotation["origin"], annotation["score"]) == ("brush", None)
    assert made["objects"][0]["label"] == "vessel"
    clicked = tab.click(scan, 0, 110, 80, annotation)
    assert mask_of(clicked)[15:45, 30:80].all() and mask_of(clicked)[80, 110]


def applied(timeline: list[Any], change: Any) -> list[Any]:
    """The timeline after a change, as the page brings it up to date."""
    places = {(mark["object"], mark["frame"]): mark for mark in timeline}
    for gone in change["removed"]:
        places.pop((gone["object"], gone["frame"]), None)
    places |= {(mark["object"], mark["frame"]): mark for mark in change["marks"]}
    return sorted(places.values(), key=lambda mark: (mark["frame"], mark["object"]))


def test_undo_and_redo_of_every_kind_of_step(tab: Tab) -> None:
    scan = tab.scan("clip.tif")
    states = []

    def remember() -> None:
        about = tab.call("GET", f"/api/scans/{scan}")
        frames = [tab.annotations(scan, frame) for frame in (0, 3)]
        names = [{k: v for k, v in found.items() if k != "version"} for found in about["objects"]]
        states.append((frames, names, about["done"], about["timeline"]))

    remember()
    first = tab.click(scan, 0, 40, 60)
    remember()
    first = tab.click(scan, 0, 60, 60, first)
    remember()
    other = tab.click(scan, 3, 90, 50)
    remember()
    version = tab.call("GET", f"/api/scans/{scan}")["objects"][0]["version"]
    tab.call("PATCH", f"/api/scans/{scan}/objects/{first['object']}", {"label": "vessel", "base": version})
    remember()
    tab.call("PATCH", f"/api/scans/{scan}", {"done": True})
    remember()
    tab.call("DELETE", f"/api/scans/{scan}/frames/0/objects/{first['object']}?base={first['version']}")
    remember()
    seq = tab.call("GET", f"/api/scans/{scan}")["seq"]
    tab.call("DELETE", f"/api/scans/{scan}/objects/{other['object']}?seq={seq}")
    remember()
    shown = states[-1][3]
    for state in reversed(states[:-1]):
        answer = tab.call("POST", f"/api/scans/{scan}/undo", {})
        about = tab.call("GET", f"/api/scans/{scan}")
        names = [{k: v for k, v in found.items() if k != "version"} for found in about["objects"]]
        assert ([tab.annotations(scan, frame) for frame in (0, 3)], names) == state[:2]
        assert (about["done"], about["timeline"]) == state[2:]
        assert answer["undo"] == about["undo"] and answer["timeline"] is None
        shown = applied(shown, answer)
        assert shown == about["timeline"]
    assert tab.call("POST", f"/api/scans/{scan}/undo", {})["undo"] == 0
    for state in states[1:]:
        tab.call("POST", f"/api/scans/{scan}/redo", {})
        assert tab.call("GET", f"/api/scans/{scan}")["timeline"] == state[3]


def test_undo_says_which_frame_to_show(tab: Tab) -> None:
    scan = tab.scan("clip.tif")
    made = tab.click(scan, 3, 90, 50)
    answer = tab.call("POST", f"/api/scans/{scan}/undo", {})
    assert answer["frame"] == 3 and answer["annotations"] == []
    assert answer["removed"] == [{"object": made["object"], "frame": 3}]


def test_two_tabs_never_overwrite_each_other_silently(tabs: tuple[Tab, Tab]) -> None:
    one, two = tabs
    scan = one.scan("a.png")
    start = one.click(scan, 0, 40, 60)
    mine = one.click(scan, 0, 90, 60, start)
    refused = two.prompt(scan, 0, start, 409, kind="click", x=60, y=20)
    assert refused["code"] == "conflict" and "another tab" in refused["error"]
    mask = {"object": start["object"], "base": start["version"], "mask": start["mask"]}
    assert two.call("PUT", f"/api/scans/{scan}/frames/0/mask", mask, 409)["code"] == "conflict"
    path = f"/api/scans/{scan}/frames/0/objects/{start['object']}"
    assert two.call("DELETE", f"{path}?base={start['version']}", None, 409)["code"] == "conflict"
    assert two.annotations(scan, 0) == [mine]
    # Another object of the same frame is no conflict, and each tab hears of the other.
    seen = one.call("GET", f"/api/scans/{scan}")["seq"]
    assert one.call("GET", f"/api/scans/{scan}/changes?since={seen}")["changed"] is False
    two.click(scan, 0, 20, 20)
    assert one.call("GET", f"/api/scans/{scan}/changes?since={seen}")["changed"] is True


def test_a_step_of_another_tab_is_undone_only_on_purpose(
    tabs: tuple[Tab, Tab], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tabs
    scan = one.scan("a.png")
    one.click(scan, 0, 40, 60)
    two.click(scan, 0, 90, 20)
    assert one.call("POST", f"/api/scans/{scan}/undo", {}, 409)["code"] == "others"
    assert len(one.annotations(scan, 0)) == 2
    one.call("POST", f"/api/scans/{scan}/undo", {"force": True})
    assert len(one.annotations(scan, 0)) == 1
    one.call("POST", f"/api/scans/{scan}/redo", {})
    # A tab that has not asked for long is closed: nobody is there to be surprised.
    two.click(scan, 0, 20, 80)
    monkeypatch.setattr(editing_module, "TAB_SECONDS", -1.0)
    one.call("POST", f"/api/scans/{scan}/undo", {})
    assert len(one.annotations(scan, 0)) == 2


def test_all_is_there_when_the_project_is_opened_again(folder: Path, tiny_model: ultrasam.Model) -> None:
    with open_project(folder) as project:
        tab, _ = two_tabs(project, tiny_model)
        scan = tab.scan("clip.tif")
        first = tab.click(scan, 2, 40, 60)
        first = tab.click(scan, 2, 90, 60, first)
        steps = tab.call("GET", f"/api/scans/{scan}")
        expected = tab.prompt(scan, 2, first, kind="click", x=60, y=30, preview=True)["annotations"][0]
    with open_project(folder) as project:
        tab, _ = two_tabs(project, tiny_model)
        assert tab.scan("clip.tif") == scan
        assert tab.annotations(scan, 2) == [first]
        again = tab.call("GET", f"/api/scans/{scan}")
        assert (again["undo"], again["objects"]) == (steps["undo"], steps["objects"]) and again["undo"] == 2
        # The next click goes on as if nothing had happened.
        assert mask_of(tab.click(scan, 2, 60, 30, first)).tolist() == mask_of(expected).tolist()


def test_a_project_is_open_once(folder: Path) -> None:
    from ultrasam.core.errors import UltrasamError

    with open_project(folder), pytest.raises(UltrasamError, match="another run"), open_project(folder):
        pass


@pytest.fixture
def clip(tmp_path: Path) -> Iterator[Tab]:
    """A tab on a clip with an ellipse that moves, and the bundled model, which can follow it."""
    (tmp_path / "clip").mkdir()
    write_clip(tmp_path / "clip" / "clip.tif", 9, 3.0)
    with open_project(tmp_path / "clip") as project:
        yield two_tabs(project, ultrasam.load(threads=1))[0]


def test_accepting_a_mask_makes_it_a_person_s(clip: Tab) -> None:
    start = clip.click(1, 0, 90, 96)
    clip.track(1, frame=0, last=2)
    tracked = clip.annotations(1, 1)[0]
    assert tracked["origin"] == "tracked"
    body = {"object": start["object"], "base": tracked["version"]}
    accepted = clip.call("POST", "/api/scans/1/frames/1/accept", body)["annotations"][0]
    assert (accepted["origin"], accepted["doubt"], accepted["checked"]) == ("tracked", "", True)
    assert accepted["mask"] == tracked["mask"]
    lines = clip.track(1, frame=0)
    assert [line["frame"] for line in lines[:-1]] == [] and lines[-1]["stopped"][0]["frame"] == 1


def test_tracking_fills_the_clip_and_stops_at_what_a_person_made(clip: Tab) -> None:
    start = clip.click(1, 0, 90, 96)
    by_hand = clip.click(1, 6, 108, 96, {"object": start["object"], "version": None})
    lines = clip.track(1, frame=0)
    assert [line["frame"] for line in lines[:-1]] == [1, 2, 3, 4, 5]
    assert lines[-1]["end"] is True and lines[-1]["frames"] == 5
    (stop,) = lines[-1]["stopped"]
    assert (stop["object"], stop["frame"], stop["kind"]) == (start["object"], 6, "anchor")
    assert clip.annotations(1, 6) == [by_hand]
    for line in lines[:-1]:  # what came is what was kept, and it has followed the ellipse
        kept = clip.annotations(1, line["frame"])[0]
        assert (kept["mask"], kept["version"]) == (
            line["annotations"][0]["mask"],
            line["annotations"][0]["version"],
        )
        columns = np.flatnonzero(mask_of(kept).any(axis=0))
        assert columns.mean() == pytest.approx(90 + 3 * line["frame"], abs=5)
    marks = clip.call("GET", "/api/scans/1")["timeline"]
    assert marks == lines[-1]["change"]["timeline"]
    assert [(mark["frame"], mark["origin"]) for mark in marks] == [
        (0, "prompt"),
        *((frame, "tracked") for frame in range(1, 6)),
        (6, "prompt"),
    ]
    assert len(clip.call("POST", "/api/scans/1/undo", {})["removed"]) == 5
    assert len(clip.call("GET", "/api/scans/1")["timeline"]) == 2
    assert len(clip.call("POST", "/api/scans/1/redo", {})["marks"]) == 5
    assert len(clip.call("GET", "/api/scans/1")["timeline"]) == 7
    # What is tracked is replaced by what is tracked again from a corrected frame; the correction stays.
    before = clip.annotations(1, 3)[0]
    corrected = clip.prompt(1, 2, clip.annotations(1, 2)[0], kind="box", box=[55, 65, 120, 130])
    assert corrected["annotations"][0]["origin"] == "prompt"
    clip.track(1, frame=2)
    assert clip.annotations(1, 2) == corrected["annotations"]
    assert clip.annotations(1, 3)[0]["version"] > before["version"]
    back = clip.track(1, frame=2, direction="back")
    assert [line["frame"] for line in back[:-1]] == [1] and back[-1]["stopped"][0]["frame"] == 0


def test_what_another_tab_does_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.tif", 8, 2.0)
    with open_project(tmp_path) as project:
        desk = make_desk(project, ultrasam.load(threads=1))
        asked = Asked("click", (90.0, 96.0))
        desk.editing.prompt(Target(1, 0, None, None, By("me")), asked)
        lines = desk.assistant.track(TrackRequest(1, 0, By("me")))
        assert next(lines)["frame"] == 1
        theirs = desk.editing.prompt(Target(1, 3, 1, None, By("them")), Asked("click", (96.0, 96.0)))
        rest = list(lines)
        assert [line["frame"] for line in rest[:-1]] == [2]
        assert [(stop["frame"], stop["kind"]) for stop in rest[-1]["stopped"]] == [(3, "changed")]
        opened = project.opened(1)
        assert desk.editing.annotations(1, 3, opened) == theirs["annotations"]
        assert desk.editing.annotations(1, 4, opened) == []
        desk.frames.close()


def test_undoing_a_run_that_goes_on_ends_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.tif", 8, 2.0)
    with open_project(tmp_path) as project:
        desk = make_desk(project, ultrasam.load(threads=1))
        desk.editing.prompt(Target(1, 0, None, None, By("me")), Asked("click", (90.0, 96.0)))
        lines = desk.assistant.track(TrackRequest(1, 0, By("me")))
        next(lines)
        desk.editing.undo(1, By("me"))
        assert [line for line in lines if "frame" in line] == []
        assert len(desk.editing.timeline(1)) == 1
        desk.frames.close()


def test_there_must_be_something_to_track(tab: Tab) -> None:
    scan = tab.scan("clip.tif")
    (refused,) = tab.track(scan, 422, frame=0)
    assert "click an object first" in refused["error"]


def test_the_next_scan_is_the_least_certain(tab: Tab) -> None:
    a, clip, b = (tab.scan(place) for place in ("a.png", "clip.tif", "deep/b.png"))
    assert tab.call("GET", "/api/next")["scan"] == a  # nothing is annotated anywhere
    tab.click(a, 0, 40, 60)
    low = tab.click(clip, 5, 40, 60)
    for _ in range(3):  # the tiny model is less sure with each click
        low = tab.click(clip, 5, 40, 60, low)
    found = tab.call("GET", f"/api/next?after={b}")
    assert found["scan"] in (a, clip)
    least = min((tab.annotations(a, 0)[0]["score"], a, 0), (low["score"], clip, 5))
    assert (found["scan"], found["frame"]) == least[1:]
    assert f"{least[0]:.2f}" in found["why"]
    tab.call("PATCH", f"/api/scans/{least[1]}", {"done": True})
    assert tab.call("GET", f"/api/next?after={b}")["scan"] != least[1]


def test_classes_can_be_added_and_renamed_but_not_lost(tab: Tab) -> None:
    scan = tab.scan("a.png")
    tab.click(scan, 0, 40, 60, label="vessel")
    path = "/api/classes"
    refused = tab.call("PUT", path, {"classes": [{"name": "nerve"}]}, 422)
    assert "vessel is used in a.png" in refused["error"]
    sent = [{"name": "artery", "was": "vessel", "colour": "#112233"}, {"name": "vein"}]
    assert [c["name"] for c in tab.call("PUT", path, {"classes": sent})["classes"]] == ["artery", "vein"]
    about = tab.call("GET", f"/api/scans/{scan}")
    assert about["objects"][0]["label"] == "artery"
    # It is no step of the scan: undo takes back the click before it, and redo brings the new name.
    assert about["undo"] == 1 and tab.call("GET", f"/api/scans/{scan}/changes?since=0")["changed"] is False
    tab.call("POST", f"/api/scans/{scan}/undo", {})
    assert tab.call("POST", f"/api/scans/{scan}/redo", {})["objects"][0]["label"] == "artery"
    # A class that no object has may go; an undo may bring its objects back all the same.
    tab.call("DELETE", f"/api/scans/{scan}/objects/1?seq=0")
    tab.call("PUT", path, {"classes": [{"name": "vein"}]})
    assert tab.call("POST", f"/api/scans/{scan}/undo", {})["objects"][0]["label"] == "artery"
    assert [c["name"] for c in tab.call("GET", "/api/project")["classes"]] == ["vein"]
    assert tab.call("PUT", path, {"classes": []}, 422)["error"] == "at least one class is needed"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("prompt", {"prompt": {"kind": "click", "x": 400, "y": 1}}, 422, "outside the image"),
        ("prompt", {"prompt": {"kind": "click", "x": 4}}, 422, "a prompt is a click"),
        ("prompt", {"prompt": {"kind": "box", "box": [9, 9, 9, 20]}}, 422, "no area"),
        ("prompt", {"prompt": {"kind": "box", "box": [9, 9]}}, 422, "a prompt is a click"),
        ("prompt", {"prompt": {"kind": "lasso"}}, 422, "prompt.kind"),
        ("prompt", {"prompt": {"kind": "calliper", "ends": [[1, 1]] * 4}}, 422, "length 0"),
        ("prompt", {"prompt": {"kind": "click", "x": 1, "y": 1}, "label": "lung"}, 422, "no class 'lung'"),
        ("prompt", {"prompt": {"kind": "click", "x": 1, "y": 1}, "object": 77}, 409, "deleted meanwhile"),
        ("prompt", {}, 422, "prompt"),
        ("mask", {"mask": {"size": [96, 128], "counts": [5, 5]}}, 422, "do not add up"),
        ("mask", {"mask": {"size": [2, 2], "counts": [4]}}, 422, "size"),
        ("mask", {"mask": {"counts": "abc"}}, 422, "a mask is"),
    ],
)
def test_bad_steps_are_refused_in_a_sentence(
    tab: Tab, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    scan = tab.scan("a.png")
    method = "PUT" if path == "mask" else "POST"
    answer = tab.call(method, f"/api/scans/{scan}/frames/0/{path}", body, status)
    assert words in answer["error"]
    assert tab.annotations(scan, 0) == []


def test_what_is_not_there_is_said_so(tab: Tab) -> None:
    scan = tab.scan("a.png")
    for path in ("/api/scans/999", f"/api/scans/{scan}/frames/1", f"/api/scans/{scan}/frames/-1.png"):
        assert tab.call("GET", path, None, 404)["code"] == "gone"
    assert tab.call("DELETE", f"/api/scans/{scan}/objects/3?seq=0", None, 404)["code"] == "gone"
    torn = tab.scan("torn.png")
    told = tab.call("GET", f"/api/scans/{torn}", None, 422)["error"]
    assert told.startswith("torn.png is damaged") and "/" not in told
    assert tab.click(scan, 0, 40, 60)["object"] == 1  # and the server goes on


def test_objects_without_prompts_are_found_once(tab: Tab) -> None:
    scan = tab.scan("a.png")
    path = f"/api/scans/{scan}/frames/0/auto"
    found = tab.call("POST", path, {"label": "nerve"})
    assert found["annotations"] and all(a["origin"] == "auto" for a in found["annotations"])
    assert found["undo"] == 1
    count = len(tab.annotations(scan, 0))
    again = tab.http.post(path, json={"label": "nerve"})
    assert again.status_code == 422 or len(again.json()["annotations"]) < count


def test_a_volume_is_annotated_along_one_axis_and_comes_back_along_it(
    tmp_path: Path, tiny_model: ultrasam.Model
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sitk.WriteImage(
            sitk.GetImageFromArray(np.full((40, 50, 60), 127, np.uint8)), str(tmp_path / name / "v.nii.gz")
        )
    with open_project(tmp_path / "one") as project:
        tab, _ = two_tabs(project, tiny_model)
        about = tab.call("GET", "/api/scans/1?axis=y")
        assert (about["frames"], about["width"], about["height"]) == (50, 60, 40)
        assert tab.call("GET", "/api/scans/1?axis=x")["frames"] == 60
        body = {"prompt": {"kind": "box", "box": [10, 5, 30, 25]}, "axis": "y"}
        made = tab.call("POST", "/api/scans/1/frames/7/prompt", body)["annotations"][0]
        assert tab.call("GET", "/api/scans/1")["axis"] == "y"
        refused = tab.call("GET", "/api/scans/1?axis=z", None, 409)
        assert refused["code"] == "axis" and "along the axis y" in refused["error"]
        coco = tab.http.get("/api/export?format=coco").content
        tab.call("POST", "/api/scans/1/undo", {})
        assert tab.call("GET", "/api/scans/1?axis=z")["frames"] == 40  # free again
    with open_project(tmp_path / "two") as project:
        tab, _ = two_tabs(project, tiny_model)
        taken = tab.http.post("/api/import", content=coco).json()
        assert taken == {"objects": 1, "images": 1, "skipped": []}
        assert tab.call("GET", "/api/scans/1")["axis"] == "y"
        (again,) = tab.annotations(1, 7)
        assert again["mask"] == made["mask"] and again["origin"] == "prompt"
