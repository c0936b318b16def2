"""io/scan.py and io/images.py: image files of all kinds, lazily decoded, and the mistakes with them."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.io import images
from ultrasam.io.scan import Frames, Region, Scan, read_scan

GREY = np.arange(12 * 17, dtype=np.uint8).reshape(12, 17)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


def saved(folder: Path, name: str, image: Image.Image, **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def only_frame(path: Path) -> np.ndarray[Any, Any]:
    scan = read_scan(path)
    assert len(scan.frames) == 1
    frame = scan.frames[0]
    assert frame.dtype == np.uint8 and frame.flags.c_contiguous
    return frame


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a.jp2"])
def test_grey_is_two_dimensional(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name, Image.fromarray(GREY))
    frame = only_frame(path)
    np.testing.assert_array_equal(frame, GREY)
    assert read_scan(str(path)).path == path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.jp2"])
def test_colour_has_three_channels(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    np.testing.assert_array_equal(
        only_frame(saved(tmp_path, name, Image.fromarray(COLOUR), **options)), COLOUR
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    smooth = Image.fromarray(COLOUR).resize((64, 48)).convert(mode)
    frame = only_frame(saved(tmp_path, "a.jpg", smooth, quality=100, subsampling=0))
    assert frame.shape == ((48, 64) if mode == "L" else (48, 64, 3))
    wanted = np.asarray(smooth if mode == "L" else smooth.convert("RGB"), int)
    assert np.abs(frame.astype(int) - wanted).max() <= 6


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(GREY))
    for name in ("a.dcm", "a.jpg", "a"):
        (tmp_path / name).write_bytes(path.read_bytes())
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.frames[0], GREY)
        assert scan.meta["format"] == "PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((32, 48), np.uint8)
    upright[:8, :16] = 255  # the top left corner as it is seen
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "a.png", "a.tif"):  # Pillow turns a TIFF while it loads it
        path = saved(tmp_path, name, Image.fromarray(np.ascontiguousarray(turned)), exif=exif)
        frame = only_frame(path)
        assert frame.shape == upright.shape
        assert np.abs(frame.astype(int) - upright).max() <= 8


def test_transparent_pixels_lie_on_black(tmp_path: Path) -> None:
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:6] = 0
    wanted = np.where(alpha[..., None] > 0, COLOUR, 0)
    rgba = Image.fromarray(np.dstack([COLOUR, alpha]))
    np.testing.assert_array_equal(only_frame(saved(tmp_path, "a.png", rgba)), wanted)
    grey = Image.fromarray(np.dstack([GREY, alpha]))
    assert grey.mode == "LA"
    np.testing.assert_array_equal(only_frame(saved(tmp_path, "b.png", grey)), wanted[..., 0])
    keyed = saved(tmp_path, "c.png", Image.fromarray(GREY), transparency=7)
    np.testing.assert_array_equal(only_frame(keyed), np.where(GREY == 7, 0, GREY))


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(GREY % 3).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)
    np.testing.assert_array_equal(only_frame(saved(tmp_path, "a.png", image)), colours[GREY % 3])
    see_through = only_frame(saved(tmp_path, "b.png", image, transparency=1))
    np.testing.assert_array_equal(see_through, np.where((GREY % 3 == 1)[..., None], 0, colours[GREY % 3]))


def test_black_and_white(tmp_path: Path) -> None:
    frame = only_frame(saved(tmp_path, "a.png", Image.fromarray(GREY > 100)))
    np.testing.assert_array_equal(frame, np.where(GREY > 100, 255, 0))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(("factor", "white"), [(257, 255 * 257), (16, 4095), (1, 255)])
def test_sixteen_bits(tmp_path: Path, name: str, factor: int, white: int) -> None:
    deep = GREY.astype(np.uint16) * factor
    frame = only_frame(saved(tmp_path, name, Image.fromarray(deep)))
    np.testing.assert_array_equal(frame, np.rint(deep * (255 / white)).astype(np.uint8))


def test_floating_grey(tmp_path: Path) -> None:
    fraction = (GREY / 255).astype(np.float32)
    np.testing.assert_array_equal(only_frame(saved(tmp_path, "a.tif", Image.fromarray(fraction))), GREY)
    fraction[0, 0] = np.nan
    assert only_frame(saved(tmp_path, "b.tif", Image.fromarray(fraction)))[0, 0] == 0
    signed = np.array([[-100.0, 0.0, 155.0]], np.float32)
    np.testing.assert_array_equal(
        only_frame(saved(tmp_path, "c.tif", Image.fromarray(signed))), [[0, 100, 255]]
    )


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2))
def test_grey_to_bytes_keeps_the_order(values: list[int]) -> None:
    low, high = sorted(values)
    first, second = images.grey_to_bytes(np.array([[low, high]], np.int64))[0]
    assert first <= second


def test_the_pages_of_a_tiff_and_the_pictures_of_a_gif_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((5, 6), level, np.uint8)) for level in (10, 20, 30)]
    for name in ("a.tif", "a.gif"):
        scan = read_scan(saved(tmp_path, name, pages[0], save_all=True, append_images=pages[1:]))
        assert len(scan.frames) == 3
        assert [int(frame.max()) for frame in scan.frames] == [10, 20, 30]


def test_the_preview_of_a_camera_is_no_frame(tmp_path: Path) -> None:
    first, preview = Image.fromarray(COLOUR), Image.fromarray(COLOUR[::2, ::2])
    path = saved(tmp_path, "a.jpg", first, format="MPO", save_all=True, append_images=[preview])
    assert only_frame(path).shape == COLOUR.shape


def test_frames_are_decoded_only_when_asked_for() -> None:
    decoded = []

    def decode(index: int) -> np.ndarray[Any, Any]:
        decoded.append(index)
        return np.full((2, 2), index, np.uint8)

    frames = Frames(Path("clip.dcm"), decode, range(10))
    later = frames[4:8]
    assert (len(frames), len(later), len(frames[::-3])) == (10, 4, 4)
    assert decoded == []
    assert later[0].max() == 4 and frames[-1].max() == 9 and frames[np.int64(2)].max() == 2
    assert decoded == [4, 9, 2]
    assert [int(frame.max()) for frame in frames[::-3]] == [9, 6, 3, 0]


@pytest.mark.parametrize("index", [3, -4, 10**30])
def test_a_frame_out_of_range_tells_how_many_there_are(index: int) -> None:
    frames = Frames(Path("clip.dcm"), lambda _: GREY, range(3))
    with pytest.raises(UltrasamError, match=f"clip.dcm has 3 frames, no frame {index}: choose .* 0 to 2"):
        frames[index]
    with pytest.raises(UltrasamError, match="has 1 frame, no frame 1"):
        frames[:1][1]


def region(*box: int, spacing: tuple[float, float] | None) -> Region:
    return Region("2D", box, spacing)  # type: ignore[arg-type]


def test_the_spacing_of_an_object_is_that_of_its_region() -> None:
    frames = Frames(Path("a.dcm"), lambda _: GREY, range(1))
    half, flow = region(0, 0, 100, 80, spacing=(0.5, 0.25)), region(20, 20, 60, 60, spacing=(0.5, 0.25))
    other, strip = region(100, 0, 200, 80, spacing=(0.1, 0.1)), region(0, 80, 200, 99, spacing=None)
    inset = region(170, 50, 190, 70, spacing=None)
    scan = Scan(Path("a.dcm"), frames, (half, flow, other, strip, inset))
    assert scan.spacing_of((0, 0, 100, 80)) == (0.5, 0.25)  # up to the edge, over the flow box inside it
    assert scan.spacing_of((30.5, 30, 40, 40)) == (0.5, 0.25)
    assert scan.spacing_of((120, 10, 170, 70)) == (0.1, 0.1)
    assert scan.spacing_of((120, 10, 171, 70)) is None  # under the inset
    assert scan.spacing_of((190, 10, 201, 20)) is None  # partly outside
    assert scan.spacing_of((90, 10, 110, 20)) is None  # across two regions
    assert scan.spacing_of((10, 85, 20, 95)) is None  # an uncalibrated one
    assert scan.spacing_of((10, 70, 20, 90)) is None
    assert scan.spacing_of((210, 10, 220, 20)) is None  # outside
    assert Scan(Path("a.png"), frames).spacing_of((0, 0, 5, 5)) is None


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.gif", "a.webp", "a.jp2"])
def test_a_truncated_image(tmp_path: Path, name: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    path = cut(saved(tmp_path, name, Image.fromarray(noise)), part)
    with pytest.raises(UltrasamError, match=rf"{name} is (damaged|not an image, whatever .*)") as caught:
        read_scan(path).frames[0]
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff"])
def test_a_text_with_the_name_of_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mask of patient 3\n" * 100)
    with pytest.raises(UltrasamError, match=f"{name} is not an image, whatever its name says"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.dcm", "a.ima"])
def test_a_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"some other content " * 50)
    with pytest.raises(UltrasamError, match=f"{name} is neither a DICOM file nor an image: give a PNG"):
        read_scan(tmp_path / name)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for name, message in (("missing.png", "does not exist"), (".", "is a folder"), ("empty.png", "is empty")):
        with pytest.raises(UltrasamError, match=message):
            read_scan(tmp_path / name)


def test_a_file_that_goes_away_before_its_frame_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(GREY))
    scan = read_scan(path)
    path.unlink()
    with pytest.raises(UltrasamError, match="a.png is damaged"):
        scan.frames[0]


def bomb(path: Path, width: int, height: int) -> Path:
    """A small PNG whose header promises width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
