"""What the built sets hold, in numbers and tables, and the totals beside those of the paper.

An object is one mask of the main annotator on one image. Nothing counts twice: what another built set holds
already is told apart as "again".
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS, Dataset
from ultrasam.datasets.results import ANNOTATIONS, MANIFEST
from ultrasam.datasets.verify import built_sets
from ultrasam.io.coco import Coco, read_coco

State = Literal["complete", "incomplete", "missing manifest", "unreadable manifest"]

PAPER = {"sets": 43, "applications": 20, "structures": 50, "objects": 280_000}
"""What *UltraSam* (Meyer et al., IJCARS 2025) says of US-43d; the last two are "over" so many."""

PARTLY_AGAIN = {"fast_u_net": ("fetal_head", "hc18")}
"""Set -> (category, set): the images of this category are those of the other set, see its quirks."""


@dataclass(frozen=True)
class Spread:
    """A low, a middle and a high value of many."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], ends: float = 0.0) -> Spread | None:
        """The median between the percentiles `ends` and 100 - `ends`; None of no values."""
        if not len(values):
            return None
        low, middle, high = np.percentile(values, (ends, 50, 100 - ends)).tolist()
        return cls(low, middle, high)


@dataclass(frozen=True)
class CategoryStats:
    """A structure of a set: the images that show it and its objects. `again`: another set has them too."""

    name: str
    kind: str
    images: int
    objects: int
    again: bool


@dataclass(frozen=True)
class SetStats:
    """A built set.

    `state` and `partial` are those of its manifest. `categories` are all of the COCO file, also without
    objects. `again_images` and `again_objects` are those that another built set holds too. `widths`,
    `heights` (pixels) and `per_image` (objects) are minimum, median and maximum; `shares` is the area of an
    object as a share of its image: 5th percentile, median, 95th percentile.
    """

    id: str
    state: State
    partial: bool
    images: int
    objects: int
    cases: int
    negatives: int
    again_images: int
    categories: tuple[CategoryStats, ...]
    widths: Spread | None
    heights: Spread | None
    per_image: Spread | None
    shares: Spread | None

    @property
    def entry(self) -> Dataset | None:
        """What the catalogue says of the set; None if it does not know it."""
        return DATASETS.get(self.id)

    @property
    def in_us43d(self) -> bool:
        return self.entry is not None and self.entry.in_us43d

    @property
    def application(self) -> str:
        return self.entry.application if self.entry else ""

    @property
    def again_objects(self) -> int:
        return sum(category.objects for category in self.categories if category.again)

    @property
    def new_images(self) -> int:
        return self.images - self.again_images

    @property
    def new_objects(self) -> int:
        return self.objects - self.again_objects

    @property
    def expected(self) -> int | None:
        """Images by the catalogue; None if not known."""
        return self.entry.images if self.entry else None


@dataclass(frozen=True)
class Stats:
    """All built sets that were counted, in the order of the catalogue; unknown ones last, by name."""

    sets: tuple[SetStats, ...]

    @property
    def us43d(self) -> tuple[SetStats, ...]:
        return tuple(one for one in self.sets if one.in_us43d)

    def __str__(self) -> str:
        """The totals as plain text for a terminal."""
        rows = [[_shown(cell) for cell in row.values()][:4] for row in totals_table(self).rows]
        rows.insert(0, ["US-43d", "built", "paper", "difference"])
        first = max(len(row[0]) for row in rows)
        return "\n".join(
            f"{row[0]:<{first}}" + "".join(f"{cell:>12}" for cell in row[1:]).rstrip() for row in rows
        )


Cell = str | int | float | bool | None | tuple[str, ...] | Mapping[str, int]


@dataclass(frozen=True)
class Table:
    """Rows of cells by column, all with the same columns; `note` says what was counted."""

    title: str
    note: str
    rows: tuple[dict[str, Cell], ...]


