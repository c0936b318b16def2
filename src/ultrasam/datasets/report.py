"""The statistics of built sets as tables, a figure and contact sheets, in files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrasam import __version__
from ultrasam.core.files import atomic_write, atomic_write_all, ensure_writable_dir
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
from ultrasam.datasets.figures import composition
from ultrasam.datasets.sheets import contact_sheet
from ultrasam.datasets.stats import Spread, Stats, folders_to_count, gather
from ultrasam.io.images import png_bytes

Cell = str | int | float | bool | None | tuple[str, ...] | Mapping[str, int]


@dataclass(frozen=True)
class Table:
    """Rows of cells by column, all with the same columns; `note` says what was counted."""

    title: str
    note: str
    rows: tuple[dict[str, Cell], ...]


def write_stats(out: Path, target: Path, only: Sequence[str] = ()) -> Stats:
    """Count the sets in `out`, or `only` those, and write all that there is to show into the folder `target`.

    stats.md and stats.json hold all tables, stats-TABLE.csv one each, us43d.png and us43d.svg the figure and
    sheets/ID.png the contact sheets. Equal sets give equal bytes. Raises UltrasamError if there is no set or
    a file cannot be written, ModuleNotFoundError without matplotlib.
    """
    folders_to_count(out, only)  # before a folder is made there
    ensure_writable_dir(target / "sheets")
    stats = gather(out, only)
    contents = {"stats.md": to_markdown(stats).encode(), "stats.json": to_json(stats).encode()}
    for name, table in tables(stats).items():
        contents[f"stats-{name}.csv"] = to_csv(table).encode()
    contents |= {f"us43d.{form}": data for form, data in composition(stats).items()}
    atomic_write_all({target / name: data for name, data in contents.items()})
    for one in stats.sets:
        atomic_write(target / "sheets" / f"{one.id}.png", png_bytes(contact_sheet(out / one.id)))
    return stats


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
    note = (
        "Of the paper: *UltraSam*, Meyer et al., IJCARS 2025. A difference is ours less the paper's. Sets "
        "that are not built are missing from ours."
    )
    rows: Iterable[dict[str, Cell]] = (
        {
            "what": total.what,
            "built": total.ours,
            "paper": total.paper,
            "difference": total.difference,
            "counted": total.counted,
        }
        for total in stats.totals
    )
    return Table("Totals", note, tuple(rows))


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
            row["sets"] += (one.id,) if category.objects else ()
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
        "A structure is a name of a category, whichever set uses it. Images show it; objects are of US-43d; "
        "`again` is what another set holds too, `other` is of sets not in US-43d."
    )
    return Table("Structures", note, tuple(ordered))


def to_markdown(stats: Stats) -> str:
    """All tables as one Markdown text."""
    parts = ["# What is built of US-43d", f"Made by ultrasam {__version__}: data stats."]
    for table in tables(stats).values():
        parts += [f"## {table.title}", table.note, markdown_of(table)]
    return "\n\n".join(parts) + "\n"


def markdown_of(table: Table) -> str:
    """The rows of one table as Markdown."""
    return "\n".join(_markdown_rows(table.rows))


def _markdown_rows(rows: Sequence[Mapping[str, Cell]]) -> Iterable[str]:
    numbers = {
        key
        for row in rows
        for key, cell in row.items()
        if isinstance(cell, int | float) and not isinstance(cell, bool)
    }
    if not rows:
        yield "None."
        return
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{'|'.join('---:' if key in numbers else '---' for key in rows[0])}|"
    for row in rows:
        yield f"| {' | '.join(_shown(cell).replace('|', '&#124;') for cell in row.values())} |"


def to_csv(table: Table) -> str:
    """One table as CSV: numbers as they are, lists divided by spaces, counts as NAME=COUNT."""
    if not table.rows:
        return ""
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
