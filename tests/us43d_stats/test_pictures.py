"""The figure and the contact sheets of built sets."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from scipy import ndimage

from tests.us43d_stats.made_up import Drawn, build, disc, fake, image
from ultrasam.core.masks import encode_rle
from ultrasam.datasets import figures, sheets
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.report import write_stats
from ultrasam.datasets.stats import gather
from ultrasam.io.coco import Coco, CocoAnnotation, CocoImage, read_coco

# The figure


def texts(figure: object) -> list[Text]:
    return [one for one in figure.findobj(Text) if one.get_text() and one.get_visible()]


@pytest.mark.parametrize("objects", [lambda images: images * 6 // 5, lambda images: 1000 + images % 7])
def test_the_texts_of_the_figure_stay_apart_and_inside(objects: Callable[[int], int]) -> None:
    figure = figures.composed(fake(objects))
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    frame = figure.bbox
    shown = "\n".join(text for text, _ in boxes)
    for entry in DATASETS.values():
        assert entry.id in shown
    for place, (text, box) in enumerate(boxes):
        assert frame.x0 < box.x0 < box.x1 < frame.x1 and frame.y0 < box.y0 < box.y1 < frame.y1, text
        for other, beside in boxes[:place]:
            apart = (
                box.x1 <= beside.x0
                or beside.x1 <= box.x0
                or box.y1 <= beside.y0 + 2
                or beside.y1 <= box.y0 + 2
            )
            assert apart, f"{text!r} lies on {other!r}"


def test_the_bars_are_as_long_as_the_numbers_say() -> None:
    linear = figures._axis([100, 900])
    assert (linear.logarithmic, linear.length(450)) == (False, 450)
    logarithmic = figures._axis([60, 50_000])
    assert logarithmic.logarithmic and logarithmic.length(50_000) == pytest.approx(np.log10(5000))
    assert logarithmic.length(60) > 0 and logarithmic.length(1) == 0


def test_the_figure_has_its_size_and_says_what_is_missing(tmp_path: Path) -> None:
    build(tmp_path, "busi", [image("a", 0), image("b", 1, 1)])
    build(tmp_path, "hc18", [image("a", 0)])
    stats = gather(tmp_path)
    found = figures.composition(stats)
    with Image.open(io.BytesIO(found["png"])) as picture:
        assert picture.width == figures.WIDTH
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
    assert ElementTree.fromstring(found["svg"]).tag.endswith("svg")
    shown = [text.get_text() for text in texts(figures.composed(stats))]
    assert "What US-43d is made of: 4 objects in 3 images" in shown
    assert any(text.startswith("2 of 43 sets and 2 of 20 applications") for text in shown)
    assert shown.index("breast lesions") < shown.index("fetal head biometry")


def test_without_matplotlib_its_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, "busi", [image("a", 0)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match="matplotlib"):
        write_stats(tmp_path, tmp_path / "stats")


# Contact sheets


@pytest.mark.parametrize(
    ("shape", "spacing"), [((480, 480), None), ((120, 90), None), ((300, 600), (0.1, 0.2))]
)
def test_contours_lie_on_the_edges_of_the_masks(
    shape: tuple[int, int], spacing: tuple[float, float] | None
) -> None:
    height, width = shape
    ring = disc(shape, width * 0.5, height * 0.5, min(shape) * 0.4)
    ring &= ~disc(shape, width * 0.5, height * 0.5, min(shape) * 0.2)
    entry = CocoImage(1, "a.png", height, width, spacing=spacing)
    object_ = CocoAnnotation(1, 1, 1, (0, 0, 1, 1), encode_rle(ring), 1.0)
    picture = Image.new("RGB", sheets.fitted_size(entry))
    if spacing:
        assert picture.size == (sheets.TILE, sheets.TILE)
    sheets.draw_contours(picture, entry, [object_], {1: (255, 0, 0)})
    red = np.asarray(picture)[..., 0]
    grey = Image.fromarray(ring.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BICUBIC)
    inside = np.asarray(grey) >= 128
    to_edge = np.where(
        inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside)
    )
    # A pixel beside the edge is 1 from the other side.
    zoom = max(1.0, sheets.TILE / max(shape))
    assert (to_edge[red > 40] <= 2 + zoom).all()
    assert (red[(to_edge <= 1) & inside] > 120).all()
    assert red[to_edge > 3 + zoom].max() == 0
    assert np.count_nonzero(red > 120) < 4 * np.count_nonzero((to_edge <= 1) & inside)


def test_two_structures_that_touch_are_both_outlined() -> None:
    left, right = np.zeros((2, 240, 240), np.bool_)
    left[40:200, 40:120] = right[40:200, 120:200] = True
    entry = CocoImage(1, "a.png", 240, 240)
    drawn = [
        CocoAnnotation(place, 1, place, (0, 0, 1, 1), encode_rle(mask), 1.0)
        for place, mask in ((1, left), (2, right))
    ]
    picture = Image.new("RGB", (240, 240))
    sheets.draw_contours(picture, entry, drawn, {1: (255, 0, 0), 2: (0, 255, 0)})
    row = np.asarray(picture)[120].astype(int)
    assert row[118, 0] > 200 and row[118, 1] < 20 and row[121, 1] > 200 and row[121, 0] < 20


def crowd() -> list[Drawn]:
    """Forty images of eight cases, one of which has most; categories 2 to 7 are seen once each."""
    images = [image(f"{number:02d}", 0, case=f"case{min(number, 7)}") for number in range(40)]
    for category in range(1, 8):
        images[12 + category] = image(f"{12 + category:02d}", category, case="case7")
    images[25] = Drawn("25", "case7", (60, 80), [(0, disc((60, 80), 40, 30, 25))])
    images[26] = Drawn("26", "case7", (60, 80), [(0, disc((60, 80), 40, 30, 2))])
    images[27] = image("27", 0, 0, 0, case="case7")
    return images


def test_the_choice_shows_each_category_the_extremes_and_all_cases(tmp_path: Path) -> None:
    folder = build(tmp_path, "abdomen_us", crowd())
    coco = read_coco(folder / "annotations.json")
    chosen = sheets.chosen_images(coco, 24)
    assert len({picture.id for picture, _ in chosen}) == len(chosen) == 24
    drawn = {one.image_id: one.category_id for one in coco.annotations}
    assert {drawn[picture.id] for picture, _ in chosen} == set(range(1, 9))
    assert {picture.case_id for picture, _ in chosen} == {picture.case_id for picture in coco.images}
    notes = {note: picture.file_name for picture, note in chosen if note}
    assert notes == {"largest object": "25.png", "smallest object": "26.png", "most objects": "27.png"}
    shuffled = Coco(coco.images[::-1], coco.annotations[::-1], coco.categories)
    again = sheets.chosen_images(shuffled, 24)
    assert {picture.id for picture, _ in again} == {picture.id for picture, _ in chosen}
    few = sheets.chosen_images(coco, 8)  # the categories come first
    assert {drawn[picture.id] for picture, _ in few} == set(range(1, 9)) and len(few) == 8


def test_a_sheet_has_its_size_and_shows_what_cannot_be_read(tmp_path: Path) -> None:
    folder = build(tmp_path, "abdomen_us", crowd())
    whole = sheets.contact_sheet(folder)
    step = 180 + sheets.CAPTION + sheets.GAP  # 60 x 80 pixels become 180 x 240
    assert whole.width == 2 * sheets.MARGIN + 6 * (sheets.TILE + sheets.GAP) - sheets.GAP
    assert whole.height > 4 * step + sheets.HEADER
    small = sheets.contact_sheet(folder, 4, 2)
    assert small.width < whole.width and small.height < whole.height
    names = sorted(
        picture.file_name for picture, _ in sheets.chosen_images(read_coco(folder / "annotations.json"), 24)
    )
    (folder / "images" / names[0]).write_bytes(b"no image")
    (folder / "images" / names[1]).unlink()
    damaged = np.asarray(sheets.contact_sheet(folder)).astype(int)
    different = np.abs(damaged - np.asarray(whole)).sum(axis=2) > 0
    rows, columns = np.nonzero(different)
    assert sheets.HEADER <= rows.min() < rows.max() < sheets.HEADER + 180
    assert sheets.MARGIN <= columns.min() < sheets.MARGIN + 20
    assert columns.max() < sheets.MARGIN + 2 * sheets.TILE + sheets.GAP


def test_a_sheet_of_nothing_and_of_a_spacing_that_is_none(tmp_path: Path) -> None:
    assert sheets.contact_sheet(build(tmp_path, "hc18", [])).width > 0
    wrong = Drawn("a", "a", (60, 80), spacing=(0.0, 0.1))
    assert sheets.contact_sheet(build(tmp_path, "busi", [wrong])).width > 0
