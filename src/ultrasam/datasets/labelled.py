"""Images with one class each, from a COCO file, the lists of `ultrasam data split`, a CSV file or folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.tables import read_rows, read_text
from ultrasam.datasets.splits import group_of
from ultrasam.io.coco import read_coco
from ultrasam.io.scan import SUFFIXES, suffix_of

CLASSES, CASES = "classes.txt", "cases.tsv"
"""Beside a list PART.txt: the names of the classes, and which case each image is of."""


@dataclass(frozen=True)
class LabelledImage:
    """One image: `name` in its source, `label` a place in the classes, `case` what a split keeps whole."""

    path: Path
    name: str
    label: int
    case: str
    dataset: str


@dataclass(frozen=True)
class Labelled:
    """Images with their classes; `remarks` say what was left out and why."""

    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Row:
    """An image; one that has no class says `why` not."""

    path: Path
    name: str
    label: str
    case: str
    dataset: str
    why: str = ""


def read_labelled(
    source: Path,
    images: Path | None = None,
    datasets: Sequence[str] = (),
    classes: Sequence[str] = (),
    *,
    may_lack: bool = False,
) -> Labelled:
    """The images of `source`: a COCO file (.json), a list (.txt), a CSV file (.csv, .tsv) or a folder with a
    folder of images for each class.

    In a COCO file the class of an image is the category of its objects, if they have but one among the
    `classes`. In a list a line is "path class", class a number from 0 or a name in classes.txt beside it. A
    CSV file has the columns image and label and optionally case and dataset. Without a case each image is
    one. `images` is the folder of the images of a COCO or CSV file. `datasets` and `classes` select, none
    for all; the classes keep the order of the source, or that of the names. With `may_lack` it is no mistake
    if the source does not know one of the `classes`.

    Raises UltrasamError if the source cannot be used, image files are missing, a name of a class or set is
    unknown, or no image is left.
    """
    if not source.exists():
        raise UltrasamError(
            f"{shown(source)} does not exist: name a COCO file, a list, a CSV file or a folder with a folder "
            "for each class"
        )
    reader = _reader_of(source)
    rows, order = reader(source, images, tuple(classes))
    known_sets = {row.dataset for row in rows}
    for name in datasets:
        if name not in known_sets:
            raise UltrasamError(
                f"there is no data set {name!r} in {shown(source)}: use {', '.join(sorted(known_sets))}"
            )
    rows = [row for row in rows if not datasets or row.dataset in datasets]
    there = Counter(row.label for row in rows if not row.why)
    names = tuple(classes) or tuple(name for name in order if there[name] or reader is _from_list)
    for name in names:
        if name not in order and not may_lack:
            raise UltrasamError(
                f"there is no class {name!r} in {shown(source)}: use {', '.join(order) or 'another file'}"
            )
    places = {name: place for place, name in enumerate(names)}
    found = tuple(
        LabelledImage(row.path, row.name, places[row.label], row.case, row.dataset)
        for row in rows
        if not row.why and row.label in places
    )
    remarks = _remarks(rows)
    if reader is _from_list and not (source.parent / CASES).is_file():
        remarks += (f"there is no {CASES} beside {shown(source)}: each image counts as a case",)
    found = _each_once(found, names, source)
    if not found:
        why = "".join(f"; {remark}" for remark in remarks)
        raise UltrasamError(
            f"{shown(source)} has no image with a class{why}: label some, or name another file"
        )
    _check_files(source, found)
    return Labelled(names, found, remarks)


def _each_once(
    found: Sequence[LabelledImage], names: Sequence[str], source: Path
) -> tuple[LabelledImage, ...]:
    """Without the rows that are there again. Raises UltrasamError if two rows say otherwise of an image."""
    known: dict[Path, LabelledImage] = {}
    for image in found:
        path = image.path.resolve()
        other = known.setdefault(path, image)
        for what, one, two in (
            ("class", names[other.label], names[image.label]),
            ("case", f"{other.dataset}/{other.case}", f"{image.dataset}/{image.case}"),
        ):
            if one != two:
                raise UltrasamError(
                    f"{shown(source)} has {image.name} twice, with the {what} {one} and {two}: correct it"
                )
    return tuple(known.values())


def _remarks(rows: Sequence[_Row]) -> tuple[str, ...]:
    """How many images have no class, and which is the first, a text for each reason."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            names.setdefault(row.why, []).append(row.name)
    return tuple(
        f"left out: {len(own)} images {why}, the first is {own[0]}" for why, own in sorted(names.items())
    )


def _reader_of(source: Path) -> _Reader:
    if source.is_dir():
        return _from_folders
    suffix = source.suffix.lower()
    if suffix not in _READERS:
        known = ", ".join(_READERS)
        raise UltrasamError(f"{shown(source)}: labels are read from a folder or from files {known}")
    return _READERS[suffix]


