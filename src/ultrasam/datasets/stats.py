"""What the built sets hold, in numbers, and the totals beside those of the paper.

An object is one mask of the main annotator on one image. Nothing counts twice: what another built set holds
already is told apart as "again".
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.catalogue import DATASETS, Dataset
from ultrasam.datasets.results import ANNOTATIONS, MANIFEST
from ultrasam.datasets.verify import built_sets
from ultrasam.io.coco import Coco, read_coco

State = Literal["complete", "incomplete", "missing manifest", "unreadable manifest"]

PAPER = {"sets": 43, "applications": 20, "structures": 50, "objects": 280_000}
"""What *UltraSam* (Meyer et al., IJCARS 2025) says of US-43d; the last two are "over" so many."""

PARTLY_AGAIN = {"fast_u_net": ("fetal_head", "hc18")}
"""Set -> (category, set): the images of this category are those of the other set, see its quirks."""


@dataclass(frozen=True)
class Spread:
    """A low, a middle and a high value of many."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], ends: float = 0.0) -> Spread | None:
        """The median between the percentiles `ends` and 100 - `ends`; None of no values."""
        if not len(values):
            return None
        low, middle, high = np.percentile(values, (ends, 50, 100 - ends)).tolist()
        return cls(low, middle, high)


@dataclass(frozen=True)
class CategoryStats:
    """A structure of a set: the images that show it and its objects. `again`: another set has them too."""

    name: str
    kind: str
    images: int
    objects: int
    again: bool


@dataclass(frozen=True)
class SetStats:
    """A built set.

    `state` and `partial` are those of its manifest. `categories` are all of the COCO file, also without
    objects. `again_images` and `again_objects` are those that another built set holds too. `widths`,
    `heights` (pixels) and `per_image` (objects) are minimum, median and maximum; `shares` is the area of an
    object as a share of its image: 5th percentile, median, 95th percentile.
    """

    id: str
    state: State
    partial: bool
    images: int
    objects: int
    cases: int
    negatives: int
    again_images: int
    categories: tuple[CategoryStats, ...]
    widths: Spread | None
    heights: Spread | None
    per_image: Spread | None
    shares: Spread | None

    @property
    def entry(self) -> Dataset | None:
        """What the catalogue says of the set; None if it does not know it."""
        return DATASETS.get(self.id)

    @property
    def in_us43d(self) -> bool:
        return self.entry is not None and self.entry.in_us43d

    @property
    def application(self) -> str:
        return self.entry.application if self.entry else ""

    @property
    def again_objects(self) -> int:
        return sum(category.objects for category in self.categories if category.again)

    @property
    def new_images(self) -> int:
        return self.images - self.again_images

    @property
    def new_objects(self) -> int:
        return self.objects - self.again_objects

    @property
    def expected(self) -> int | None:
        """Images by the catalogue; None if not known."""
        return self.entry.images if self.entry else None


@dataclass(frozen=True)
class Total:
    """A number of ours, the paper's (None if it has none) and how ours was counted."""

    what: str
    ours: int
    paper: int | None
    counted: str

    @property
    def difference(self) -> int | None:
        return None if self.paper is None else self.ours - self.paper


@dataclass(frozen=True)
class Stats:
    """All built sets that were counted, in the order of the catalogue; unknown ones last, by name."""

    sets: tuple[SetStats, ...]

    @property
    def us43d(self) -> tuple[SetStats, ...]:
        return tuple(one for one in self.sets if one.in_us43d)

    @property
    def totals(self) -> tuple[Total, ...]:
        """What the paper counts, then what we tell apart."""
        used = self.us43d
        others = [one for one in self.sets if not one.in_us43d]
        structures = {c.name for one in used for c in one.categories if c.objects}
        applications = {one.application for one in used if one.objects}
        again, other = (
            "that another of these sets holds too, left out above",
            "of sets that are not in US-43d",
        )
        return (
            Total("data sets", len(used), PAPER["sets"], "sets of US-43d, copies of others too"),
            Total(
                "applications",
                len(applications),
                PAPER["applications"],
                "of which there is an object; the grouping is ours",
            ),
            Total(
                "structures",
                len(structures),
                PAPER["structures"],
                "distinct names of categories with an object: benign and malignant are two; the paper has "
                "over 50",
            ),
            Total(
                "image/mask pairs",
                sum(one.new_objects for one in used),
                PAPER["objects"],
                "objects, each mask one, none twice; the paper has over 280,000",
            ),
            Total("images", sum(one.new_images for one in used), None, "none twice, negatives too"),
            Total("pairs again", sum(one.again_objects for one in used), None, f"pairs {again}"),
            Total("images again", sum(one.again_images for one in used), None, f"images {again}"),
            Total("pairs elsewhere", sum(one.objects for one in others), None, f"pairs {other}"),
            Total("images elsewhere", sum(one.images for one in others), None, f"images {other}"),
        )

    def __str__(self) -> str:
        """The totals as plain text for a terminal."""
        rows: list[tuple[str, ...]] = [("US-43d", "built", "paper", "difference")]
        for total in self.totals:
            numbers = (total.ours, total.paper, total.difference)
            shown = ("-" if number is None else f"{number:,}" for number in numbers)
            rows.append((total.what, *shown))
        return "\n".join("".join((f"{row[0]:<16}", *(f"{cell:>12}" for cell in row[1:]))) for row in rows)


