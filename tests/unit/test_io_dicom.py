"""io/dicom.py: colours, grey levels, clips, spacing, privacy, damage; made files and pydicom's own."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import examples, uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import convert_color_space
from tests.dicoms import Array, compressed, dataset, saved, ultrasound_region

from ultrasam.core.errors import UltrasamError
from ultrasam.io.scan import Scan, read_scan

GREY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


def jpeg(pixels: Array, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=100, subsampling=0, **options)
    return buffer.getvalue()


def jpeg_2000(pixels: Array, multiple_component: bool) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True, mct=int(multiple_component))
    return buffer.getvalue()


def frame_of(path: Path, index: int = 0) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read_scan(path).frames[index]
    assert frame.dtype == np.uint8 and frame.flags.c_contiguous
    return frame


# The four ultrasound files that pydicom ships


def example(name: str) -> Scan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_scan(examples.get_path(name))


@pytest.mark.parametrize(
    ("name", "count", "shape", "places"),
    [  # places: (column, row) -> colour as a person saw it in a viewer
        ("rgb_color", 1, (240, 320, 3), {(14, 80): "yellow", (150, 104): "red", (0, 0): "black"}),
        ("jpeg2k", 1, (480, 640, 3), {(28, 160): "yellow", (318, 200): "white", (0, 0): "black"}),
        ("palette_color", 1, (350, 800, 3), {(200, 20): "blue", (323, 66): "blue", (9, 340): "black"}),
        ("ybr_color", 30, (240, 320, 3), {(190, 20): "green", (53, 234): "blue", (5, 120): "black"}),
    ],
)
def test_the_colours_of_real_files(
    name: str, count: int, shape: tuple[int, ...], places: dict[tuple[int, int], str]
) -> None:
    scan = example(name)
    assert len(scan.frames) == count
    frame = scan.frames[0]
    assert frame.shape == shape and frame.dtype == np.uint8
    for (column, row), seen in places.items():
        red, green, blue = frame[row, column].tolist()
        colour = {
            "black": max(red, green, blue) < 5,
            "white": min(red, green, blue) > 250,
            "yellow": min(red, green) > 240 and blue < 60,
            "red": red > 200 and max(green, blue) < 80,
            "green": green > red + 50 and green > blue + 15,
            "blue": blue > green + 12 > red,
        }[seen]
        assert colour, (seen, red, green, blue)


@pytest.mark.parametrize("name", ["ybr_color", "jpeg2k"])
def test_real_compressed_files_as_pillow_alone_shows_them(name: str) -> None:
    ds = pydicom.dcmread(examples.get_path(name))
    stream = get_frame(ds.PixelData, 0, number_of_frames=len(example(name).frames))
    with Image.open(BytesIO(stream)) as image:
        wanted = np.asarray(image.convert("RGB"), int)
    assert np.abs(example(name).frames[0].astype(int) - wanted).max() <= 2


def test_a_real_clip_moves_and_is_read_in_any_order() -> None:
    scan = example("ybr_color")
    last, first = scan.frames[-1], scan.frames[0]
    assert np.abs(last.astype(int) - first).mean() > 0.5
    np.testing.assert_array_equal(scan.frames[29], last)
    assert scan.meta["frame_time_ms"] == pytest.approx(33.333)
    with pytest.raises(UltrasamError, match="has 30 frames, no frame 30: choose one from 0 to 29"):
        scan.frames[30]


@pytest.mark.parametrize("name", ["ybr_color", "palette_color"])
def test_regions_beyond_the_image_give_no_spacing(name: str) -> None:
    """The first was shrunk to half of what its header describes: its ruler shows 1.02 mm per pixel."""
    with pytest.warns(UserWarning, match="reach beyond its .* lengths are in pixels"):
        scan = read_scan(examples.get_path(name))
    assert scan.regions and all(region.spacing is None for region in scan.regions)
    assert scan.spacing_of((150, 100, 160, 110)) is None


# Grey levels


def test_eight_bits_stay_as_they_are(tmp_path: Path) -> None:
    np.testing.assert_array_equal(frame_of(saved(tmp_path, dataset(GREY, "MONOCHROME2"))), GREY)


def test_monochrome_1_is_inverted(tmp_path: Path) -> None:
    np.testing.assert_array_equal(frame_of(saved(tmp_path, dataset(GREY, "MONOCHROME1"))), 255 - GREY)


def test_fewer_bits_fill_the_range(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(GREY % 128, "MONOCHROME2", BitsStored=7))
    np.testing.assert_array_equal(frame_of(path), np.rint((GREY % 128) * (255 / 127)))


def test_sixteen_bits_without_a_window(tmp_path: Path) -> None:
    for factor, white in ((16, 4095), (257, 65535)):
        deep = GREY.astype(np.uint16) * factor
        path = saved(tmp_path, dataset(deep, "MONOCHROME2"))
        np.testing.assert_array_equal(frame_of(path), np.rint(deep * (255 / white)))


def test_signed_values_are_stretched(tmp_path: Path) -> None:
    for signed in (np.array([[-1000, 0, 1550, 1550]], np.int16), np.array([[-100, 0, 27, -49]], np.int8)):
        low, high = int(signed.min()), int(signed.max())
        wanted = np.rint((signed.astype(float) - low) * (255 / (high - low)))
        np.testing.assert_array_equal(frame_of(saved(tmp_path, dataset(signed, "MONOCHROME2"))), wanted)


def test_rescale_and_window_follow_the_standard(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.2.1: y = ((x - (c - 0.5)) / (w - 1) + 0.5) * 255, and exactly linear C.11.2.1.3.2."""
    stored = np.arange(0, 4096, 21, dtype=np.uint16)[None]
    window = {
        "RescaleSlope": 2,
        "RescaleIntercept": -100,
        "WindowCenter": [3000, 1],
        "WindowWidth": [2001, 1],
    }
    x = 2.0 * stored - 100
    wanted = np.clip(((x - 2999.5) / 2000 + 0.5) * 255, 0, 255)
    assert np.any((wanted > 0) & (wanted < 255))
    path = saved(tmp_path, dataset(stored, "MONOCHROME2", BitsStored=12, **window))
    np.testing.assert_array_equal(frame_of(path), np.rint(wanted))
    exact = dataset(stored, "MONOCHROME2", BitsStored=12, VOILUTFunction="LINEAR_EXACT", **window)
    wanted = np.clip(((x - 3000) / 2001 + 0.5) * 255, 0, 255)
    np.testing.assert_array_equal(frame_of(saved(tmp_path, exact)), np.rint(wanted))
    inverted = dataset(stored, "MONOCHROME1", BitsStored=12, VOILUTFunction="LINEAR_EXACT", **window)
    np.testing.assert_array_equal(frame_of(saved(tmp_path, inverted)), 255 - np.rint(wanted))


