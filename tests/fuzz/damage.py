"""Whole files of every kind that is read, and ways to damage them."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import examples, uid

from tests.dicoms import by_gdcm, compressed, dataset, saved, ultrasound_region
from tests.synthetic import write_coco
from ultrasam.recipes import recipe_path

Generator = np.random.Generator
SIDE = 48


def speckle(rng: Generator, *shape: int) -> np.ndarray:
    return np.clip(rng.rayleigh(60, shape), 0, 255).astype(np.uint8)


def write_images(folder: Path, rng: Generator) -> list[Path]:
    """One small image of each format, the TIFF with two pages."""
    picture = Image.fromarray(speckle(rng, SIDE, SIDE, 3))
    names = ["a.png", "a.jpg", "a.bmp", "a.webp", "a.gif", "a.jp2"]
    for name in names:
        picture.save(folder / name)
    Image.fromarray(speckle(rng, SIDE, SIDE)).convert("P").save(folder / "palette.png")
    Image.fromarray(speckle(rng, SIDE, SIDE).astype(np.uint16) * 200).save(folder / "deep.png")
    picture.save(folder / "turned.jpg", exif=Image.Exif())
    pages = [Image.fromarray(speckle(rng, SIDE, SIDE)) for _ in range(2)]
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "jpeg"):
        pages[0].save(
            folder / f"{compression}.tif", save_all=True, append_images=pages[1:], compression=compression
        )
    return sorted(folder.iterdir())


def write_dicoms(folder: Path, rng: Generator) -> list[Path]:
    """Clips and stills in every colour space and compression that needs no extra, and pydicom's real ones."""
    grey, colour = speckle(rng, 3, SIDE, SIDE), speckle(rng, 2, SIDE, SIDE, 3)
    region = ultrasound_region(2, 2, SIDE - 2, SIDE - 2)
    saved(folder, dataset(grey, "MONOCHROME2", SequenceOfUltrasoundRegions=[region]), "grey.dcm")
    saved(
        folder,
        dataset(
            grey[0].astype(np.uint16) * 16, "MONOCHROME1", BitsStored=12, WindowCenter=900, WindowWidth=1500
        ),
        "deep.dcm",
    )
    saved(folder, dataset(colour, "RGB"), "rgb.dcm")
    jpegs, jpegs_2000 = [], []
    for frame in colour:
        for kind, found, options in (("JPEG", jpegs, {}), ("JPEG2000", jpegs_2000, {"no_jp2": True})):
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, kind, **options)
            found.append(buffer.getvalue())
    saved(folder, compressed(dataset(colour, "YBR_FULL_422"), jpegs, uid.JPEGBaseline8Bit), "jpeg.dcm")
    saved(folder, compressed(dataset(colour, "YBR_RCT"), jpegs_2000, uid.JPEG2000Lossless), "j2k.dcm")
    rle = dataset(grey, "MONOCHROME2")
    rle.compress(uid.RLELossless)
    saved(folder, rle, "rle.dcm")
    if importlib.util.find_spec("gdcm"):
        for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless"):
            by_gdcm(folder, grey[0], syntax, f"{syntax}.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("palette_color", "jpeg2k"):
            shutil.copy(examples.get_path(name), folder / f"real_{name}.dcm")
    return sorted(folder.iterdir())


def write_volumes(folder: Path, rng: Generator) -> list[Path]:
    """Small volumes of each format and a video; none without the extra `data`."""
    try:
        import cv2
        import SimpleITK
    except ModuleNotFoundError:
        return []
    volume = SimpleITK.GetImageFromArray(speckle(rng, 5, SIDE, SIDE))
    volume.SetSpacing((0.3, 0.4, 0.5))
    for name in ("a.nii", "a.nii.gz", "a.mha", "a.nrrd"):
        SimpleITK.WriteImage(volume, str(folder / name))
    for name, code in (("a.avi", "MJPG"), ("a.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*code), 20, (64, 64))
        for _ in range(4):
            writer.write(speckle(rng, 64, 64, 3))
        writer.release()
    return sorted(folder.iterdir())


def write_documents(folder: Path) -> list[Path]:
    """A COCO file with its images in `folder`/images."""
    path = write_coco(folder, cases=2, per_case=1)
    document = json.loads(path.read_text())
    for annotation, points in zip(
        document["annotations"], ([[20, 20, 1]], [[30, 30, 1], [2, 2, 0]]), strict=False
    ):
        annotation["point"] = points[0][:2]
    path.write_text(json.dumps(document))
    return [path]


def write_recipes(folder: Path) -> list[Path]:
    """The bundled recipes."""
    for name in ("lite", "lite-refine", "lite-smoke"):
        shutil.copy(recipe_path(name), folder / f"{name}.yaml")
    return sorted(folder.iterdir())


def damaged(data: bytes, rng: Generator) -> bytes:
    """The bytes with one to three kinds of damage."""
    for _ in range(rng.integers(1, 4)):
        data = DAMAGES[rng.integers(len(DAMAGES))](data, rng)
    return data


def _place(data: bytes, rng: Generator) -> int:
    """A position, half of the time near the beginning, where headers are."""
    most = len(data) if rng.random() < 0.5 else min(len(data), 400)
    return int(rng.integers(0, max(1, most)))


def cut(data: bytes, rng: Generator) -> bytes:
    return data[: _place(data, rng)]


def flip(data: bytes, rng: Generator) -> bytes:
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 12)) if content else 0):
        content[_place(data, rng)] = int(rng.integers(256))
    return bytes(content)