_Found = tuple[list[_Row], list[str]]
"""Rows, and the names of the classes in order."""
_Reader = Callable[[Path, "Path | None", tuple[str, ...]], _Found]


def _from_coco(source: Path, images: Path | None, classes: tuple[str, ...]) -> _Found:
    coco = read_coco(source)
    folder = _folder_of(source, images)
    names = {category.id: category.name for category in coco.categories}
    objects = coco.by_image()
    rows = []
    for image in coco.images:
        there = {names[one.category_id] for one in objects[image.id]}
        labels = sorted(there & set(classes) if classes else there)
        why = "" if len(labels) == 1 else "with objects of several classes" if labels else "without an object"
        if there and not labels:
            continue  # of other classes than are asked for
        dataset, case = group_of(image, source)
        rows.append(_Row(folder / image.file_name, image.file_name, ";".join(labels), case, dataset, why))
    return rows, list(dict.fromkeys(names.values()))


def _from_list(source: Path, images: Path | None, classes: tuple[str, ...]) -> _Found:
    beside = source.parent / CLASSES
    names = [line.strip() for line in read_text(beside).splitlines() if line.strip()]
    cases = _cases_beside(source)
    rows = []
    for number, line in enumerate(read_text(source).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if label.isascii() and label.isdigit() and int(label) < len(names):
            label = names[int(label)]
        if not name or label not in names:
            raise UltrasamError(
                f"line {number} of {shown(source)} is not 'path class' with a class of {shown(beside)}: "
                "correct it there"
            )
        root = images or source.parent
        if cases is not None and name not in cases:
            raise UltrasamError(
                f"{shown(source.parent / CASES)} has no case of {name}: make the lists again, or delete it "
                "if every image is a case"
            )
        case = name if cases is None else cases[name]
        rows.append(_Row(root / name, name, label, case, source.parent.name))
    return rows, names


def _cases_beside(source: Path) -> dict[str, str] | None:
    """The case of each image, from cases.tsv beside a list; None without that file."""
    path = source.parent / CASES
    if not path.is_file():
        return None
    cases: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        name, tab, case = line.partition("\t")
        if not (name and tab and case):
            raise UltrasamError(
                f"line {number} of {shown(path)} is not 'path<tab>case': make the lists again, or delete "
                "it if every image is a case"
            )
        cases[name] = case
    return cases


def _from_csv(source: Path, images: Path | None, classes: tuple[str, ...]) -> _Found:
    folder = _folder_of(source, images)
    rows = []
    for row in read_rows(source, "image", "label"):
        row = {key.lower(): value for key, value in row.items()}
        name = row["image"]
        if not name:
            raise UltrasamError(f"{shown(source)} has a row without an image: correct it there")
        case, dataset = row.get("case") or name, row.get("dataset") or source.stem
        why = "" if row["label"] else "without a label"
        rows.append(_Row(folder / name, name, row["label"], case, dataset, why))
    return rows, sorted({row.label for row in rows if row.label})


def _from_folders(source: Path, images: Path | None, classes: tuple[str, ...]) -> _Found:
    rows, names = [], []
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if folder.name.startswith("."):
            continue
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_scan(path)]
        if files:
            names.append(folder.name)
        for path in files:
            name = path.relative_to(source).as_posix()
            rows.append(_Row(path, name, folder.name, name, source.resolve().name))
    if not names:
        raise UltrasamError(
            f"{shown(source)} has no folder with images: it needs one for each class, or train.txt and "
            f"{CLASSES} of `ultrasam data split`"
        )
    return rows, names


_READERS: dict[str, _Reader] = {
    ".json": _from_coco,
    ".txt": _from_list,
    ".csv": _from_csv,
    ".tsv": _from_csv,
}


def _folder_of(source: Path, images: Path | None) -> Path:
    if images is not None:
        if not images.is_dir():
            raise UltrasamError(f"{shown(images)} is no folder: name that of the images")
        return images
    beside = source.parent / "images"
    return beside if beside.is_dir() else source.parent


def _is_scan(path: Path) -> bool:
    return not path.name.startswith(".") and suffix_of(path) in SUFFIXES


def _check_files(source: Path, found: Sequence[LabelledImage]) -> None:
    missing = [image.path for image in found if not image.path.is_file()]
    if missing:
        raise UltrasamError(
            f"{len(missing)} of the {len(found)} images of {shown(source)} are missing, the first is "
            f"{shown(missing[0])}: name their folder with --images DIR"
        )


def class_counts(labelled: Labelled) -> dict[str, int]:
    """How many images each class has, 0 included."""
    counts = Counter(image.label for image in labelled.images)
    return {name: counts[place] for place, name in enumerate(labelled.classes)}
