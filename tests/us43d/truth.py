"""What lies in a made-up raw tree, and the means to draw and write one without the package under test."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = list[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class TrueObject:
    """One object as it was drawn; a converter may be wrong only within `edge` pixels of its border."""

    category: str
    mask: Mask
    annotator: str = ""
    edge: int = 0


@dataclass(frozen=True, eq=False)
class TrueImage:
    """An image that the converted set must hold, with exactly these pixels and objects."""

    case: str
    pixels: Grey
    objects: tuple[TrueObject, ...]
    view: str = ""
    frame: int | None = None
    split: str = ""
    spacing: tuple[float, float] | None = None
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Truth:
    """What a converter must make of a raw tree.

    `images` by the name of their file; `problems`: file below the raw folder and words that its reason must
    have; `dropped` images show nothing and are not kept; `left_out` are files and folders not read on
    purpose.
    """

    images: dict[str, TrueImage]
    problems: dict[str, str]
    dropped: int = 0
    left_out: frozenset[str] = frozenset()


def grid(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of the middles of the pixels."""
    rows, columns = np.mgrid[:height, :width]
    return rows + 0.5, columns + 0.5


def ellipse(size: tuple[int, int], x: float, y: float, a: float, b: float, angle: float = 0.0) -> Mask:
    """The pixels of an image (height, width) within an ellipse of half axes a and b, turned by `angle`."""
    rows, columns = grid(*size)
    u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    v = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    return np.asarray((u / a) ** 2 + (v / b) ** 2 <= 1)


def ellipse_points(x: float, y: float, a: float, b: float, angle: float = 0.0, count: int = 72) -> Points:
    """Points on the border of the same ellipse."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    xs = x + a * np.cos(t) * np.cos(angle) - b * np.sin(t) * np.sin(angle)
    ys = y + a * np.cos(t) * np.sin(angle) + b * np.sin(t) * np.cos(angle)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def blob(size: tuple[int, int], x: float, y: float, radius: float, seed: int) -> Mask:
    """A lobed region round (x, y), at most 1.3 times `radius` wide."""
    rng = np.random.default_rng(seed)
    rows, columns = grid(*size)
    angle = np.arctan2(rows - y, columns - x)
    border = np.full(size, float(radius))
    for lobes in (2, 3, 5):
        border += 0.1 * radius * np.cos(lobes * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(rows - y, columns - x) <= border)


def outline(size: tuple[int, int], points: Points, width: int) -> Mask:
    """A closed line through `points`, `width` pixels wide, cut where it leaves the image."""
    picture = Image.new("1", (size[1], size[0]))
    # PIL's coordinates count from the middle of the first pixel.
    corners = [(x - 0.5, y - 0.5) for x, y in [*points, points[0], points[1]]]
    ImageDraw.Draw(picture).line(corners, fill=1, width=width, joint="curve")
    return np.array(picture)


def scan(size: tuple[int, int], seed: int, *masks: Mask) -> Grey:
    """Speckle like that of ultrasound, darker with depth; each of `masks` has its own brightness."""
    rng = np.random.default_rng(seed)
    speckle = ndimage.gaussian_filter(rng.rayleigh(1.0, size), (0.8, 1.6))
    level = 70 * speckle * np.linspace(1.2, 0.7, size[0])[:, None]
    for number, mask in enumerate(masks):
        level[mask] *= (0.4, 1.7, 0.7)[number % 3]
    return np.clip(level, 0, 255).astype(np.uint8)


def colour(pixels: Grey) -> Grey:
    """A grey picture as three channels, with a mark in colour as scanners burn it in."""
    picture = np.repeat(pixels[..., None], 3, axis=2)
    picture[2:5, 2:9] = (250, 180, 20)
    return picture


def white(mask: Mask) -> Grey:
    return np.where(mask, np.uint8(255), np.uint8(0))


def save(path: Path, pixels: Grey, mode: str | None = None) -> None:
    """A PNG, TIFF or BMP file, by the name; converted to Pillow's `mode` before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    picture = picture if mode is None else picture.convert(mode)
    picture.save(path, {".png": "PNG", ".tif": "TIFF", ".bmp": "BMP"}[path.suffix.lower()])


