"""Fig. 2 of the UltraSam paper, what US-43d is made of, from the sets that are built; and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ultrasam import __version__
from ultrasam.core.files import atomic_write_all, ensure_writable_dir
from ultrasam.datasets.catalogue import DATASETS, Dataset
from ultrasam.datasets.figures import composition
from ultrasam.datasets.report import applications_table, markdown_of, to_csv, totals_table
from ultrasam.datasets.stats import Stats, folders_to_count, gather


@dataclass(frozen=True)
class Reproduced:
    """What the figure was made of: `missing` sets of the 43 are not built, `unfinished` ones only in part."""

    stats: Stats
    missing: tuple[Dataset, ...]
    unfinished: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unfinished


def reproduce_fig2(built: Path, target: Path) -> Reproduced:
    """Write fig2.png, fig2.svg, fig2.md, fig2.csv and fig2.json into the folder `target`.

    A set that is another again is not missing. Equal sets give equal bytes. Raises UltrasamError if nothing
    is built or a file cannot be written, ModuleNotFoundError without matplotlib.
    """
    folders_to_count(built)  # before a folder is made
    ensure_writable_dir(target)
    stats = gather(built)
    there = {one.id for one in stats.sets}
    wanted = [entry for entry in DATASETS.values() if entry.in_us43d and not entry.duplicate_of]
    missing = tuple(entry for entry in wanted if entry.id not in there)
    unfinished = tuple(one.id for one in stats.us43d if one.state != "complete" or one.partial)
    found = Reproduced(stats, missing, unfinished)
    applications = applications_table(stats)
    content = {
        "made_by": f"ultrasam {__version__}: reproduce fig2",
        "complete": found.complete,
        "totals": totals_table(stats).rows,
        "applications": applications.rows,
        "missing": [_how_to_get(entry) for entry in missing],
        "unfinished": unfinished,
    }
    files = {f"fig2.{form}": data for form, data in composition(stats).items()}
    files["fig2.md"] = ("\n\n".join(_markdown(found)) + "\n").encode()
    files["fig2.csv"] = to_csv(applications).encode()
    files["fig2.json"] = (json.dumps(content, indent=1) + "\n").encode()
    atomic_write_all({target / name: data for name, data in files.items()})
    return found


def _how_to_get(entry: Dataset) -> dict[str, object]:
    return {
        "id": entry.id,
        "name": entry.name,
        "images": entry.images,
        "terms": entry.terms,
        "licence": entry.licence,
        "access": entry.access,
        "url": entry.url,
    }


def _markdown(found: Reproduced) -> Iterator[str]:
    yield "# Fig. 2: what US-43d is made of"
    yield f"Made by `ultrasam reproduce fig2`, ultrasam {__version__}."
    if not found.complete:
        yield "**Not the whole of US-43d**: see the end for what is missing."
    yield "![objects of each application](fig2.png)"
    for table in (totals_table(found.stats), applications_table(found.stats)):
        yield f"## {table.title}"
        yield table.note
        yield markdown_of(table)
    if found.unfinished:
        yield "## Built in part"
        yield "\n".join(f"- `{name}`: see its report.json" for name in found.unfinished)
    if found.missing:
        yield f"## Missing: {len(found.missing)} of {len(found.missing) + _built(found)} sets"
        yield "\n".join(_entry(entry) for entry in found.missing)
        yield "Then run `ultrasam data build`, and this command again."


def _built(found: Reproduced) -> int:
    return sum(one.entry is not None and not one.entry.duplicate_of for one in found.stats.us43d)


def _entry(entry: Dataset) -> str:
    steps = " ".join(f"{number}. {step}" for number, step in enumerate(entry.access, 1))
    return f"- `{entry.id}`, [{entry.name}]({entry.url}), {entry.terms}: {steps}"
