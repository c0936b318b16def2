"""What a person does to annotations, step by step: prompts, brush, objects, undo. Each is kept at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from ultrasam.annotate.classes import checked_colour
from ultrasam.annotate.document import AnnotatedObject, Annotation
from ultrasam.annotate.frames import FrameCache
from ultrasam.annotate.project import Gone, Opened, Project
from ultrasam.annotate.store import Applied, By, Conflict, Edit, Stored, Value
from ultrasam.annotate.values import (
    SCAN,
    SpacingOf,
    annotation_of,
    mark_of,
    mask_key,
    object_key,
    object_of,
    object_value,
    place_of,
    received_mask,
    score_of,
    sent_annotation,
    unpack_logits,
    value_of,
)
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.core.prompts import Point
from ultrasam.predict.decode import Result
from ultrasam.predict.session import Session

# A tab asks for changes every other second; one that has not for so long is closed.
TAB_SECONDS = 15.0
PREVIEWS_KEPT = 32

JSON = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What a step is about: the frame of a scan, and the object there, a new one of class `label` if None.

    `base` is the version of its annotation that the person saw, None if there was none.
    """

    scan: int
    frame: int
    object: int | None
    base: int | None
    by: By
    label: str | None = None
    axis: str | None = None


@dataclass(frozen=True)
class Asked:
    """A prompt of the page: a click (`positive` or not), a box, or the four ends of a calliper."""

    kind: str
    numbers: tuple[float, ...]
    positive: bool = True

    def give(self, session: Session) -> Result:
        """Give it to a session. Raises UltrasamError if it does not fit the frame."""
        if self.kind == "click" and len(self.numbers) == 2:
            return session.click(*self.numbers, positive=self.positive)
        if self.kind == "box" and len(self.numbers) == 4:
            x0, y0, x1, y1 = self.numbers
            return session.box(x0, y0, x1, y1)
        if self.kind == "calliper" and len(self.numbers) == 8:
            return session.calliper(*self.ends)
        raise UltrasamError("a prompt is a click x, y, a box x0, y0, x1, y1, or a calliper of four points")

    @property
    def ends(self) -> tuple[Point, Point, Point, Point]:
        a, b, c, d, e, f, g, h = self.numbers
        return (a, b), (c, d), (e, f), (g, h)


