"""Make a figure or table of the UltraSam paper again, from the data that are there; tell which are missing.

The exit code is 0 if all data were there, 1 if something was made of a part of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.actions import Actions, add_actions, run_action
from ultrasam.cli.main import one_line
from ultrasam.cli.terminal import remark


def add_arguments(parser: ArgumentParser) -> None:
    add_actions(parser, ACTIONS, "WHAT")


def run(args: Namespace) -> int:
    return run_action(args, ACTIONS)


def _add_fig2_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="folder with the sets that `ultrasam data build` converted",
    )
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


ACTIONS: Actions = {
    "fig2": ("Fig. 2: objects and images of each clinical application", _add_fig2_arguments, _run_fig2),
}
"""What may follow `ultrasam reproduce`: a short help, what adds its arguments, what runs it."""