@pytest.mark.parametrize("width", [0, None, "1"])
def test_an_unusable_window(tmp_path: Path, width: Any) -> None:
    frame = frame_of(saved(tmp_path, dataset(GREY, "MONOCHROME2", WindowCenter=100, WindowWidth=width)))
    wanted = np.where(GREY >= 100, 255, 0) if width == "1" else GREY
    np.testing.assert_array_equal(frame, wanted)


# Colours


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_rgb_uncompressed(tmp_path: Path, syntax: str) -> None:
    ds = dataset(COLOUR, "RGB")
    ds.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(frame_of(saved(tmp_path, ds)), COLOUR)


def test_rgb_by_planes_and_of_sixteen_bits(tmp_path: Path) -> None:
    planes = dataset(COLOUR, "RGB", PlanarConfiguration=1, PixelData=COLOUR.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(frame_of(saved(tmp_path, planes)), COLOUR)
    deep = dataset(COLOUR.astype(np.uint16) * 257, "RGB")
    np.testing.assert_array_equal(frame_of(saved(tmp_path, deep)), COLOUR)


def test_ybr_uncompressed(tmp_path: Path) -> None:
    ybr = convert_color_space(COLOUR, "RGB", "YBR_FULL")
    assert np.abs(frame_of(saved(tmp_path, dataset(ybr, "YBR_FULL"))).astype(int) - COLOUR).max() <= 3
    ybr[:, 1::2, 1:] = ybr[:, ::2, 1:]  # one colour for each pair of pixels, as YBR_FULL_422 stores it
    pairs = ybr.reshape(12, 8, 6)[..., [0, 3, 1, 2]]
    path = saved(tmp_path, dataset(ybr, "YBR_FULL_422", PixelData=pairs.tobytes()))
    np.testing.assert_array_equal(frame_of(path), convert_color_space(ybr, "YBR_FULL", "RGB"))


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_jpeg_in_colour(tmp_path: Path, photometric: str) -> None:
    smooth = np.asarray(Image.fromarray(COLOUR).resize((64, 48)))
    ds = compressed(dataset(smooth, photometric), [jpeg(smooth)], uid.JPEGBaseline8Bit)
    assert np.abs(frame_of(saved(tmp_path, ds)).astype(int) - smooth).max() <= 6


def test_jpeg_that_keeps_rgb(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(COLOUR).resize((64, 48)))
    ds = compressed(dataset(smooth, "RGB"), [jpeg(smooth, keep_rgb=True)], uid.JPEGBaseline8Bit)
    assert np.abs(frame_of(saved(tmp_path, ds)).astype(int) - smooth).max() <= 6


def test_jpeg_in_grey(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(GREY).resize((64, 48)))
    ds = compressed(dataset(smooth, "MONOCHROME2"), [jpeg(smooth)], uid.JPEGBaseline8Bit)
    assert np.abs(frame_of(saved(tmp_path, ds)).astype(int) - smooth).max() <= 6


@pytest.mark.parametrize(("photometric", "transformed"), [("YBR_RCT", True), ("RGB", False)])
def test_jpeg_2000_in_colour(tmp_path: Path, photometric: str, transformed: bool) -> None:
    ds = compressed(dataset(COLOUR, photometric), [jpeg_2000(COLOUR, transformed)], uid.JPEG2000Lossless)
    np.testing.assert_array_equal(frame_of(saved(tmp_path, ds)), COLOUR)


def test_run_length_encoding(tmp_path: Path) -> None:
    ds = dataset(np.stack([COLOUR, 255 - COLOUR]), "RGB")
    ds.compress(uid.RLELossless)
    path = saved(tmp_path, ds)
    np.testing.assert_array_equal(frame_of(path, 0), COLOUR)
    np.testing.assert_array_equal(frame_of(path, 1), 255 - COLOUR)


@pytest.mark.parametrize("factor", [257, 256, 1])
def test_a_palette(tmp_path: Path, factor: int) -> None:
    """Entries of 16 bits hold the colour in the high byte; of some makers, as it is."""
    table = np.random.default_rng(1).integers(0, 256, (3, 256), np.uint16)
    elements: dict[str, Any] = {}
    for colour, entries in zip(("Red", "Green", "Blue"), table, strict=True):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = (entries * np.uint16(factor)).tobytes()
    path = saved(tmp_path, dataset(GREY, "PALETTE COLOR", **elements))
    np.testing.assert_array_equal(frame_of(path), table.T[GREY])


# Clips


@pytest.mark.parametrize("with_offsets", [True, False])
def test_the_frames_of_a_compressed_clip(tmp_path: Path, with_offsets: bool) -> None:
    clip = np.stack([np.full((16, 16), level, np.uint8) for level in (10, 90, 200)])
    ds = dataset(clip, "MONOCHROME2", FrameTime=40)
    ds = compressed(ds, [jpeg(frame) for frame in clip], uid.JPEGBaseline8Bit, with_offsets)
    scan = read_scan(saved(tmp_path, ds))
    assert [int(frame.max()) for frame in scan.frames] == [10, 90, 200]
    assert scan.meta["frame_time_ms"] == 40


def test_one_frame_is_decoded_without_the_others(tmp_path: Path) -> None:
    clip = np.stack([np.full((16, 16), level, np.uint8) for level in (10, 90, 200)])
    frames = [jpeg(frame) for frame in clip]
    frames[1] = bytes(len(frames[1]))
    ds = dataset(clip, "MONOCHROME2", RecommendedDisplayFrameRate=50)
    scan = read_scan(saved(tmp_path, compressed(ds, frames, uid.JPEGBaseline8Bit)))
    assert (int(scan.frames[0].max()), int(scan.frames[2].max())) == (10, 200)
    assert scan.meta["frame_time_ms"] == 20
    with pytest.raises(UltrasamError, match="scan.dcm: frame 1 cannot be decoded"):
        scan.frames[1]


@pytest.mark.filterwarnings("ignore:A value of:UserWarning")
@pytest.mark.parametrize("count", [None, 0, 1])
def test_a_still_has_one_frame_whatever_the_header_says(tmp_path: Path, count: int | None) -> None:
    scan = read_scan(saved(tmp_path, dataset(GREY, "MONOCHROME2", NumberOfFrames=count)))
    assert len(scan.frames) == 1
    np.testing.assert_array_equal(scan.frames[0], GREY)


# Regions and what is told of a file


def test_spacing_only_where_both_axes_are_in_centimetres(tmp_path: Path) -> None:
    items = [
        ultrasound_region(0, 0, 7, 5),
        ultrasound_region(8, 0, 15, 5, delta=-0.01),
        ultrasound_region(0, 6, 7, 11, units=(4, 3), kind=2),
        ultrasound_region(8, 6, 11, 11, units=(3, 0)),
        ultrasound_region(12, 6, 15, 11, delta=0.0),
    ]
    scan = read_scan(saved(tmp_path, dataset(GREY, "MONOCHROME2", SequenceOfUltrasoundRegions=items)))
    assert [region.box for region in scan.regions][:3] == [(0, 0, 8, 6), (8, 0, 16, 6), (0, 6, 8, 12)]
    assert [region.kind for region in scan.regions] == ["2D", "2D", "M-mode", "2D", "2D"]
    assert scan.regions[0].spacing == pytest.approx((0.25, 0.5))
    assert scan.regions[1].spacing == pytest.approx((0.1, 0.2))
    assert [region.spacing for region in scan.regions[2:]] == [None, None, None]
    assert scan.spacing_of((1, 1, 8, 6)) == pytest.approx((0.25, 0.5))
    assert scan.spacing_of((1, 1, 9, 6)) is None


def test_a_region_whose_last_pixel_is_the_width(tmp_path: Path) -> None:
    items = [ultrasound_region(0, 0, 16, 12)]
    scan = read_scan(saved(tmp_path, dataset(GREY, "MONOCHROME2", SequenceOfUltrasoundRegions=items)))
    assert (scan.regions[0].box, scan.regions[0].spacing) == ((0, 0, 16, 12), pytest.approx((0.25, 0.5)))


def test_a_region_without_a_box_is_left_out(tmp_path: Path) -> None:
    items = [ultrasound_region(0, 0, 7, 5), ultrasound_region(9, 9, 3, 3), Dataset()]
    scan = read_scan(saved(tmp_path, dataset(GREY, "MONOCHROME2", SequenceOfUltrasoundRegions=items)))
    assert len(scan.regions) == 1


def test_nothing_that_identifies_a_patient_is_told(tmp_path: Path) -> None:
    ds = dataset(GREY, "MONOCHROME2")
    scan = read_scan(saved(tmp_path, ds))
    assert scan.meta["modality"] == "US" and scan.meta["manufacturer"] == "Maker"
    told = f"{scan.meta} {scan!r} {vars(scan.frames)}"
    for secret in ("Doe", "4711", "20200102", "Elsewhere"):
        assert secret not in told
    assert ds.SOPInstanceUID not in str(scan.meta)


def test_another_modality_warns(tmp_path: Path) -> None:
    ds = dataset(GREY, "MONOCHROME2", Modality="CT", SOPClassUID=uid.CTImageStorage)
    with pytest.warns(UserWarning, match="scan.dcm has modality CT: the models have only seen ultrasound"):
        scan = read_scan(saved(tmp_path, ds))
    np.testing.assert_array_equal(scan.frames[0], GREY)


# Mistakes


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_without_preamble(tmp_path: Path, syntax: Any) -> None:
    ds = dataset(GREY, "MONOCHROME2")
    del ds.file_meta
    options = {"enforce_file_format": False, "implicit_vr": syntax.is_implicit_VR, "little_endian": True}
    for name in ("scan.dcm", "IM00001", "scan.ima"):
        path = saved(tmp_path, ds, name, **options)
        assert path.read_bytes()[128:132] != b"DICM"
        np.testing.assert_array_equal(frame_of(path), GREY)


def test_without_pixel_data(tmp_path: Path) -> None:
    ds = dataset(GREY, "MONOCHROME2")
    del ds.PixelData
    with pytest.raises(UltrasamError, match="report.dcm is a DICOM file without pixel data.*choose one that"):
        read_scan(saved(tmp_path, ds, "report.dcm"))
    with pytest.raises(UltrasamError, match="is a DICOM file without pixel data"):
        read_scan(examples.get_path("rt_plan"))


@pytest.mark.parametrize("compress", [False, True])
def test_a_truncated_file_wherever_it_is_cut(tmp_path: Path, compress: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    ds = dataset(noise, "MONOCHROME2")
    if compress:
        ds = compressed(ds, [jpeg(noise)], uid.JPEGBaseline8Bit)
    data = saved(tmp_path, ds).read_bytes()
    path = tmp_path / "cut.dcm"
    for length in (*range(1, 1400, 13), len(data) * 3 // 4, len(data) - 60):
        path.write_bytes(data[:length])
        with pytest.raises(UltrasamError, match="cut.dcm") as caught:
            read_scan(path).frames[0]
        assert str(caught.value).isprintable()


def test_a_truncated_real_clip(tmp_path: Path) -> None:
    data = examples.get_path("ybr_color").read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match="lengths are in pixels"):
        scan = read_scan(path)
    with pytest.raises(UltrasamError, match="cut.dcm: frame 29 cannot be decoded"):
        scan.frames[29]


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_jpeg_2000(tmp_path: Path, part: float) -> None:
    data = examples.get_path("jpeg2k").read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UltrasamError, match="cut.dcm: frame 0 cannot be decoded"):
        read_scan(path).frames[0]


def test_a_damaged_header(tmp_path: Path) -> None:
    ds = dataset(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8), "MONOCHROME2")
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    path = saved(tmp_path, ds)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UltrasamError, match="scan.dcm is a damaged DICOM file .*: copy or export it again"):
        read_scan(path)


