"""Many frames, one after the other or several at once, each finished for good before the next is begun."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, sha256_of
from ultrasam.core.geometry import as_rgb
from ultrasam.io.scan import Scan, read_scan
from ultrasam.predict.decode import Result
from ultrasam.predict.frames import (
    Ask,
    Settings,
    annotation_of,
    model_entry,
    picture_endings,
    pictures,
    segment_frame,
)
from ultrasam.predict.journal import Journal, fingerprint_of
from ultrasam.predict.model import Model

# After these nothing more can be written to the folder, whatever the item.
_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Item:
    """One frame of a file and what is asked about it.

    `axis` is the one along which a volume is cut into frames, `name` what its results are called (see
    `Journal`), `question` a JSON value that changes with what is
    asked, `asks` the objects for a frame of given width and height in pixels. `image` and `objects` are the
    entries of the image and of each object in COCO, as far as they are known before; where objects are looked
    for without prompts, `objects` holds one entry for all. An item with a `problem` fails with it.
    """

    path: Path
    name: str
    frame: int = 0
    axis: str = "z"
    question: Any = None
    asks: Callable[[int, int], Sequence[Ask]] = lambda width, height: ()
    image: Mapping[str, Any] = field(default_factory=dict)
    objects: Sequence[Mapping[str, Any]] = ()
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    "done": segmented now; "kept": its results from an earlier run stand; "failed": `error` says why; "left":
    not begun since nothing more could be written. `record` is what the journal holds of a done or kept item:
    `sha256` and `frames` of the file, `image` and `annotations` as in COCO, `objects` (their summaries),
    `endings` of what was written, and `seconds`.
    """

    item: Item
    status: Literal["done", "kept", "failed", "left"]
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def run_batch(
    model: Model,
    items: Sequence[Item],
    settings: Settings,
    journal: Journal,
    *,
    summarise: Callable[[Result, Scan], Mapping[str, Any]],
    jobs: int = 1,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Segment all items that are not finished, `jobs` at the same time with one model; one outcome for each.

    Only the frames that are being worked on are in memory. `summarise` says in JSON values what a report is
    to hold about an object. `tell` is called in this thread after each item. An item is finished if the
    journal has a record of the same question, file, model, settings and version.
    """
    batch = _Batch(model, settings, journal, summarise)
    outcomes: dict[int, Outcome] = {}
    pending: dict[Future[Outcome], int] = {}

    def collect(most: int) -> None:
        while len(pending) > most:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                outcomes[pending.pop(future)] = outcome = future.result()
                tell(outcome)

    pool = ThreadPoolExecutor(jobs, "ultrasam")
    try:
        for number, item in enumerate(items):
            pending[pool.submit(batch.run, item)] = number
            collect(2 * jobs - 1)
        collect(0)
    finally:  # interrupted: what is being written is finished, nothing is begun any more
        pool.shutdown(wait=True, cancel_futures=True)
    return [outcomes[number] for number in range(len(items))]


class _Batch:
    def __init__(
        self,
        model: Model,
        settings: Settings,
        journal: Journal,
        summarise: Callable[[Result, Scan], Mapping[str, Any]],
    ) -> None:
        from ultrasam import __version__

        self._model = model
        self._settings = settings
        self._journal = journal
        self._summarise = summarise
        self._facts = {"version": __version__, "model": model_entry(model), "settings": asdict(settings)}
        self._hashes: tuple[Path, str] | None = None
        self._scan: tuple[tuple[Path, str, str], Scan] | None = None
        self._lock = threading.Lock()
        self._is_full = False

    def run(self, item: Item) -> Outcome:
        if self._is_full:
            return Outcome(item, "left")
        try:
            if item.problem:
                raise UltrasamError(item.problem)
            return self._run(item)
        except UltrasamError as error:
            cause = error.__cause__
            self._is_full = self._is_full or (isinstance(cause, OSError) and cause.errno in _NO_MORE)
            return Outcome(item, "failed", error=str(error))
        except Exception as error:  # one item out of thousands must not end the run
            text = f"unexpected {type(error).__name__} ({reason(error)})"
            return Outcome(item, "failed", error=text)

    def _run(self, item: Item) -> Outcome:
        start = time.perf_counter()
        digest = self._sha256(item.path)
        facts = self._facts | {"sha256": digest, "frame": item.frame, "question": item.question}
        if item.axis != "z":
            facts |= {"axis": item.axis}
        fingerprint = fingerprint_of(facts | {"image": item.image, "objects": item.objects})
        record = self._journal.finished(item.name, fingerprint)
        if record is not None:
            return Outcome(item, "kept", record)
        automatic = self._settings.automatic is not None
        self._journal.check(item.name, picture_endings(self._settings, 0 if automatic else len(item.objects)))
        scan = self._opened(item, digest)
        image = as_rgb(scan.frames[item.frame])
        height, width = image.shape[:2]
        asks = item.asks(width, height)
        for ask in asks:
            ask.check(width, height)
        results = segment_frame(self._model, scan, image, asks, self._settings)
        objects = item.objects
        if automatic:  # how many there are is known only now
            objects = [*item.objects] * len(results)
            self._journal.check(item.name, picture_endings(self._settings, len(results)))
        summaries = [self._summarise(result, scan) for result in results]
        annotations = [
            annotation_of(result, self._settings, summary)
            for result, summary in zip(results, summaries, strict=True)
        ]
        record = {
            "sha256": digest,
            "frames": len(scan.frames),
            "image": {**item.image, "width": width, "height": height},
            "annotations": [{**known, **new} for known, new in zip(objects, annotations, strict=True)],
            "objects": summaries,
            "seconds": round(time.perf_counter() - start, 3),
        }
        contents = pictures(image, results, self._settings)
        return Outcome(item, "done", self._journal.write(item.name, fingerprint, record, contents))

    def _opened(self, item: Item, digest: str) -> Scan:
        """The scan, opened once for all frames of a clip: a volume is then decompressed once, and a video
        played once.
        """
        key = item.path, item.axis, digest
        with self._lock:
            if self._scan is None or self._scan[0] != key:
                self._scan = None
                self._scan = key, read_scan(item.path, item.axis)
            return self._scan[1]

    def _sha256(self, path: Path) -> str:
        """Of the file, once for all frames of a clip, which follow each other."""
        with self._lock:
            if self._hashes is not None and self._hashes[0] == path:
                return self._hashes[1]
        digest = sha256_of(path)
        with self._lock:
            self._hashes = path, digest
        return digest
