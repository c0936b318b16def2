"""`ultrasam data build --dry-run`: what is there, what is missing, how to get it, and the disk it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from ultrasam.cli.main import one_line

if TYPE_CHECKING:
    from ultrasam.datasets.catalogue import Dataset
    from ultrasam.datasets.outlook import Outlook


def run_dry(args: Namespace, chosen: list[Dataset], raw: Path | None, sources: Mapping[str, Path]) -> int:
    """Print what a build of these sets would do; nothing is written. 0, also if sets are missing."""
    from ultrasam.datasets.outlook import free_bytes, outlook

    free = free_bytes(Path(args.out))
    found = []
    for one in outlook(chosen, raw, sources, bool(args.with_duplicates)):
        found.append(one)
        if not args.json:
            for line in _lines(one, bool(args.with_duplicates)):
                print(one_line(line), flush=True)
    counted = [one for one in found if args.with_duplicates or not one.dataset.duplicate_of]
    there = [one for one in counted if one.path is not None]
    totals = {
        "sets": len(counted),
        "there": len(there),
        "raw_bytes": sum(one.raw_bytes or 0 for one in there),
        "bytes_of_those_there": sum(one.bytes or 0 for one in there),
        "bytes_of_all": sum(one.bytes or 0 for one in counted),
        "sets_of_unknown_size": [one.dataset.id for one in counted if one.bytes is None],
        "free_bytes": free,
    }
    if args.json:
        print(json.dumps({"datasets": [_content(one) for one in found], "totals": totals}))
    else:
        for line in _summary(totals):
            print(one_line(line))
    return 0


def _content(one: Outlook) -> dict[str, Any]:
    entry = one.dataset
    return {
        "id": entry.id,
        "name": entry.name,
        "path": None if one.path is None else str(one.path),
        "converter": one.ready,
        "terms": entry.terms,
        "licence": entry.licence,
        "url": entry.url,
        "access": entry.access,
        "duplicate_of": entry.duplicate_of,
        **{key: value for key, value in asdict(one).items() if key not in ("dataset", "path", "ready")},
    }


def _lines(one: Outlook, duplicates: bool) -> list[str]:
    entry = one.dataset
    state = "missing" if one.path is None else f"there: {one.path}, {_size(one.raw_bytes)}"
    if not one.ready:
        state += "; no converter"
    if one.problem:
        state = f"cannot be built: {one.problem}"
    lines = [f"{entry.id:<20} {state}"]
    if entry.duplicate_of and not duplicates:
        lines.append(f"    {entry.duplicate_of} again: left out, but for --only or --with-duplicates")
    if one.images is None:
        result = "how many images it has is not known"
    else:
        how = "from a sample" if one.sampled else "from the catalogue"
        result = f"about {one.images:,} images, {_size(one.bytes)} as PNG ({how})"
    lines += [f"    terms: {entry.terms}. {entry.licence}", f"    results: {result}"]
    if one.path is None and not one.problem:
        lines += [f"    {number}. {step}" for number, step in enumerate(entry.access, 1)]
        lines.append(f"    {entry.url}")
    return lines


def _summary(totals: Mapping[str, Any]) -> list[str]:
    missing = totals["sets"] - totals["there"]
    unknown = totals["sets_of_unknown_size"]
    lines = [
        "",
        f"{totals['there']} of {totals['sets']} sets are there ({_size(totals['raw_bytes'])}), "
        f"{missing} are missing.",
        f"Results: about {_size(totals['bytes_of_those_there'])} for those that are there, "
        f"{_size(totals['bytes_of_all'])} for all; free: {_size(totals['free_bytes'])}.",
    ]
    if unknown:
        lines.append(f"Not counted, since their number of images is not known: {', '.join(unknown)}.")
    return lines


def _size(number: int | None) -> str:
    """Bytes as people say them, in powers of 1000."""
    value = float(number or 0)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