def gather(out: Path, only: Sequence[str] = ()) -> Stats:
    """Count what the sets in `out` hold, one after the other; with `only` no others.

    Raises UltrasamError if there is none, one of `only` is missing or a COCO file is not valid.
    """
    folders = built_sets(out, only)
    missing = [folder.name for folder in folders if not (folder / ANNOTATIONS).is_file()]
    if only and missing:
        raise UltrasamError(
            f"{shown(out)} has no {', '.join(missing)}: build it with `ultrasam data build`, or leave it out"
        )
    folders = [folder for folder in folders if folder.name not in missing]
    if not folders:
        raise UltrasamError(
            f"{shown(out)} holds no data set that could be built: their report.json tells why"
        )
    place = {name: number for number, name in enumerate(DATASETS)}
    folders = sorted(set(folders), key=lambda folder: (place.get(folder.name, len(place)), folder.name))
    names = {folder.name for folder in folders}
    return Stats(tuple(_counted(folder, names) for folder in folders))


def _counted(folder: Path, built: set[str]) -> SetStats:
    """The numbers of one set, of which `built` are counted too."""
    name = folder.name
    coco = read_coco(folder / ANNOTATIONS)
    state, partial = _manifest(folder / MANIFEST)
    drawn: dict[int, set[int]] = defaultdict(set)
    objects: Counter[int] = Counter()
    of_image: Counter[int] = Counter()
    for annotation in coco.annotations:
        drawn[annotation.image_id].add(annotation.category_id)
        objects[annotation.category_id] += 1
        of_image[annotation.image_id] += 1
    seen = Counter(number for numbers in drawn.values() for number in numbers)
    again = _again(name, coco, built)
    whole = len(again) == len(coco.categories) and name not in PARTLY_AGAIN
    size = {image.id: image.height * image.width for image in coco.images}
    return SetStats(
        id=name,
        state=state,
        partial=partial,
        images=len(coco.images),
        objects=len(coco.annotations),
        cases=len({image.case_id or image.file_name for image in coco.images}),
        negatives=sum(image.id not in drawn for image in coco.images),
        again_images=len(coco.images) if whole else sum(numbers <= again for numbers in drawn.values()),
        categories=tuple(
            CategoryStats(
                category.name,
                category.supercategory or "",
                seen[category.id],
                objects[category.id],
                category.id in again,
            )
            for category in coco.categories
        ),
        widths=Spread.of([image.width for image in coco.images]),
        heights=Spread.of([image.height for image in coco.images]),
        per_image=Spread.of([of_image[image.id] for image in coco.images]),
        shares=Spread.of([one.area / size[one.image_id] for one in coco.annotations], 5),
    )


def _again(name: str, coco: Coco, built: set[str]) -> set[int]:
    """The categories whose objects another of the sets `built` holds too."""
    entry = DATASETS.get(name)
    if entry is not None and entry.duplicate_of in built:
        return {category.id for category in coco.categories}
    category_name, other = PARTLY_AGAIN.get(name, ("", ""))
    return {category.id for category in coco.categories if category.name == category_name and other in built}


def _manifest(path: Path) -> tuple[State, bool]:
    try:
        manifest = json.loads(path.read_bytes())
        state: State = "complete" if manifest["status"] == "complete" else "incomplete"
        return state, bool(manifest["partial"])
    except FileNotFoundError:
        return "missing manifest", False
    except (OSError, ValueError, LookupError, TypeError):
        return "unreadable manifest", False


def tables(stats: Stats) -> dict[str, Table]:
    """Every table by the name of its file."""
    return {
        "totals": totals_table(stats),
        "applications": applications_table(stats),
        "sets": sets_table(stats),
        "sizes": sizes_table(stats),
        "structures": structures_table(stats),
    }


