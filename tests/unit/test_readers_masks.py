"""Masks as files: black and white, numbers, colours, outlines; found by name in folders; rows of tables."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import (
    by_label,
    fill_holes,
    largest_part,
    opened,
    parts,
    read_binary,
    read_colours,
    read_grey,
    read_labels,
    resize_mask,
)
from ultrasam.datasets.readers.outlines import fill_outline
from ultrasam.datasets.readers.tables import read_fields, read_list, read_rows, rows_by


def disk(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


MASK = disk(67, 101, 40, 30, 17)


@pytest.mark.parametrize("kind", ["grey", "rgb", "one bit", "palette"])
def test_a_black_and_white_mask_is_read_from_any_kind_of_png(tmp_path: Path, kind: str) -> None:
    grey = np.uint8(MASK) * 255
    picture = Image.fromarray(grey)
    if kind == "rgb":
        picture = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
    elif kind == "one bit":
        picture = picture.convert("1")
    elif kind == "palette":
        picture = Image.fromarray(np.uint8(MASK)).convert("P")
        picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "mask.png")
    assert np.array_equal(read_binary(tmp_path / "mask.png", MASK.shape), MASK)


def test_specks_of_nearly_black_and_edges_are_cut_at_half(tmp_path: Path) -> None:
    grey = np.uint8(MASK) * 255
    grey[0, :5] = [1, 3, 127, 128, 254]
    assert read_binary(save(tmp_path / "m.png", grey))[0, :5].tolist() == [False, False, False, True, True]


def test_a_mask_in_jpeg_loses_only_its_fringe(tmp_path: Path) -> None:
    path = save(tmp_path / "m.jpg", np.uint8(MASK) * 255, quality=80)
    wrong = opened(read_binary(path)) != MASK
    edge = MASK & ~ndimage.binary_erosion(MASK, iterations=2) | ~MASK & ndimage.binary_dilation(
        MASK, iterations=2
    )
    assert not (wrong & ~edge).any()


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (np.tile(np.arange(101, dtype=np.uint8) * 2, (67, 1)), "looks like a picture"),
        (np.uint8(MASK) * 3, "values up to 3 only"),
        (np.uint8(MASK.T) * 255, "67 x 101 pixels, its image 101 x 67"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused(tmp_path: Path, pixels: np.ndarray, complaint: str) -> None:
    with pytest.raises(UltrasamError, match=complaint):
        read_binary(save(tmp_path / "m.png", pixels), MASK.shape)


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    assert not read_binary(save(tmp_path / "m.png", np.zeros((9, 7), np.uint8)), (9, 7)).any()


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "palette", "grey rgb"])
def test_labels_are_the_stored_numbers(tmp_path: Path, kind: str) -> None:
    labels = np.zeros((12, 9), np.uint8)
    labels[2:5, 1:4], labels[6:9, 3:8] = 1, 2
    picture = Image.fromarray(labels)
    if kind == "16 bits":
        picture = Image.fromarray(labels.astype(np.uint16))
    elif kind == "palette":
        picture = picture.convert("P")
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    elif kind == "grey rgb":
        picture = picture.convert("RGB")
    picture.save(tmp_path / "m.png")
    read = read_labels(tmp_path / "m.png", {1: "a", 2: "b"}, labels.shape)
    assert np.array_equal(read, labels)
    first, second = by_label(read, {1: "a", 2: "b"}, "someone")
    assert (first.category, second.category, second.annotator) == ("a", "b", "someone")
    assert np.array_equal(second.mask, labels == 2)


def test_an_unknown_label_and_colours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match=r"the label 7, which means nothing here .*1 a"):
        read_labels(save(tmp_path / "m.png", np.full((3, 3), 7, np.uint8)), {1: "a"})
    colour = np.zeros((3, 3, 3), np.uint8)
    colour[1, 1, 0] = 9
    with pytest.raises(UltrasamError, match="has colours"):
        read_labels(save(tmp_path / "c.png", colour), {1: "a"})


COLOURS = {(64, 0, 0): "a", (0, 128, 0): "b", (64, 64, 64): "c"}


def test_colours_become_classes_also_where_they_are_slightly_off(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5, :5], pixels[8:12, 8:20], pixels[15:, 20:] = (60, 3, 5), (2, 125, 0), (64, 64, 64)
    found = {
        entry.category: entry.mask
        for entry in read_colours(save(tmp_path / "m.png", pixels), COLOURS, (20, 30))
    }
    assert found.keys() == {"a", "b", "c"}
    assert found["a"].sum() == 25 and found["b"].sum() == 48 and found["c"].sum() == 50
    assert found["b"][9, 10] and not found["b"][0, 0]


def test_an_unknown_colour_is_named(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5, :5], pixels[8:12, 8:20] = (64, 0, 0), (0, 0, 250)
    with pytest.raises(UltrasamError, match=r"the colour \(0, 0, 250\)"):
        read_colours(save(tmp_path / "m.png", pixels), COLOURS, (20, 30))


def test_grey_of_colours_is_their_luminance(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 1] = 200
    assert abs(int(read_grey(save(tmp_path / "g.png", pixels))[0, 0]) - 0.587 * 200) <= 1


@pytest.mark.parametrize("size", [(420, 420), (128, 128), (64, 64), (500, 300)])
def test_a_resized_mask_keeps_its_place_and_share(size: tuple[int, int]) -> None:
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    mask = ((columns + 0.5) / width - 0.4) ** 2 + ((rows + 0.5) / height - 0.6) ** 2 < 0.04
    resized = resize_mask(mask, (128, 128))
    assert resized.shape == (128, 128)
    assert abs(resized.mean() - mask.mean()) < 0.005
    rows, columns = np.nonzero(resized)
    assert abs((columns.mean() + 0.5) / 128 - 0.4) < 0.005 and abs((rows.mean() + 0.5) / 128 - 0.6) < 0.005


def test_holes_are_filled_and_bays_are_not() -> None:
    ring = disk(60, 60, 30, 30, 20) & ~disk(60, 60, 30, 30, 8)
    assert np.array_equal(fill_holes(ring), ndimage.binary_fill_holes(ring))
    ring[30:, 29:32] = False  # opens it
    assert np.array_equal(fill_holes(ring), ring)


def test_parts_are_8_connected_and_in_raster_order() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[7:9, 0:2] = mask[1, 1] = mask[2, 2] = mask[0, 8] = True
    found = parts(mask)
    assert [int(part.sum()) for part in found] == [1, 2, 4]
    assert found[0][0, 8] and found[1][2, 2]
    assert np.array_equal(np.logical_or.reduce(found), mask)
    assert np.array_equal(largest_part(mask), found[2])
    assert parts(np.zeros((3, 3), np.bool_)) == []
    assert parts(np.ones((3, 3), np.bool_))[0].all()
    assert not largest_part(np.zeros((3, 3), np.bool_)).any()


def ellipse_outline(
    centre: tuple[int, int], axes: tuple[int, int], line: int
) -> tuple[np.ndarray, np.ndarray]:
    """An outline in an image of 300 x 200, and what it encloses on a larger canvas, where nothing cuts it."""
    canvas = np.zeros((400, 500), np.uint8)
    cv2.ellipse(canvas, (centre[0] + 100, centre[1] + 100), axes, 20, 0, 360, 1, line)
    image = slice(100, 300), slice(100, 400)
    return canvas[image] > 0, ndimage.binary_fill_holes(canvas)[image]


@pytest.mark.parametrize("line", [1, 3])
@pytest.mark.parametrize(
    "centre",
    [(150, 100), (150, 30), (150, 180), (30, 100), (280, 100), (20, 20), (290, 190)],
    ids=["whole", "top", "bottom", "left", "right", "corner", "other corner"],
)
def test_an_outline_is_filled_also_where_the_border_cuts_it(centre: tuple[int, int], line: int) -> None:
    outline, filled = ellipse_outline(centre, (80, 55), line)
    assert np.array_equal(fill_outline(outline, Path("m.png")), filled)


def test_an_outline_cut_at_two_sides_is_filled() -> None:
    outline, filled = ellipse_outline((150, 100), (90, 130), 1)
    assert not outline[0].all() and outline[0].any() and outline[-1].any()
    assert np.array_equal(fill_outline(outline, Path("m.png")), filled)


def test_an_outline_with_a_gap_becomes_its_ellipse() -> None:
    outline, filled = ellipse_outline((150, 100), (80, 55), 1)
    outline[:, 145:152] = False
    result = fill_outline(outline, Path("m.png"))
    assert (result & filled).sum() / (result | filled).sum() > 0.97


def test_a_painted_area_is_no_outline() -> None:
    assert np.array_equal(fill_outline(MASK, Path("m.png")), MASK)
    with pytest.raises(UltrasamError, match="painted all over"):
        fill_outline(np.ones((50, 50), np.bool_), Path("m.png"))
    dots = np.zeros((50, 50), np.bool_)
    dots[10, 10] = dots[20, 20] = True
    with pytest.raises(UltrasamError, match="2 pixels drawn"):
        fill_outline(dots, Path("m.png"))
    assert not fill_outline(np.zeros((5, 5), np.bool_), Path("m.png")).any()


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_a_folder_is_found_below_others_and_junk_is_not_looked_into(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a/b/images/1.png",
        "a/b/masks/1.png",
        "__MACOSX/a/images/x",
        "__MACOSX/a/masks/x",
        ".x/images/1",
    )
    assert find_folder(tmp_path, "images", "masks") == tmp_path / "a" / "b"
    assert find_folder(tmp_path / "a" / "b", "images") == tmp_path / "a" / "b"
    assert find_folder(tmp_path, "[0-9].png", besides=tmp_path / "a/b/images") == tmp_path / "a/b/masks"


def test_no_folder_or_two_are_an_error_with_advice(tmp_path: Path) -> None:
    touch(tmp_path, "a/images/1.png", "set.zip")
    with pytest.raises(UltrasamError, match=r"no folder with masks in it: unpack set\.zip where it lies"):
        find_folder(tmp_path, "masks")
    (tmp_path / "set.zip").unlink()
    with pytest.raises(UltrasamError, match="not complete, or its layout has changed"):
        find_folder(tmp_path, "masks")
    touch(tmp_path, "copy/images/1.png")
    with pytest.raises(UltrasamError, match="both look like the set"):
        find_folder(tmp_path, "images")
    with pytest.raises(UltrasamError, match="cannot be read"):
        find_folder(tmp_path / "nowhere", "images")


def test_images_and_masks_are_matched_by_name(tmp_path: Path) -> None:
    touch(tmp_path, *(f"i_{n}.PNG" for n in (1, 2, 3, 10)), *(f"m_{n}.png" for n in (2, 10, 7)), "readme.txt")
    found, problems = pairs(files(tmp_path), files(tmp_path), r"i_(\d+)\.png", r"m_(\d+)\.png")
    assert [(pair.key, pair.image.name, pair.mask.name) for pair in found] == [
        ("10", "i_10.PNG", "m_10.png"),
        ("2", "i_2.PNG", "m_2.png"),
    ]
    assert sorted((problem.path.name, problem.reason) for problem in problems) == [
        ("i_1.PNG", "has no mask"),
        ("i_3.PNG", "has no mask"),
        ("m_7.png", "has no image"),
    ]


def test_two_files_of_one_key_are_both_problems_and_not_used(tmp_path: Path) -> None:
    touch(tmp_path, "i_1.png", "i_1.jpg", "i_2.png", "m_1.png", "m_2.png")
    found, problems = pairs(files(tmp_path), files(tmp_path), r"i_(\d)\.\w+", r"m_(\d)\.png")
    assert [pair.key for pair in found] == ["2"]
    assert sorted(problem.path.name for problem in problems) == ["i_1.jpg", "i_1.png"]
    assert "i_1.png" in problems[0].reason + problems[1].reason


def test_no_file_of_the_expected_name_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "picture1.png")
    with pytest.raises(UltrasamError, match=r"no image in .* has a name like 'i_"):
        pairs(files(tmp_path), files(tmp_path), r"i_(\d)\.png", r"m_(\d)\.png")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_with_any_separator_and_a_mark_at_the_start(tmp_path: Path, separator: str) -> None:
    text = separator.join(("File Name", "class")) + "\n" + separator.join(("a.png", " 1 ")) + "\n\n"
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_rows(tmp_path / "t.csv", "filename") == [{"filename": "a.png", "class": "1"}]
    assert rows_by(tmp_path / "t.csv", "filename") == {"a.png": {"filename": "a.png", "class": "1"}}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,kind\na,1\n", "no column 'class' .it has id, kind"),
        ("id,class\na,1\nb\n", "1 values in row 3, not 2"),
        ("id,class\na,1\na,2\n", "two rows for 'a'"),
        ("", "empty"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UltrasamError, match=complaint):
        rows_by(tmp_path / "t.csv", "id", "class")


def test_lists_and_fields(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("1.JPG  3\n2.JPG,0\n\n")
    assert read_list(tmp_path / "l.txt") == {"1.JPG": "3", "2.JPG": "0"}
    (tmp_path / "l.txt").write_text("1.JPG 3\n1.JPG 4\n")
    with pytest.raises(UltrasamError, match="a name again in line 2"):
        read_list(tmp_path / "l.txt")
    (tmp_path / "l.txt").write_text("1.JPG\n")
    with pytest.raises(UltrasamError, match="1 words, not a name and a value in line 1"):
        read_list(tmp_path / "l.txt")
    (tmp_path / "i.cfg").write_text("ED: 1\nES: 20\nnothing\nSex:\n")
    assert read_fields(tmp_path / "i.cfg") == {"ED": "1", "ES": "20"}
