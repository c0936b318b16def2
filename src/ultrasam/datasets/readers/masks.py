"""Masks as image files: black and white, labels, colours; and onto the grid of their image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.core.masks import label_components
from ultrasam.datasets.record import Object, Sample
from ultrasam.io.images import opened_image, stored_pixels

THRESHOLD = 127
# Grey levels of a black and white mask stay near black or white even after JPEG; a picture's do not.
_GREY = (48, 207)
_MOST_GREY = 0.1
# What lossy compression and smooth edges may do to a colour, in levels of a channel.
COLOUR_TOLERANCE = 40
_MOST_UNKNOWN = 0.01
ASPECT_TOLERANCE = 0.02

Labels = NDArray[np.integer]


def read_pixels(path: Path) -> ByteArray:
    """The first picture of an image file, (H, W) or (H, W, 3) uint8. Raises UltrasamError if damaged."""
    return stored_pixels(path)


def read_grey(path: Path) -> ByteArray:
    """An image file as (H, W) uint8; colours become their luminance (ITU-R BT.601)."""
    pixels = read_pixels(path)
    if pixels.ndim == 2:
        return pixels
    if (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return np.array(Image.fromarray(pixels).convert("L"))


def read_binary(path: Path, shape: tuple[int, ...] | None = None) -> BoolArray:
    """A black and white mask file -> (H, W) bool: what is brighter than `THRESHOLD`.

    With `shape`, the image's, the mask must have the same height and width. Raises UltrasamError for another
    size, for a file that is a picture rather than a mask (many pixels neither black nor white) and for one
    whose brightest pixel is dark but not black: its foreground is coded otherwise.
    """
    mask = binary(read_grey(path), shown(path))
    return mask if shape is None else on_grid(mask, shape, path)


def binary(grey: ByteArray, what: str) -> BoolArray:
    """A black and white mask (H, W) uint8 -> bool, as `read_binary` does it; an error begins with `what`."""
    if np.count_nonzero((grey >= _GREY[0]) & (grey <= _GREY[1])) > _MOST_GREY * grey.size:
        raise UltrasamError(f"{what} looks like a picture, not like a black and white mask")
    mask: BoolArray = grey > THRESHOLD
    if grey.any() and not mask.any():
        raise UltrasamError(f"{what} has values up to {grey.max()} only: a black and white mask was expected")
    return mask


def load_pair(image: Path, mask: Path, category: str) -> Sample:
    """An image with a black and white mask of its size, in which all is of one category."""
    pixels = read_pixels(image)
    return Sample(pixels, (Object(category, read_binary(mask, pixels.shape)),))


def on_grid(mask: BoolArray, shape: tuple[int, ...], path: Path) -> BoolArray:
    """The mask itself if it has the height and width of `shape`. Raises UltrasamError if not."""
    if mask.shape != shape[:2]:
        raise UltrasamError(
            f"{shown(path)} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {shape[1]} x {shape[0]}"
        )
    return mask


def same_field(mask: BoolArray, shape: tuple[int, ...], path: Path) -> BoolArray:
    """The mask itself, of any size but with the aspect ratio of `shape`, within `ASPECT_TOLERANCE`.

    Raises UltrasamError, naming `path`, for another one.
    """
    aspect = mask.shape[1] / mask.shape[0] * shape[0] / shape[1]
    if not 1 - ASPECT_TOLERANCE < aspect < 1 + ASPECT_TOLERANCE:
        raise UltrasamError(
            f"{shown(path)} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {shape[1]} x {shape[0]}: "
            "they do not show the same field"
        )
    return mask


def resize_mask(mask: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    """The mask on a grid of another height and width: a pixel is set where half of its area is.

    For masks of the same field of view as the image. Enlarging interpolates linearly. Shares are rounded to
    1/255.
    """
    if mask.shape == shape[:2]:
        return mask
    share = Image.fromarray(mask.astype(np.uint8) * 255)
    smaller = shape[0] <= mask.shape[0] and shape[1] <= mask.shape[1]
    method = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    return np.asarray(share.resize((shape[1], shape[0]), method)) >= 128


def read_labels(path: Path, names: Mapping[int, str], shape: tuple[int, ...] | None = None) -> Labels:
    """The numbers stored in an image file, (H, W) integers: 8 or 16 bits, a palette's indices, or 0 and 1.

    `names` are the labels that may occur besides 0. Raises UltrasamError for another value, another size than
    `shape` and for colours.
    """
    with opened_image(path) as image:
        image.load()
        if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
            bands = np.asarray(image.convert("RGB"))
            if not (bands == bands[..., :1]).all():
                raise UltrasamError(f"{shown(path)} has colours: a mask of numbers was expected")
            stored = bands[..., 0]
        else:
            stored = np.asarray(image)
    labels = stored.astype(np.int32)
    check_labels(labels, names, path)
    if shape is not None:
        on_grid(labels != 0, shape, path)
    return labels


def check_labels(labels: Labels, names: Mapping[int, str], path: Path) -> None:
    """Raises UltrasamError if a label other than 0 and the keys of `names` occurs."""
    unknown = sorted({int(value) for value in np.unique(labels)} - {0, *names})
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in names.items())
        raise UltrasamError(
            f"{shown(path)} has the label {unknown[0]}, which means nothing here (known: 0 background, "
            f"{known})"
        )


def by_label(labels: Labels, names: Mapping[int, str], annotator: str = "") -> tuple[Object, ...]:
    """An object for each label that occurs, named by `names`."""
    return tuple(
        Object(name, mask, annotator=annotator)
        for value, name in names.items()
        if (mask := labels == value).any()
    )


def read_colours(
    path: Path,
    names: Mapping[tuple[int, int, int], str],
    shape: tuple[int, ...],
    tolerance: int = COLOUR_TOLERANCE,
    edges: bool = False,
) -> tuple[Object, ...]:
    """A mask file painted in colours (R, G, B) -> an object for each colour that occurs; black is background.

    A pixel takes the nearest colour; at most `tolerance` levels of a channel away, since edges may be
    smooth. With `edges`, for masks in which the edge of one thing passes through the colour of another: if
    the pixels without a colour are lines beside painted regions, narrower than 3 pixels, then all that is so
    narrow takes the nearest colour that is wider. Raises UltrasamError if more than a hundredth of what is
    not black has none, for a mask that is nearly black but not empty, and for another size.
    """
    pixels = read_pixels(path)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    on_grid(pixels[..., 0] > 0, shape, path)
    colours = np.array([(0, 0, 0), *names], np.int16)
    # As one number for each pixel: to sort rows of three takes ten times as long.
    packed = pixels.reshape(-1, 3).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    codes, inverse = np.unique(packed, return_inverse=True)
    flat = np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=1)
    distance = np.abs(flat[:, None].astype(np.int16) - colours).max(axis=2)
    nearest, far = distance.argmin(axis=1), distance.min(axis=1) > tolerance
    if edges and far.any():
        index = _without_edges(np.where(far, -1, nearest)[inverse.ravel()].reshape(pixels.shape[:2]))
        if index.min() >= 0:
            return by_label(index, dict(enumerate(names.values(), 1)))
    counts = np.bincount(inverse.ravel(), minlength=len(flat))
    painted = int(counts[nearest > 0].sum() + counts[far & (nearest == 0)].sum())
    if counts[far].sum() > _MOST_UNKNOWN * painted:
        odd = tuple(int(level) for level in flat[far][counts[far].argmax()])
        raise UltrasamError(f"{shown(path)} has the colour {odd}, which means nothing here")
    nearest[far] = 0
    if flat.any() and not nearest.any():
        raise UltrasamError(
            f"{shown(path)} has values up to {flat.max()} only: a mask of colours was expected"
        )
    index = nearest[inverse.ravel()].reshape(pixels.shape[:2])
    return by_label(index, dict(enumerate(names.values(), 1)))


def _without_edges(labels: Labels) -> Labels:
    """Labels (H, W), -1 where unknown: whatever is narrower than 3 pixels takes the nearest that is not.

    They stay as they are if more than a hundredth of the unknown is wider, or not beside what is painted.
    """
    from scipy import ndimage

    wide = np.zeros(labels.shape, np.bool_)
    for value in np.unique(labels[labels >= 0]):
        wide |= opened(labels == value)
    unknown = labels < 0
    edge = ndimage.binary_dilation(wide & (labels > 0), np.ones((7, 7), np.bool_)) & ~opened(unknown)
    if np.count_nonzero(unknown & ~edge) > _MOST_UNKNOWN * np.count_nonzero(unknown):
        return labels
    nearest = ndimage.distance_transform_edt(~wide, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(nearest)])


def background_parts(mask: BoolArray) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The background in parts: labels (H, W), 0 where the mask is, and those of the parts at the border.

    Parts are 4-connected, so that a line whose pixels touch only at corners divides them.
    """
    import cv2

    labels = np.asarray(cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)[1], np.int32)
    frame = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return labels, np.unique(frame[frame > 0])


def fill_holes(mask: BoolArray) -> BoolArray:
    """The mask and whatever it encloses; a line that touches only at corners encloses too."""
    labels, outside = background_parts(mask)
    return mask | ~np.isin(labels, [0, *outside])


def largest_part(mask: BoolArray) -> BoolArray:
    """The largest 8-connected part; an empty mask stays empty."""
    labels, count = label_components(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))


def parts(mask: BoolArray) -> list[BoolArray]:
    """The 8-connected parts, in raster order of their first pixel; none if the mask is empty."""
    labels, count = label_components(mask)
    return [labels == number for number in range(1, count + 1)]


def opened(mask: BoolArray) -> BoolArray:
    """The mask without what is narrower than 3 pixels (opening by a 3 x 3 square), for JPEG masks."""
    import cv2

    square = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, square), np.bool_)