def blank(data: bytes, rng: Generator) -> bytes:
    start, length = _place(data, rng), int(rng.integers(1, 64))
    return (
        data[:start] + bytes([rng.choice([0, 255])]) * min(length, len(data) - start) + data[start + length :]
    )


def drop(data: bytes, rng: Generator) -> bytes:
    start, length = _place(data, rng), int(rng.integers(1, 64))
    return data[:start] + data[start + length :]


def insert(data: bytes, rng: Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.bytes(int(rng.integers(1, 64))) + data[start:]


def repeat(data: bytes, rng: Generator) -> bytes:
    start, length = _place(data, rng), int(rng.integers(1, 256))
    return data[: start + length] + data[start:]


def enlarge(data: bytes, rng: Generator) -> bytes:
    """A number somewhere in the header becomes a huge or negative one."""
    start = int(rng.integers(0, max(1, min(len(data), 200))))
    value = int(rng.choice([2**31 - 1, -1, 2**16, 30_000, 0]))
    size = int(rng.choice([2, 4]))
    order = "little" if rng.random() < 0.5 else "big"
    number = (value % 2 ** (8 * size)).to_bytes(size, order)
    return data[:start] + number + data[start + size :]


DAMAGES: list[Callable[[bytes, Generator], bytes]] = [cut, flip, blank, drop, insert, repeat, enlarge]

# What stands in for a value of a document.
ODD = [None, True, -1, 0, 1e308, 2**70, 0.5, "", "a", "\\u0000", [], {}, [[]], [1], [1, 2, 3, 4], {"a": 1}]


def damaged_document(document: object, rng: Generator) -> object:
    """A JSON document of which one to three values are replaced, removed or doubled."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.integers(1, 4)):
        places = list(_places(document))
        holder, key = places[rng.integers(len(places))]
        choice = rng.random()
        if choice < 0.7:
            holder[key] = json.loads(json.dumps(ODD[rng.integers(len(ODD))]))
        elif choice < 0.85 or isinstance(holder, dict):
            del holder[key]
        else:
            holder.append(holder[key])
        if not list(_places(document)):
            break
    return document


def _places(value: object) -> Iterator[tuple[object, object]]:
    """Every (container, key) of a document."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
