"""The page in a real browser, on the real model: from the first click to the export, and after a kill."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from tests.annotating import Server, mask_of, write_clip, write_scans

from ultrasam.core.metrics import iou
from ultrasam.io.coco import read_coco

# A ventricle on the first frame of pydicom's cine.
BOX = ((105, 60), (150, 130))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    cine = get_testdata_file("examples_ybr_color.dcm")
    assert cine is not None
    shutil.copy(cine, folder / "cine.dcm")
    write_clip(folder / "moving.tif", 16, 2.0)
    return folder


def pictures() -> Path | None:
    """Where the screenshots of the documentation go, if they are to be made anew."""
    wanted = os.environ.get("ULTRASAM_SCREENSHOTS")
    return Path(wanted) if wanted else None


def ellipse(frame: int) -> Any:
    """The truth of `moving.tif`."""
    rows, columns = np.mgrid[:192, :256]
    return ((columns - 90 - 2 * frame) / 45) ** 2 + ((rows - 96) / 32) ** 2 < 1


def test_from_the_first_click_to_the_export_and_after_a_kill(
    folder: Path, tmp_path: Path, desk_of: Any
) -> None:
    with Server(folder, "--classes", "ventricle,atrium") as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        # A click, a refinement, undo and redo.
        desk.click(90, 96)
        (first,) = desk.annotations("moving.tif")
        assert iou(mask_of(first), ellipse(0)) > 0.8
        desk.click(20, 20, button="right")
        (second,) = desk.annotations("moving.tif")
        assert second["prompts"]["labels"] == [1, 0]
        assert desk.id("undo-count").inner_text() == "2"
        desk.press("Control+z")
        assert desk.annotations("moving.tif") == [first]
        desk.press("Control+Shift+z")
        assert desk.annotations("moving.tif") == [second]
        # Tracking, as a person sees it.
        desk.press("t")
        desk.ready()
        for frame in (5, 10, 15):
            (tracked,) = desk.annotations("moving.tif", frame)
            assert tracked["origin"] == "tracked" and iou(mask_of(tracked), ellipse(frame)) > 0.75
        # The cine: a box, a calliper of another class on another object, brush.
        desk.choose("cine.dcm")
        desk.press("b")
        desk.drag(*BOX)
        desk.press("n", "2", "d")
        desk.drag((160, 152), (212, 152))
        desk.drag((186, 132), (186, 172))
        objects = desk.fetch(f"/api/scans/{desk.scan('cine.dcm')}")["objects"]
        assert [found["label"] for found in objects] == ["ventricle", "atrium"]
        ventricle, atrium = desk.annotations("cine.dcm")
        assert len(atrium["calliper"]) == 4 and mask_of(atrium)[152, 186]
        desk.press("r")
        desk.drag((190, 80), (200, 80))
        brushed = desk.annotations("cine.dcm")[1]
        assert brushed["origin"] == "brush" and mask_of(brushed)[80, 195] and not mask_of(atrium)[80, 195]
        desk.press("Control+z")
        assert desk.annotations("cine.dcm") == [ventricle, atrium]
        # Ten frames and more of the cine.
        desk.press("a")
        desk.page.get_by_test_id("object-list").get_by_text("ventricle").first.click()
        desk.press("t")
        about = desk.fetch(f"/api/scans/{desk.scan('cine.dcm')}")
        frames = {mark["frame"] for mark in about["timeline"] if mark["object"] == objects[0]["id"]}
        assert set(range(11)) <= frames
        if pictures() is not None:
            desk.press("Home")
            desk.picture(pictures() / "annotate.png")
        # Export through the dialog.
        desk.id("export").click()
        desk.id("scope-all").check()
        with desk.page.expect_download() as download:
            desk.id("export-go").click()
        download.value.save_as(tmp_path / "out.json")
        coco = read_coco(tmp_path / "out.json")
        assert {image.file_name for image in coco.images} == {"moving.tif", "cine.dcm"}
        assert len(coco.annotations) == 16 + len(about["timeline"])
        desk.page.keyboard.press("Escape")
        before = {f: desk.annotations("cine.dcm", f) for f in (0, 5)}
        # kill -9: the page says so, and nothing is lost.
        server.kill()
        desk.id("banner").wait_for(state="visible")
        assert "does not answer" in desk.id("banner").inner_text()
    with Server(folder) as server:
        again = desk_of(server)
        again.open("cine.dcm")
        assert {f: again.annotations("cine.dcm", f) for f in (0, 5)} == before
        assert again.fetch(f"/api/scans/{again.scan('cine.dcm')}")["undo"] == about["undo"]
        assert again.id("object-list").get_by_text("atrium").count() >= 1
        again.press("Control+z")
        left = again.fetch(f"/api/scans/{again.scan('cine.dcm')}")["timeline"]
        assert {mark["frame"] for mark in left} == {0}


def test_by_keyboard_alone(folder: Path, desk_of: Any) -> None:
    with Server(folder, "--classes", "one,two") as server:
        desk = desk_of(server)
        desk.open()
        desk.press("PageDown", "PageUp")  # to cine.dcm and back
        desk.page.keyboard.press("F6")
        for _ in range(8):
            if desk.page.evaluate("document.activeElement?.id") == "canvas":
                break
            desk.page.keyboard.press("F6")
        assert desk.page.evaluate("document.activeElement.id") == "canvas"
        desk.press("c")
        for key in ["Shift+ArrowLeft"] * 2 + ["ArrowLeft"] * 2:
            desk.page.keyboard.press(key)
        desk.press("Enter")
        (made,) = desk.annotations("moving.tif")
        assert made["prompts"]["labels"] == [1] and iou(mask_of(made), ellipse(0)) > 0.7
        desk.press("2")
        objects = desk.fetch(f"/api/scans/{desk.scan('moving.tif')}")["objects"]
        assert objects[0]["label"] == "two"
        desk.press("Backspace")
        assert desk.annotations("moving.tif")[0]["prompts"]["labels"] == [1, 0]
        desk.press("Delete")
        assert desk.annotations("moving.tif") == []
        desk.press("Control+z")
        assert len(desk.annotations("moving.tif")) == 1
        desk.page.keyboard.press("?")
        assert desk.id("help-dialog").is_visible()
        assert "Track forward" in desk.id("help-dialog").inner_text()
        desk.page.keyboard.press("Escape")
        assert not desk.id("help-dialog").is_visible()


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768)])
def test_everything_fits_without_scrolling(folder: Path, desk_of: Any, size: tuple[int, int]) -> None:
    with Server(folder) as server:
        desk = desk_of(server, size)
        desk.open("cine.dcm")
        across, down = desk.page.evaluate(
            "[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]"
        )
        assert across <= size[0] and down <= size[1]
        for name in ("undo", "track-forward", "export", "done", "frame-slider", "next-uncertain"):
            box = desk.id(name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
            assert box["y"] >= 0 and box["y"] + box["height"] <= size[1]
        if size[0] == 1024:
            small = desk.page.evaluate(
                """[...document.querySelectorAll("#top button, #cine button, #right button")]
                .filter(b => b.offsetParent && b.getBoundingClientRect().height < 40).map(b => b.id)"""
            )
            assert small == []


def test_two_tabs_on_one_image(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        one, two = desk_of(server), desk_of(server)
        one.open("moving.tif")
        one.click(90, 96)
        two.open("moving.tif")
        two.page.get_by_test_id("object-list").get_by_text("object").first.click()
        one.click(20, 20, button="right")
        kept = one.annotations("moving.tif")
        two.click(110, 96)  # on what it still shows
        assert "another tab" in two.id("toasts").inner_text()
        assert two.annotations("moving.tif") == kept
        two.click(110, 96)  # and now on what is there
        assert two.annotations("moving.tif") != kept


def test_a_server_that_is_gone_for_a_while_loses_no_click(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("moving.tif")
        desk.page.context.set_offline(True)
        desk.page.mouse.click(*desk.at(90, 96))
        desk.id("banner").wait_for(state="visible")
        desk.page.context.set_offline(False)
        desk.id("banner").wait_for(state="hidden")
        desk.ready()
        assert len(desk.annotations("moving.tif")) == 1


def test_what_goes_wrong_is_said_on_the_page(tmp_path: Path, desk_of: Any) -> None:
    folder = tmp_path / "scans"
    write_scans(folder, 2)
    write_clip(folder / "moving.tif", 3)
    (folder / "empty.png").write_bytes(b"")
    with Server(folder) as server:
        desk = desk_of(server)
        desk.open("torn.png")
        assert "torn.png" in desk.page.locator("#middle").inner_text()
        assert "damaged" in desk.page.locator("#middle").inner_text()
        desk.choose("moving.tif")
        desk.click(90, 96)
        assert len(desk.annotations("moving.tif")) == 1
        # A COCO file that is none, and one that is too large.
        (tmp_path / "none.json").write_text("{}")
        desk.id("import-file").set_input_files(tmp_path / "none.json")
        desk.id("toasts").get_by_text("'images' list is missing").wait_for()
        with (tmp_path / "large.json").open("wb") as file:
            file.truncate(100 * 2**20)
        desk.id("import-file").set_input_files(tmp_path / "large.json")
        desk.id("toasts").get_by_text("at most 64 MB").wait_for()
        # A full disk.
        full = {"error": "the disk is full: this step is not kept", "code": "disk"}
        desk.page.route("**/prompt", lambda route: route.fulfill(status=507, body=json.dumps(full)))
        desk.click(110, 96)
        desk.id("toasts").get_by_text("the disk is full").wait_for()
        desk.page.unroute("**/prompt")
        desk.click(110, 96)
        assert len(desk.annotations("moving.tif")[0]["prompts"]["points"]) == 2


def test_a_wrong_token_shows_what_to_do(folder: Path, desk_of: Any) -> None:
    with Server(folder) as server:
        desk = desk_of(server)
        desk.page.goto(f"{server.base}/?token=wrong")
        assert "Open the address" in desk.page.inner_text("body")


def test_names_are_text_and_never_markup(tmp_path: Path, desk_of: Any) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    name = "<img src=x onerror=alert(1)>.tif"
    write_clip(folder / name, 2)
    with Server(folder, "--classes", "<b>bold</b>") as server:
        desk = desk_of(server)
        desk.page.on("dialog", lambda dialog: desk.troubles.append(dialog.message))
        desk.open(name)
        desk.click(90, 96)
        assert desk.page.locator("#left img, #right b").count() == 0
        assert "<b>bold</b>" in desk.id("object-list").inner_text()
