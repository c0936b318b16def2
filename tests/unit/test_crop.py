"""The crop to the part of a frame that is ultrasound, on the tiny model, whose masks are discs and boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.dicoms import dataset, saved, ultrasound_region

import ultrasam
from ultrasam.cli.main import main
from ultrasam.core.errors import UltrasamError
from ultrasam.core.metrics import iou
from ultrasam.io.scan import Region, Scan
from ultrasam.predict.crop import content_box, crop_of

Array = np.ndarray[Any, Any]


def framed(box: tuple[int, int, int, int], width: int = 640, height: int = 480, grey: int = 127) -> Array:
    """A black image with a grey scan in `box` and a line of text, whose letters cover a tenth of it."""
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = grey
    image[6:16:2, 4 : width // 3 : 6] = 255
    return image


@given(st.tuples(st.integers(0, 300), st.integers(30, 200), st.integers(150, 340), st.integers(150, 250)))
def test_the_scan_is_found_with_little_around_it(numbers: tuple[int, int, int, int]) -> None:
    left, top, width, height = numbers
    scan = left, top, left + width, top + height
    found = content_box(framed(scan))
    assert found is not None
    assert found[0] <= scan[0] and found[1] <= scan[1] and found[2] >= scan[2] and found[3] >= scan[3]
    assert max(abs(a - b) for a, b in zip(found, scan, strict=True)) <= 20  # two blocks


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (480, 640)])
def test_a_black_image_has_no_scan(shape: tuple[int, int]) -> None:
    assert content_box(np.zeros((*shape, 3), np.uint8)) is None
    assert content_box(np.full((*shape, 3), 200, np.uint8)) == (0, 0, shape[1], shape[0])


def test_text_alone_is_no_scan() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[10:30, 10:200] = 255
    assert content_box(image) is None


def test_regions_of_the_header_come_before_what_is_seen() -> None:
    image = framed((100, 100, 500, 400))
    regions = [Region("2D", (120, 90, 300, 400), None), Region("2D", (280, 100, 500, 420), None)]
    strip = Region("waveform", (0, 440, 640, 480), None)
    assert crop_of(image, [*regions, strip], "region") == (120, 90, 500, 420)
    assert crop_of(image, [strip], "region") == content_box(image)
    beyond = Region("2D", (0, 0, 800, 480), None)
    assert crop_of(image, [beyond], "region") == content_box(image)
    assert crop_of(image, regions, "none") is None


def test_auto_crops_only_where_much_is_not_ultrasound() -> None:
    small, large = framed((200, 100, 440, 340)), framed((40, 40, 620, 470))
    assert crop_of(small, [], "auto") == crop_of(small, [], "region") is not None
    assert crop_of(large, [], "auto") is None and crop_of(large, [], "region") is not None
    assert crop_of(np.full((480, 640, 3), 90, np.uint8), [], "region") is None


def test_the_scan_is_seen_enlarged(tiny_model: ultrasam.Model) -> None:
    """A click draws a disc with a radius of 12 model pixels, and 4 more; the grey scan adds nothing."""
    scan = 160, 120, 416, 376
    image = framed(scan)
    plain = tiny_model.session(image).click(290, 250)
    cropped = tiny_model.session(image, crop="region").click(290, 250)
    view = content_box(image)
    assert plain.view is None and cropped.view == view is not None
    side = max(view[2] - view[0], view[3] - view[1])
    rows, columns = np.mgrid[:480, :640] + 0.5
    distance = np.hypot(columns - 290, rows - 250)
    assert iou(cropped.mask, distance < 16 * side / 128) > 0.93
    assert plain.area > 3 * cropped.area
    np.testing.assert_array_equal(cropped.mask, tiny_model.session(image, crop="auto").click(290, 250).mask)


def test_a_prompt_beside_the_crop_asks_the_whole_frame(tiny_model: ultrasam.Model) -> None:
    image = framed((160, 120, 416, 376))
    session = tiny_model.session(image, crop="region")
    inside = session.click(290, 250)
    both = session.click(600, 440)
    assert inside.view is not None and both.view is None
    assert both.mask[440, 600] and both.mask[250, 290]
    assert session.undo().view == inside.view
    third = session.box(200, 200, 300, 300)
    assert third.view == inside.view and third.mask[250, 250]
    session.object("other")
    partly = session.box(100, 200, 300, 300)
    assert partly.view is None and partly.mask[250, 110]


def test_a_prior_mask_is_seen_in_the_crop(tiny_model: ultrasam.Model) -> None:
    image = framed((160, 120, 416, 376))
    prior = np.zeros((480, 640), np.bool_)
    prior[300:350, 180:240] = True
    session = tiny_model.session(image, crop="region")
    session.mask(prior)
    result = session.click(350, 200)
    assert result.view is not None and result.mask[325, 210] and result.mask[200, 350]
    assert not result.mask[325, 350]


def test_crop_and_second_look_together(tiny_model: ultrasam.Model) -> None:
    image = framed((120, 90, 520, 400))
    session = tiny_model.session(image, crop="region", refine="zoom")
    small = session.box(200, 200, 240, 230)
    crop = content_box(image)
    assert small.view is not None and crop is not None and small.view != crop
    assert small.view[2] - small.view[0] < crop[2] - crop[0]
    again = session.click(220, 215)
    assert again.view == small.view
    far = session.click(480, 380)
    assert far.mask[380, 480] and far.view != small.view


@pytest.mark.parametrize("refine", ["none", "zoom"])
def test_a_batch_answers_what_a_session_would(tiny_model: ultrasam.Model, refine: str) -> None:
    image = framed((160, 120, 416, 376))
    boxes = [(200, 200, 240, 240), (10, 300, 300, 340)]
    points = [[(220, 220), (300, 300)], [(200, 320)]]
    options: dict[str, Any] = {"refine": refine, "crop": "region"}
    (batch,) = tiny_model.predict([image], boxes=[boxes], points=[points], **options)
    session = tiny_model.session(image, **options)
    for number, result in enumerate(batch):
        session.object(str(number))
        session.box(*boxes[number])
        for x, y in points[number]:
            session.click(x, y)
        np.testing.assert_array_equal(session.result.mask, result.mask)
        assert session.result.view == result.view


def test_only_what_is_asked_is_encoded(tiny_model: ultrasam.Model) -> None:
    before = len(tiny_model.cache)
    session = tiny_model.session(framed((160, 120, 416, 376), grey=90), crop="region")
    assert len(tiny_model.cache) == before + 1
    session.click(290, 250)
    assert len(tiny_model.cache) == before + 1
    session.click(10, 450)
    assert len(tiny_model.cache) == before + 2


def test_an_unknown_crop_is_refused(tiny_model: ultrasam.Model) -> None:
    with pytest.raises(UltrasamError, match="no crop 'tight': use one of none, auto, region"):
        tiny_model.session(framed((1, 1, 90, 90)), crop="tight")
    with pytest.raises(UltrasamError, match="'tight'"):
        tiny_model.predict([], crop="tight")


def test_a_scan_brings_its_regions(tiny_model: ultrasam.Model) -> None:
    image = framed((160, 120, 416, 376))
    scan = Scan(Path("a.dcm"), [image], (Region("2D", (150, 100, 450, 400), None),))
    assert tiny_model.session(scan, crop="region").click(290, 250).view == (150, 100, 450, 400)


def test_the_command_crops_files_and_folders(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    image = framed((160, 120, 416, 376))
    Image.fromarray(image).save(scans / "a.png")
    region = ultrasound_region(150, 100, 449, 399)
    saved(scans, dataset(image, "RGB", SequenceOfUltrasoundRegions=[region]), "b.dcm")
    session = ultrasam.load(tiny_folder).session
    wanted = {
        "a.png": session(image, crop="region").click(290, 250).area,
        "b.dcm": session(scans / "b.dcm", crop="region").click(290, 250).area,
    }
    assert wanted["a.png"] != wanted["b.dcm"]
    words = ["--point=290,250", "--crop=region", f"--model={tiny_folder}"]
    for name, area in wanted.items():
        assert main(["segment", str(scans / name), *words, f"--out={tmp_path / name}", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["objects"][0]["area_px"] == area
    assert main(["segment", str(scans), *words, f"--out={tmp_path / 'all'}"]) == 0
    content = json.loads((tmp_path / "all" / "predictions.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert {names[a["image_id"]]: a["area"] for a in content["annotations"]} == wanted
