"""The files of lists: COCO files and indexes written as the images come, lists for classification."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_open, ensure_writable_dir, reason, shown
from ultrasam.datasets.index import IndexWriter

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
        self.path = path
        self.images = self.objects = 0
        self._agnostic = agnostic
        self._categories = [OBJECT] if agnostic else list(categories)
        self._info = dict(info)
        self._root = relative(built, path.parent)
        self._index = (
            None if index is None else IndexWriter(index, self._categories, info, relative(built, index))
        )

    def __enter__(self) -> CocoWriter:
        ensure_writable_dir(self.path.parent)
        with ExitStack() as opened:  # what is open is closed if the next cannot be
            self._file = opened.enter_context(atomic_open(self.path))
            # Annotations follow all images, so until then they wait in a file of their own.
            self._waiting = opened.enter_context(TemporaryFile(dir=self.path.parent))
            if self._index is not None:
                opened.enter_context(self._index)
            self._file.write(f'{{"info": {json.dumps(self._info)},\n"images": ['.encode())
            self._open = opened.pop_all()
        return self

    def add(self, image: Json, annotations: Iterable[Json], dataset: str) -> None:
        """An image of the converted set `dataset`, with what is drawn in it."""
        own = [one | {"category_id": OBJECT["id"]} if self._agnostic else one for one in annotations]
        name = f"{dataset}/images/{image['file_name']}"
        if self._index is not None:
            self._index.add(image | {"file_name": name}, own)
        self._line(self._file, self.images, image | {"file_name": f"{self._root}/{name}"})
        for one in own:
            self._line(self._waiting, self.objects, one)
            self.objects += 1
        self.images += 1

    def _line(self, file: Any, number: int, content: Json) -> None:
        text = json.dumps(content, allow_nan=False)
        try:
            file.write(f"{',' if number else ''}\n{text}".encode())
        except OSError as error:
            raise UltrasamError(
                f"{shown(self.path)} cannot be written ({reason(error)}): free some space"
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:  # closes, and gives the file its name, after the lines below
            try:
                self._file.write(b'],\n"annotations": [')
                self._waiting.seek(0)
                shutil.copyfileobj(self._waiting, self._file, 1 << 20)
                self._file.write(f'],\n"categories": {json.dumps(self._categories)}}}\n'.encode())
            except OSError as failed:
                raise UltrasamError(
                    f"{shown(self.path)} cannot be written ({reason(failed)}): free some space"
                ) from failed


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
    folder: Path, built: Path, names: Sequence[str], rows: Mapping[str, Sequence[tuple[str, int]]]
) -> None:
    """Lists for image classification in a folder: PART.txt with "path class" in a line, and classes.txt.

    `rows` are (path of an image below the folder `built`, class from 0) of each part; paths lead from
    `folder`. Raises UltrasamError if something cannot be written.
    """
    ensure_writable_dir(folder)
    root = relative(built, folder)
    texts = {"classes": "".join(f"{name}\n" for name in names)}
    texts |= {part: "".join(f"{root}/{file} {label}\n" for file, label in own) for part, own in rows.items()}
    for name, text in texts.items():
        with atomic_open(folder / f"{name}.txt") as out:
            out.write(text.encode(errors="surrogateescape"))  # as the system spells it
