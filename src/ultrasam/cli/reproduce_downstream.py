"""`ultrasam reproduce table2` and `table3`: the runs that are there, measured beside the paper's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_threads
from ultrasam.cli.terminal import remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.evaluation.downstream_tables import Cell, Place
    from ultrasam.evaluation.paper_parts import Missing


VERBS = {"table2": "classify", "table3": "instances"}
"""What trains the runs of a table."""


def add_downstream_arguments(parser: ArgumentParser, name: str) -> None:
    verb = VERBS[name]
    parser.add_argument(
        "--lists",
        metavar="DIR",
        default="us43d/lists",
        help="folder of the lists that `ultrasam data split` wrote",
    )
    parser.add_argument(
        "--runs",
        metavar="DIR",
        default=f"runs/{verb}",
        help=f"folder with the runs of `ultrasam {verb} train SET-ENCODER`",
    )
    parser.add_argument("--out", metavar="DIR", default=name, help="folder for the table")
    add_threads(parser)


def run_downstream(args: Namespace, name: str) -> tuple[str, bool, list[Missing]]:
    """Measure what is there and write the table: (its Markdown, whether it is complete, what is missing).

    Raises UltrasamError if no run can be measured.
    """
    from ultrasam.core.files import shown
    from ultrasam.engines.threads import checked_threads
    from ultrasam.evaluation import downstream_tables as tables
    from ultrasam.evaluation.published_downstream import ENCODERS
    from ultrasam.zoo.card import WEIGHTS_FILE

    table = tables.TABLES[VERBS[name]]
    threads = checked_threads(args.threads)
    missing: list[Missing] = []
    cells: list[Cell] = []
    remarks: list[str] = []
    for place in tables.places_of(table, Path(args.lists), Path(args.runs)):
        if not place.test.is_file():
            lacking = tables.missing_list(place)
            missing += [] if lacking in missing else [lacking]
        if not (place.run / WEIGHTS_FILE).is_file():
            missing += [tables.missing_run(table, place)] if place.encoder in ENCODERS else []
        elif place.test.is_file():
            remark(f"{place.recipe}: testing on {shown(place.test)}")
            try:
                cell, told = (_classified if name == "table2" else _segmented)(place, threads)
            except UltrasamError as error:  # the others are worth their hours
                remarks.append(f"{place.recipe} cannot be tested: {error}")
                continue
            cells.append(cell)
            remarks += told
    if not cells:
        for text in remarks:
            remark(text)
        first = dict.fromkeys(step for one in missing[:2] for step in one.steps)
        steps = " ".join(f"{number}. {step}" for number, step in enumerate(first, 1))
        raise UltrasamError(
            f"no run of {table.title} can be tested: {shown(args.runs)} has none with a list in "
            f"{shown(args.lists)}. To begin: {steps}"
        )
    remarks += tables.count_remarks(cells)
    for text in remarks:
        remark(text)
    markdown = tables.write_table(table, cells, missing, remarks, Path(args.out))
    return markdown, tables.complete(table, cells, missing, remarks), missing


def _classified(place: Place, threads: int) -> tuple[Cell, list[str]]:
    from ultrasam.cli.classify import tested
    from ultrasam.datasets.labelled import read_labelled
    from ultrasam.evaluation.classification import evaluate_classes
    from ultrasam.evaluation.downstream_tables import Cell
    from ultrasam.evaluation.published_downstream import TABLE2_FIGURES
    from ultrasam.training.classify.infer import load_classifier

    trained = load_classifier(place.run, threads)
    found, problems = tested(trained, read_labelled(place.test), str(place.test))
    figures = evaluate_classes(found, trained.classes)
    intervals = {
        name: None if (one := figures.intervals[name]) is None else (100 * one[0], 100 * one[1])
        for name in TABLE2_FIGURES
    }
    percent = {name: 100 * figures.macro[name] for name in TABLE2_FIGURES}
    told = [f"{place.recipe} left out: {text}" for text in problems]
    if figures.absent:
        told.append(f"{place.recipe}: no test image of {', '.join(figures.absent)}")
    return Cell(place.dataset, place.encoder, figures.images, figures.cases, percent, intervals), told


def _segmented(place: Place, threads: int) -> tuple[Cell, list[str]]:
    from ultrasam.cli.instances_evaluate import measured
    from ultrasam.evaluation.downstream_tables import Cell
    from ultrasam.training.instances.infer import load_instances

    figures = measured(load_instances(place.run, threads), str(place.test))
    percent = {name: 100 * value for name, value in vars(figures.precision).items()}
    interval = figures.mask50_interval
    intervals = {"mask50": None if interval is None else (100 * interval[0], 100 * interval[1])}
    absent = [one.name for one in figures.classes if not one.objects]
    told = [f"{place.recipe}: no test object of {', '.join(absent)}"] if absent else []
    return Cell(place.dataset, place.encoder, figures.images, figures.cases, percent, intervals), told
