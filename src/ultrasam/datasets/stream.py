"""A COCO file written image by image: the file may be larger than the memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_open, reason, shown

Json = dict[str, Any]


class CocoStream:
    """A COCO file with one entry in a line. A context: the file takes its name when it ends without an
    exception. Raises UltrasamError if something cannot be written.
    """

    def __init__(self, path: Path, info: Mapping[str, Any], categories: Sequence[Json]) -> None:
        self.path = path
        self.images = self.objects = 0
        self._info, self._categories = dict(info), list(categories)

    def __enter__(self) -> CocoStream:
        with ExitStack() as opened:  # what is open is closed if the next cannot be
            self._file = opened.enter_context(atomic_open(self.path))
            # Annotations follow all images, so until then they wait in a file of their own.
            self._waiting = opened.enter_context(TemporaryFile(dir=self.path.parent))
            self._file.write(f'{{"info": {json.dumps(self._info)},\n"images": ['.encode())
            self._open = opened.pop_all()
        return self

    def add(self, image: Json, annotations: Iterable[Json]) -> None:
        """The next image, with its annotations."""
        self._line(self._file, self.images, image)
        for one in annotations:
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
