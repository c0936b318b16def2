"""Lists for training and tests from a folder of converted sets.

    LISTS/sets/ID/PART.json            COCO with the classes of the set; PART is train, val, test, test_extra
    LISTS/agnostic/PART.json           all sets in one, every object of the one category "object"
    LISTS/agnostic/PART/               the same as an index (`datasets.index`)
    LISTS/agnostic/PART.without-APPLICATION.json   train and val of the three UltraSam* models
    LISTS/agnostic/test.ID.json        the official tests, a file each
    LISTS/classification/ID/PART.txt   image and class of the three sets for classification
    LISTS/cases.csv                    the part of every case, and its group of near-duplicates
    LISTS/duplicates.json              the pairs of images that joined these groups
    LISTS/how.json                     options, sets with their licence and SHA-256, counts; written last

The converted sets are not touched. Names of files lead from a list to the images beside it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write_text, shown
from ultrasam.core.workplace import HIDDEN, own_folder
from ultrasam.datasets.lists.assign import Part, assign
from ultrasam.datasets.lists.groups import Groups, Item, Pair, duplicate_groups
from ultrasam.datasets.lists.merge import Merge, Tell
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.lists.sources import chosen_sets, items_of
from ultrasam.datasets.results import size_of

HOW = "how.json"
Json = dict[str, Any]


def make_lists(
    built: Path,
    out: Path,
    options: ListOptions,
    only: Sequence[str] = (),
    jobs: int = 1,
    tell: Tell = lambda what, done, total: None,
) -> Json:
    """Write the lists of the sets in `built`, or of those named `only`; what is in how.json is returned.

    The same sets and options give the same bytes. With "unchanged" in what is returned all was there already.
    Raises UltrasamError if a set cannot be used, if `out` holds something else or lists that were made
    otherwise, if it cannot be written, or if another run writes to it.
    """
    sets, remarks = chosen_sets(built, options, only)
    state = {
        "made_by": f"ultrasam {__version__}: data split",
        "code": _code(),
        "options": asdict(options),
        "sets": {one.id: one.about() for one in sets},
    }
    before = _earlier(out, state)
    if before is not None:
        return before | {"unchanged": True}
    with own_folder(out):
        for folder in ("sets", "agnostic", "classification"):  # what a run that was stopped has left
            shutil.rmtree(out / folder, ignore_errors=True)
        items = [item for one in sets for item in items_of(one, sets, options)]
        if not items:
            raise UltrasamError(f"no image is left of the sets in {shown(built)}: build them again")
        groups, pairs = Groups(), list[Pair]()
        if options.duplicates and not options.paper_split:
            told = lambda done, total: tell("near-duplicates", done, total)  # noqa: E731
            groups, pairs = duplicate_groups(items, options, jobs, told)
        parts, more = assign(items, groups.of, options)
        part_of = {item.id: part for item, part in zip(items, parts, strict=True)}
        merge = Merge(built, out, options, state, sets)
        counts, cleaning = merge.run(part_of, jobs, tell)
        _write_cases(out / "cases.csv", items, groups, parts)
        _write_pairs(out / "duplicates.json", items, pairs, state)
        how = state | {
            "counts": counts,
            "cleaning": cleaning,
            "near duplicates": {
                "pairs": len(pairs),
                "images left out for a test": parts.count("near a test"),
            },
            "remarks": [*remarks, *more],
        }
        how["files"] = {
            path.relative_to(out).as_posix(): path.stat().st_size
            for path in sorted(out.rglob("*"))
            if path.is_file() and HIDDEN not in path.parts and path.name != HOW
        }
        atomic_write_text(out / HOW, json.dumps(how, indent=1) + "\n")
    return how


def _earlier(out: Path, state: Json) -> Json | None:
    """What an earlier run with this state has written, if it is all there; None if there was none.

    Raises UltrasamError if the folder holds other lists or something else.
    """
    if not out.exists():
        return None
    advice = "choose another folder with --out"
    how: Json = {}
    with contextlib.suppress(OSError, ValueError):
        how = dict(json.loads((out / HOW).read_bytes()))
    ours = str(how.get("made_by", "")).startswith("ultrasam ")
    if not ours and not (out.is_dir() and ((out / HIDDEN).is_dir() or not any(out.iterdir()))):
        raise UltrasamError(f"{shown(out)} is not empty and holds no lists: {advice}")
    if not ours:
        return None  # a run that was stopped
    other = [key for key in state if how.get(key) != json.loads(json.dumps(state[key]))]
    if other:
        raise UltrasamError(
            f"{shown(out)} holds lists made otherwise (other {other[-1]}), which stay: {advice}"
        )
    files = how.get("files", {})
    whole = files and all(size_of(out / name) == size for name, size in files.items())
    return how if whole else None


def _write_cases(path: Path, items: Sequence[Item], groups: Groups, parts: Sequence[Part]) -> None:
    """A row for each case and part: how many images, and the group of near-duplicates it belongs to."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    for item, part in zip(items, parts, strict=True):
        rows[item.dataset, item.case, groups.of(item.case), part] += 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "case", "group", "part", "images"])
    writer.writerows([*row, count] for row, count in sorted(rows.items()))
    atomic_write_text(path, text.getvalue())


def _write_pairs(path: Path, items: Sequence[Item], pairs: Sequence[Pair], state: Json) -> None:
    content = {
        "made_by": state["made_by"],
        "options": state["options"],
        "pairs": [
            {
                "images": [f"{one.dataset}/images/{one.file.name}" for one in both],
                "cases": [one.case for one in both],
                "distance": pair.distance,
                "similarity": pair.similarity,
            }
            for pair in pairs
            for both in [(items[pair.first], items[pair.second])]
        ],
    }
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


def _code() -> str:
    """SHA-256 of the code that lists depend on."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "likeness.py", here.parent / "index.py"]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
