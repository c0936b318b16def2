"""One set converted by several runs at once, on one machine or many, in any order.

Each run converts every n-th group of the set and enters it in a journal of its own, in the folder that all
have in common. An ordinary run then takes the journals over, converts what is missing and writes the results:
the same as if there had been no shards. So a shard that failed or never ran loses nothing but time.

The raw files must have the same names, sizes and times for every run, as they have on a shared disk or copied
with their times. Folders that were filled on disks of their own are put together by copying them into one.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import ensure_writable_dir
from ultrasam.core.workplace import own_folder
from ultrasam.datasets.build import (
    PART_OF_JOURNAL,
    Tell,
    check_apart,
    code_of,
    convert_missing,
    plan_of,
    signature_of,
)
from ultrasam.datasets.catalogue import Dataset
from ultrasam.datasets.convert import fingerprint
from ultrasam.datasets.journal import Journal
from ultrasam.datasets.results import MANIFEST, earlier_images, remove


@dataclass(frozen=True)
class Shard:
    """Number `number` of `count`, from 1: of the groups of a set those at `number` - 1, + `count`, and so
    on.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard I/N. Raises UltrasamError if it is none."""
        match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UltrasamError(f"--shard {text}: give the number of this run and of all, such as 1/4 to 4/4")
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        return f"{self.number}-of-{self.count}"


@dataclass(frozen=True)
class ShardOutcome:
    """What a shard has done of a set: images listed for it, of `total`, and how many files had problems.

    The problems are told by the run that writes the results: it tries these files once more.
    """

    dataset: str
    shard: str
    images: int
    total: int
    problems: int


def build_shard(
    dataset: Dataset,
    raw: Path,
    out: Path,
    shard: Shard,
    jobs: int = 1,
    *,
    duplicates: bool = False,
    tell: Tell | None = None,
) -> ShardOutcome:
    """Convert the part `shard` of a set into `out`/ID, without results yet; `build` then writes them.

    Other arguments as for `build`. Raises UltrasamError if the raw files cannot be used or images cannot be
    written, and if the same shard, or a run without shards, is under way.
    """
    folder = out / dataset.id
    images = folder / "images"
    check_apart(raw, folder)
    with own_folder(folder, shard.name) as hidden:
        unpacked = hidden / f"raw.{shard.name}"
        try:
            earlier_images(folder)
            place = unpacked / signature_of(dataset, raw)[:16]
            dataset, plan = plan_of(dataset, raw, place, duplicates, jobs)
            ensure_writable_dir(images)
            remove(folder / MANIFEST)
            code = code_of(dataset)
            own = plan.groups[shard.number - 1 :: shard.count]
            groups = [(fingerprint(group, code, plan.root), group) for group in own]
            with Journal(hidden / PART_OF_JOURNAL.format(shard.name)) as journal:
                convert_missing(dataset, plan.root, groups, journal, images, jobs, tell)
                problems = sum(len(journal.read(key)["problems"]) for key, _ in groups)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    done = sum(len(group.records) for group in own)
    return ShardOutcome(dataset.id, shard.name, done, plan.images, problems)
