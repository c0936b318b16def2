"""The files of lists: COCO files and indexes written as the images come, lists for classification."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ultrasam.core.files import atomic_open, ensure_writable_dir
from ultrasam.datasets.index import IndexWriter
from ultrasam.datasets.labelled import CASES, CLASSES
from ultrasam.datasets.stream import CocoStream

Json = dict[str, Any]

OBJECT = {"id": 1, "name": "object", "supercategory": "none"}
"""The one category of class-agnostic lists."""


class CocoWriter:
    """A COCO file of one part, written image by image: the file may be larger than the memory.

    A context; the file takes its name when it ends without an exception. `built` is the folder with the
    converted sets: names of files lead there from the folder of the list. With `index`, the same as an index
    in that folder. `agnostic`: every object gets the category `OBJECT`. Raises UltrasamError if something
    cannot be written.
    """

    def __init__(
        self,
        path: Path,
        built: Path,
        categories: Sequence[Json],
        info: Mapping[str, Any],
        *,
        agnostic: bool = False,
        index: Path | None = None,
    ) -> None:
        own = [OBJECT] if agnostic else list(categories)
        self._agnostic = agnostic
        self._root = relative(built, path.parent)
        self._coco = CocoStream(path, info, own)
        self._index = None if index is None else IndexWriter(index, own, info, relative(built, index))

    def __enter__(self) -> CocoWriter:
        ensure_writable_dir(self._coco.path.parent)
        with ExitStack() as opened:  # what is open is closed if the next cannot be
            opened.enter_context(self._coco)
            if self._index is not None:
                opened.enter_context(self._index)
            self._open = opened.pop_all()
        return self

    def add(self, image: Json, annotations: Iterable[Json], dataset: str) -> None:
        """An image of the converted set `dataset`, with what is drawn in it."""
        own = [one | {"category_id": OBJECT["id"]} if self._agnostic else one for one in annotations]
        name = f"{dataset}/images/{image['file_name']}"
        if self._index is not None:
            self._index.add(image | {"file_name": name}, own)
        self._coco.add(image | {"file_name": f"{self._root}/{name}"}, own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def relative(target: Path, folder: Path) -> str:
    """The way from a folder to a target, with /: both may be moved together.

    On Windows no way leads from one drive to another: then the whole path.
    """
    target = target.resolve()
    try:
        return Path(os.path.relpath(target, folder.resolve())).as_posix()
    except ValueError:
        return target.as_posix()


def write_classes(
    folder: Path, built: Path, names: Sequence[str], rows: Mapping[str, Sequence[tuple[str, int, str]]]
) -> None:
    """Lists for image classification in a folder: PART.txt with "path class" in a line, classes.txt, and
    cases.tsv with "path<tab>case" for each image.

    `rows` are (path of an image below the folder `built`, class from 0, case) of each part; paths lead from
    `folder`. Raises UltrasamError if something cannot be written.
    """
    ensure_writable_dir(folder)
    root = relative(built, folder)
    texts = {CLASSES: "".join(f"{name}\n" for name in names)}
    cases = sorted((file, case) for own in rows.values() for file, _, case in own)
    texts[CASES] = "".join(f"{root}/{file}\t{case}\n" for file, case in cases)
    for part, own in rows.items():
        texts[f"{part}.txt"] = "".join(f"{root}/{file} {label}\n" for file, label, _ in own)
    for name, text in texts.items():
        with atomic_open(folder / name) as out:
            out.write(text.encode(errors="surrogateescape"))  # as the system spells it
