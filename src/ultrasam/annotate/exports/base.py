"""What all formats share: the choices of a user, the scans, and files that appear together or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.core.errors import UltrasamError, UltrasamWarning
from ultrasam.core.files import ensure_writable_dir, reason, shown
from ultrasam.io.inputs import names_in
from ultrasam.io.scan import Scan, read_scan

UNNAMED = "object"
"""The class of an object that has none."""


@dataclass(frozen=True)
class ExportOptions:
    """How a person wants it.

    `segmentation`: how COCO holds a mask, exact both ways. `pseudonymise`: whether DICOM-SEG gets pseudonyms
    in place of the patient; they are made from `salt`, at least 16 random bytes that never leave the caller:
    with the same salt a patient keeps the pseudonym.
    """

    segmentation: Literal["rle", "polygons"] = "rle"
    pseudonymise: bool = False
    salt: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Exported:
    """The files that were written, and what could not be, each remark one sentence for the user."""

    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()


class Stage:
    """Files on their way into a folder; see `staged`."""

    def __init__(self, out: Path, folder: Path) -> None:
        self.out = out
        self._folder = folder
        self._names: list[PurePosixPath] = []

    def path(self, name: str) -> Path:
        """Where to write the file `name`, a path with `/` below the folder. Its parents are made."""
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise UltrasamError(f"{shown(name)} leads out of the folder of the export: rename the scan")
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        self._names.append(place)
        return path

    def write(self, name: str, data: bytes) -> None:
        with self.path(name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def write_json(self, name: str, content: object) -> None:
        self.write(name, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    def withdraw(self, name: str) -> None:
        """Forget a file that could not be finished."""
        self._names.remove(PurePosixPath(name))
        (self._folder / name).unlink(missing_ok=True)

    def publish(self) -> tuple[Path, ...]:
        files = [self.out / name for name in self._names]
        for name, path in zip(self._names, files, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._folder / name, path)
        return tuple(files)


@contextmanager
def staged(out: Path) -> Iterator[Stage]:
    """Files that are written in a hidden folder of `out`, which takes them by `publish`.

    After an exception nothing of them is left. Raises UltrasamError if they cannot be written.
    """
    out = ensure_writable_dir(out)
    folder = out / f".{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir()
        yield Stage(out, folder)
    except OSError as error:
        raise UltrasamError(
            f"the export cannot be written to {shown(out)} ({reason(error)}): "
            "free some space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Work:
    """An export under way: `names` are what the files of each scan are called, `numbers` those of the classes
    from 1, `model` what the masks were made with as in COCO's info; `remarks` grows.
    """

    scans: Sequence[AnnotatedScan]
    options: ExportOptions
    numbers: Mapping[str, int]
    model: Mapping[str, Any] | None
    stage: Stage
    names: Sequence[str]
    remarks: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)

    def remark_on(self, scan: AnnotatedScan, what: str, error: UltrasamError) -> None:
        """A remark about a scan by its place only: remarks may leave this machine with the files."""
        why = str(error).replace(shown(scan.path), "the file")
        self.remark(f"{shown(scan.place)}: {what}: {why}")

    def opened(self, scan: AnnotatedScan) -> Scan | None:
        """The file of a scan; None and a remark if it cannot be read."""
        try:
            with warnings.catch_warnings():  # told where the scan was opened
                warnings.simplefilter("ignore", UltrasamWarning)
                return read_scan(scan.path, scan.axis or "z")
        except UltrasamError as error:
            self.remark_on(scan, "the scan cannot be opened", error)
            return None

    def present(self, scan: AnnotatedScan) -> list[Annotation]:
        """The annotations that have a mask; a remark about those that are empty."""
        kept = [annotation for annotation in scan.annotations if not is_empty(annotation)]
        if missing := len(scan.annotations) - len(kept):
            what = "1 empty mask was" if missing == 1 else f"{missing} empty masks were"
            self.remark(f"{shown(scan.place)}: {what} left out")
        return kept

    def labels(self, scan: AnnotatedScan) -> Iterator[tuple[int, NDArray[Any]]]:
        """Frame by frame (number, (H, W) of class numbers, 0 where nothing is); a later object lies over an
        earlier one, which gives a remark.
        """
        objects = objects_of(scan)
        for frame, of_frame in by_frame(self.present(scan)).items():
            drawn = np.zeros(tuple(of_frame[0].rle["size"]), self.label_type)
            for annotation in of_frame:
                mask, number = annotation.mask, self.numbers[label_of(objects[annotation.object])]
                below = drawn[mask]
                if ((below != 0) & (below != number)).any():
                    self.remark(
                        f"{shown(scan.place)}: objects of different classes overlap, "
                        "the later one lies over the earlier"
                    )
                drawn[mask] = number
            yield frame, drawn

    @property
    def label_type(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if max(self.numbers.values(), default=0) < 256 else np.uint16

    def label_table(self) -> dict[str, str]:
        """What the values of label pictures and label volumes mean, as in labels.json."""
        return {"0": "background"} | {str(number): name for name, number in self.numbers.items()}


def work_of(
    scans: Sequence[AnnotatedScan],
    options: ExportOptions,
    classes: Sequence[str],
    model: Mapping[str, Any] | None,
    stage: Stage,
) -> Work:
    """The work at its beginning; classes that occur but are not in `classes` come after them."""
    used = (label_of(known) for scan in scans for known in objects_of(scan).values())
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*classes, *used]), start=1)}
    names = names_in([PurePosixPath(scan.place) for scan in scans])
    return Work(scans, options, numbers, model, stage, names)


def objects_of(scan: AnnotatedScan) -> dict[int, AnnotatedObject]:
    """The objects of a scan by their ids, also those that only its annotations name."""
    found = {annotation.object: AnnotatedObject(annotation.object, "") for annotation in scan.annotations}
    return found | {known.id: known for known in scan.objects}


def by_frame(annotations: Sequence[Annotation]) -> dict[int, list[Annotation]]:
    """Those of each frame that has some, in their order."""
    frames: dict[int, list[Annotation]] = {}
    for annotation in annotations:
        frames.setdefault(annotation.frame, []).append(annotation)
    return frames


def label_of(known: AnnotatedObject) -> str:
    return known.label or UNNAMED


def is_empty(annotation: Annotation) -> bool:
    with suppress(UltrasamError):
        return not annotation.mask.any()
    return True


def whole_spacing(scan: Scan | None, width: float, height: float) -> tuple[float, float] | None:
    """mm per pixel in (x, y) if all of a frame of this size has the same."""
    return None if scan is None else scan.spacing_of((0, 0, width, height))
