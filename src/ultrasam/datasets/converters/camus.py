"""CAMUS: the left heart in two views, from end-diastole to end-systole; NIfTI or, once, MHD."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import FolderNotFound, find_folder, listing, missing_from
from ultrasam.datasets.readers.stacks import count_slices, files_of, load_slice
from ultrasam.datasets.readers.tables import read_fields, read_text
from ultrasam.datasets.record import Found, Problem, Record, Skipped, Table

NAMES = {1: "lv_endocardium", 2: "lv_myocardium", 3: "left_atrium"}
SPLITS = {"training": "train", "validation": "val", "testing": "test"}
PATIENT = "patient[0-9][0-9][0-9][0-9]"


def records(raw: Path) -> Iterator[Found]:
    try:
        # The older release keeps its test patients, who have no masks, beside the others.
        root = find_folder(raw, f"training/{PATIENT}") / "training"
        yield Skipped(root.parent / "testing", "these patients have no masks")
    except FolderNotFound:
        root = find_folder(raw, PATIENT)
    patients = [folder for folder in listing(root) if folder.match(PATIENT)]
    split_of: dict[str, str] = {}
    # Beside the folder of the patients, but never outside the raw folder.
    lists = (root if root == raw else root.parent) / "database_split"
    for word, split in SPLITS.items():
        table = lists / f"subgroup_{word}.txt"
        if table.exists():
            yield Table(table)
            names = read_text(table).split()
            if twice := split_of.keys() & names:
                raise UltrasamError(f"{table} lists {min(twice)}, which another part of the split has too")
            split_of |= dict.fromkeys(names, split)
        elif any(patients[0].glob("*.nii.gz")):  # the older release has no lists
            yield Problem(table, "is missing: which patients are for tests is not known")
    yield from missing_from(lists, split_of, (folder.name for folder in patients))
    for folder in patients:
        if split_of and folder.name not in split_of:
            yield Problem(folder, "is in no list of database_split")
            continue
        for view in ("2CH", "4CH"):
            yield from _view(folder, view, split_of.get(folder.name, ""))


def _view(folder: Path, view: str, split: str) -> Iterator[Found]:
    stem, info = f"{folder.name}_{view}", folder / f"Info_{view}.cfg"
    about: dict[str, str] = {}
    if info.exists():
        yield Table(info)
        try:
            about = read_fields(info)
        except UltrasamError as error:
            yield Problem.of(info, error)
    else:
        yield Problem(info, "is missing: phase and quality of its images are not known")
    if about and not all(about.get(key, "").isdigit() for key in ("ED", "ES", "NbFrame")):
        yield Problem(info, "does not say which frames are ED and ES, and how many there are")
        about = {}
    inside = [path for path in listing(folder) if path.name.startswith(f"{stem}_")]
    whole = [path for path in inside if path.name.startswith(f"{stem}_sequence.")]
    yield from (Skipped(path, "the whole sequence has no masks") for path in whole)
    half = folder / f"{stem}_half_sequence.nii.gz"
    scans = [half]
    stills = [path for path in inside if path.name.startswith((f"{stem}_ED", f"{stem}_ES"))]
    if scans[0].exists():
        yield from (Skipped(path, "a frame of the half sequence") for path in stills)
    elif stills:
        end = "nii.gz" if any(path.name.endswith(".nii.gz") for path in stills) else "mhd"
        scans = [folder / f"{stem}_{phase}.{end}" for phase in ("ED", "ES")]
        if end == "nii.gz":
            yield Problem(scans[0].with_name(half.name), "is missing: only its first and last frame are used")
    for scan in scans:
        name, _, end = scan.name.partition(".")
        mask = scan.with_name(f"{name}_gt.{end}")
        paths = (scan, mask, *files_of(scan)[1:], *files_of(mask)[1:])
        lost = [path for path in paths if not path.exists()]
        if lost:
            yield Problem(lost[0], f"is missing: {view} of this patient cannot be used without", paths)
            continue
        try:
            count = count_slices(scan, mask)
        except UltrasamError as error:
            yield Problem.of(scan, error, paths)
            continue
        if scan == half and about and int(about["NbFrame"]) != count:
            yield Problem(
                info, f"counts {about['NbFrame']} frames, the sequence has {count}: phases are not told"
            )
            about = {}
        still = name.removeprefix(f"{stem}_") if scan in stills else ""
        for index in range(count):
            phase = still or next((p for p in ("ED", "ES") if about.get(p) == str(index + 1)), "")
            facts = {"phase": phase, "quality": about.get("ImageQuality", "")}
            yield Record(
                case=folder.name,
                view=f"{view}-{still}" if still else view,
                frame=None if still else index,
                files=paths,
                load=partial(load_slice, scan, {"": mask}, NAMES, index),
                split=split,
                attributes={key: value for key, value in facts.items() if value},
            )