def test_a_decompression_bomb_is_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UltrasamError, match="bomb.png is too large.*crop or shrink"):
        read_scan(bomb(tmp_path / "bomb.png", 60_000, 60_000))


def test_a_later_page_may_not_be_a_bomb_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Image.fromarray(np.zeros((size, size), np.uint8)) for size in (4, 40)]
    path = saved(tmp_path, "a.tif", pages[0], save_all=True, append_images=pages[1:])
    monkeypatch.setattr("ultrasam.io.scan.MAX_PIXELS", 100)
    scan = read_scan(path)
    assert scan.frames[0].shape == (4, 4)
    with pytest.raises(UltrasamError, match=r"a.tif is too large \(40 x 40 pixels"):
        scan.frames[1]


def test_an_image_without_the_right_to_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(GREY))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UltrasamError, match="a.png may not be read by you"):
        read_scan(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on broken TIFF directories
@given(
    st.binary(max_size=200),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"GIF89a"]),
)
def test_garbage_behind_a_signature_gives_one_error(tmp_path_factory: Any, data: bytes, start: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.png"
    path.write_bytes(start + data)
    with pytest.raises(UltrasamError):
        read_scan(path).frames[0]


def test_reading_an_image_does_not_load_pydicom(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(GREY))
    code = (
        "import sys; from ultrasam.io.scan import read_scan; from ultrasam.io import dicom, coco; "
        f"read_scan({str(path)!r}).frames[0]; "
        "print({'pydicom', 'torch', 'cv2', 'scipy', 'onnxruntime'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("set()\n", "")
