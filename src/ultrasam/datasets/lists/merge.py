"""From sets and the part of each image to the lists: masks are cleaned, and all files written at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.lists.assign import OFFICIAL, PARTS, Part
from ultrasam.datasets.lists.clean import Chunk, clean, largest_only
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.lists.sources import LEFT_OUT, BuiltSet
from ultrasam.datasets.lists.write import CocoWriter, write_classes
from ultrasam.datasets.processes import in_processes

_CHUNK = 64

Json = dict[str, Any]
Tell = Callable[[str, int, int], None]


class Merge:
    """Cleans the masks of set after set and writes all lists at once."""

    def __init__(
        self, built: Path, out: Path, options: ListOptions, state: Json, sets: Sequence[BuiltSet]
    ) -> None:
        self.built, self.out, self.options, self.state, self.sets = built, out, options, state, sets
        self.counts: dict[str, dict[str, Json]] = {}
        self.cleaning: dict[str, Json] = {}

    def run(self, part_of: Mapping[int, Part], jobs: int, tell: Tell) -> tuple[Json, Json]:
        """Write the lists; `part_of` an image id, those without a part in `PARTS` go into none.

        Returns, by set, how many images and objects each part has and what cleaning has done. `tell` hears
        (set, images done, images). Raises UltrasamError if an image cannot be read or a list written.
        """
        done = 0
        with ExitStack() as stack:
            merged = self._merged(stack, part_of)
            for one in self.sets:
                coco = one.coco()
                counts = {part: Counter[str]() for part in PARTS}
                with ExitStack() as own:
                    writers = self._own(own, one, coco, part_of)
                    for image, drawn in self._cleaned(one, coco, part_of, jobs):
                        part = part_of[image["id"]]
                        self._add(image, drawn, part, one, writers, merged)
                        counts[part].update(images=1, objects=len(drawn))
                        done += 1
                        tell(one.id, done, len(part_of))
                self.counts[one.id] = {part: dict(own) for part, own in counts.items() if own}
                if one.id in LEFT_OUT.values():
                    self._write_classes(one, coco, part_of)
        return self.counts, self.cleaning

    def _write_classes(self, one: BuiltSet, coco: Json, part_of: Mapping[int, Part]) -> None:
        """The lists for classification: images all of whose objects are of one class, small ones too."""
        labels: dict[int, set[int]] = defaultdict(set)
        for annotation in coco["annotations"]:
            labels[annotation["image_id"]].add(annotation["category_id"] - 1)
        rows: dict[str, list[tuple[str, int, str]]] = {part: [] for part in ("train", "val", "test")}
        for image in coco["images"]:
            part = part_of.get(image["id"])
            if part in rows and len(labels[image["id"]]) == 1:
                (label,) = labels[image["id"]]
                name = image["file_name"]
                rows[part].append((f"{one.id}/images/{name}", label, image.get("case_id") or name))
        names = [category["name"] for category in coco["categories"]]
        write_classes(self.out / "classification" / one.id, self.built, names, rows)

    def _own(
        self, stack: ExitStack, one: BuiltSet, coco: Json, part_of: Mapping[int, Part]
    ) -> dict[str, CocoWriter]:
        present = {part_of[image["id"]] for image in coco["images"] if image["id"] in part_of}
        return {
            part: stack.enter_context(
                CocoWriter(
                    self.out / "sets" / one.id / f"{part}.json",
                    self.built,
                    coco["categories"],
                    self._info(part, [one]),
                )
            )
            for part in PARTS
            if part in present
        }

    def _merged(
        self, stack: ExitStack, part_of: Mapping[int, Part]
    ) -> list[tuple[str, set[str], CocoWriter]]:
        """(part, sets that go in, writer) of each class-agnostic list."""
        present = set(part_of.values())
        names: list[tuple[str, str, list[BuiltSet]]] = [
            (part, part, list(self.sets)) for part in PARTS if part in present
        ]
        for application in LEFT_OUT:
            others = [one for one in self.sets if one.application != application]
            if len(others) < len(self.sets) and others:
                names += [(f"{part}.without-{application}", part, others) for part in ("train", "val")]
        names += [(f"test.{one.id}", "test", [one]) for one in self.sets if one.id in OFFICIAL]
        found: list[tuple[str, set[str], CocoWriter]] = []
        for name, part, sets in names:
            path = self.out / "agnostic" / f"{name}.json"
            index = path.with_suffix("") if name == part else None
            info = self._info(part, sets)
            writer = CocoWriter(path, self.built, [], info, agnostic=True, index=index)
            found.append((part, {one.id for one in sets}, stack.enter_context(writer)))
        if self.options.paper_split and any(one.id == "mmotu_2d" for one in self.sets):
            (one,) = [one for one in self.sets if one.id == "mmotu_2d"]
            path = self.out / "agnostic" / "test.mmotu_2d.largest.json"
            writer = CocoWriter(path, self.built, [], self._info("test", [one]), agnostic=True)
            found.append(("largest", {"mmotu_2d"}, stack.enter_context(writer)))
        return found

    def _add(
        self,
        image: Json,
        drawn: list[Json],
        part: Part,
        one: BuiltSet,
        writers: Mapping[str, CocoWriter],
        whole: Sequence[tuple[str, set[str], CocoWriter]],
    ) -> None:
        entry = {key: value for key, value in image.items() if key not in ("split", "phash")}
        entry |= {"split": part} | ({"source_split": image["split"]} if image.get("split") else {})
        writers[part].add(entry, drawn, one.id)
        for name, sets, writer in whole:
            if one.id not in sets or not drawn:
                continue
            if name == part:
                writer.add(entry, drawn, one.id)
            elif name == "largest" and part == "test":
                writer.add(entry, largest_only(drawn), one.id)

    def _cleaned(
        self, one: BuiltSet, coco: Json, part_of: Mapping[int, Part], jobs: int
    ) -> Iterator[tuple[Json, list[Json]]]:
        """Each image that goes into a list, with its annotations cleaned; an image that cleaning has left
        empty does not.
        """
        drawn: dict[int, list[Json]] = defaultdict(list)
        for annotation in coco["annotations"]:
            drawn[annotation["image_id"]].append(annotation)
        images = [image for image in coco["images"] if part_of.get(image["id"]) in PARTS]
        look = self.options.sector and one.id in DATASETS and DATASETS[one.id].sector
        chunks = [
            Chunk(
                tuple(some),
                tuple(tuple(drawn[image["id"]]) for image in some),
                one.folder / "images" if look else None,
                # Tests keep small objects.
                tuple(part_of[image["id"]] in ("train", "val") for image in some),
                self.options,
            )
            for some in (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
        ]
        total: Counter[str] = Counter()
        results = in_processes(clean, chunks, min(jobs, max(len(chunks), 1)))
        for chunk, (cleaned, counts) in zip(chunks, results, strict=True):
            total += counts
            for image, own in zip(chunk.images, cleaned, strict=True):
                if own or image.get("negative"):
                    yield image, own
                else:
                    total["images left empty"] += 1
        self.cleaning[one.id] = dict(sorted(total.items()))

    def _info(self, part: str, sets: Sequence[BuiltSet]) -> Json:
        return {
            "description": f"{part} of {', '.join(one.id for one in sets)}",
            "made_by": self.state["made_by"],
            "part": part,
            "options": self.state["options"],
            "sets": {one.id: self.state["sets"][one.id] for one in sets},
        }
