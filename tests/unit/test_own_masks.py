"""How own masks may be stored, and what is asked where a file leaves open what it means."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter
from tests.own_sets import BOTH, ONE, SIZE, TWO, convert, failure, image, mask
from tests.us43d.truth import Mask, save_jpeg, scan, white

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.own.classes import parse_classes

RED, GREEN = (200, 30, 40), (10, 220, 60)


def binary(region: Mask) -> Image.Image:
    return Image.fromarray(white(region))


def palette(numbers: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(numbers.astype(np.uint8), "P")
    picture.putpalette([level for colour in colours for level in colour])
    return picture


def numbered(one: int = 1, two: int = 2) -> np.ndarray:
    numbers = np.zeros(SIZE, np.uint16)
    numbers[ONE], numbers[TWO] = one, two
    return numbers


def painted() -> np.ndarray:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[ONE], pixels[TWO] = RED, GREEN
    return pixels


def raw_with(folder: Path, **masks: Image.Image) -> Path:
    """A raw folder with these masks as PNG files, and an image for each."""
    for number, (name, picture) in enumerate(masks.items()):
        image(folder / "images" / f"{name}.png", number)
        (folder / "masks").mkdir(exist_ok=True)
        # PNG has no 32 bits.
        picture.save(folder / "masks" / f"{name}.{'tif' if picture.mode == 'I' else 'png'}")
    return folder


def transparent() -> Image.Image:
    picture = binary(BOTH).convert("RGBA")
    picture.putalpha(binary(BOTH))
    return picture


BINARY: dict[str, Callable[[], Image.Image]] = {
    "0 and 255": lambda: binary(BOTH),
    "0 and 1": lambda: Image.fromarray(BOTH.astype(np.uint8)),
    "one bit": lambda: Image.fromarray(BOTH),
    "three equal channels": lambda: binary(BOTH).convert("RGB"),
    "opaque": lambda: binary(BOTH).convert("RGBA"),
    "transparent where black": transparent,
    "grey and alpha": lambda: binary(BOTH).convert("LA"),
    "palette": lambda: palette(BOTH, (0, 0, 0), (255, 255, 255)),
    "palette from white to black": lambda: palette(~BOTH, (255, 255, 255), (0, 0, 0)),
    "palette of a colour": lambda: palette(BOTH, (0, 0, 0), (128, 0, 0)),
    "16 bits": lambda: Image.fromarray(BOTH.astype(np.uint16) * 65535),
    "16 bits, 1": lambda: Image.fromarray(BOTH.astype(np.uint16)),
}


@pytest.mark.parametrize("kind", BINARY)
def test_masks_of_one_class(kind: str, tmp_path: Path) -> None:
    raw = raw_with(tmp_path / "raw", a=BINARY[kind](), b=binary(ONE))
    result = convert(raw, tmp_path / "out")
    assert result.outcome.problems == () and result.categories == ["object"]
    assert {int(region.sum()) for _, region in result.objects("a.png")} == {int(ONE.sum()), int(TWO.sum())}
    assert np.array_equal(result.region("a.png", "object"), BOTH)
    assert convert(raw, tmp_path / "new", "cyst").categories == ["cyst"]
    assert np.array_equal(convert(raw, tmp_path / "again", "255=cyst").region("a.png", "cyst"), BOTH)


def test_masks_with_smooth_edges_and_in_jpeg(tmp_path: Path) -> None:
    smooth = binary(BOTH).filter(ImageFilter.GaussianBlur(0.7))
    raw = raw_with(tmp_path / "raw", smooth=smooth)
    image(raw / "images" / "jpeg.png", 5)
    stored = save_jpeg(raw / "masks" / "jpeg.jpg", white(BOTH), 60)
    result = convert(raw, tmp_path / "out")
    assert result.outcome.problems == () and result.categories == ["object"]
    assert np.array_equal(result.region("smooth.png", "object"), np.asarray(smooth) > 127)
    assert np.array_equal(result.region("jpeg.png", "object"), stored > 127)


NUMBERS: dict[str, Callable[[], Image.Image]] = {
    "8 bits": lambda: Image.fromarray(numbered().astype(np.uint8)),
    "16 bits": lambda: Image.fromarray(numbered()),
    "32 bits": lambda: Image.fromarray(numbered().astype(np.int32)).convert("I"),
    "equal channels": lambda: Image.fromarray(numbered().astype(np.uint8)).convert("RGB"),
    "palette": lambda: palette(numbered(), (0, 0, 0), (128, 0, 0), (0, 128, 0)),
    "palette without black": lambda: palette(numbered(), (9, 9, 9), (128, 0, 0), (0, 128, 0)),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_masks_of_numbers(kind: str, tmp_path: Path) -> None:
    only = Image.fromarray((numbered() * (numbered() == 1)).astype(np.uint8))
    raw = raw_with(tmp_path / "raw", a=NUMBERS[kind](), only=only)
    result = convert(raw, tmp_path / "out")
    assert result.outcome.problems == () and result.categories == ["class_1", "class_2"]
    assert np.array_equal(result.region("a.png", "class_1"), ONE)
    assert np.array_equal(result.region("a.png", "class_2"), TWO)
    named = convert(raw, tmp_path / "named", "2=liver, 1=kidney")
    assert named.categories == ["liver", "kidney"]
    assert np.array_equal(named.region("a.png", "liver"), TWO)


def test_a_category_of_two_numbers_is_drawn_together(tmp_path: Path) -> None:
    numbers = np.zeros(SIZE, np.uint8)
    numbers[5:9, 5:20], numbers[9:14, 5:20], numbers[20:30, 30:40], numbers[30:34] = 1, 7, 4, 255
    raw = raw_with(tmp_path / "raw", a=Image.fromarray(numbers))
    result = convert(raw, tmp_path / "out", "1=muscle,4=bone,7=muscle,255=background")
    assert result.categories == ["muscle", "bone"]
    assert [category for category, _ in result.objects("a.png")] == ["muscle", "bone"]
    assert np.array_equal(result.region("a.png", "muscle"), (numbers == 1) | (numbers == 7))


def test_masks_in_colours(tmp_path: Path) -> None:
    raw = raw_with(tmp_path / "raw", a=Image.fromarray(painted()))
    why = failure(raw, tmp_path / "out")
    assert "masks/a.png has colours" in why
    assert "--classes '#0adc3c=NAME,#c81e28=NAME'" in why
    result = convert(raw, tmp_path / "out", "#C81E28=liver,#0adc3c=background")
    assert result.categories == ["liver"]
    assert np.array_equal(result.region("a.png", "liver"), ONE) and len(result.objects("a.png")) == 1
    raw_with(raw, b=Image.fromarray(painted()[..., ::-1].copy()))
    result = convert(raw, tmp_path / "out", "#C81E28=liver,#0adc3c=cyst")
    assert list(result.problems) == ["images/b.png"]
    assert "has the colour" in result.problems["images/b.png"]


def test_one_mask_in_colours_among_many_costs_one_image(tmp_path: Path) -> None:
    raw = raw_with(tmp_path / "raw", **{f"m{number}": binary(ONE) for number in range(25)})
    Image.fromarray(painted()).save(raw / "masks" / "m7.png")
    result = convert(raw, tmp_path / "out")
    assert len(result.names) == 24 and list(result.problems) == ["images/m7.png"]
    assert "masks/m7.png has colours" in result.problems["images/m7.png"]


def several_pages(path: Path) -> None:
    pages = [binary(ONE), binary(TWO)]
    pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:])


def levels(*values: int) -> Image.Image:
    numbers = np.zeros(SIZE, np.uint8)
    for place, value in enumerate(values):
        numbers[4:12, 3 + 12 * place : 13 + 12 * place] = value
    return Image.fromarray(numbers)


def drawn_by_transparency() -> Image.Image:
    picture = Image.new("RGBA", SIZE[::-1], (0, 0, 0, 0))
    picture.putalpha(binary(ONE))
    return picture


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([levels(85, 170, 255)], "85=NAME,170=NAME,255=NAME"),
        ([levels(100)], "areas of 100: say what they mean with --classes 100=NAME"),
        (
            [levels(255), levels(128)],
            "the masks have the values 128, 255: say what they mean with --classes 128=NAME",
        ),
        ([levels(1, 255)], "1=NAME,255=NAME"),
        ([levels(255), levels(1, 2)], "m0.png is black and white, masks/m1.png holds 1, 2"),
        ([levels(255), levels(2)], "holds 2: say what they mean with --classes 2=NAME,255=NAME"),
        ([levels(1), levels(1, 255)], "areas of 1, 255"),
        ([Image.fromarray(np.zeros(SIZE, np.uint8))], "nothing is drawn in any of the 1 masks"),
        ([Image.fromarray(scan(SIZE, 3))], "no mask can be read of the 1 masks"),
        ([palette(~ONE, (255, 0, 0), (0, 0, 0))], "no mask can be read"),
        ([drawn_by_transparency()], "no mask can be read"),
        ([Image.fromarray(np.arange(40 * 57).reshape(SIZE).astype(np.uint8) % 64)], ""),
    ],
)
def test_masks_that_could_mean_more_than_one_thing_are_refused(
    masks: list[Image.Image], words: str, tmp_path: Path
) -> None:
    raw = raw_with(tmp_path / "raw", **{f"m{number}": one for number, one in enumerate(masks)})
    if words:
        assert words in failure(raw, tmp_path / "out")
    else:  # 63 numbers are few enough for classes
        assert len(convert(raw, tmp_path / "out").categories) == 63


def test_a_level_between_black_and_white_is_seen_in_jpeg_too(tmp_path: Path) -> None:
    image(tmp_path / "raw" / "images" / "a.png")
    save_jpeg(tmp_path / "raw" / "masks" / "a.jpg", np.asarray(levels(128, 255)), 80)
    assert "masks/a.jpg has areas of 12" in failure(tmp_path / "raw", tmp_path / "out")


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (palette(~ONE, (255, 0, 0), (0, 0, 0)), "black is number 1, not 0"),
        (drawn_by_transparency(), "drawn by transparency alone"),
        (Image.fromarray(np.where(ONE, np.float32(0.5), np.float32(0))), "holds fractions"),
        (Image.fromarray(scan(SIZE, 2)), "looks like a picture"),
        (levels(10), "has values up to 10 only"),
    ],
)
def test_a_mask_that_is_not_like_the_others_is_a_problem(
    picture: Image.Image, words: str, tmp_path: Path
) -> None:
    raw = raw_with(tmp_path / "raw", a=binary(ONE), b=binary(ONE))
    (raw / "masks" / "b.png").unlink()
    picture.save(raw / "masks" / "b.tif")
    result = convert(raw, tmp_path / "out", "lesion")
    assert list(result.names) == ["a.png"] and words in result.problems["images/b.png"]


def test_pictures_of_several_pages_are_a_problem(tmp_path: Path) -> None:
    raw = raw_with(tmp_path / "raw", a=binary(ONE), b=binary(ONE))
    (raw / "masks" / "b.png").unlink()
    several_pages(raw / "masks" / "b.tif")
    image(raw / "images" / "c.png")
    mask(raw / "masks" / "c.png")
    (raw / "images" / "c.png").unlink()
    several_pages(raw / "images" / "c.tif")
    result = convert(raw, tmp_path / "out")
    assert {name: "holds 2 pictures" in why for name, why in result.problems.items()} == {
        "images/b.png": True,
        "images/c.tif": True,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write NUMBER=NAME"),
        ("1=", "write NUMBER=NAME"),
        ("1=liver,", "write NUMBER=NAME"),
        ("liver,kidney", "one name for masks in black and white"),
        ("1=liver,kidney", "give numbers"),
        ("1=liver,#ff0000=kidney", "give numbers"),
        ("1=liver,1=kidney", "names 1 twice"),
        ("#ff0000=liver,#FF0000=kidney", "names #FF0000 twice"),
        ("0=liver", "0 and black are the background"),
        ("#000000=liver", "0 and black are the background"),
        ("red=liver", "neither a number up to 65535 nor a colour"),
        ("#f00=liver", "neither a number"),
        ("70000=liver", "neither a number"),
        ("255=background", "nothing but the background"),
    ],
)
def test_classes_that_are_not_understood(text: str, words: str) -> None:
    with pytest.raises(UltrasamError, match=words):
        parse_classes(text)


@settings(max_examples=12)
@given(
    labels=st.lists(
        arrays(np.uint8, (12, 17), elements=st.integers(0, 3), fill=st.just(0)), min_size=2, max_size=3
    )
)
def test_any_numbers_come_back_through_png_and_through_coco(labels: list[np.ndarray]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        labels = [*labels, np.tile(np.arange(4, dtype=np.uint8), (3, 1))]
        for number, values in enumerate(labels):
            image(folder / "raw" / "images" / f"{number}.png", number, values.shape)
            (folder / "raw" / "masks").mkdir(exist_ok=True)
            Image.fromarray(values).save(folder / "raw" / "masks" / f"{number}.png")
        first = convert(folder / "raw", folder / "one")
        second = convert(first.folder / "annotations.json", folder / "two")
        assert first.categories == second.categories == ["class_1", "class_2", "class_3"]
        for number, values in enumerate(labels):
            for result in (first, second):
                if not values.any():
                    assert f"{number}.png" not in result.names
                    continue
                (name,) = [one for one in result.names if one.split("__")[-1] == f"{number}.png"]
                for label in (1, 2, 3):
                    assert np.array_equal(result.region(name, f"class_{label}"), values == label)
        assert second.outcome.counts["objects"] == first.outcome.counts["objects"]
    finally:
        shutil.rmtree(folder)