def gather(out: Path, only: Sequence[str] = ()) -> Stats:
    """Count what the sets in `out` hold, one after the other; with `only` no others.

    Raises UltrasamError if there is none, one of `only` is missing or a COCO file is not valid.
    """
    folders = folders_to_count(out, only)
    names = {folder.name for folder in folders}
    return Stats(tuple(_counted(folder, names) for folder in folders))


def folders_to_count(out: Path, only: Sequence[str] = ()) -> list[Path]:
    """The folders that `gather` reads, in its order; it raises the same unless a COCO file is not valid."""
    folders = set(built_sets(out, only))
    missing = sorted(folder.name for folder in folders if not (folder / ANNOTATIONS).is_file())
    if only and missing:
        raise UltrasamError(
            f"{shown(out)} has no {', '.join(missing)}: build it with `ultrasam data build`, or leave it out"
        )
    if len(missing) == len(folders):
        raise UltrasamError(
            f"{shown(out)} holds no data set that could be built: their report.json tells why"
        )
    place = {name: number for number, name in enumerate(DATASETS)}
    built = (folder for folder in folders if folder.name not in missing)
    return sorted(built, key=lambda folder: (place.get(folder.name, len(place)), folder.name))


def _counted(folder: Path, built: set[str]) -> SetStats:
    """The numbers of one set, of which `built` are counted too."""
    name = folder.name
    coco = read_coco(folder / ANNOTATIONS)
    state, partial = _manifest(folder / MANIFEST)
    drawn: dict[int, set[int]] = defaultdict(set)
    objects: Counter[int] = Counter()
    of_image: Counter[int] = Counter()
    for annotation in coco.annotations:
        drawn[annotation.image_id].add(annotation.category_id)
        objects[annotation.category_id] += 1
        of_image[annotation.image_id] += 1
    seen = Counter(number for numbers in drawn.values() for number in numbers)
    again = _again(name, coco, built)
    whole = _duplicates_one_of(name, built)
    size = {image.id: image.height * image.width for image in coco.images}
    return SetStats(
        id=name,
        state=state,
        partial=partial,
        images=len(coco.images),
        objects=len(coco.annotations),
        cases=len({image.case_id or image.file_name for image in coco.images}),
        negatives=sum(image.id not in drawn for image in coco.images),
        again_images=len(coco.images) if whole else sum(numbers <= again for numbers in drawn.values()),
        categories=tuple(
            CategoryStats(
                category.name,
                category.supercategory or "",
                seen[category.id],
                objects[category.id],
                category.id in again,
            )
            for category in coco.categories
        ),
        widths=Spread.of([image.width for image in coco.images]),
        heights=Spread.of([image.height for image in coco.images]),
        per_image=Spread.of([of_image[image.id] for image in coco.images]),
        shares=Spread.of([one.area / size[one.image_id] for one in coco.annotations], 5),
    )


def _again(name: str, coco: Coco, built: set[str]) -> set[int]:
    """The categories whose objects another of the sets `built` holds too."""
    if _duplicates_one_of(name, built):
        return {category.id for category in coco.categories}
    category_name, other = PARTLY_AGAIN.get(name, ("", ""))
    return {category.id for category in coco.categories if category.name == category_name and other in built}


def _duplicates_one_of(name: str, built: set[str]) -> bool:
    return name in DATASETS and DATASETS[name].duplicate_of in built


def _manifest(path: Path) -> tuple[State, bool]:
    try:
        manifest = json.loads(path.read_bytes())
        state: State = "complete" if manifest["status"] == "complete" else "incomplete"
        return state, bool(manifest["partial"])
    except FileNotFoundError:
        return "missing manifest", False
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "unreadable manifest", False