def totals_table(stats: Stats) -> Table:
    """Ours and the paper's, for what it counts; what we tell apart below that."""
    used = stats.us43d
    others = [one for one in stats.sets if not one.in_us43d]
    structures = {c.name for one in used for c in one.categories if c.objects}
    applications = {one.application for one in used if one.objects}
    rows: list[tuple[str, int, int | None, str]] = [
        ("data sets", len(used), PAPER["sets"], "built sets of US-43d, also those that are another again"),
        ("applications", len(applications), PAPER["applications"], "with an object; the grouping is ours"),
        (
            "structures",
            len(structures),
            PAPER["structures"],
            "distinct names of categories with an object, benign and malignant for two; the paper: over 50",
        ),
        (
            "image/mask pairs",
            sum(one.new_objects for one in used),
            PAPER["objects"],
            "objects, each one once; the paper: over 280,000",
        ),
        ("images", sum(one.new_images for one in used), None, "each one once, negatives too"),
        ("pairs again", sum(one.again_objects for one in used), None, "objects that another set holds too"),
        ("images again", sum(one.again_images for one in used), None, "images that another set holds too"),
        ("pairs of other sets", sum(one.objects for one in others), None, "of sets not in US-43d"),
        ("images of other sets", sum(one.images for one in others), None, "of sets not in US-43d"),
    ]
    note = (
        "Of the UltraSam paper: Meyer et al., IJCARS 2025. Differences are ours less the paper's; sets that "
        "are not built are missing from ours."
    )
    cells: Iterator[dict[str, Cell]] = (
        {
            "what": what,
            "built": ours,
            "paper": paper,
            "difference": None if paper is None else ours - paper,
            "counted": counted,
        }
        for what, ours, paper, counted in rows
    )
    return Table("Totals", note, tuple(cells))


def applications_table(stats: Stats) -> Table:
    """A row for each clinical application, built or not; a last one for sets that the catalogue lacks."""
    rows: list[dict[str, Cell]] = []
    names = APPLICATIONS | ({"": "not in the catalogue"} if any(not one.entry for one in stats.sets) else {})
    for key, name in names.items():
        own = [one for one in stats.sets if one.application == key]
        used = [one for one in own if one.in_us43d]
        others = [one for one in own if not one.in_us43d]
        known = [entry for entry in DATASETS.values() if entry.application == key and entry.in_us43d]
        rows.append(
            {
                "application": key,
                "name": name,
                "sets": tuple(one.id for one in used),
                "built": len(used),
                "of": len(known),
                "images": sum(one.new_images for one in used),
                "objects": sum(one.new_objects for one in used),
                "images again": sum(one.again_images for one in used),
                "objects again": sum(one.again_objects for one in used),
                "other images": sum(one.images for one in others),
                "other objects": sum(one.objects for one in others),
            }
        )
    note = "The sets of US-43d; `again` is what another set holds too, `other` is of sets not in US-43d."
    return Table("Applications", note, tuple(rows))


def sets_table(stats: Stats) -> Table:
    """A row for each set: what it holds and how that differs from the catalogue."""
    rows: list[dict[str, Cell]] = [
        {
            "set": one.id,
            "application": one.application,
            "us43d": one.in_us43d,
            "manifest": one.state,
            "partial": one.partial,
            "images": one.images,
            "expected": one.expected,
            "difference": None if one.expected is None else one.images - one.expected,
            "objects": one.objects,
            "cases": one.cases,
            "negatives": one.negatives,
            "images again": one.again_images,
            "objects again": one.again_objects,
            "structures": {category.name: category.objects for category in one.categories},
        }
        for one in stats.sets
    ]
    note = (
        "Expected are the images of the catalogue. A case is what a split keeps whole; negatives are images "
        "without an object. Structures with their objects."
    )
    return Table("Sets", note, tuple(rows))


