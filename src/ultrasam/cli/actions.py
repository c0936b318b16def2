"""Verbs with actions, such as `ultrasam data list`: one table says what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jsonargparse import ArgumentParser, Namespace

Actions = Mapping[str, tuple[str, Callable[[ArgumentParser], None], Callable[[Namespace], int]]]
"""Action -> a short help, what adds its arguments, what runs it."""


def add_actions(parser: ArgumentParser, actions: Actions, metavar: str = "ACTION") -> None:
    """Give a verb its actions, each with --json."""
    below = parser.add_subcommands(dest="action", metavar=metavar)
    for name, (text, add, _) in actions.items():
        own = type(parser)(description=f"{text[0].upper()}{text[1:]}.")
        add(own)
        own.add_argument("--json", action="store_true", help="print one JSON object")
        below.add_subcommand(name, own, help=text)


def run_action(args: Namespace, actions: Actions) -> int:
    """What the action that was asked for returns."""
    return actions[args.action][2](args[args.action])