def test_fewer_frames_than_promised(tmp_path: Path) -> None:
    ds = dataset(np.stack([GREY, GREY]), "MONOCHROME2", NumberOfFrames=5)
    with pytest.raises(UltrasamError, match=r"scan.dcm is cut off \(384 of 960 bytes of pixel data\)"):
        read_scan(saved(tmp_path, ds))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Rows": 65535, "Columns": 65535}, "too large .65535 x 65535 pixels"),
        ({"Rows": 0}, "image of 16 x 0 pixels"),
        ({"Rows": None}, "image of 16 x 0 pixels"),
        ({"BitsStored": None}, "frame 0 cannot be decoded"),
        ({"PhotometricInterpretation": "HSV"}, "has the colour space HSV: export it as RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "frame 0 cannot be decoded"),
    ],
)
def test_an_unusable_header(tmp_path: Path, elements: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, dataset(GREY, "MONOCHROME2", **elements))
    with pytest.raises(UltrasamError, match=f"scan.dcm.*{message}|{message}"):
        read_scan(path).frames[0]


@pytest.mark.parametrize("syntax", [uid.MPEG4HP41, uid.JPEGLSLossless])
def test_a_compression_without_decoder(tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", False)
    path = saved(tmp_path, compressed(dataset(GREY, "MONOCHROME2"), [b"\0" * 20], syntax))
    with pytest.raises(
        UltrasamError, match="is compressed as .*, for which no decoder is installed: .*dicom"
    ):
        read_scan(path)


def test_a_bomb_inside_a_dicom_file(tmp_path: Path) -> None:
    """The header is small, the JPEG in it is not."""
    bomb = bytearray(jpeg(GREY))
    position = bomb.index(b"\xff\xc0")
    bomb[position + 5 : position + 9] = b"\xff\xdc\xff\xdc"  # height and width 65500
    ds = compressed(dataset(GREY, "MONOCHROME2"), [bytes(bomb)], uid.JPEGBaseline8Bit)
    with pytest.raises(UltrasamError, match="scan.dcm: frame 0 cannot be decoded"):
        read_scan(saved(tmp_path, ds)).frames[0]


def test_the_examples_are_inside_the_package() -> None:
    root = Path(pydicom.__file__).parent
    for name in ("rgb_color", "ybr_color", "palette_color", "jpeg2k"):
        assert root in examples.get_path(name).parents
