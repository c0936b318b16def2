"""Make a figure or table of the UltraSam paper again, from what is there; tell what is missing.

The exit code is 0 if all data and models were there, 1 if something was made of a part of them, 2 if nothing
could be made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.actions import Actions, add_actions, run_action
from ultrasam.cli.main import one_line
from ultrasam.cli.options import add_built_sets, add_engine, add_threads
from ultrasam.cli.reproduce_downstream import add_downstream_arguments
from ultrasam.cli.terminal import remark

if TYPE_CHECKING:
    from ultrasam.evaluation.paper import Entrant, Runner
    from ultrasam.evaluation.paper_parts import Missing, Tests


def add_arguments(parser: ArgumentParser) -> None:
    add_actions(parser, ACTIONS, "WHAT")


def run(args: Namespace) -> int:
    return run_action(args, ACTIONS)


def _add_fig2_arguments(parser: ArgumentParser) -> None:
    add_built_sets(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for figure and tables (default: DIR/fig2)")


def _run_fig2(args: Namespace) -> int:
    from ultrasam.cli.data_build import import_packages

    import_packages("matplotlib")
    from ultrasam.datasets.fig2 import reproduce_fig2

    target = Path(args.out) if args.out else Path(args.data) / "fig2"
    found = reproduce_fig2(Path(args.data), target)
    for name in found.unfinished:
        remark(f"{name} is built in part: its report.json says why")
    if args.json:
        content = json.loads((target / "fig2.json").read_bytes())
        print(json.dumps({"out": str(target)} | content))
        return 0 if found.complete else 1
    print(found.stats)
    if found.missing:
        print(one_line(f"missing: {', '.join(entry.id for entry in found.missing)}"))
        print(one_line(f"how to get each, and on what terms: {target / 'fig2.md'}"))
    print(one_line(f"figure and tables: {target}"))
    return 0 if found.complete else 1


def _add_paper_arguments(parser: ArgumentParser, name: str) -> None:
    add_built_sets(parser)
    parser.add_argument("--out", metavar="DIR", help=f"folder for what is written (default: DIR/{name})")
    parser.add_argument(
        *("--model",),
        nargs="+",
        default=[],
        metavar="MODEL",
        help="names or folders of models (default: those of the paper that are imported, and ultrasam-lite)",
    )


def _add_run_arguments(parser: ArgumentParser) -> None:
    add_engine(parser)
    add_threads(parser)


def _add_table1_arguments(parser: ArgumentParser) -> None:
    _add_paper_arguments(parser, "table1")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="at most so many images of each test, for a quick look"
    )
    _add_run_arguments(parser)


def _add_fig3_arguments(parser: ArgumentParser) -> None:
    _add_paper_arguments(parser, "fig3")
    parser.add_argument("--limit", type=int, default=1, metavar="N", help="images of each test (default: 1)")
    _add_run_arguments(parser)


def _run_table1(args: Namespace) -> int:
    from ultrasam.cli.evaluate import Progress
    from ultrasam.evaluation.table1 import reproduce_table1

    target, tests, entrants, missing, runner = _parts_of(args, "table1")
    made = reproduce_table1(tests, entrants, missing, target, runner, args.limit, Progress)
    return _tell("table1", args, target, made.markdown, made.complete, [*tests.missing, *missing])


def _run_fig3(args: Namespace) -> int:
    import importlib

    importlib.import_module("matplotlib")  # before the work
    from ultrasam.cli.evaluate import Progress
    from ultrasam.evaluation.fig3 import reproduce_fig3

    target, tests, entrants, missing, runner = _parts_of(args, "fig3")
    made = reproduce_fig3(tests, entrants, missing, target, runner, Progress)
    return _tell("fig3", args, target, made.markdown, made.complete, [*tests.missing, *missing])


def _parts_of(args: Namespace, name: str) -> tuple[Path, Tests, list[Entrant], list[Missing], Runner]:
    """Where to write, what there is to measure and with what, and which models are missing."""
    from ultrasam.core.errors import UltrasamError
    from ultrasam.evaluation.paper import Runner
    from ultrasam.evaluation.paper_parts import find_models, find_tests

    if args.limit is not None and args.limit < 1:
        raise UltrasamError(f"--limit {args.limit}: give a number of at least 1")
    tests = find_tests(Path(args.data), args.limit)
    for text in tests.remarks:
        remark(text)
    entrants, missing = find_models(args.model)
    if not entrants:
        raise UltrasamError("no model of the paper is installed: `ultrasam models import` brings one in")
    target = Path(args.out) if args.out else Path(args.data) / name
    return target, tests, entrants, missing, Runner(args.threads, args.engine, args.device, args.postprocess)


def _tell(
    name: str, args: Namespace, target: Path, markdown: str, complete: bool, missing: list[Missing]
) -> int:
    """Print what was made and what is missing; the exit code."""
    if args.json:
        content = json.loads((target / f"{name}.json").read_bytes())
        print(json.dumps({"out": str(target)} | content))
    else:
        # What is missing is told below, a line each.
        print(markdown.partition("\n## Missing")[0].rstrip())
        print()
        for one in missing:
            steps = " ".join(f"{number}. {step}" for number, step in enumerate(one.steps, 1))
            print(one_line(f"missing: {one.id} ({one.name}): {steps}"))
        print(one_line(f"written: {target}"))
    return 0 if complete else 1


def _downstream(name: str, args: Namespace) -> int:
    from ultrasam.cli.reproduce_downstream import run_downstream

    markdown, complete, missing = run_downstream(args, name)
    return _tell(name, args, Path(args.out), markdown, complete, missing)


def _add_table2_arguments(parser: ArgumentParser) -> None:
    add_downstream_arguments(parser, "table2")


def _add_table3_arguments(parser: ArgumentParser) -> None:
    add_downstream_arguments(parser, "table3")


def _run_table2(args: Namespace) -> int:
    return _downstream("table2", args)


def _run_table3(args: Namespace) -> int:
    return _downstream("table3", args)


ACTIONS: Actions = {
    "table1": ("Table 1: mAP by point and by box on the three tests", _add_table1_arguments, _run_table1),
    "table2": ("Table 2: classification on each encoder", _add_table2_arguments, _run_table2),
    "table3": ("Table 3: instance segmentation on each encoder", _add_table3_arguments, _run_table3),
    "fig2": ("Fig. 2: objects and images of each clinical application", _add_fig2_arguments, _run_fig2),
    "fig3": ("Fig. 3: the masks of each model side by side", _add_fig3_arguments, _run_fig3),
}
"""What may follow `ultrasam reproduce`: a short help, what adds its arguments, what runs it."""
