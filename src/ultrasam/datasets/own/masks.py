"""Mask files of which nobody has said how they are stored: black and white, numbers, a palette, colours."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ultrasam.core.errors import UltrasamError, UltrasamWarning
from ultrasam.core.files import check_file, shown
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.datasets.own.classes import BACKGROUND, Classes
from ultrasam.datasets.own.files import DICOMS
from ultrasam.datasets.readers.masks import (
    COLOUR_TOLERANCE,
    binary,
    check_labels,
    on_grid,
    read_colours,
    read_pixels,
)
from ultrasam.datasets.readers.polygons import Shape, fill_polygons, read_labelme
from ultrasam.datasets.readers.volumes import slice_image, slice_labels, slice_spacing
from ultrasam.datasets.record import Object, Sample
from ultrasam.io.images import grey_to_bytes, opened_image
from ultrasam.io.scan import read_scan, suffix_of

Numbers = NDArray[np.int32]

# A mask has no more colours, unless they were smoothed or stored with loss.
FEW = 64


def load_masks(image: Path, masks: tuple[Path, ...], classes: Classes) -> Sample:
    """An image with its mask file, or with several, each of one object."""
    pixels, spacing = read_image(image)
    objects: list[Object] = []
    for path in masks:
        drawn = _objects(path, classes, pixels.shape)
        objects += (replace(one, instance=True) for one in drawn) if len(masks) > 1 else drawn
    return Sample(pixels, tuple(objects), spacing)


def load_labelme(image: Path, drawn: Path) -> Sample:
    """An image with the polygons of a labelme file; those of one label and group are one object."""
    pixels, spacing = read_image(image)
    shapes, size = read_labelme(drawn)
    check_size(image, pixels.shape, drawn, size)
    groups: dict[tuple[str, str], list[Shape]] = {}
    for number, shape in enumerate(shapes):
        # A polygon without a group is one by itself.
        groups.setdefault((shape.label, shape.attributes.get("group", f"/{number}")), []).append(shape)
    objects = (
        Object(label, fill_polygons([one.points for one in group], pixels.shape, drawn), instance=True)
        for (label, _), group in groups.items()
    )
    return Sample(pixels, tuple(objects), spacing)


def load_volume(scan: Path, mask: Path, classes: Classes, index: int) -> Sample:
    """A slice of a volume with its slice of a volume of labels."""
    pixels = slice_image(scan, index)
    objects = _of_numbers(slice_labels(mask, index), mask, classes, pixels.shape)
    return Sample(pixels, objects, slice_spacing(scan))


def read_image(path: Path) -> tuple[ByteArray, tuple[float, float] | None]:
    """An image file of one picture, (H, W) or (H, W, 3) uint8 as it is stored, and its mm per pixel, (x, y).

    Only DICOM files tell a pixel size, and only if all their ultrasound regions have the same.
    """
    check_file(path)
    if suffix_of(path) not in DICOMS:
        _check_one_picture(path)
        return read_pixels(path), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UltrasamWarning)
        scan = read_scan(path)
        if len(scan.frames) != 1:
            raise UltrasamError(
                f"{shown(path)} has {len(scan.frames)} frames: export those that are drawn in as images"
            )
        pixels = scan.frames[0]
    spacings = {region.spacing for region in scan.regions}
    return pixels, spacings.pop() if len(spacings) == 1 else None


def check_size(image: Path, shape: tuple[int, ...], drawn: Path, size: tuple[int, int]) -> None:
    """Raises UltrasamError if the (height, width) that a file of outlines tells is not that of the image."""
    if size != shape[:2]:
        raise UltrasamError(
            f"{shown(image)} is {shape[1]} x {shape[0]} pixels, {drawn.name} says {size[1]} x {size[0]}"
        )


def stored_mask(path: Path) -> Numbers | ByteArray:
    """What a mask file holds: (H, W) int32 numbers, or (H, W, 3) uint8 where it has colours.

    A palette of greys counts as the greys that are seen, any other as numbers. Raises UltrasamError where
    that leaves open what is background, for fractions, and for several pictures in one file.
    """
    check_file(path)
    _check_one_picture(path)
    with opened_image(path) as image:
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1):
            raise UltrasamError(f"{shown(path)} is stored turned (EXIF): save it as it is to be seen")
        if image.mode == "P":
            return _palette_numbers(image, path)
        if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
            return _whole(np.asarray(image), path)
        pixels = np.asarray(_on_black(image, path))
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0].astype(np.int32)
        # Lossy files have a trace of colour where there was none.
        if np.ptp(pixels, axis=2).max() <= COLOUR_TOLERANCE and _colours(pixels) > FEW:
            return np.asarray(Image.fromarray(pixels).convert("L")).astype(np.int32)
        return pixels


def black_and_white(values: Numbers | ByteArray, path: Path) -> BoolArray:
    """A mask in black and white, or in 0 and 1 -> (H, W) bool. Raises UltrasamError if it is neither."""
    if values.ndim == 3:
        raise UltrasamError(
            f"{shown(path)} has colours: say what they mean, with --classes '#RRGGBB=NAME,...'"
        )
    if values.min() >= 0 and values.max() <= 1:
        return np.asarray(values == 1)
    if values.min() < 0:
        raise UltrasamError(f"{shown(path)} has negative values: a black and white mask was expected")
    grey = values.astype(np.uint8) if values.max() <= 255 else grey_to_bytes(values)
    return binary(grey, shown(path))


def _objects(path: Path, classes: Classes, shape: tuple[int, ...]) -> tuple[Object, ...]:
    if not classes.colours:
        return _of_numbers(stored_mask(path), path, classes, shape)
    _check_one_picture(check_file(path))
    drawn = read_colours(path, dict(classes.colours), shape)
    merged: dict[str, BoolArray] = {}
    for one in drawn:
        merged[one.category] = merged[one.category] | one.mask if one.category in merged else one.mask
    return tuple(Object(name, mask) for name, mask in merged.items() if name != BACKGROUND)


def _of_numbers(
    values: Numbers | ByteArray, path: Path, classes: Classes, shape: tuple[int, ...]
) -> tuple[Object, ...]:
    """An object for each category that occurs; all numbers of one are drawn together."""
    if classes.colours:
        raise UltrasamError(f"{shown(path)} is a volume, which has no colours: name numbers with --classes")
    if classes.name:
        return (Object(classes.name, on_grid(black_and_white(values, path), shape, path)),)
    if values.ndim == 3:
        raise UltrasamError(f"{shown(path)} has colours: a mask of numbers was expected")
    names = dict(classes.numbers)
    check_labels(values, names, path)
    on_grid(values != 0, shape, path)
    return tuple(
        Object(category, np.isin(values, [number for number, name in names.items() if name == category]))
        for category in classes.categories
    )


def _check_one_picture(path: Path) -> None:
    with opened_image(path) as image:
        count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    if count > 1:
        raise UltrasamError(f"{shown(path)} holds {count} pictures: save each as a file of its own")


def _whole(values: NDArray[Any], path: Path) -> Numbers:
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise UltrasamError(f"{shown(path)} holds fractions: save the mask as whole numbers")
    return values.astype(np.int32)


def _palette_numbers(image: Image.Image, path: Path) -> Numbers:
    indices = np.asarray(image).astype(np.int32)
    palette = np.array(image.getpalette("RGB") or [], np.int32).reshape(-1, 3)
    used = np.unique(indices)
    if used[-1] >= len(palette):  # colours that are not there are not shown either
        return indices
    colours = palette[used]
    if (colours == colours[:, :1]).all():
        return palette[indices][..., 0]
    black = used[~colours.any(axis=1)]
    if len(black) and 0 not in black:
        raise UltrasamError(
            f"{shown(path)} has a palette in which black is number {black[0]}, not 0: save it in colours or "
            "with 0 as background"
        )
    return indices


def _on_black(image: Image.Image, path: Path) -> Image.Image:
    """As RGB on black. Raises UltrasamError if it is drawn by transparency alone."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    seen = Image.alpha_composite(black, picture).convert("RGB")
    low, high = picture.getchannel("A").getextrema()
    if low != high and seen.getbbox() is None:
        raise UltrasamError(f"{shown(path)} is black, and drawn by transparency alone: save it on black")
    return seen


def _colours(pixels: ByteArray) -> int:
    flat = pixels.reshape(-1, 3).astype(np.int32)
    return len(np.unique(flat @ np.array([1 << 16, 1 << 8, 1])))
