"""An index of a COCO list that training opens at once: columns on disk, mapped into memory, read when used.

A folder with

    header.json        counts, categories, data sets, how the list was made; written last
    images.npy         a row for each image, `IMAGE`
    objects.npy        a row for each object, `OBJECT`, those of one image together
    texts.bin          the names of files, cases, views and attributes, one after the other
    masks.bin          the counts of the run-length masks, one after the other

Opening it reads the header and maps the rest: 280,000 images cost a few MB until they are asked for, and the
processes of a data loader share the pages. Everything is little-endian.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_open, atomic_write_text, ensure_writable_dir, reason, shown
from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import decode_segmentation

FORM = 1
"""Changes when folders of older versions can no longer be read."""

HEADER, IMAGES, OBJECTS, TEXTS, MASKS = "header.json", "images.npy", "objects.npy", "texts.bin", "masks.bin"

IMAGE = np.dtype(
    [
        ("id", "<i8"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("dataset", "<i4"),
        ("case", "<i4"),
        ("text", "<i8"),
        ("length", "<i4"),
        ("objects", "<i4"),
        ("first", "<i8"),
    ]
)
"""`dataset` is a place in the header's list, `case` numbers the cases, `text` and `length` are where the rest
stands in texts.bin, `first` and `objects` which rows of objects.npy belong to the image.
"""

OBJECT = np.dtype(
    [
        ("id", "<i8"),
        ("image", "<i4"),
        ("category", "<i4"),
        ("box", "<f4", (4,)),
        ("area", "<f8"),
        ("mask", "<i8"),
        ("length", "<i4"),
    ]
)
"""`image` is a row of images.npy, `box` half-open x0, y0, x1, y1 in pixels, `mask` and `length` where the
counts stand in masks.bin.
"""

Json = dict[str, Any]


class IndexedObject(NamedTuple):
    """One object: `box` half-open (x0, y0, x1, y1) in pixels, `segmentation` a compressed RLE."""

    id: int
    category_id: int
    box: tuple[float, float, float, float]
    area: float
    segmentation: Json

    def mask(self) -> BoolArray:
        """(H, W) bool."""
        height, width = self.segmentation["size"]
        return decode_segmentation(self.segmentation, height, width)


class IndexedImage(NamedTuple):
    """One image of a list; `file` can be opened, `about` holds what else the list says of it."""

    id: int
    file: Path
    height: int
    width: int
    dataset: str
    case_id: str
    about: Json


class ListIndex:
    """A list that lies on disk: `len()` images, each by its row. `open_index` opens it.

    It can be sent to another process: what is sent is the path. Not for writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            header = json.loads((path / HEADER).read_bytes())
            if header["form"] != FORM:
                raise UltrasamError(f"{shown(path)} is an index of another version: make the lists again")
            self.header: Json = header
            self.images: NDArray[Any] = np.load(path / IMAGES, mmap_mode="r")
            self.objects: NDArray[Any] = np.load(path / OBJECTS, mmap_mode="r")
            self._texts = _mapped(path / TEXTS)
            self._masks = _mapped(path / MASKS)
            sizes = (len(self.images), len(self.objects), len(self._texts), len(self._masks))
            if sizes != tuple(header["sizes"]):
                raise UltrasamError(f"{shown(path)} is cut off: make the lists again")
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            raise UltrasamError(
                f"{shown(path)} is no index ({reason(error)}): give a folder that `ultrasam data split` wrote"
            ) from None
        self.datasets: tuple[str, ...] = tuple(header["datasets"])
        self.categories: tuple[Json, ...] = tuple(header["categories"])

    def __len__(self) -> int:
        return len(self.images)

    def __reduce__(self) -> tuple[type[ListIndex], tuple[Path]]:
        return ListIndex, (self.path,)

    def image(self, row: int) -> IndexedImage:
        """The image in a row. IndexError if there is none."""
        entry = self.images[row]
        start = int(entry["text"])
        about = json.loads(self._texts[start : start + int(entry["length"])].tobytes())
        file = self.path / self.header["root"] / about.pop("file_name")
        size = int(entry["height"]), int(entry["width"])
        case = about.pop("case_id", None) or file.name
        return IndexedImage(int(entry["id"]), file, *size, self.datasets[entry["dataset"]], case, about)

    def objects_of(self, row: int) -> list[IndexedObject]:
        """The objects of the image in a row, in the order of the list."""
        entry = self.images[row]
        size = [int(entry["height"]), int(entry["width"])]
        first = int(entry["first"])
        found = []
        for one in self.objects[first : first + int(entry["objects"])]:
            start = int(one["mask"])
            counts = self._masks[start : start + int(one["length"])].tobytes().decode("ascii")
            segmentation = {"size": size, "counts": counts}
            x0, y0, x1, y1 = one["box"].tolist()
            box = (x0, y0, x1, y1)
            found.append(
                IndexedObject(int(one["id"]), int(one["category"]), box, float(one["area"]), segmentation)
            )
        return found

    def rows(self, only: Sequence[str] = (), without: Sequence[str] = ()) -> NDArray[np.int64]:
        """The rows of the images of the data sets `only` (all if empty) that are not among `without`.

        Raises UltrasamError for a set that the list does not have.
        """
        unknown = {*only, *without} - set(self.datasets)
        if unknown:
            raise UltrasamError(f"{shown(self.path)} has no data set {min(unknown)!r}")
        wanted = [name not in without and (not only or name in only) for name in self.datasets]
        return np.flatnonzero(np.array(wanted, np.bool_)[self.images["dataset"]])


