"""The converted sets that go into lists."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, sha256_of, shown
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.lists.assign import OFFICIAL
from ultrasam.datasets.lists.groups import Item
from ultrasam.datasets.lists.options import ALLOWED, ListOptions
from ultrasam.datasets.results import ANNOTATIONS, MANIFEST
from ultrasam.datasets.verify import built_sets

Json = dict[str, Any]

LEFT_OUT = {
    "breast_lesion": "bus_bra",
    "ovarian_tumour": "mmotu_2d",
    "gastrointestinal_stromal_tumour": "gist514_db",
}
"""The organs that the three UltraSam* models of the paper have not seen, by application, and their tests."""


# What a list says of the sets that it was made of.
_ABOUT = ("name", "licence", "terms", "citation", "url", "status")


@dataclass(frozen=True)
class BuiltSet:
    """A converted set: its folder, which has its id for a name, and what its manifest says of it.

    `about` has the keys `_ABOUT` and the SHA-256 of the COCO file.
    """

    id: str
    folder: Path
    about: Json

    def coco(self) -> Json:
        content: Json = json.loads((self.folder / ANNOTATIONS).read_bytes())
        return content

    @property
    def application(self) -> str:
        return DATASETS[self.id].application if self.id in DATASETS else ""


def chosen_sets(built: Path, options: ListOptions, only: Sequence[str]) -> tuple[list[BuiltSet], list[str]]:
    """The sets in `built`, or those named `only`, that may go in, and what is to be told of others.

    Raises UltrasamError if one of `only` is not finished, one has changed since, and if none is left.
    """
    sets: list[BuiltSet] = []
    remarks = []
    refused = []
    for folder in built_sets(built, only):
        try:
            one = _opened(folder)
        except UltrasamError as error:
            if only:
                raise
            remarks.append(f"left out: {error}")
            continue
        if one.about["terms"] in ALLOWED[options.licence]:
            sets.append(one)
        else:
            refused.append(f"{one.id} ({one.about['terms']})")
    if refused:
        remarks.append(f"left out by --licence {options.licence}: {', '.join(refused)}")
    incomplete = [one.id for one in sets if one.about["status"] != "complete"]
    if incomplete:
        remarks.append(f"incomplete, as their report.json says: {', '.join(incomplete)}")
    there = {one.id for one in sets}
    again = [one.id for one in sets if one.id in DATASETS and DATASETS[one.id].duplicate_of in there]
    if again and not options.paper_split:
        remarks += [f"left out, since it is {DATASETS[name].duplicate_of} again: {name}" for name in again]
        sets = [one for one in sets if one.id not in again]
    if not sets:
        raise UltrasamError(f"no set in {shown(built)} may go in: {'; '.join(remarks)}")
    for one in sets:
        if sha256_of(one.folder / ANNOTATIONS) != one.about["sha256"]:
            raise UltrasamError(
                f"{shown(one.folder / ANNOTATIONS)} has changed since it was built: build it again"
            )
    return sets, remarks


def guarded_sets(built: Path, sets: Sequence[BuiltSet], options: ListOptions) -> list[BuiltSet]:
    """The sets in `built` with an official test that do not go in, for their licence or because others were
    named: a copy of their test images is not trained on either.
    """
    chosen = {one.id for one in sets}
    found: list[BuiltSet] = []
    if options.duplicates and not options.paper_split:
        for folder in built_sets(built):
            if folder.name in OFFICIAL and folder.name not in chosen:
                with contextlib.suppress(UltrasamError):  # one that is not finished
                    found.append(_opened(folder))
    return found


def of_unknown_organs(sets: Sequence[BuiltSet]) -> list[str]:
    """What is to be told where lists without an organ are made and sets do not say what they show."""
    unknown = [one.id for one in sets if not one.application]
    if not unknown or not any(one.application in LEFT_OUT for one in sets):
        return []
    return [
        f"in the lists without an organ too, since nothing says which organ it shows: {', '.join(unknown)}"
    ]


def _opened(folder: Path) -> BuiltSet:
    """The set in a folder. Raises UltrasamError if it is not finished or is another one's."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        about = {key: manifest[key] for key in _ABOUT} | {"sha256": manifest["results"][ANNOTATIONS]}
        name = manifest["dataset"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        why = f"{MANIFEST} lacks {error}" if isinstance(error, KeyError) else reason(error)
        raise UltrasamError(
            f"{shown(folder)} is no finished set ({why}): run `ultrasam data build` again"
        ) from None
    if name != folder.name:
        raise UltrasamError(f"{shown(folder)} holds the set {name}: give the folder that name, or remove it")
    return BuiltSet(name, folder, about)


def items_of(one: BuiltSet, sets: Sequence[BuiltSet], options: ListOptions) -> Iterator[Item]:
    """The images of a set but those that another of the sets has too. Raises UltrasamError if they have no
    hash or case.
    """
    there = {other.id for other in sets}
    coco = one.coco()
    categories: dict[int, set[int]] = defaultdict(set)
    for annotation in coco["annotations"]:
        categories[annotation["image_id"]].add(annotation["category_id"])
    for image in coco["images"]:
        if (image.get("attributes") or {}).get("duplicate_of") in there and not options.paper_split:
            continue
        if not {"phash", "case_id"} <= image.keys():
            raise UltrasamError(f"{one.id} was built by an older version: run `ultrasam data build` again")
        yield Item(
            image["id"],
            one.id,
            image["case_id"],
            one.folder / "images" / image["file_name"],
            image.get("split") or "",
            int(image["phash"], 16),
            frozenset(categories[image["id"]]),
        )
