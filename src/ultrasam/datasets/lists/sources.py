"""The converted sets that go into lists."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, sha256_of, shown
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.lists.groups import Item
from ultrasam.datasets.lists.options import ALLOWED, ListOptions
from ultrasam.datasets.results import ANNOTATIONS, MANIFEST
from ultrasam.datasets.verify import built_sets

Json = dict[str, Any]


@dataclass(frozen=True)
class BuiltSet:
    """A converted set: its folder, its manifest and the SHA-256 of its COCO file."""

    id: str
    folder: Path
    manifest: Json
    sha256: str

    def coco(self) -> Json:
        content: Json = json.loads((self.folder / ANNOTATIONS).read_bytes())
        return content

    @property
    def application(self) -> str:
        return DATASETS[self.id].application if self.id in DATASETS else ""

    def about(self) -> Json:
        """What a list says of the sets it was made of."""
        keys = ("name", "licence", "terms", "citation", "url", "status")
        return {key: self.manifest[key] for key in keys} | {"sha256": self.sha256}


def chosen_sets(built: Path, options: ListOptions, only: Sequence[str]) -> tuple[list[BuiltSet], list[str]]:
    """The sets in `built`, or those named `only`, that may go in, and what is to be told of others.

    Raises UltrasamError if one is not finished or has changed since, and if none is left.
    """
    sets: list[BuiltSet] = []
    remarks = []
    refused = []
    for folder in built_sets(built, only):
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            name, terms, results = manifest["dataset"], manifest["terms"], manifest["results"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            text = f"{shown(folder)} is no finished set ({reason(error)})"
            if only:
                raise UltrasamError(f"{text}: run `ultrasam data build` again") from None
            remarks.append(f"left out: {text}")
            continue
        if terms not in ALLOWED[options.licence]:
            refused.append(f"{name} ({terms})")
            continue
        sets.append(BuiltSet(name, folder, manifest, results[ANNOTATIONS]))
    if refused:
        remarks.append(f"left out by --licence {options.licence}: {', '.join(refused)}")
    incomplete = [one.id for one in sets if one.manifest["status"] != "complete"]
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
        if sha256_of(one.folder / ANNOTATIONS) != one.sha256:
            raise UltrasamError(
                f"{shown(one.folder / ANNOTATIONS)} has changed since it was built: build it again"
            )
    return sets, remarks


def items_of(one: BuiltSet, sets: Sequence[BuiltSet], options: ListOptions) -> Iterator[Item]:
    """The images of a set but those that another of the sets has too. Raises UltrasamError if they have no
    hash.
    """
    there = {other.id for other in sets}
    coco = one.coco()
    categories: dict[int, set[int]] = defaultdict(set)
    for annotation in coco["annotations"]:
        categories[annotation["image_id"]].add(annotation["category_id"])
    for image in coco["images"]:
        if (image.get("attributes") or {}).get("duplicate_of") in there and not options.paper_split:
            continue
        if "phash" not in image:
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