def _mapped(path: Path) -> NDArray[np.uint8]:
    """A file as bytes, (N,) uint8; one without content cannot be mapped."""
    if os.path.getsize(path) == 0:
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "r")


class IndexWriter:
    """Writes an index image by image: in memory are only the rows, some 100 bytes for each.

    A context: the header, without which nothing is an index, is written when it ends without an exception.
    `root` leads from the folder of the index to where `file_name` starts. Raises UltrasamError if something
    cannot be written.
    """

    def __init__(
        self, path: AnyPath, categories: Sequence[Mapping[str, Any]], info: Mapping[str, Any], root: str
    ) -> None:
        self.path = Path(path)
        self._about = {"form": FORM, "categories": list(categories), "info": dict(info), "root": root}
        self._datasets: dict[str, int] = {}
        self._cases: dict[str, int] = {}
        self._images = bytearray()
        self._objects = bytearray()
        self._rows = self._count = 0
        self._texts_end = self._masks_end = 0

    def __enter__(self) -> IndexWriter:
        ensure_writable_dir(self.path)
        (self.path / HEADER).unlink(missing_ok=True)
        with ExitStack() as opened:  # what is open is closed if the next cannot be
            self._texts = opened.enter_context(atomic_open(self.path / TEXTS))
            self._masks = opened.enter_context(atomic_open(self.path / MASKS))
            self._open = opened.pop_all()
        return self

    def add(self, image: Mapping[str, Any], objects: Iterable[Mapping[str, Any]]) -> None:
        """An image of a COCO list and its annotations, whose segmentation is a compressed RLE."""
        about = dict(image)
        number, height, width = about.pop("id"), about.pop("height"), about.pop("width")
        dataset = self._datasets.setdefault(about.pop("dataset", None) or "", len(self._datasets))
        case = about.get("case_id") or about["file_name"]
        case_number = self._cases.setdefault(case, len(self._cases))
        text = json.dumps(about, allow_nan=False, separators=(",", ":")).encode()
        first = self._count
        for one in objects:
            counts = one["segmentation"]["counts"].encode("ascii")
            x, y, w, h = one["bbox"]
            place = (self._masks_end, len(counts))
            self._objects += _row(
                OBJECT, one["id"], self._rows, one["category_id"], (x, y, x + w, y + h), one["area"], *place
            )
            self._masks.write(counts)
            self._masks_end += len(counts)
            self._count += 1
        place = (self._texts_end, len(text))
        self._images += _row(
            IMAGE, number, height, width, dataset, case_number, *place, self._count - first, first
        )
        self._rows += 1
        self._texts.write(text)
        self._texts_end += len(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
        if error is not None:
            return
        for name, rows, columns in ((IMAGES, self._images, IMAGE), (OBJECTS, self._objects, OBJECT)):
            with atomic_open(self.path / name) as file:
                np.save(file, np.frombuffer(rows, columns))
        header = self._about | {
            "datasets": list(self._datasets),
            "cases": len(self._cases),
            "sizes": [self._rows, self._count, self._texts_end, self._masks_end],
        }
        atomic_write_text(self.path / HEADER, json.dumps(header, indent=1) + "\n")


def _row(columns: np.dtype[Any], *values: Any) -> bytes:
    return np.array([values], columns).tobytes()


def open_index(path: AnyPath) -> ListIndex:
    """The index in a folder. Raises UltrasamError if it is none, of another version or cut off."""
    return ListIndex(Path(path).absolute())


def images_of(index: ListIndex) -> Iterator[tuple[IndexedImage, list[IndexedObject]]]:
    """Every image with its objects, in the order of the list."""
    for row in range(len(index)):
        yield index.image(row), index.objects_of(row)
