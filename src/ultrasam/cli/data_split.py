"""`ultrasam data split`: from converted sets to lists for training and tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.data_build import Progress, add_jobs, add_only, import_packages, jobs_of, set_ids
from ultrasam.cli.main import one_line
from ultrasam.cli.terminal import remark


def add_split_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("built", metavar="OUT", help="folder with converted sets")
    parser.add_argument("--out", metavar="DIR", help="folder for the lists (default: OUT/lists)")
    add_only(parser, "sets that go in (default: all that are there)")
    parser.add_argument(
        *("--licence",),
        choices=["open", "nc", "all"],
        default="all",
        help="sets for any use only, non-commercial ones too, or all (default)",
    )
    parser.add_argument(
        "--val", type=float, default=0.05, help="share of the images for validation (default: 0.05)"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws another split (default: 0)")
    parser.add_argument(
        *("--paper-split",),
        action="store_true",
        help="split images, not cases, as the paper did, and hold out its tests only",
    )
    parser.add_argument(
        "--min-area", type=int, default=64, metavar="PX", help="smallest object to train on (default: 64)"
    )
    parser.add_argument(
        *("--min-share",),
        type=float,
        default=0.0002,
        metavar="SHARE",
        help="smallest share of the image of an object to train on (default: 0.0002)",
    )
    parser.add_argument(
        "--hole", type=int, default=16, metavar="PX", help="largest hole that is closed (default: 16)"
    )
    parser.add_argument(
        "--keep-outside", action="store_true", help="do not cut masks that reach beyond the ultrasound sector"
    )
    parser.add_argument(
        *("--most-cut",),
        type=float,
        default=0.5,
        metavar="SHARE",
        help="a mask that loses more at the sector is left out (default: 0.5)",
    )
    parser.add_argument(
        *("--no-duplicates",), action="store_true", help="do not look for near-duplicates: cases stand alone"
    )
    parser.add_argument(
        *("--distance",),
        type=int,
        default=6,
        metavar="BITS",
        help="bits of 64 in which the hashes of near-duplicates differ at most (default: 6)",
    )
    parser.add_argument(
        *("--similarity",),
        type=float,
        default=0.8,
        metavar="R",
        help="correlation of the details of near-duplicates (default: 0.8)",
    )
    add_jobs(parser)


def run_split(args: Namespace) -> int:
    from ultrasam.datasets.lists.make import make_lists
    from ultrasam.datasets.lists.options import ListOptions

    import_packages()
    names = ("val", "seed", "paper_split", "licence", "min_area", "min_share", "hole", "most_cut")
    options = ListOptions(
        sector=not args.keep_outside,
        duplicates=not args.no_duplicates,
        **{name: getattr(args, name) for name in (*names, "distance", "similarity")},
    )
    built = Path(args.built)
    out = Path(args.out) if args.out else built / "lists"
    with Progress("") as progress:
        how = make_lists(built, out, options, set_ids(args.only, built), jobs_of(args.jobs), progress.named)
    for text in how["remarks"]:
        remark(text)
    if args.json:
        print(json.dumps({"out": str(out)} | how))
    else:
        for line in _lines(how, out):
            print(one_line(line))
    return 0


def _lines(how: dict[str, Any], out: Path) -> list[str]:
    parts = ("train", "val", "test", "test_extra")
    counts: dict[str, dict[str, dict[str, int]]] = how["counts"]
    rows: list[tuple[str, ...]] = [("set", *parts, "objects")]
    for name, own in counts.items():
        numbers = [own.get(part, {}).get("images", 0) for part in parts]
        objects = sum(one["objects"] for one in own.values())
        rows.append((name, *(f"{number:,}" for number in (*numbers, objects))))
    totals = [sum(own.get(part, {}).get("images", 0) for own in counts.values()) for part in parts]
    objects = sum(one["objects"] for own in counts.values() for one in own.values())
    rows.append(("together", *(f"{number:,}" for number in (*totals, objects))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *cells]))
    done: dict[str, int] = {}
    for own in how["cleaning"].values():
        for what, number in own.items():
            done[what] = done.get(what, 0) + number
    cleaned = ", ".join(f"{what} {number:,}" for what, number in sorted(done.items()))
    near = how["near duplicates"]
    lines += [
        f"cleaned: {cleaned or 'nothing to do'}",
        f"pairs of near-duplicates that join cases: {near['pairs']:,}",
        f"left out, since they show the same as an image for tests: {near['images left out for a test']:,}",
        f"lists: {out}" + (" (unchanged)" if how["unchanged"] else ""),
    ]
    return lines