class Editing:
    """All steps on the scans of a project; threads may share it."""

    def __init__(self, project: Project, frames: FrameCache) -> None:
        self.project = project
        self.frames = frames
        self.store = project.store
        self._marks: dict[int, dict[str, tuple[int, JSON]]] = {}
        self._marks_lock = Lock()
        self._seen: dict[str, float] = {}
        self._previews: dict[str, tuple[Any, Result | None]] = {}

    # What is there.

    def marks(self, scan: int) -> dict[str, tuple[int, JSON]]:
        """The version and the summary of all that is current in a scan, by key. Raises Gone without it."""
        self.project.entry(scan)
        with self._marks_lock:
            if scan not in self._marks:
                self._marks[scan] = {key: (v, s) for _, key, v, s in self.store.summaries(scan)}
            return dict(self._marks[scan])

    def timeline(self, scan: int) -> list[JSON]:
        """A mark for each annotation of a scan, in order of frame, then of object."""
        places = ((place_of(key), summary) for key, (_, summary) in self.marks(scan).items())
        found = [mark_of(*place, summary) for place, summary in places if place is not None]
        return sorted(found, key=lambda mark: (mark["frame"], mark["object"]))

    def objects(self, scan: int) -> list[JSON]:
        """The objects of a scan in the order they were begun."""
        names = self.project.classes.names()
        found = [
            {**vars(object_of(summary, names)), "version": version}
            for key, (version, summary) in self.marks(scan).items()
            if key.startswith("object/")
        ]
        return sorted(found, key=lambda entry: int(entry["id"]))

    def about(self, scan: int) -> JSON:
        """What is kept of a scan as a whole: `axis`, `done`."""
        _, about = self.marks(scan).get(SCAN, (0, {}))
        return about

    def done(self, scan: int) -> bool:
        """Whether a scan is ticked as finished."""
        return bool(self.about(scan).get("done"))

    def on_frame(self, scan: int, frame: int) -> list[tuple[int, Annotation]]:
        """The annotations of one frame with their versions, in the order of the objects."""
        keys = sorted(
            (place[0], key) for key in self.marks(scan) if (place := place_of(key)) and place[1] == frame
        )
        found = ((key, self.store.get(scan, key)) for _, key in keys)
        return [(stored.version, annotation_of(key, stored)) for key, stored in found if stored is not None]

    def annotations(self, scan: int, frame: int, opened: Opened) -> list[JSON]:
        """The annotations of one frame as the page gets them, in the order of the objects."""
        shape = self.frames.image(opened, frame).shape[:2]
        sent = []
        for version, annotation in self.on_frame(scan, frame):
            if tuple(annotation.rle["size"]) != shape:
                annotation = replace(annotation, doubt=_other_file(annotation))
            sent.append(sent_annotation(annotation, version, opened.scan.spacing_of))
        return sent

    def alive(self, client: str) -> None:
        """This tab is there."""
        self._seen[client] = time.monotonic()

    def others(self, client: str) -> frozenset[str]:
        """The other tabs that are there."""
        least = time.monotonic() - TAB_SECONDS
        return frozenset(name for name, seen in list(self._seen.items()) if seen > least and name != client)

    # Steps.

    def prompt(self, target: Target, asked: Asked, preview: bool = False) -> JSON:
        """Ask the model; with `preview` only to see what it would answer."""
        start = time.perf_counter()
        opened = self.project.opened(target.scan, target.axis)
        prompted = self.frames.prompted(opened, target.frame)
        stored = self._current(target)
        # A click mostly comes where its preview was: the answer is there already.
        key = (target.scan, opened.axis, target.frame, target.object, target.base, asked)
        known, result = self._previews.pop(target.by.client, (None, None))
        if known != key or result is None:
            with prompted.lock:
                self.resume(prompted.session, target, stored)
                result = asked.give(prompted.session)
        before = None if stored is None else annotation_of(self._key(target), stored)
        ends = asked.ends if asked.kind == "calliper" else () if before is None else before.calliper
        made = annotation_of_result(result, target.object or 0, target.frame, "prompt")
        made = replace(made, calliper=ends)
        if preview:
            if len(self._previews) >= PREVIEWS_KEPT:
                self._previews.clear()
            self._previews[target.by.client] = key, result
            sent = sent_annotation(made, 0, None, result.mask)
            about = {"seq": 0, "frame": target.frame, "object": target.object, "annotations": [sent]}
            ms = round(1000 * (time.perf_counter() - start), 1)
            return about | {"removed": [], "marks": [], "objects": None, "timeline": None, "ms": ms}
        return self._keep(opened, target, made, result.logits, start)

    def draw(self, target: Target, sent: Any) -> JSON:
        """Take a mask as a person drew it: the model gets it as its prior at the next prompt."""
        start = time.perf_counter()
        opened = self.project.opened(target.scan, target.axis)
        height, width = self.frames.image(opened, target.frame).shape[:2]
        mask = received_mask(sent, width, height)
        self._current(target)
        made = Annotation(target.object or 0, target.frame, encode_rle(mask), None, "brush")
        return self._keep(opened, target, made, None, start)

    def accept(self, target: Target) -> JSON:
        """A person says that a mask is right as it is: nothing automatic takes its place any more."""
        start = time.perf_counter()
        stored = self._current(target)
        if stored is None or target.object is None:
            raise Gone("this object has no mask on this frame")
        key = self._key(target)
        accepted = replace(annotation_of(key, stored), doubt="", checked=True)
        value = replace(value_of(accepted), data=stored.data)
        return self.apply(target, {key: Edit(stored.version, value)}, start)

    def remove(self, target: Target) -> JSON:
        """Remove an object from one frame."""
        start = time.perf_counter()
        stored = self._current(target)
        if stored is None:
            raise Gone("this object has no mask on this frame")
        return self.apply(target, {self._key(target): Edit(stored.version, None)}, start)

    def remove_object(self, scan: int, number: int, by: By, seen: int) -> JSON:
        """Remove an object from all frames. Raises Conflict if another tab changed the scan after `seen`."""
        start = time.perf_counter()
        marks = self.marks(scan)
        if object_key(number) not in marks:
            raise Gone(f"this scan has no object {number}")
        if self.store.others_event(scan, seen, by.client) is not None:
            raise Conflict("this scan was changed meanwhile, in another tab or by another user")
        mine = f"mask/{number}/"
        edits = {
            key: Edit(version, None)
            for key, (version, _) in marks.items()
            if key == object_key(number) or key.startswith(mine)
        }
        objects = [key for key in marks if key.startswith("object/")]
        if self.about(scan).get("axis") and len(objects) == 1:
            # Without objects a volume may be cut along another axis.
            edits[SCAN] = self._about_edit(scan, axis=None)
        return self.apply(Target(scan, -1, number, None, by), edits, start)

    def change_object(self, target: Target, changes: Mapping[str, Any]) -> JSON:
        """Change `label`, `name` or `colour` of an object; `target.base` is the version of the object."""
        start = time.perf_counter()
        assert target.object is not None
        key = object_key(target.object)
        stored = self.store.get(target.scan, key)
        if stored is None:
            raise Gone(f"this scan has no object {target.object}")
        known = {name: changes[name] for name in ("label", "name", "colour") if name in changes}
        changed = replace(object_of(stored.summary, self.project.classes.names()), **known)
        value = self._object_value(changed)
        return self.apply(target, {key: Edit(target.base, value)}, start)

    def set_done(self, scan: int, done: bool, by: By) -> JSON:
        """Tick a scan as finished, or not."""
        start = time.perf_counter()
        edits = {SCAN: self._about_edit(scan, done=done)}
        return self.apply(Target(scan, -1, None, None, by), edits, start)

    def undo(self, scan: int, by: By, force: bool = False) -> JSON:
        """Take back the last step of a scan. Raises OthersChange if it is another tab's, unless forced."""
        return self._step(self.store.undo, scan, by, force)

    def redo(self, scan: int, by: By, force: bool = False) -> JSON:
        """Make the step again that was taken back last; raises as `undo`."""
        return self._step(self.store.redo, scan, by, force)

    def set_classes(self, classes: Sequence[Mapping[str, Any]], base: int | None = None) -> None:
        """Take these as the classes, see `Classes.change`; objects of a renamed class have the new name."""

        def used_in(number: int) -> str | None:
            for scan, entry in self.project.entries.items():
                kept = (mark for key, (_, mark) in self.marks(scan).items() if key.startswith("object/"))
                if any(mark["class"] == number for mark in kept):
                    return entry.place
            return None

        self.project.classes.change(classes, used_in, base)

    # Shared with what is automatic.

    def resume(self, session: Session, target: Target, stored: Stored | None) -> None:
        """Let the session stand where the object of the target stands."""
        session.object("object")
        session.reset()
        if stored is None:
            return
        before = annotation_of(self._key(target), stored)
        if tuple(before.rle["size"]) != session.image.shape[:2]:
            raise UltrasamError(f"{_other_file(before)}: delete this mask on this frame and begin anew")
        logits = unpack_logits(stored.data, self.frames.model.card.mask_side)
        prior = before.mask if logits is None else logits
        if before.mask.any() or before.prompts.count:
            session.resume(before.prompts, prior, float("nan") if before.score is None else before.score)

    def new_object(self, opened: Opened, label: str | None) -> tuple[int, dict[str, Edit]]:
        """The number of a new object, and the edits that begin it; `label` None: of the first class."""
        kind = self.project.classes.number(label)
        number = self.store.next_number(opened.entry.id)
        return number, self._begin(opened, AnnotatedObject(number, ""), kind)

    def begin(self, opened: Opened, found: AnnotatedObject) -> dict[str, Edit]:
        """The edits that begin an object under its number."""
        return self._begin(opened, found, self.project.classes.number(found.label))

    def _begin(self, opened: Opened, found: AnnotatedObject, kind: int) -> dict[str, Edit]:
        edits = {object_key(found.id): Edit(None, object_value(found, kind))}
        scan = opened.entry.id
        if opened.axis and not self.about(scan).get("axis"):
            edits[SCAN] = self._about_edit(scan, axis=opened.axis)
        return edits

    def _about_edit(self, scan: int, **changes: Any) -> Edit:
        """The edit that changes what is kept of a scan as a whole; None takes a value away."""
        version, kept = self.marks(scan).get(SCAN, (None, {}))
        about = {name: value for name, value in {**kept, **changes}.items() if value is not None}
        return Edit(version, Value(about, about))

    def apply(self, target: Target, edits: Mapping[str, Edit], start: float) -> JSON:
        """Make a step of edits; the answer to the page."""
        focus = {"frame": target.frame if target.frame >= 0 else None, "object": target.object}
        self.step(target.scan, target.by, edits, focus)
        return self.answer(target.scan, focus["frame"], target.object, start, edits)

    def step(
        self,
        scan: int,
        by: By,
        edits: Mapping[str, Edit],
        focus: Mapping[str, Any],
        run: str | None = None,
    ) -> None:
        """Keep a step of edits, as `Store.apply`, and bring what is remembered of the scan up to date."""
        # A step on a mask needs its object, which another tab may be deleting.
        owners = {object_key(place[0]) for key in edits if (place := place_of(key)) is not None}
        requires = [owner for owner in owners if owner not in edits]
        try:
            applied = self.store.apply(scan, by, edits, focus, requires=requires, run=run)
        except Conflict:
            self.forget(scan)
            raise
        self.refresh(scan, applied)

    def refresh(self, scan: int, applied: Applied) -> None:
        """Bring what is remembered of a scan up to date after a step."""
        with self._marks_lock:
            kept = self._marks.get(scan)
            if kept is None:
                return
            for key in applied.keys:
                stored = self.store.get(scan, key)
                if stored is None:
                    kept.pop(key, None)
                else:
                    kept[key] = stored.version, dict(stored.summary)

    def forget(self, scan: int) -> None:
        with self._marks_lock:
            self._marks.pop(scan, None)

    def answer(
        self, scan: int, frame: int | None, number: int | None, start: float, keys: Iterable[str] = ()
    ) -> JSON:
        """The `Change` that the page gets: what is different now of `frame`, and the scan as a whole."""
        places = [(place, key) for key in keys if (place := place_of(key)) is not None]
        annotations, removed, changed = [], [], []
        spacing_of = self._spacing_of(scan) if places else None
        marks = self.marks(scan)
        for (its_object, its_frame), key in places:
            if key not in marks:
                removed.append({"object": its_object, "frame": its_frame})
                continue
            changed.append(mark_of(its_object, its_frame, marks[key][1]))
            stored = self.store.get(scan, key) if its_frame == frame else None
            if stored is not None:
                annotations.append(sent_annotation(annotation_of(key, stored), stored.version, spacing_of))
        undo, redo = self.store.steps(scan)
        return {
            "seq": self.store.event(scan),
            "frame": frame,
            "axis": self.about(scan).get("axis"),
            "object": number,
            "annotations": annotations,
            "removed": removed,
            "marks": changed,
            "objects": self.objects(scan),
            "timeline": None,
            "done": self.done(scan),
            "undo": undo,
            "redo": redo,
            "ms": round(1000 * (time.perf_counter() - start), 1),
        }

    def _keep(self, opened: Opened, target: Target, made: Annotation, logits: Any, start: float) -> JSON:
        edits: dict[str, Edit] = {}
        if target.object is None:
            number, edits = self.new_object(opened, target.label)
            target, made = replace(target, object=number), replace(made, object=number)
        edits[self._key(target)] = Edit(target.base, value_of(made, logits))
        return self.apply(target, edits, start)

    def _step(self, step: Callable[..., Applied | None], scan: int, by: By, force: bool) -> JSON:
        start = time.perf_counter()
        self.project.entry(scan)
        applied = step(scan, by, frozenset() if force else self.others(by.client))
        if applied is None:
            return self.answer(scan, None, None, start)
        self.forget(scan)
        focus = applied.focus
        frame = focus.get("frame")
        if frame is None:  # of a long step, or one on all frames: the first one that is different now
            frame = min((place[1] for key in applied.keys if (place := place_of(key))), default=None)
        return self.answer(scan, frame, focus.get("object"), start, applied.keys)

    def _spacing_of(self, scan: int) -> SpacingOf | None:
        """That of a scan; None where its file is gone, which hinders no undo."""
        try:
            return self.project.opened(scan).scan.spacing_of
        except UltrasamError:
            return None

    def _current(self, target: Target) -> Stored | None:
        """The annotation that the step is about. Raises Conflict if it is not the one that the person saw."""
        if target.object is None:
            if target.base is not None:
                raise Conflict("a new object has no earlier annotation")
            return None
        if object_key(target.object) not in self.marks(target.scan):
            raise Conflict(f"the object {target.object} was deleted meanwhile")
        stored = self.store.get(target.scan, self._key(target))
        if (None if stored is None else stored.version) != target.base:
            raise Conflict("this object was changed meanwhile, in another tab or by another user")
        return stored

    def _key(self, target: Target) -> str:
        return mask_key(target.object or 0, target.frame)

    def _object_value(self, found: AnnotatedObject) -> Value:
        """An object as it is kept. Raises UltrasamError for what an object cannot be."""
        if not isinstance(found.name, str) or len(found.name) > 80:
            raise UltrasamError("an object's name is a text of at most 80 letters")
        if found.colour is not None:
            checked_colour(found.colour)
        return object_value(found, self.project.classes.number(found.label))


def _other_file(annotation: Annotation) -> str:
    height, width = annotation.rle["size"]
    return f"it was drawn on an image of {width} x {height} pixels, the file is another one now"


def annotation_of_result(result: Result, number: int, frame: int, origin: Any, doubt: str = "") -> Annotation:
    """What the model answered, as an annotation."""
    score = score_of(result.score)
    return Annotation(number, frame, encode_rle(result.mask), score, origin, doubt, prompts=result.prompts)