def sizes_table(stats: Stats) -> Table:
    """A row for each set: pixels of its images, objects in an image, area of an object."""
    rows: list[dict[str, Cell]] = []
    for one in stats.sets:
        row: dict[str, Cell] = {"set": one.id}
        ends = ("min", "median", "max")
        row |= _spread("width", ends, one.widths) | _spread("height", ends, one.heights)
        row["objects per image, mean"] = one.objects / one.images if one.images else None
        row |= _spread("objects per image,", ends, one.per_image)
        row |= _spread("area %,", ("5th", "median", "95th"), one.shares, 100)
        rows.append(row)
    note = "Width and height in pixels; the area of an object in percent of its image, with percentiles."
    return Table("Sizes", note, tuple(rows))


def _spread(name: str, ends: Sequence[str], spread: Spread | None, factor: float = 1) -> dict[str, Cell]:
    values = (spread.low, spread.middle, spread.high) if spread else (None, None, None)
    return {
        f"{name} {end}": None if value is None else round(value * factor, 6)
        for end, value in zip(ends, values, strict=True)
    }


def structures_table(stats: Stats) -> Table:
    """A row for each name of a category in any set, most objects first."""
    rows: dict[str, dict[str, Any]] = {}
    for one in stats.sets:
        for category in one.categories:
            row = rows.setdefault(category.name, {"structure": category.name, "kind": (), "sets": ()})
            row["kind"] = tuple(sorted({*row["kind"], category.kind} - {""}))
            row["sets"] += (one.id,)
            for key in ("images", "objects", "objects again", "other objects"):
                row.setdefault(key, 0)
            if not one.in_us43d:
                row["other objects"] += category.objects
            elif category.again:
                row["objects again"] += category.objects
            else:
                row["images"] += category.images
                row["objects"] += category.objects
    ordered = sorted(rows.values(), key=lambda row: (-row["objects"], row["structure"]))
    note = (
        "A structure is a name of a category, whichever set uses it. Images that show it and objects of US-43d; "
        "`again` is what another set holds too, `other` is of sets not in US-43d."
    )
    return Table("Structures", note, tuple(ordered))


def to_markdown(stats: Stats) -> str:
    """All tables as one Markdown text."""
    parts = ["# What is built of US-43d", f"Made by ultrasam {__version__}: data stats."]
    for table in tables(stats).values():
        parts += [f"## {table.title}", table.note, "\n".join(_markdown_rows(table.rows))]
    return "\n\n".join(parts) + "\n"


def _markdown_rows(rows: Sequence[Mapping[str, Cell]]) -> Iterable[str]:
    numbers = {key for row in rows for key, cell in row.items() if isinstance(cell, int | float)}
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{'|'.join('---:' if key in numbers else '---' for key in rows[0])}|"
    for row in rows:
        yield f"| {' | '.join(_shown(cell).replace('|', '&#124;') for cell in row.values())} |"


def to_csv(table: Table) -> str:
    """One table as CSV: numbers as they are, lists divided by spaces, counts as NAME=COUNT."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(table.rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        writer.writerow({key: _flat(cell) for key, cell in row.items()})
    return file.getvalue()


def to_json(stats: Stats) -> str:
    """All tables as one JSON object: table -> rows -> cells by column."""
    content = {"ultrasam": __version__} | {name: table.rows for name, table in tables(stats).items()}
    return json.dumps(content, indent=1) + "\n"


def _flat(cell: Cell) -> str | int | float:
    if isinstance(cell, Mapping):
        return " ".join(f"{key}={count}" for key, count in cell.items())
    if isinstance(cell, tuple):
        return " ".join(cell)
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "" if cell is None else cell


def _shown(cell: Cell) -> str:
    """A cell for people."""
    if isinstance(cell, Mapping):
        return ", ".join(f"{key} {count:,}" for key, count in cell.items())
    if isinstance(cell, tuple):
        return ", ".join(cell)
    if isinstance(cell, bool | str):
        return str(_flat(cell))
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3g}" if abs(cell) < 100 else f"{cell:,.0f}"
