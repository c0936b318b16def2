"""The public ultrasound data sets of US-43d: where they are, what they hold, on which terms; and building
them.

`list` and `show` need neither a network nor the data, and no more than the base install.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.actions import Actions, add_actions, run_action
from ultrasam.cli.data_build import ACTIONS as BUILD_ACTIONS
from ultrasam.cli.data_split import add_split_arguments, run_split
from ultrasam.cli.main import one_line

if TYPE_CHECKING:
    from ultrasam.datasets.catalogue import Dataset

WIDTH = 100

Group = tuple[str, str, list["Dataset"]]
"""Id and name of an application, and its sets."""


def add_arguments(parser: ArgumentParser) -> None:
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    return run_action(args, ACTIONS)


def _add_list_arguments(parser: ArgumentParser) -> None:
    from ultrasam.datasets.catalogue import APPLICATIONS, Terms

    terms = [_word(text) for text in get_args(Terms)]
    parser.add_argument("--terms", choices=terms, help="only sets with these terms")
    parser.add_argument(
        "--application",
        choices=list(APPLICATIONS),
        metavar="ID",
        help="only sets of this clinical application, by the id in its heading",
    )


def _add_show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "dataset", metavar="ID", help="id of a data set, the first word of its line in `ultrasam data list`"
    )


def _run_list(args: Namespace) -> int:
    from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
    from ultrasam.datasets.converters import converter_ids

    ready = set(converter_ids())
    entries = [
        entry
        for entry in DATASETS.values()
        if args.terms in (None, _word(entry.terms)) and args.application in (None, entry.application)
    ]
    groups: list[Group] = []
    for key, name in APPLICATIONS.items():
        if members := [entry for entry in entries if entry.application == key]:
            groups.append((key, name, members))
    totals = _totals(entries, ready)
    if args.json:
        applications = [
            {"id": key, "name": name, "datasets": [_content(entry, ready) for entry in members]}
            for key, name, members in groups
        ]
        print(json.dumps({"applications": applications, "totals": totals}))
    else:
        for line in [*_table(groups, ready), _total_line(totals)]:
            print(one_line(line))
    return 0


def _word(terms: str) -> str:
    """Terms as a value of --terms: without a blank, which would need quotes in a shell."""
    return terms.replace(" ", "-")


def _table(groups: Sequence[Group], ready: set[str]) -> list[str]:
    rows = {
        entry.id: (
            entry.id,
            "?" if entry.images is None else f"{entry.images:,}",
            "yes" if entry.id in ready else "-",
            entry.terms,
            entry.name,
        )
        for _, _, members in groups
        for entry in members
    }
    head = ("id", "images", "converter", "terms", "name")
    widths = [max(map(len, column)) for column in zip(head, *rows.values(), strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [f"{row[0]:<{widths[0]}}", f"{row[1]:>{widths[1]}}"]  # a number stands on the right
        cells += [f"{cell:<{width}}" for cell, width in zip(row[2:4], widths[2:], strict=False)]
        return "  ".join(["", *cells, row[4]])

    lines = [line(head)]
    for key, name, members in groups:
        lines += [f"{name} ({key})", *(line(rows[entry.id]) for entry in members)]
    return lines


def _totals(entries: Sequence[Dataset], ready: set[str]) -> dict[str, int]:
    """Counts of the sets of US-43d among `entries`, and how many are beyond it."""
    ours = [entry for entry in entries if entry.in_us43d]
    known = [entry.images for entry in ours if entry.images is not None]
    return {
        "us43d": len(ours),
        "beyond": len(entries) - len(ours),
        "images": sum(known),
        "images_not_known": len(ours) - len(known),
        "with_converter": sum(entry.id in ready for entry in ours),
    }


def _total_line(totals: dict[str, int]) -> str:
    parts = [f"{_sets(totals['us43d'])} of US-43d, {totals['images']:,} images"]
    if totals["images_not_known"]:
        parts[0] += f" without {_sets(totals['images_not_known'])} of unknown number"
    parts.append(f"{totals['with_converter']} with a converter here")
    if totals["beyond"]:
        parts.append(f"{_sets(totals['beyond'])} beyond US-43d")
    return "; ".join(parts)


def _sets(count: int) -> str:
    return "1 set" if count == 1 else f"{count} sets"


def _run_show(args: Namespace) -> int:
    from ultrasam.datasets.catalogue import APPLICATIONS, dataset
    from ultrasam.datasets.converters import converter_ids

    content = _content(dataset(args.dataset), set(converter_ids()))
    if args.json:
        print(json.dumps(content))
        return 0
    content["application"] += f" ({APPLICATIONS[content['application']]})"
    content["categories"] = [f"{one['name']} ({one['kind']})" for one in content["categories"]]
    for key, value in content.items():
        for line in _lines(_LABELS.get(key, key.replace("_", " ")), value, numbered=key in _NUMBERED):
            print(one_line(line))
    return 0


def _content(entry: Dataset, ready: set[str]) -> dict[str, Any]:
    """All fields of an entry, and whether it has a converter here."""
    return asdict(entry) | {"converter": entry.id in ready}


_LABELS = {"in_us43d": "in US-43d", "keep_negatives": "images without objects are kept"}
# Lists whose order counts: steps, and the COCO ids of categories.
_NUMBERED = ("access", "categories")


def _lines(key: str, value: Any, numbered: bool) -> list[str]:
    """`key: value` within the width; of a list of sentences, or a numbered one, each in a paragraph."""
    if isinstance(value, (list, tuple)):
        parts = [str(part) for part in value]
        if numbered or any(" " in part for part in parts):
            marks = [f"{number}." if numbered else "-" for number in range(1, len(parts) + 1)]
            paragraphs = [
                _wrapped(f"{mark} {part}", 2, 2 + len(mark) + 1)
                for mark, part in zip(marks, parts, strict=True)
            ]
            return [f"{key}:", *(line for lines in paragraphs for line in lines)]
        value = ", ".join(parts)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, int):
        value = f"{value:,}"
    elif value is None:
        value = "not known"
    return _wrapped(f"{key}: {value or '-'}", 0, 4)


def _wrapped(text: str, first: int, rest: int) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * first,
        subsequent_indent=" " * rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


ACTIONS: Actions = {
    "list": ("the data sets by application: images, terms, converter", _add_list_arguments, _run_list),
    "show": (
        "all that is known of a data set: licence, the steps to get it, its files",
        _add_show_arguments,
        _run_show,
    ),
    **BUILD_ACTIONS,
    "split": (
        "lists for training and tests: cleaned masks, splits by case, all sets in one",
        add_split_arguments,
        run_split,
    ),
}
"""What may follow `ultrasam data`: a short help, what adds its arguments, what runs it."""
