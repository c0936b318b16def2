"""What the masks of a folder have in common: a look at each, before any is converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.datasets.own.classes import LARGEST_NUMBER, OBJECT, Classes
from ultrasam.datasets.own.files import LOSSY, is_volume
from ultrasam.datasets.own.masks import FEW, Numbers, black_and_white, stored_mask
from ultrasam.datasets.processes import in_processes
from ultrasam.datasets.readers.masks import COLOUR_TOLERANCE
from ultrasam.datasets.readers.polygons import read_labelme
from ultrasam.io.images import grey_to_bytes
from ultrasam.io.scan import suffix_of
from ultrasam.io.volumes import read_values

Kind = Literal["empty", "white", "numbers", "levels", "colours", "labelme", "unknown"]

CHUNK = 256
# Numbers of classes are small; greys that are meant to be seen are not.
LARGEST_SMALL = 63
# A smooth edge has many greys, but nowhere an area of one; a mask of so few values has no smooth edges.
FEW_VALUES = 16
_FLAT = 8
_MOST_FLAT = 0.01
_MOST_SHOWN = 6
_FEW_ODD = 0.05


@dataclass(frozen=True)
class Look:
    """What a mask file seems to hold.

    "white": black and one level, which `values` has unless edges are smooth; "numbers": small ones, which
    `values` has without 0; "levels": areas of greys whose meaning is not known; "colours": `values` are some
    of them as #rrggbb; "labelme": `values` are its labels; "unknown": it cannot be read, or is a picture,
    which is told when its turn comes.
    """

    kind: Kind
    values: tuple[int | str, ...] = ()


def classes_of(masks: Sequence[Path], root: Path, jobs: int) -> Classes:
    """What the values of mask files below `root` mean if nobody says it.

    Black and white, or 0 and 1, is `OBJECT`; small numbers are class_1, class_2, ... Raises UltrasamError,
    with what to write, if it is not the same in all files or could be more than one thing.
    """
    chunks = [tuple(masks[start : start + CHUNK]) for start in range(0, len(masks), CHUNK)]
    results = in_processes(_looks, chunks, min(jobs, max(len(chunks), 1)))
    looks = dict(zip(masks, (look for found in results for look in found), strict=True))
    name = {look.kind: shown(path.relative_to(root).as_posix()) for path, look in reversed(looks.items())}
    drawn = [look.kind for look in looks.values() if look.kind not in ("empty", "unknown")]
    # One file that is not like the others is a problem of its own, later.
    if drawn.count("colours") > _FEW_ODD * len(drawn):
        colours = sorted(
            {str(value) for look in looks.values() for value in look.values if "#" in str(value)}
        )
        # Unquoted, a shell takes # for the start of a comment.
        quoted = [f"'{colours[0]}", *colours[1:_MOST_SHOWN]]
        raise UltrasamError(f"{name['colours']} has colours: {_ask(quoted)}'")
    greys, white, numbers = (
        _values(looks, *kinds) for kinds in (("levels", "white"), ("white",), ("numbers",))
    )
    if "levels" in name:
        both = sorted({*greys, *numbers})
        raise UltrasamError(f"{name['levels']} has areas of {_listed(both)}: {_ask(both)}, {_OR_ONE}")
    if white and white[-1] - white[0] > COLOUR_TOLERANCE:
        raise UltrasamError(f"the masks have the values {_listed(white)}: {_ask(white)}, {_OR_ONE}")
    if "white" in name and numbers not in ([], [1]):
        raise UltrasamError(
            f"{name['white']} is black and white, {name['numbers']} holds {_listed(numbers)}: "
            f"{_ask([*numbers, 255])}"
        )
    if len(numbers) > FEW:
        raise UltrasamError(
            f"the masks hold {len(numbers)} different numbers: if each is an object and not a class, give "
            "every object a mask of its own, X_mask_1.png, X_mask_2.png"
        )
    if "white" in name or numbers == [1]:
        return Classes(OBJECT)
    if not numbers:
        what = "nothing is drawn in any" if "empty" in name else "no mask can be read"
        raise UltrasamError(f"{what} of the {len(masks)} masks, such as {shown(masks[0])}: check them")
    return Classes(numbers=tuple((number, f"class_{number}") for number in numbers))


_OR_ONE = "or with --classes NAME that all above 127 is one category"


def _values(looks: Mapping[Path, Look], *kinds: Kind) -> list[int]:
    """The numbers that files of these kinds have, sorted."""
    chosen = (look.values for look in looks.values() if look.kind in kinds)
    return sorted({value for values in chosen for value in values if isinstance(value, int)})


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:_MOST_SHOWN])) + (", ..." if len(values) > _MOST_SHOWN else "")


def _ask(values: Sequence[int | str]) -> str:
    return f"say what they mean with --classes {','.join(f'{value}=NAME' for value in values[:_MOST_SHOWN])}"


def labels_of(files: Sequence[Path]) -> tuple[str, ...]:
    """The labels that occur in files of labelme, sorted; what cannot be read has none."""
    return tuple(sorted({str(value) for path in files for value in look(path).values}))


def look(path: Path) -> Look:
    try:
        if suffix_of(path) == ".json":
            shapes, _ = read_labelme(path)
            return Look("labelme", tuple(sorted({shape.label for shape in shapes})))
        if is_volume(path):
            return _volume(np.unique(read_values(path).values))
        values = stored_mask(path)
        if values.ndim == 2:
            return _picture(values, path)
        return Look("colours", _main_colours(values.astype(np.uint8)))
    except UltrasamError:
        return Look("unknown")
    except Exception:  # whatever a library makes of a damaged file costs one image, and later
        return Look("unknown")


def _looks(paths: Sequence[Path]) -> list[Look]:
    return [look(path) for path in paths]


def _volume(values: NDArray[np.generic]) -> Look:
    numbers = [int(value) for value in values if value != 0] if values.dtype.kind in "bui" else []
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            return Look("unknown")
        numbers = [int(value) for value in values if value != 0]
    if not numbers:
        return Look("empty")
    if min(numbers) < 0:
        return Look("unknown")
    return Look("white") if numbers == [255] else Look("numbers", tuple(numbers))


def _picture(values: Numbers | ByteArray, path: Path) -> Look:
    lossy = suffix_of(path) in LOSSY
    if values.min() < 0 or values.max() > LARGEST_NUMBER:
        return Look("unknown")
    found = [int(value) for value in np.flatnonzero(np.bincount(values.ravel())) if value]
    if not found:
        return Look("empty")
    if found[-1] <= LARGEST_SMALL and not lossy:
        return Look("numbers", tuple(found))
    if len(found) == 1:
        level = int(grey_to_bytes(np.array(found))[0]) if found[0] > 255 else found[0]
        return Look("white" if level > 127 else "levels", (level,))
    if len(found) <= FEW_VALUES and not lossy:
        flat = np.unique(values[1:, 1:][_flat(values, 2, 0)])
        areas = [int(value) for value in flat if value]
        if set(areas) - {found[-1]}:
            return Look("levels", (*areas,))
    try:
        black_and_white(values, path)
    except UltrasamError:
        return Look("unknown")
    grey = values * 255 // found[-1] if found[-1] > 255 else values
    middle = (grey > COLOUR_TOLERANCE) & (grey < 255 - COLOUR_TOLERANCE)
    if min(grey.shape) > 2 and middle.any():
        areas_of = _flat(grey, 3, _FLAT) & middle[1:-1, 1:-1]
        if np.count_nonzero(areas_of) > _MOST_FLAT * np.count_nonzero(grey > COLOUR_TOLERANCE):
            typical = int(np.median(grey[1:-1, 1:-1][areas_of]))
            return Look("levels", (typical, 255))
    return Look("white")


def _flat(values: Numbers | ByteArray, size: int, spread: int) -> BoolArray:
    """Where the values of a square of `size` pixels differ by no more than `spread`; no border."""
    height, width = values.shape[0] - size + 1, values.shape[1] - size + 1
    squares = [values[y : y + height, x : x + width] for y in range(size) for x in range(size)]
    return np.asarray(np.maximum.reduce(squares) - np.minimum.reduce(squares) <= spread)


def _main_colours(pixels: ByteArray) -> tuple[str, ...]:
    """The colours of most pixels, but for black; of those that are nearly one only the first."""
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    tolerance = COLOUR_TOLERANCE if len(colours) > FEW else 0
    kept: list[NDArray[np.int16]] = [np.zeros(3, np.int16)]
    for colour in colours[np.argsort(-counts, kind="stable")].astype(np.int16):
        if all(np.abs(colour - other).max() > tolerance for other in kept):
            kept.append(colour)
        if len(kept) > _MOST_SHOWN:
            break
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in kept[1:])
