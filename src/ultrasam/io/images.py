"""PNG, JPEG, BMP, TIFF, GIF, WebP and JPEG 2000 files through Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.core.geometry import ByteArray
from ultrasam.io.scan import MAX_PIXELS, Frames, Scan, check_size

# Named, so that no other of Pillow's plugins (some call outside programs) ever sees a user's file.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000")


def read_image(path: Path) -> Scan:
    """Open an image file; each page of a TIFF and each picture of an animation is a frame."""
    with opened_image(path) as image:
        # The further pictures of an MPO, which a phone or camera writes as JPEG, are previews of the first.
        count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        kind = str(image.format)
    return Scan(path, Frames(path, partial(_decode, path), range(count)), meta={"format": kind})


def _decode(path: Path, index: int) -> ByteArray:
    with opened_image(path) as image:
        if index:
            image.seek(index)
            check_size(path, *image.size)
        image.load()
        return _to_array(ImageOps.exif_transpose(image))


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """The file opened by Pillow; whatever it raises, also for its pixels, becomes one UltrasamError."""
    try:
        # By name, Pillow maps an uncompressed TIFF into memory and turns it wrongly (seen with 13.0).
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            check_size(path, *image.size)
            yield image
    except UltrasamError:
        raise
    except UnidentifiedImageError:
        raise UltrasamError(
            f"{shown(path)} is not an image, whatever its name says, or is cut off: "
            "give a PNG, JPEG, BMP, TIFF or DICOM file"
        ) from None
    except Image.DecompressionBombError:
        raise UltrasamError(
            f"{shown(path)} is too large (at most {MAX_PIXELS:,} pixels are read): crop or shrink it"
        ) from None
    except Exception as error:  # damaged files make the decoders raise nearly anything
        raise UltrasamError(f"{shown(path)} is damaged ({reason(error)}): copy or export it again") from error


def stored_pixels(path: Path) -> ByteArray:
    """The first picture of a file as (H, W) or (H, W, 3) uint8, as it is stored.

    Raises UltrasamError for a damaged file, and for one that is to be turned for display: whether its mask
    was drawn before or after is not known.
    """
    with opened_image(path) as image:
        image.load()
        turned = image.getexif().get(ExifTags.Base.Orientation, 1)
        if turned not in (0, 1):
            raise UltrasamError(
                f"{shown(path)} is stored turned (EXIF orientation {turned}): save it as it is to be seen"
            )
        return _to_array(image)


def png_bytes(image: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _to_array(image: Image.Image) -> ByteArray:
    """Grey -> (H, W), all else -> (H, W, 3) uint8; the transparent lies on black, ultrasound's background."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return grey_to_bytes(np.asarray(image))
    target = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.array(image.convert(target), np.uint8)


def grey_to_bytes(values: NDArray[np.generic]) -> ByteArray:
    """Grey levels (H, W) of 16 or 32 bits, whole or floating -> (H, W) uint8.

    A file does not tell how many of its bits it uses. The white level is taken as that of the smallest usual
    depth (8, 10, 12, 14 or 16 bits) that holds the brightest pixel, so that 8-bit levels in a 16-bit file
    stay as they are; floating values up to 1 are fractions of white. Negative or larger values are stretched
    from lowest to highest.
    """
    levels = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return scale_to_bytes(levels, *black_and_white(levels, np.issubdtype(values.dtype, np.floating)))


def black_and_white(levels: NDArray[np.generic], floating: bool) -> tuple[float, float]:
    """The levels that become 0 and 255, by the rule of `grey_to_bytes`, from finite `levels`."""
    low, high = min(0.0, float(levels.min())), float(levels.max())
    if low == 0.0:
        whites = [1.0] if floating else []
        whites += [2.0**bits - 1 for bits in (8, 10, 12, 14, 16)]
        high = next((white for white in whites if high <= white), high)
    return low, high


def scale_to_bytes(values: NDArray[np.generic], low: float, high: float) -> ByteArray:
    """`low` and less -> 0, `high` and more -> 255, linear between, rounded to the nearest level.

    If they are one, all above is 255.
    """
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return np.ascontiguousarray(values, np.uint8)
    above = values.astype(np.float64) - low
    levels = np.where(above > 0, 255.0, 0.0) if low == high else above * (255.0 / (high - low))
    return np.ascontiguousarray(np.rint(np.clip(levels, 0.0, 255.0)), np.uint8)
