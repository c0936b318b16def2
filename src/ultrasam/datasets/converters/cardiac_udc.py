"""CardiacUDC: chambers of the heart and the pulmonary artery in four views, in videos stored as NIfTI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import sha256_of, shown
from ultrasam.datasets.readers import chambers
from ultrasam.datasets.readers.folders import files_below, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, check_labels, on_grid
from ultrasam.datasets.readers.outlines import fill_outlines
from ultrasam.datasets.readers.stacks import count_slices
from ultrasam.datasets.readers.volumes import slice_image, slice_labels, slice_spacing
from ultrasam.datasets.record import Found, Problem, Record, Sample, Skipped

# What a label means depends on the view.
VENTRICLES = {1: "left_ventricle", 2: "right_ventricle"}
NAMES = {
    "1": VENTRICLES,
    "2": {1: "pulmonary_artery"},
    "3": VENTRICLES,
    "4": chambers.NAMES,
}
# The part in which every frame is labelled, but with outlines instead of areas.
OUTLINES = "label_all_frame"
# A frame with fewer labelled pixels is labelled by accident; the authors' own programs take it so too.
FEWEST = 100
# PERSON is patientN or patient-N, and normal-N in the part with outlines.
IMAGE, LABEL = (rf"(.+)-(\d+)_{end}\.nii(?:\.gz)?" for end in ("image", "label"))


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "*/*-[0-9]*_image.nii*")
    volumes = files_below(root, ".nii", ".nii.gz")
    copies = _copies(root, volumes)
    for folder, inside in groupby(volumes, lambda path: path.parent):
        yield from _folder(folder, list(inside), root, copies)


def _folder(folder: Path, volumes: list[Path], root: Path, copies: Mapping[str, str]) -> Iterator[Found]:
    used: list[Path] = []
    for path in volumes:
        image, label = (re.fullmatch(name, path.name, re.IGNORECASE) for name in (IMAGE, LABEL))
        if image and image[2] not in NAMES:
            yield Skipped(path, "its view has no labels")
        elif label and label[2] not in NAMES:
            yield Problem(path, f"has labels of the view {label[2]}, whose meaning is not known")
        else:
            used.append(path)
    if not used:
        return
    if not any(re.fullmatch(LABEL, path.name, re.IGNORECASE) for path in used):
        yield Skipped(folder, "none of its videos has labels")
        return
    try:
        matched, problems = pairs(used, used, IMAGE, LABEL)
    except UltrasamError as error:
        yield Problem.of(folder, error)
        return
    yield from problems
    outlines = _has_outlines(folder)
    for _, image_path, mask in matched:
        try:
            count = count_slices(image_path, mask)
        except UltrasamError as error:
            yield Problem.of(image_path, error, (mask,))
            continue
        case, view = _case_and_view(root, image_path)
        for index in range(count):
            yield Record(
                case=copies.get(case, case),
                view=f"{view}-all-frames" if outlines else view,
                frame=index,
                files=(image_path, mask),
                load=partial(_load, image_path, mask, view, count if outlines else 0, index),
            )


def _has_outlines(folder: Path) -> bool:
    return OUTLINES in (part.lower() for part in folder.parts)


def _case_and_view(root: Path, image: Path) -> tuple[str, str]:
    patient, _, view = image.name.lower().rpartition("_image")[0].rpartition("-")
    return "-".join((*image.parent.relative_to(root).parts, patient)), view


def _copies(root: Path, volumes: list[Path]) -> dict[str, str]:
    """The cases of the part with outlines that another part has too, by an image that is the same file."""
    by_size: dict[int, list[Path]] = {}
    for path in volumes:
        if re.fullmatch(IMAGE, path.name, re.IGNORECASE):
            by_size.setdefault(path.stat().st_size, []).append(path)
    found: dict[str, str] = {}
    for same in by_size.values():
        drawn, others = ([path for path in same if _has_outlines(path.parent) is it] for it in (True, False))
        if drawn and others:
            known = {sha256_of(path): _case_and_view(root, path)[0] for path in others}
            for path in drawn:
                case = _case_and_view(root, path)[0]
                found[case] = known.get(sha256_of(path), found.get(case, case))
    return found


def _load(image: Path, mask: Path, view: str, outlined: int, index: int) -> Sample:
    """Frame `index` of a video; `outlined` is the number of its frames in the part with outlines, else 0."""
    names = NAMES[view]
    pixels, spacing = slice_image(image, index), slice_spacing(image)
    labels = slice_labels(mask, index)
    on_grid(labels != 0, pixels.shape, mask)
    if np.count_nonzero(labels) < FEWEST:
        return Sample(pixels, (), spacing)
    check_labels(labels, names, mask)
    if not outlined:
        return Sample(pixels, by_label(labels, names), spacing)
    # Some videos of this part are said to have other numbers.
    if names is chambers.NAMES and (why := chambers.doubt(mask, outlined)):
        raise UltrasamError(f"{shown(mask)} {why}: it may have other labels than the sites")
    return Sample(pixels, by_label(fill_outlines(labels, mask), names), spacing)
