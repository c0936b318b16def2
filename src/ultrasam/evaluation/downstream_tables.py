"""Tables 2 and 3 of the UltraSam paper from runs that are there, and what is missing of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ultrasam import __version__
from ultrasam.core.files import atomic_write_all, ensure_writable_dir, shown
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.evaluation.paper_parts import Missing, missing_markdown
from ultrasam.evaluation.published import TESTS
from ultrasam.evaluation.published_downstream import (
    ENCODERS,
    TABLE2,
    TABLE2_FIGURES,
    TABLE3,
    TABLE3_FIGURES,
)
from ultrasam.evaluation.report import markdown_table, rows_to_csv


@dataclass(frozen=True)
class TableOf:
    """What makes one of the tables: its name, the verb that trains its runs, the figures in order with the
    words for them, and the paper's numbers.
    """

    name: str
    title: str
    verb: str
    figures: Mapping[str, str]
    published: Mapping[tuple[str, str], Mapping[str, float]]


TABLES = {
    "classify": TableOf(
        "table2",
        "Table 2: classification",
        "classify",
        dict(zip(TABLE2_FIGURES, ("precision", "recall", "F1"), strict=True)),
        TABLE2,
    ),
    "instances": TableOf(
        "table3",
        "Table 3: instance segmentation",
        "instances",
        dict(zip(TABLE3_FIGURES, ("box mAP", "box mAP50", "mask mAP", "mask mAP50"), strict=True)),
        TABLE3,
    ),
}
"""By the verb that trains the runs."""


@dataclass(frozen=True)
class Cell:
    """A run on its test: figures in percent, 95 % intervals over cases of those that have one."""

    dataset: str
    encoder: str
    images: int
    cases: int
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float] | None]


@dataclass(frozen=True)
class Place:
    """Where the run of a recipe SET-ENCODER lies, and the list of its test images."""

    dataset: str
    encoder: str
    run: Path
    test: Path

    @property
    def recipe(self) -> str:
        return f"{self.dataset}-{self.encoder}"


def places_of(table: TableOf, lists: Path, runs: Path) -> list[Place]:
    """The four encoders of each set, then other runs of it by their names, such as bus_bra-lite."""
    places = []
    for dataset in TESTS:
        others = sorted(
            path.name.removeprefix(f"{dataset}-") for path in runs.glob(f"{dataset}-*") if path.is_dir()
        )
        for encoder in [*ENCODERS, *(name for name in others if name not in ENCODERS)]:
            test = lists / ("classification" if table.name == "table2" else "sets") / dataset
            test /= "test.txt" if table.name == "table2" else "test.json"
            places.append(Place(dataset, encoder, runs / f"{dataset}-{encoder}", test))
    return places


def missing_list(place: Place) -> Missing:
    """The steps to the test list of a set."""
    entry = DATASETS[place.dataset]
    steps = (
        *entry.access,
        f"ultrasam data build --raw RAW --out us43d --only {place.dataset}",
        "ultrasam data split us43d",
    )
    return Missing("data", place.dataset, entry.name, steps)


def missing_run(table: TableOf, place: Place) -> Missing:
    """The steps to a run that is not there or has not ended."""
    steps = (f"ultrasam {table.verb} train {place.recipe} --out {shown(place.run)}",)
    name = f"{TESTS[place.dataset]} with {ENCODERS.get(place.encoder, place.encoder)}"
    return Missing("run", place.recipe, name, steps)


def write_table(
    table: TableOf, cells: Sequence[Cell], missing: Sequence[Missing], remarks: Sequence[str], target: Path
) -> str:
    """Write NAME.md, NAME.csv and NAME.json into the folder `target`; returns the Markdown.

    Raises UltrasamError if a file cannot be written.
    """
    ensure_writable_dir(target)
    rows = [_row(table, cell) for cell in cells]
    markdown = _markdown(table, cells, missing, remarks)
    content = {
        "made_by": f"ultrasam {__version__}: reproduce {table.name}",
        "complete": complete(table, cells, missing, remarks),
        "results": rows,
        "missing": [asdict(one) for one in missing],
        "remarks": list(remarks),
    }
    files = {
        f"{table.name}.md": markdown.encode(errors="backslashreplace"),
        f"{table.name}.csv": rows_to_csv(rows).encode(errors="backslashreplace"),
        f"{table.name}.json": (json.dumps(content, indent=1) + "\n").encode(),
    }
    atomic_write_all({target / name: data for name, data in files.items()})
    return markdown


def complete(
    table: TableOf, cells: Sequence[Cell], missing: Sequence[Missing], remarks: Sequence[str]
) -> bool:
    """Whether every cell of the paper is there, on as many images as the paper's."""
    there = {(cell.dataset, cell.encoder) for cell in cells}
    return not missing and not remarks and there >= set(table.published)


def count_remarks(cells: Sequence[Cell]) -> list[str]:
    """Sets with another number of test images than the paper's."""
    images = {cell.dataset: cell.images for cell in cells}
    return [
        f"{TESTS[dataset]}: {count} images, the paper tests on {DATASETS[dataset].tests}"
        for dataset, count in images.items()
        if DATASETS[dataset].tests not in (None, count)
    ]


def _row(table: TableOf, cell: Cell) -> dict[str, Any]:
    paper = table.published.get((cell.dataset, cell.encoder), {})
    row: dict[str, Any] = {"dataset": cell.dataset, "encoder": cell.encoder, "images": cell.images}
    row["cases"] = cell.cases
    for name in table.figures:
        interval = cell.intervals.get(name)
        row[name] = round(cell.figures[name], 4)
        row[f"{name}_low"], row[f"{name}_high"] = (None, None) if interval is None else interval
        row[f"{name}_paper"] = paper.get(name)
    return row


def _markdown(
    table: TableOf, cells: Sequence[Cell], missing: Sequence[Missing], remarks: Sequence[str]
) -> str:
    parts = [f"# {table.title}", f"Made by `ultrasam reproduce {table.name}`, ultrasam {__version__}."]
    if missing:
        parts.append(f"**Not the whole of it**: {len(missing)} parts are missing, see the end.")
    if remarks:
        parts.append("\n".join(f"- {text}" for text in remarks))
    for dataset, title in TESTS.items():
        own = [cell for cell in cells if cell.dataset == dataset]
        if own:
            parts += [f"## {title}", _table(table, own)]
    parts.append(
        "In percent, the mean over the classes that the test has. In brackets the 95 % interval by bootstrap "
        "over cases; `paper` is the number in the article, which has no intervals."
    )
    return "\n\n".join([*parts, *missing_markdown(missing)]) + "\n"


def _table(table: TableOf, cells: Sequence[Cell]) -> str:
    header = ["encoder"]
    for words in table.figures.values():
        header += [words, "paper"]
    rows = []
    for cell in cells:
        paper = table.published.get((cell.dataset, cell.encoder), {})
        row = [ENCODERS.get(cell.encoder, cell.encoder)]
        for name in table.figures:
            interval = cell.intervals.get(name)
            between = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
            row += [f"{cell.figures[name]:.1f}{between}", f"{paper[name]:.1f}" if name in paper else "-"]
        rows.append(row)
    return markdown_table(header, rows, left=1)
