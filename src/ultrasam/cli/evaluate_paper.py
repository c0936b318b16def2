"""`ultrasam evaluate --protocol paper`: models on the tests of the paper, in the form of its Table 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.evaluation.paper import Entrant
    from ultrasam.evaluation.samples import Sample, Selection
    from ultrasam.zoo.store import Weights

# What the paper does not have, and the values that mean it was not asked for.
_OTHERS: dict[str, Any] = {"noc": False, "moved": False, "against": None, "sheet": None, "plot": None}
_OTHERS |= {"clicks": 5, "bootstrap": 1000}
NONE = "none"


def run_paper(args: Namespace) -> int:
    """What `ultrasam evaluate` does with this protocol; the exit code. Raises UltrasamError."""
    from ultrasam.cli.evaluate import (
        Progress,
        outputs_of,
        prepare_folders,
        print_result,
        selection_of,
        write_outputs,
    )
    from ultrasam.evaluation.evaluate import Tolerance
    from ultrasam.evaluation.paper import Runner, measure
    from ultrasam.evaluation.paper_report import rows_of, scores_of, to_json, to_markdown
    from ultrasam.evaluation.report import rows_to_csv
    from ultrasam.evaluation.samples import select_samples

    for option, unset in _OTHERS.items():
        if args[option] != unset:
            raise UltrasamError(f"--{option} belongs to --protocol all: leave it out with --protocol paper")
    outputs = outputs_of(args, {"json": "json", "markdown": "md", "csv": "csv"})
    selection = selection_of(args)
    samples = select_samples(args.data, args.images, selection)
    entrants = entrants_of(args.model, args.published)
    prepare_folders(outputs)
    runner = Runner(args.threads, args.engine, args.device, args.postprocess)
    measured = measure(entrants, samples, runner, Progress, Tolerance(args.nsd_mm, args.nsd_px))
    heading = f"Table 1 of the UltraSam paper on {Path(args.data).name}"
    markdown = to_markdown(heading, _about(selection), measured)
    report = to_json(_run(args, selection, samples, entrants), measured)
    table = rows_to_csv(rows_of(scores_of(measured)))
    write_outputs(outputs, {"json": report, "markdown": markdown, "csv": table})
    print_result(report if args.json == "-" else markdown, outputs)
    return 0


def entrants_of(models: list[str], published: list[str]) -> list[Entrant]:
    """The models, each with its row of the paper: that of its card, or of a word MODEL=ROW in `published`.

    Raises UltrasamError for a model that is not there or named twice, and for a word that cannot be used.
    """
    from ultrasam.evaluation.paper import Entrant
    from ultrasam.evaluation.published import row_of
    from ultrasam.zoo.store import find

    rows = dict(_row(word) for word in published)
    if unknown := [name for name in rows if name not in models]:
        raise UltrasamError(f"--published {unknown[0]}: no such model is measured, it is none of --model")
    found: list[Entrant] = []
    by_id: dict[str, Weights] = {}
    for name in dict.fromkeys(models):
        weights = find(name)
        if weights.card.id in by_id:
            other = by_id[weights.card.id].folder
            raise UltrasamError(f"{weights.folder} and {other} have the same id: import one with --name")
        by_id[weights.card.id] = weights
        found.append(Entrant(weights, rows.get(name, row_of(weights.card))))
    return found


def _row(word: str) -> tuple[str, str | None]:
    from ultrasam.evaluation.published import ROWS

    # A folder may have a = in its name, a row does not.
    name, equals, row = word.rpartition("=")
    if not equals or row not in (*ROWS, NONE):
        raise UltrasamError(f"--published {word}: write MODEL=ROW, where ROW is {', '.join(ROWS)} or {NONE}")
    return name, None if row == NONE else row


def _about(selection: Selection) -> list[str]:
    which = []
    if selection.only == "validation":
        share, seed = f"{selection.share:g}", selection.split_seed
        which.append(f"Validation cases only ({share} of the cases of each data set, seed {seed}).")
    if selection.limit is not None:
        which.append(f"At most {selection.limit} images of a data set, so not what the paper was tested on.")
    return [" ".join(which)] if which else []


def _run(
    args: Namespace, selection: Selection, samples: list[Sample], entrants: list[Entrant]
) -> dict[str, Any]:
    from dataclasses import asdict

    from ultrasam import __version__
    from ultrasam.core.files import sha256_of
    from ultrasam.evaluation.table1 import models_of

    return {
        "ultrasam": __version__,
        "protocol": "paper",
        "models": models_of(entrants),
        "data": {"file": str(args.data), "sha256": sha256_of(args.data), "images": len(samples)},
        "selection": asdict(selection),
        "postprocess": args.postprocess,
        "nsd_tolerance": {"mm": args.nsd_mm, "px": args.nsd_px},
    }
