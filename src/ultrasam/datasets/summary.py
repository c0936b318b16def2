"""Numbers and tables of the sets that are built, beside those of the paper."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write_text, ensure_writable_dir
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS, Dataset
from ultrasam.datasets.results import ANNOTATIONS, MANIFEST
from ultrasam.datasets.verify import built_sets
from ultrasam.io.coco import read_coco

PAPER = {"data sets": 43, "applications": 20, "structures": 50, "objects": 280_000}
"""Meyer et al., UltraSam, IJCARS 2025: 43 sets, 20 applications, over 50 structures and over 280,000 objects.
"""

Row = Mapping[str, object]


@dataclass(frozen=True)
class SetSummary:
    """One built set. Sizes are medians in pixels; `median_area` is the share of its image that an object
    covers.
    """

    dataset: str
    status: str
    images: int
    expected_images: int | None
    objects: int
    cases: int
    negatives: int
    width: int
    height: int
    median_area: float
    categories: Mapping[str, int]

    @property
    def entry(self) -> Dataset | None:
        """What the catalogue says, if it has the set."""
        return DATASETS.get(self.dataset)


def gather(out: Path, only: Sequence[str] = ()) -> list[SetSummary]:
    """The sets below `out`, one in memory at a time. Raises UltrasamError if there is none or one cannot be
    read.
    """
    return [_summary(folder) for folder in built_sets(out, only)]


def _summary(folder: Path) -> SetSummary:
    coco = read_coco(folder / ANNOTATIONS)
    entry = DATASETS.get(folder.name)
    try:
        status = str(json.loads((folder / MANIFEST).read_bytes())["status"])
    except (OSError, ValueError, LookupError, TypeError):
        status = "not finished"
    names = {category.id: category.name for category in coco.categories}
    pixels = {image.id: image.width * image.height for image in coco.images}
    counts = Counter(names[annotation.category_id] for annotation in coco.annotations)
    shares = [annotation.area / pixels[annotation.image_id] for annotation in coco.annotations]
    return SetSummary(
        dataset=folder.name,
        status=status,
        images=len(coco.images),
        expected_images=entry.images if entry else None,
        objects=len(coco.annotations),
        cases=len({image.case_id or image.file_name for image in coco.images}),
        negatives=sum(bool(image.negative) for image in coco.images),
        width=round(median(image.width for image in coco.images)) if coco.images else 0,
        height=round(median(image.height for image in coco.images)) if coco.images else 0,
        median_area=median(shares) if shares else 0.0,
        categories={name: counts[name] for name in names.values()},
    )


def set_rows(sets: Sequence[SetSummary]) -> list[Row]:
    """A row for each set."""
    rows: list[Row] = []
    for one in sets:
        entry = one.entry
        rows.append(
            {
                "set": one.dataset,
                "application": entry.application if entry else "",
                "images": one.images,
                "catalogue": one.expected_images,
                "difference": None if one.expected_images is None else one.images - one.expected_images,
                "objects": one.objects,
                "structures": sum(count > 0 for count in one.categories.values()),
                "cases": one.cases,
                "negatives": one.negatives,
                "median size": f"{one.width} x {one.height}",
                "median object": f"{one.median_area:.1%}",
                "status": one.status,
            }
        )
    return rows


def application_rows(sets: Sequence[SetSummary]) -> list[Row]:
    """A row for each of the 20 applications, also where nothing is built."""
    rows: list[Row] = []
    for key, name in APPLICATIONS.items():
        members = [one for one in sets if one.entry and one.entry.application == key]
        known = [entry for entry in DATASETS.values() if entry.application == key and entry.in_us43d]
        rows.append(
            {
                "application": name,
                "sets built": len(members),
                "sets of US-43d": len(known),
                "images": sum(one.images for one in members),
                "objects": sum(one.objects for one in members),
            }
        )
    return rows


def structure_rows(sets: Sequence[SetSummary]) -> list[Row]:
    """A row for each structure that occurs, the most frequent first."""
    objects: Counter[str] = Counter()
    where: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for one in sets:
        kinds |= {category.name: category.kind for category in (one.entry.categories if one.entry else ())}
        for name, count in one.categories.items():
            if count:
                objects[name] += count
                where.setdefault(name, []).append(one.dataset)
    order = sorted(objects, key=lambda name: (-objects[name], name))
    return [
        {
            "structure": name,
            "kind": kinds.get(name, ""),
            "objects": objects[name],
            "sets": ", ".join(where[name]),
        }
        for name in order
    ]


def total_rows(sets: Sequence[SetSummary]) -> list[Row]:
    """What is built of the 43 beside the paper's totals. Editions of a set that is counted already are left
    out.
    """
    ours = [one for one in sets if one.entry and one.entry.in_us43d]
    counted = [one for one in ours if one.entry and not one.entry.duplicate_of]
    found = {
        "data sets": len(ours),
        "applications": len({one.entry.application for one in counted if one.entry}),
        "structures": len({name for one in counted for name, count in one.categories.items() if count}),
        "objects": sum(one.objects for one in counted),
    }
    over = ("structures", "objects")
    return [
        {
            "what": what,
            "built": found[what],
            "paper": f"over {paper:,}" if what in over else f"{paper:,}",
            "difference": found[what] - paper,
        }
        for what, paper in PAPER.items()
    ]


def markdown(rows: Sequence[Row]) -> str:
    """Rows with the same keys as a Markdown table; numbers on the right."""
    if not rows:
        return "nothing\n"
    keys = list(rows[0])
    right = [all(isinstance(row[key], (int, float, type(None))) for row in rows) for key in keys]
    lines = [keys, ["---:" if number else "---" for number in right]]
    lines += [[_cell(row[key]) for key in keys] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "?"
    return f"{value:,}" if isinstance(value, int) else str(value)


def csv_text(rows: Sequence[Row]) -> str:
    """Rows with the same keys as CSV; what is not known stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


TABLES = {
    "sets": ("Data sets", set_rows),
    "applications": ("Clinical applications", application_rows),
    "structures": ("Structures", structure_rows),
    "totals": ("US-43d beside the paper", total_rows),
}


def write_tables(sets: Sequence[SetSummary], target: Path) -> str:
    """Write stats.md, stats.json and a CSV file for each table into `target`; returns the text of stats.md.

    Raises UltrasamError if they cannot be written.
    """
    if not sets:
        raise UltrasamError("there is no set to count: build one with `ultrasam data build`")
    ensure_writable_dir(target)
    tables = {key: (title, rows(sets)) for key, (title, rows) in TABLES.items()}
    parts = [f"# {title}\n\n{markdown(rows)}" for title, rows in tables.values()]
    text = "\n".join(parts) + (
        "\nA structure is a class name: benign and malignant lesions of one organ are two. Objects of a "
        "second annotator "
        "and of another edition of a set are not counted, nor are sets beyond US-43d in the last table.\n"
    )
    atomic_write_text(target / "stats.md", text)
    content = {key: rows for key, (_, rows) in tables.items()} | {"details": [asdict(one) for one in sets]}
    atomic_write_text(target / "stats.json", json.dumps(content, indent=1) + "\n")
    for key, (_, rows) in tables.items():
        atomic_write_text(target / f"{key}.csv", csv_text(rows))
    return text