def save_jpeg(path: Path, pixels: Grey, quality: int = 90) -> Grey:
    """A JPEG file; returns the pixels that come out of it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=quality)
    with Image.open(path) as picture:
        return np.array(picture)


def save_text(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def save_nifti(
    path: Path, stack: Grey, spacing: tuple[float, float, float] = (1, 1, 1), turned: bool = False
) -> None:
    """`stack` (slices, H, W) as a NIfTI-1 file: rows to the patient's back, columns to the left. It is
    compressed if its name ends in .gz.

    That is ITK's way without a direction. With `turned` both are stored from their other end and the header
    says so, which is NIfTI's way without a direction: the same picture in another order.
    """
    slices, height, width = stack.shape
    x, y, z = spacing
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, width, height, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # bytes
    struct.pack_into("<8f", header, 76, 1, x, y, z, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 1, 1)
    sign = 1 if turned else -1
    struct.pack_into("<3f", header, 256, 0, 0, 0 if turned else 1)
    struct.pack_into("<12f", header, 280, sign * x, 0, 0, 0, 0, sign * y, 0, 0, 0, 0, z, 0)
    header[344:348] = b"n+1\0"
    stored = stack[:, ::-1, ::-1] if turned else stack
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes(header) + stored.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def save_mhd(path: Path, stack: Grey, spacing: tuple[float, float, float], data: bool = True) -> None:
    """`stack` (slices, H, W) as an .mhd file and, with `data`, its .raw file."""
    slices, height, width = stack.shape
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1  0  0  0  1  0  0  0  1",
        "CenterOfRotation": "0  0  0",
        "AnatomicalOrientation": "RAI",
        "Offset": "0  0  0",
        "ElementSpacing": "       ".join(map(str, spacing)),
        "DimSize": f"{width}  {height}  {slices}",
        "ElementNumberOfChannels": "1",
        "ElementType": "MET_UCHAR",
        "ElementDataFile": f"{path.stem}.raw",
    }
    save_text(path, "".join(f"{key} = {value}\n" for key, value in lines.items()))
    if data:
        path.with_suffix(".raw").write_bytes(stack.tobytes())


def cut(path: Path, share: float = 0.5) -> None:
    """Leave only the first part of a file, as a broken download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def litter(folder: Path) -> None:
    """Files that systems leave in folders and archives."""
    save_text(folder / ".DS_Store", "\0\0\0\1Bud1")
    save_text(folder / "Thumbs.db", "x")
    save_text(folder / "__MACOSX" / "._0001.png", "Mac OS X")


def save_mha(path: Path, values: Grey, spacing: tuple[float, ...] = (), packed: bool = False) -> None:
    """`values` (H, W) or (slices, H, W) as an .mha file, with a `spacing` in the order x, y, z; compressed if
    `packed`.
    """
    count = values.ndim
    content = values.astype(np.uint8).tobytes()
    content = zlib.compress(content) if packed else content
    lines = {
        "ObjectType": "Image",
        "NDims": str(count),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed),
        "CompressedDataSize": str(len(content)),
        "TransformMatrix": " ".join(f"{one:g}" for one in np.eye(count).ravel()),
        "Offset": " ".join(["0"] * count),
        "ElementSpacing": " ".join(map(str, spacing or (1,) * count)),
        "DimSize": " ".join(map(str, values.shape[::-1])),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    if not packed:
        del lines["CompressedDataSize"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in lines.items()).encode() + content)


def save_avi(path: Path, frames: Grey) -> list[Grey]:
    """An .avi file (Motion JPEG) of frames (frames, H, W) with even sides; returns the pixels that come out
    of it again, (H, W) where a frame has no colours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = frames.shape[2], frames.shape[1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, size)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    capture = cv2.VideoCapture(str(path))
    decoded = [np.asarray(capture.read()[1], np.uint8)[..., ::-1] for _ in frames]
    capture.release()
    return [one[..., 0] if (one == one[..., :1]).all() else one for one in decoded]


def within(size: tuple[int, int], points: Points) -> Mask:
    """The pixels whose middles lie in a closed polygon; whole numbers are the middles of pixels."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    inside = np.zeros(size, np.bool_)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if y0 != y1:
            beyond = (y0 <= rows) != (y1 <= rows)
            inside ^= beyond & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return inside
