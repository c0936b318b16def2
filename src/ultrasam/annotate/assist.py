"""What the model does by itself: tracking, objects without prompts, drafts from a COCO file."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from ultrasam.annotate.document import BY_HAND, AnnotatedObject, Annotation
from ultrasam.annotate.editing import JSON, Editing, Target, annotation_of_result
from ultrasam.annotate.imports import read_annotations
from ultrasam.annotate.project import Opened
from ultrasam.annotate.store import By, Conflict, Edit, NotKept
from ultrasam.annotate.values import (
    annotation_of,
    mask_key,
    place_of,
    sent_annotation,
    value_of,
)
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.masks import BoolArray
from ultrasam.core.prompts import Prompts
from ultrasam.predict.tracking import Tracked, Tracker

# Below this score a person should look at what nobody pointed at.
DOUBTFUL = 0.6


class NothingFound(UltrasamError):
    """The model found no object that is not there yet."""


@dataclass(frozen=True)
class TrackRequest:
    """Which objects (None: all that are on it) to carry from `frame` on, forward or back, up to `last`."""

    scan: int
    frame: int
    by: By
    objects: tuple[int, ...] | None = None
    back: bool = False
    last: int | None = None
    axis: str | None = None


class Assistant:
    """Long work on the scans of a project; what is finished of it is kept at once."""

    def __init__(self, editing: Editing) -> None:
        self.editing = editing
        self.project = editing.project
        self._running: dict[tuple[int, str], Event] = {}

    def track(self, request: TrackRequest) -> Generator[JSON, None, None]:
        """Carry objects from frame to frame; yields a line for each frame, and one at the end.

        What a person made or corrected is not touched: an object's tracking ends there, as it does where
        another tab changed a frame meanwhile. All frames are one step of undo. Raises UltrasamError before
        the first line.
        """
        editing, store = self.editing, self.editing.store
        opened = self.project.opened(request.scan, request.axis)
        start = time.perf_counter()
        known = {
            place: (key, version, summary)
            for key, (version, summary) in editing.marks(request.scan).items()
            if (place := place_of(key)) is not None
        }
        here = [number for number, frame in known if frame == request.frame]
        numbers = here if request.objects is None else [n for n in request.objects if n in here]
        masks: dict[str, BoolArray] = {}
        for number in numbers:
            stored = store.get(request.scan, known[number, request.frame][0])
            if stored is not None:
                mask = annotation_of(mask_key(number, request.frame), stored).mask
                masks |= {str(number): mask} if mask.any() else {}
        if not masks:
            raise UltrasamError("there is nothing to track on this frame: click an object first")
        anchors = {
            name: [f for (n, f), (_, _, mark) in known.items() if str(n) == name and by_hand(mark)]
            for name in masks
        }
        tracker = Tracker(
            self.editing.frames.model,
            opened.scan,
            request.frame,
            masks,
            step=-1 if request.back else 1,
            last=request.last,
            anchors=anchors,
        )
        versions = {place: version for place, (_, version, _) in known.items()}
        return self._lines(request, tracker, versions, start)

    def cancel(self, scan: int, client: str) -> None:
        """Let a run of this tab end after the frame that it is at."""
        running = self._running.get((scan, client))
        if running is not None:
            running.set()

    def stop(self) -> None:
        """Let all runs end after the frame that they are at."""
        for running in list(self._running.values()):
            running.set()

    def _lines(
        self, request: TrackRequest, tracker: Tracker, versions: dict[tuple[int, int], int], start: float
    ) -> Generator[JSON, None, None]:
        scan, client = request.scan, request.by.client
        run = _Run(request, secrets.token_hex(8), versions)
        stop = self._running[scan, client] = Event()
        frames = 0
        try:
            for tracked in tracker:
                self.editing.alive(client)
                sent = self._keep(run, tracked)
                if not sent or stop.is_set():
                    break
                frames += 1
                yield {
                    "frame": tracked[0].frame,
                    "annotations": sent,
                    "seconds": round(time.perf_counter() - start, 3),
                }
        except NotKept as error:
            yield {"error": str(error), "code": "disk"}
            return
        except UltrasamError as error:
            yield {"error": str(error), "code": "invalid"}
            return
        finally:
            if self._running.get((scan, client)) is stop:
                del self._running[scan, client]
        stops = [
            {"object": int(end.name), "frame": end.frame, "reason": end.reason, "kind": end.kind}
            for end in tracker.stops
            if int(end.name) not in run.lost
        ]
        stops += [
            {"object": number, "frame": frame, "reason": "it was changed in another tab", "kind": "changed"}
            for number, frame in run.lost.items()
        ]
        change = self.editing.answer(scan, None, None, start)
        change["timeline"] = self.editing.timeline(scan)
        yield {"end": True, "stopped": stops, "frames": frames, "change": change}

    def _keep(self, run: _Run, tracked: Sequence[Tracked]) -> list[JSON]:
        """Keep one frame of all objects; what another tab changed meanwhile is left as it is."""
        scan, by = run.request.scan, run.request.by
        sent = []
        for found in tracked:
            number = int(found.name)
            if number in run.lost:
                continue
            made = annotation_of_result(found.result, number, found.frame, "tracked", found.doubt)
            made = replace(made, prompts=Prompts())
            key = mask_key(number, found.frame)
            edit = Edit(run.versions.get((number, found.frame)), value_of(made, found.result.logits))
            focus = {"frame": run.request.frame, "object": number}
            try:
                self.editing.step(scan, by, {key: edit}, focus, run.name)
            except Conflict:
                run.lost[number] = found.frame
                continue
            version, _ = self.editing.marks(scan).get(key, (0, {}))
            sent.append(sent_annotation(made, version, None, found.result.mask))
        return sent

    def find(self, target: Target) -> JSON:
        """Add the objects of a frame that the model finds without prompts, those that are not there yet."""
        start = time.perf_counter()
        editing = self.editing
        opened = self.project.opened(target.scan, target.axis)
        image = editing.frames.image(opened, target.frame)
        still = replace(opened.scan, frames=[image])
        there = [annotation.mask for _, annotation in editing.on_frame(target.scan, target.frame)]
        edits: dict[str, Edit] = {}
        for result in editing.frames.model.automatic(still):
            if any((mask & result.mask).sum() > 0.5 * result.area for mask in there):
                continue
            number, begun = editing.new_object(opened, target.label)
            doubt = "" if result.score >= DOUBTFUL else f"score {result.score:.2f} is low"
            made = annotation_of_result(result, number, target.frame, "auto", doubt)
            edits |= {key: edit for key, edit in begun.items() if key not in edits}
            edits[mask_key(number, target.frame)] = Edit(None, value_of(made, result.logits))
        if not edits:
            raise NothingFound("nothing new was found on this frame: click the object")
        return editing.apply(target, edits, start)

    def draft(self, by: By) -> Iterator[tuple[str, int | str]]:
        """Find objects on the first frame of each scan in which nothing is annotated.

        Yields the place of each such scan when it is done, with how many were found or what was wrong.
        """
        for entry in self.project.entries.values():
            if self.editing.marks(entry.id):
                continue
            try:
                found = self.find(Target(entry.id, 0, None, None, by))
                yield entry.place, len(found["annotations"])
            except NothingFound:
                yield entry.place, 0
            except UltrasamError as error:
                yield entry.place, str(error)

    def take(self, content: bytes | str, by: By, once: str = "") -> JSON:
        """Take the objects of a COCO file (its bytes or path): masks as they are, of boxes and points the
        mask that the model draws.

        With `once`, a name for the file, what was taken of it under that name is not taken again. Returns how
        many `objects` came on how many `images`, and what was `skipped`, each with the reason.
        """
        places = {entry.place: entry.id for entry in self.project.entries.values()}
        abouts = {place: self.editing.about(scan) for place, scan in places.items()}
        axes = {place: about["axis"] for place, about in abouts.items() if about.get("axis")}

        sizes: dict[tuple[str, str | None], tuple[int, int]] = {}

        def size_of(place: str, frame: int, axis: str | None) -> tuple[int, int]:
            # The frames of a scan are alike, and to decode each only for its size takes long.
            opened = self.project.opened(places[place], axis)
            if frame >= len(opened.scan.frames):
                raise UltrasamError(f"there is no frame {frame}, it has {len(opened.scan.frames)}")
            if (place, axis) not in sizes:
                height, width = self.editing.frames.image(opened, 0).shape[:2]
                sizes[place, axis] = width, height
            return sizes[place, axis]

        found = read_annotations(content, list(places), size_of, axes)
        self.project.classes.add(found.classes)
        skipped = list(found.skipped)
        count, frames = 0, set()
        asked: dict[str, list[tuple[AnnotatedObject, Annotation]]] = {}
        for ask in found.asks:
            try:
                opened = self.project.opened(places[ask.place], found.axes.get(ask.place))
                prompted = self.editing.frames.prompted(opened, ask.frame)
                with prompted.lock:
                    prompted.session.object("object")
                    prompted.session.reset()
                    result = prompted.session.give(ask.prompts)
                made = annotation_of_result(result, ask.object.id, ask.frame, "auto")
                asked.setdefault(ask.place, []).append((ask.object, made))
            except UltrasamError as error:
                skipped.append(f"{shown(ask.place)}: {error}")
        for place in dict.fromkeys([*found.scans, *asked]):
            objects, annotations = found.scans.get(place, ((), ()))
            drawn = asked.get(place, [])
            every = {o.id: o for o in [*objects, *(o for o, _ in drawn)]}
            made_here = [*annotations, *(annotation for _, annotation in drawn)]
            opened = self.project.opened(places[place], found.axes.get(place))
            job = f"{once}/{opened.entry.id}" if once else by.job
            if once and self.editing.store.has_arrived(job):
                continue
            count += self._add(opened, every, made_here, replace(by, job=job))
            frames |= {(place, annotation.frame) for annotation in made_here}
        return {"objects": count, "images": len(frames), "skipped": skipped}

    def _add(
        self,
        opened: Opened,
        objects: Mapping[int, AnnotatedObject],
        annotations: Sequence[Annotation],
        by: By,
    ) -> int:
        """Add objects to a scan in one step, under numbers of its own; returns how many."""
        edits: dict[str, Edit] = {}
        numbers = {}
        first = self.editing.store.next_number(opened.entry.id, len(objects))
        for number, (old, found) in enumerate(objects.items(), start=first):
            numbers[old] = number
            edits |= self.editing.begin(opened, replace(found, id=number))
        for annotation in annotations:
            made = replace(annotation, object=numbers[annotation.object])
            edits[mask_key(made.object, made.frame)] = Edit(None, value_of(made))
        frame = min((annotation.frame for annotation in annotations), default=0)
        target = Target(opened.entry.id, frame, None, None, by)
        self.editing.apply(target, edits, time.perf_counter())
        return len(objects)

    def next_scan(self, after: int | None, order: str = "least", frame: int | None = None) -> JSON:
        """What a person should look at next: the least certain frame, then a scan without annotations.

        Scans that are ticked as finished do not count. Of the scan `after` the `frame` is left out, without
        one all of it; "todo" goes on from it in order.
        """
        entries = self.project.entries.values()
        waiting = [entry for entry in entries if not self.editing.done(entry.id)]
        others = [entry for entry in waiting if entry.id != after]
        if order == "todo":
            later = [entry for entry in others if after is None or entry.id > after] or others
            if later:
                return {"scan": later[0].id, "frame": 0, "why": "not finished yet"}
            return {"scan": None, "frame": 0, "why": "every scan is finished"}
        doubts = [
            (certainty(mark), position, mark["frame"], mark["doubt"], entry.id)
            for position, entry in enumerate(waiting)
            for mark in self.editing.timeline(entry.id)
            if entry.id != after or (frame is not None and mark["frame"] != frame)
        ]
        if doubts and min(doubts)[0] < 1.0:
            sure, _, least, doubt, scan = min(doubts)
            return {
                "scan": scan,
                "frame": least,
                "why": doubt or f"the model is least sure here ({sure:.2f})",
            }
        empty = [entry for entry in others if not self.editing.timeline(entry.id)]
        if empty:
            return {"scan": empty[0].id, "frame": 0, "why": "nothing is annotated in it yet"}
        return {"scan": None, "frame": 0, "why": "nothing uncertain is left"}


@dataclass(frozen=True)
class _Run:
    """A run of tracking: its name in the store, the versions that it may replace, the objects it has lost."""

    request: TrackRequest
    name: str
    versions: Mapping[tuple[int, int], int]
    lost: dict[int, int] = field(default_factory=dict)


def by_hand(summary: Mapping[str, Any]) -> bool:
    """Whether a person made, corrected or checked an annotation."""
    return summary["origin"] in BY_HAND or bool(summary["checked"])


def certainty(mark: Mapping[str, Any]) -> float:
    """0 for what is doubtful, 1 for what a person drew or checked or a file says, else the score."""
    if mark["doubt"]:
        return 0.0
    return 1.0 if mark["score"] is None or mark["checked"] else float(mark["score"])
