"""Table 1 of the UltraSam paper, from the test sets and models that are there; and what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ultrasam import __version__
from ultrasam.core.files import atomic_write_all, ensure_writable_dir
from ultrasam.evaluation.evaluate import Progress
from ultrasam.evaluation.paper import Entrant, Measured, Runner, measure
from ultrasam.evaluation.paper_parts import Missing, Tests, missing_markdown
from ultrasam.evaluation.paper_report import rows_of, scores_of, to_markdown
from ultrasam.evaluation.report import rows_to_csv

LARGEST = (
    "Of MMOTU2D only objects count that are at least 0.95 times as large as the largest of their image, as "
    "behind the paper's numbers. Objects are taken as the sets were built, without the cleaning of "
    "`ultrasam data split`."
)


@dataclass(frozen=True, eq=False)
class Reproduced:
    """The table as Markdown; `complete` if all sets, images and models of the paper went in."""

    markdown: str
    measured: tuple[Measured, ...]
    complete: bool


def reproduce_table1(
    tests: Tests,
    entrants: Sequence[Entrant],
    missing: Sequence[Missing],
    target: Path,
    runner: Runner,
    limit: int | None = None,
    progress: Callable[[str], Progress | None] = lambda name: None,
) -> Reproduced:
    """Measure the models on the tests; write table1.md, table1.csv and table1.json into the folder `target`.

    `missing` are models, the tests know what they miss themselves. `limit` is told as what it was. Raises
    UltrasamError if a model or image cannot be used, or a file cannot be written.
    """
    ensure_writable_dir(target)
    lacking = [*tests.missing, *missing]
    complete = not lacking and not tests.remarks and limit is None
    measured = measure(entrants, tests.samples, runner, progress)
    rows = rows_of(scores_of(measured))
    markdown = to_markdown(
        "Table 1: point and box prompts", about_of("table1", tests, lacking, limit), measured
    )
    markdown += "".join(f"\n{part}\n" for part in missing_markdown(lacking))
    content = {
        "made_by": f"ultrasam {__version__}: reproduce table1",
        "complete": complete,
        "limit": limit,
        "postprocess": runner.postprocess,
        "models": models_of(entrants),
        "results": rows,
        "missing": [asdict(one) for one in lacking],
        "remarks": tests.remarks,
    }
    files = {
        "table1.md": markdown.encode(errors="backslashreplace"),
        "table1.csv": rows_to_csv(rows).encode(errors="backslashreplace"),
        "table1.json": (json.dumps(content, indent=1) + "\n").encode(),
    }
    atomic_write_all({target / name: data for name, data in files.items()})
    return Reproduced(markdown, tuple(measured), complete)


def about_of(what: str, tests: Tests, missing: Sequence[Missing], limit: int | None) -> list[str]:
    """The paragraphs that say what went in."""
    parts = [f"Made by `ultrasam reproduce {what}`, ultrasam {__version__}."]
    if limit is not None:
        parts.append(f"**A quick look**: at most {limit} images of a test.")
    if missing:
        names = ", ".join(f"`{one.id}`" for one in missing)
        parts.append(f"**Not the whole of it**: missing are {names}, see the end.")
    if tests.remarks:
        parts.append("\n".join(f"- {remark}" for remark in tests.remarks))
    if any(sample.dataset == "mmotu_2d" for sample in tests.samples):
        parts.append(LARGEST)
    return parts


def models_of(entrants: Sequence[Entrant]) -> list[dict[str, object]]:
    """For the JSON files: which models took part."""
    return [
        {"id": one.weights.card.id, "row": one.row, "sha256": dict(one.weights.card.sha256)}
        for one in entrants
    ]
