"""One scan, still, clip or volume, from a file, its frames decoded only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, check_file, shown
from ultrasam.core.geometry import ByteArray

# Pillow's own limit for a decompression bomb, held here too since a program may have lifted Pillow's.
MAX_PIXELS = 178_956_970

_IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".jp2", ".j2k"),
}
_IMAGE_SIGNATURES = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
)
_VOLUME_SUFFIXES = {".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"}
_VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg"}
_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
SUFFIXES = frozenset(_IMAGE_SUFFIXES | _VOLUME_SUFFIXES | _VIDEO_SUFFIXES | _DICOM_SUFFIXES)
"""The endings of the names of files that `read_scan` opens, in lower case. DICOM files may have none."""


class FrameIndexError(UltrasamError, IndexError):
    """A frame that the scan does not have; also an IndexError, which ends a loop over a sequence."""


class Frames(Sequence[ByteArray]):
    """The frames of one file, each (H, W) or (H, W, 3) uint8, decoded at each access and never kept.

    A negative index counts from the end and a slice is again lazy. A missing frame raises FrameIndexError, a
    damaged one UltrasamError.
    """

    def __init__(self, path: Path, decode: Callable[[int], ByteArray], indices: range) -> None:
        self._path = path
        self._decode = decode
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> ByteArray: ...

    @overload
    def __getitem__(self, index: slice) -> Frames: ...

    def __getitem__(self, index: int | slice) -> ByteArray | Frames:
        if isinstance(index, slice):
            return Frames(self._path, self._decode, self._indices[index])
        try:
            number = self._indices[index]
        except IndexError:
            count = "1 frame" if len(self) == 1 else f"{len(self)} frames"
            raise FrameIndexError(
                f"{shown(self._path)} has {count}, no frame {index}: choose one from 0 to {len(self) - 1}"
            ) from None
        return self._decode(number)

    def __repr__(self) -> str:
        return f"Frames({str(self._path)!r}, {self._indices!r})"


@dataclass(frozen=True)
class Region:
    """One ultrasound region of a DICOM image (PS3.3 C.8.5.5), such as the 2-D sector or an ECG strip.

    `box` is half-open (x0, y0, x1, y1) in pixels of the frame. `spacing` is mm per pixel in (x, y), only
    where both axes are in cm (unit code 3) and the header describes the pixels that are there, else None.
    """

    kind: str
    box: tuple[int, int, int, int]
    spacing: tuple[float, float] | None


@dataclass(frozen=True)
class Scan:
    """A still or a clip, each frame (H, W) or (H, W, 3) uint8; read_scan gives lazy ones.

    `meta` says how it was made and never holds what identifies a patient or a study.
    """

    path: Path
    frames: Sequence[ByteArray]
    regions: tuple[Region, ...] = ()
    meta: Mapping[str, str | float] = field(default_factory=dict)

    def spacing_of(self, box: tuple[float, float, float, float]) -> tuple[float, float] | None:
        """mm per pixel in (x, y) for an object with this half-open box (x0, y0, x1, y1), None if not known.

        Known where one region holds the whole object and each region that the object touches has that same
        spacing.
        """
        x0, y0, x1, y1 = box
        touched = []
        inside = False
        for region in self.regions:
            left, top, right, bottom = region.box
            if x0 < right and left < x1 and y0 < bottom and top < y1:
                touched.append(region.spacing)
                inside = inside or (left <= x0 and top <= y0 and x1 <= right and y1 <= bottom)
        return touched[0] if inside and len(set(touched)) == 1 else None


def suffix_of(path: Path) -> str:
    """The ending of a name in lower case, `.nii.gz` in one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def read_scan(path: AnyPath, axis: str = "z") -> Scan:
    """Open an image (PNG, JPEG, BMP, TIFF, GIF, WebP, JPEG 2000), a DICOM file, a volume (NIfTI, MHA, MHD,
    NRRD) or a video (MP4, AVI, MOV, MKV, ...).

    The content decides which it is, then the suffix. `axis`, "x", "y" or "z", is the one along which a volume
    is cut into frames. Only the header is read here. Volumes and videos need the extra `data`. Raises
    UltrasamError if the file is missing, empty, unreadable, of another kind or larger than `MAX_PIXELS` per
    frame; damage in the pixels shows when a frame is decoded. Warns if a DICOM file is not ultrasound.
    """
    # Imported here because both modules build on the types above and pydicom is slow to load.
    from ultrasam.io.dicom import read_dicom
    from ultrasam.io.images import read_image

    path = check_file(path)
    with path.open("rb") as file:
        head = file.read(132)
    is_image = head.startswith(_IMAGE_SIGNATURES) or (head[:4], head[8:12]) == (b"RIFF", b"WEBP")
    suffix = suffix_of(path)
    if head[128:] != b"DICM" and not is_image:
        if suffix in _VOLUME_SUFFIXES:
            from ultrasam.io.volumes import read_volume

            return read_volume(path, axis)
        if suffix in _VIDEO_SUFFIXES or head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3"):
            from ultrasam.io.video import read_video

            return read_video(path)
    # A DICOM file may carry a TIFF header in its preamble, so the prefix comes first.
    if head[128:] != b"DICM" and (is_image or suffix in _IMAGE_SUFFIXES):
        return read_image(path)
    return read_dicom(path)


def kind_of(path: Path) -> str:
    """What a file seems to be by its name: "image", "volume", "video", "dicom" (also without an ending), or
    "unknown".
    """
    suffix = suffix_of(path)
    kinds = {"image": _IMAGE_SUFFIXES, "volume": _VOLUME_SUFFIXES, "video": _VIDEO_SUFFIXES}
    named = next((kind for kind, suffixes in kinds.items() if suffix in suffixes), "unknown")
    return "dicom" if suffix in _DICOM_SUFFIXES or not suffix else named


def check_size(path: Path, width: int, height: int) -> None:
    """Raise UltrasamError for a frame without pixels or with more than `MAX_PIXELS`."""
    if width < 1 or height < 1:
        raise UltrasamError(f"{shown(path)} has an image of {width} x {height} pixels: export it again")
    if width * height > MAX_PIXELS:
        raise UltrasamError(
            f"{shown(path)} is too large ({width} x {height} pixels, at most {MAX_PIXELS:,} are read): "
            "crop or shrink it"
        )
