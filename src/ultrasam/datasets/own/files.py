"""The files below a folder, by what they may be."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ultrasam.io.inputs import stem_of
from ultrasam.io.scan import suffix_of

PICTURES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".jp2"}
)
LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".jp2"})
DICOMS = frozenset({".dcm", ".dicom", ".ima"})
VOLUMES = frozenset({".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"})

IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs", "scans", "scan"})
MASK_FOLDERS = frozenset(
    {
        *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "segmentation"),
        *("gt", "groundtruth", "groundtruths"),
    }
)
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def is_image(path: Path) -> bool:
    return suffix_of(path) in PICTURES | DICOMS | VOLUMES


def is_mask(path: Path) -> bool:
    """Whether a mask may be stored so; a file of labelme is no mask."""
    return suffix_of(path) in PICTURES | VOLUMES


def is_volume(path: Path) -> bool:
    return suffix_of(path) in VOLUMES


def plain(name: str) -> str:
    """The name of a folder as it stands in `IMAGE_FOLDERS`, `MASK_FOLDERS` and `SPLITS`."""
    return re.sub(r"[ _.-]", "", name.lower())


def key_of(path: Path) -> str:
    """What an image and its mask may have in common: the name without ending; case does not count."""
    return stem_of(path.name).casefold()


def place_of(path: Path, root: Path) -> tuple[str, ...]:
    """The folders below `root` and the name, without endings and folders such as images."""
    *folders, name = PurePosixPath(path.relative_to(root).as_posix()).parts
    return (*(folder for folder in folders if plain(folder) not in IMAGE_FOLDERS), stem_of(name))
