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

import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, atomic_write_text, reason, shown
from ultrasam.core.workplace import HIDDEN, is_temporary, own_folder, remove_temporary_files
from ultrasam.datasets.lists.assign import Part, assign, test_part
from ultrasam.datasets.lists.groups import Groups, Item, Pair, duplicate_groups
from ultrasam.datasets.lists.merge import Merge, Tell
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.lists.sources import chosen_sets, guarded_sets, items_of, of_unknown_organs
from ultrasam.datasets.results import size_of

HOW, CASES, DUPLICATES = "how.json", "cases.csv", "duplicates.json"
FOLDERS = ("sets", "agnostic", "classification")
# In what two folders of lists may differ, as a user would say it.
_WORDS = {"made_by": "version", "code": "version"}

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

    The same sets and options give the same bytes. "unchanged" in what is returned says whether all was there
    already. Raises UltrasamError if a set cannot be used, if `out` holds something else or lists that were
    made otherwise, if it cannot be written, or if another run writes to it.
    """
    sets, remarks = chosen_sets(built, options, only)
    remarks += of_unknown_organs(sets)
    guarded = guarded_sets(built, sets, options)
    state = {
        "made_by": f"ultrasam {__version__}: data split",
        "code": _code(),
        "options": asdict(options),
        "sets": {one.id: one.about for one in sets},
        "tests beside them": {one.id: one.about["sha256"] for one in guarded},
    }
    before = _earlier(out, state)
    if before is not None:
        return before | {"unchanged": True}
    with own_folder(out):
        remove_temporary_files(out)
        for folder in FOLDERS:  # what a run that was stopped has left
            shutil.rmtree(out / folder, ignore_errors=True)
        items = [item for one in sets for item in items_of(one, sets, options)]
        if not items:
            raise UltrasamError(f"no image is left of the sets in {shown(built)}: build them again")
        tests = [
            item for one in guarded for item in items_of(one, sets, options) if test_part(item) == "test"
        ]
        groups, pairs = Groups(), list[Pair]()
        if options.duplicates and not options.paper_split:
            told = lambda done, total: tell("near-duplicates", done, total)  # noqa: E731
            groups, pairs = duplicate_groups([*items, *tests], options, jobs, told)
        parts, more = assign([*items, *tests], groups.of, options)
        parts = parts[: len(items)]
        part_of = {item.id: part for item, part in zip(items, parts, strict=True)}
        if len(part_of) < len(items):
            raise UltrasamError("two images have one id: `ultrasam data verify` says which, build them again")
        merge = Merge(built, out, options, state, sets)
        counts, cleaning = merge.run(part_of, jobs, tell)
        _write_cases(out / CASES, items, groups, parts)
        _write_pairs(out / DUPLICATES, [*items, *tests], pairs, state)
        how = state | {
            "counts": counts,
            "cleaning": cleaning,
            "near duplicates": {
                "pairs": len(pairs),
                "images left out for a test": parts.count("near a test"),
            },
            "remarks": [*remarks, *more],
        }
        written = [
            out / CASES,
            out / DUPLICATES,
            *(path for name in FOLDERS for path in (out / name).rglob("*")),
        ]
        how["files"] = {
            path.relative_to(out).as_posix(): path.stat().st_size
            for path in sorted(written)
            if path.is_file()
        }
        atomic_write_text(out / HOW, json.dumps(how, indent=1) + "\n")
    return how | {"unchanged": False}


def _earlier(out: Path, state: Json) -> Json | None:
    """What an earlier run with this state has written, if it is all there; None if there was none.

    Raises UltrasamError if the folder holds other lists or something else.
    """
    advice = "choose another folder with --out"
    try:
        there = {name for name in os.listdir(out) if not is_temporary(name)}
    except (FileNotFoundError, NotADirectoryError):  # `own_folder` tells what is in the way
        return None
    except OSError as error:
        raise UltrasamError(f"{shown(out)} cannot be read ({reason(error)}): {advice}") from None
    how = _read_how(out / HOW)
    if how is None:
        # What a run that was stopped leaves; converted sets and results of `segment` are other things.
        if there and not {HIDDEN} <= there <= {HIDDEN, CASES, DUPLICATES, *FOLDERS}:
            raise UltrasamError(f"{shown(out)} is not empty and holds no lists: {advice}")
        return None
    other = [key for key in state if how.get(key) != json.loads(json.dumps(state[key]))]
    if other:
        first = next((key for key in ("sets", "options") if key in other), other[-1])
        what = _WORDS.get(first, first)
        raise UltrasamError(f"{shown(out)} holds lists made otherwise (other {what}), which stay: {advice}")
    files = how.get("files", {})
    whole = files and all(size_of(out / name) == size for name, size in files.items())
    return how if whole else None


def _read_how(path: Path) -> Json | None:
    """What stands in the file, None if it is not there or not ours."""
    try:
        how: Json = json.loads(path.read_bytes())
        return how if how["made_by"].startswith("ultrasam ") else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _write_cases(path: Path, items: Sequence[Item], groups: Groups, parts: Sequence[Part]) -> None:
    """A row for each case and part: how many images, and the group of near-duplicates it belongs to."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    for item, part in zip(items, parts, strict=True):
        rows[item.dataset, item.case, groups.of(item.case), part] += 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "case", "group", "part", "images"])
    writer.writerows([*row, count] for row, count in sorted(rows.items()))
    # A case may have the name of a file that is no text.
    atomic_write(path, text.getvalue().encode(errors="backslashreplace"))


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
    shared = (here.parent / name for name in ("likeness.py", "index.py", "stream.py"))
    files = [*sorted(here.glob("*.py")), *shared]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
