"""The HTTP server of `ultrasam annotate`: routes over the steps of `Editing` and `Assistant`."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from anyio import CancelScope
from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ultrasam import __version__
from ultrasam.annotate.assist import Assistant, TrackRequest, certainty
from ultrasam.annotate.editing import JSON, Asked, Editing, Target
from ultrasam.annotate.exports import ExportOptions, export, formats
from ultrasam.annotate.frames import FrameCache
from ultrasam.annotate.gate import Gate, Keys
from ultrasam.annotate.project import Gone, Opened, OtherAxis, Project
from ultrasam.annotate.store import By, Conflict, NotKept, OthersChange
from ultrasam.core.errors import UltrasamError
from ultrasam.predict.frames import model_entry
from ultrasam.predict.model import Model

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATUS: dict[type[UltrasamError], tuple[int, str]] = {
    OthersChange: (409, "others"),
    OtherAxis: (409, "axis"),
    Conflict: (409, "conflict"),
    Gone: (404, "gone"),
    NotKept: (507, "disk"),
}


async def _by(
    client: Annotated[str, Header(alias="X-Ultrasam-Client", max_length=64)] = "",
    job: Annotated[str, Header(alias="X-Ultrasam-Job", max_length=64)] = "",
) -> By:
    """Who asks, as the page says it."""
    return By(client, job)


Asker = Annotated[By, Depends(_by)]
Number = Annotated[int, Query(ge=0, le=2**53)]


class Sent(BaseModel):
    """What the page sends; anything else in it is a mistake."""

    model_config = ConfigDict(extra="forbid")


class SentPrompt(Sent):
    kind: Literal["click", "box", "calliper"]
    x: float | None = None
    y: float | None = None
    positive: bool = True
    box: list[float] = []
    ends: list[list[float]] = []

    def asked(self) -> Asked:
        numbers = [number for number in (self.x, self.y) if number is not None]
        if self.kind == "box":
            numbers = self.box
        elif self.kind == "calliper":
            numbers = [number for end in self.ends for number in end]
        return Asked(self.kind, tuple(numbers), self.positive)


class SentTarget(Sent):
    object: int | None = None
    base: int | None = None
    label: str | None = None
    axis: str | None = None

    def target(self, scan: int, frame: int, by: By) -> Target:
        return Target(scan, frame, self.object, self.base, by, self.label, self.axis)


class SentAsk(SentTarget):
    prompt: SentPrompt
    preview: bool = False


class SentMask(SentTarget):
    mask: dict[str, Any]


class SentObject(Sent):
    base: int
    label: str | None = None
    name: str | None = None
    colour: str | None = None


class SentDone(Sent):
    done: bool


class SentForce(Sent):
    force: bool = False


class SentTrack(Sent):
    frame: int
    objects: list[int] | None = None
    direction: Literal["forward", "back"] = "forward"
    last: int | None = None
    axis: str | None = None


class SentCancel(Sent):
    scan: int


class SentClass(Sent):
    name: str
    colour: str | None = None
    was: str | None = None


class SentClasses(Sent):
    base: int | None = None
    classes: list[SentClass]


@dataclass(frozen=True, eq=False)
class Desk:
    """All that the routes work on."""

    project: Project
    frames: FrameCache
    editing: Editing
    assistant: Assistant


def make_desk(project: Project, model: Model) -> Desk:
    frames = FrameCache(model)
    editing = Editing(project, frames)
    return Desk(project, frames, editing, Assistant(editing))


def make_app(desk: Desk, keys: Keys) -> Gate:
    """The ASGI application; nobody gets past the gate without the keys."""
    # No pages about the interface: they would load their scripts from elsewhere.
    app = FastAPI(title="ultrasam annotate", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    _add_page(app)
    _add_reading(app, desk)
    _add_steps(app, desk)
    _add_long_work(app, desk)
    return Gate(app, keys)


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong is one sentence for the page; what nobody foresaw too."""

    def ours(_: Request, error: Exception) -> Response:
        status, code = next(
            (answer for kind, answer in _STATUS.items() if isinstance(error, kind)), (422, "invalid")
        )
        return JSONResponse({"error": str(error), "code": code}, status)

    def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{place}: {first['msg']}"[:300], "code": "invalid"}, 422)

    def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        codes = {404: "gone", 413: "too-large"}
        return JSONResponse(
            {"error": str(error.detail), "code": codes.get(error.status_code, "invalid")}, error.status_code
        )

    def unforeseen(_: Request, error: Exception) -> Response:
        text = f"this did not work ({type(error).__name__}); nothing that was kept is lost"
        return JSONResponse({"error": text, "code": "unforeseen"}, 500)

    app.add_exception_handler(UltrasamError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)


def _add_page(app: FastAPI) -> None:
    page = files("ultrasam.annotate") / "page"
    assets = {entry.name: entry.read_bytes() for entry in page.iterdir() if Path(entry.name).suffix in _TYPES}

    def asset(name: str) -> Response:
        if name not in assets:
            raise Gone("there is no such file")
        return Response(assets[name], media_type=_TYPES[Path(name).suffix])

    @app.get("/")
    def index() -> Response:
        return asset("index.html")

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return asset(name)


def _add_reading(app: FastAPI, desk: Desk) -> None:
    project, editing = desk.project, desk.editing

    @app.get("/api/project")
    def about_project() -> Response:
        card = desk.frames.model.card
        return _json(
            {
                "name": project.name,
                "version": __version__,
                "model": {"id": card.id, "name": card.name, "licence": card.licence},
                "classes": sent_classes(project),
                "classesVersion": project.classes.version,
                "scans": [_sent_entry(desk, scan) for scan in project.entries],
                "formats": [vars(found) for found in formats()],
                "problems": list(project.problems),
            }
        )

    @app.get("/api/scans/{scan}")
    def open_scan(scan: int, axis: str | None = None) -> Response:
        return _json(_sent_scan(editing, project.opened(scan, axis)))

    @app.get("/api/scans/{scan}/frames/{frame}.png")
    def frame_png(scan: int, frame: int, by: Asker, axis: str | None = None, ahead: bool = False) -> Response:
        opened = project.opened(scan, axis)
        content = desk.frames.png(opened, frame)
        if not ahead:  # it is looked at, and not only fetched for later
            desk.frames.encode_soon(opened, frame, by.client)
        return Response(content, media_type="image/png")

    @app.get("/api/scans/{scan}/frames/{frame}")
    def frame_annotations(scan: int, frame: int, axis: str | None = None) -> Response:
        opened = project.opened(scan, axis)
        height, width = desk.frames.image(opened, frame).shape[:2]
        return _json(
            {
                "annotations": editing.annotations(scan, frame, opened),
                "width": width,
                "height": height,
                "spacing": opened.scan.spacing_of((0, 0, width, height)),
            }
        )

    @app.get("/api/scans/{scan}/changes")
    def changes(scan: int, since: Number, by: Asker, job: str = "") -> Response:
        project.entry(scan)
        editing.alive(by.client)
        other = editing.store.others_event(scan, since, by.client)
        return _json(
            {
                "seq": editing.store.event(scan),
                "changed": other is not None,
                "client": other,
                "classes": project.classes.version,
                "arrived": editing.store.has_arrived(job),
            }
        )

    @app.get("/api/next")
    def next_scan(after: Number | None = None, order: str = "least", frame: Number | None = None) -> Response:
        return _json(desk.assistant.next_scan(after, order, frame))


def _add_steps(app: FastAPI, desk: Desk) -> None:
    editing = desk.editing

    @app.post("/api/scans/{scan}/frames/{frame}/prompt")
    def prompt(scan: int, frame: int, sent: SentAsk, by: Asker) -> Response:
        editing.alive(by.client)
        return _json(editing.prompt(sent.target(scan, frame, by), sent.prompt.asked(), sent.preview))

    @app.put("/api/scans/{scan}/frames/{frame}/mask")
    def draw(scan: int, frame: int, sent: SentMask, by: Asker) -> Response:
        editing.alive(by.client)
        return _json(editing.draw(sent.target(scan, frame, by), sent.mask))

    @app.post("/api/scans/{scan}/frames/{frame}/accept")
    def accept(scan: int, frame: int, sent: SentTarget, by: Asker) -> Response:
        return _json(editing.accept(sent.target(scan, frame, by)))

    @app.delete("/api/scans/{scan}/frames/{frame}/objects/{number}")
    def remove(scan: int, frame: int, number: int, base: int, by: Asker) -> Response:
        return _json(editing.remove(Target(scan, frame, number, base, by)))

    @app.delete("/api/scans/{scan}/objects/{number}")
    def remove_object(scan: int, number: int, seq: Number, by: Asker) -> Response:
        return _json(editing.remove_object(scan, number, by, seq))

    @app.patch("/api/scans/{scan}/objects/{number}")
    def change_object(scan: int, number: int, sent: SentObject, by: Asker) -> Response:
        changes = sent.model_dump(exclude_unset=True, exclude={"base"})
        return _json(editing.change_object(Target(scan, -1, number, sent.base, by), changes))

    @app.patch("/api/scans/{scan}")
    def set_done(scan: int, sent: SentDone, by: Asker) -> Response:
        return _json(editing.set_done(scan, sent.done, by))

    @app.post("/api/scans/{scan}/undo")
    def undo(scan: int, sent: SentForce, by: Asker) -> Response:
        return _json(editing.undo(scan, by, sent.force))

    @app.post("/api/scans/{scan}/redo")
    def redo(scan: int, sent: SentForce, by: Asker) -> Response:
        return _json(editing.redo(scan, by, sent.force))

    @app.put("/api/classes")
    def set_classes(sent: SentClasses) -> Response:
        editing.set_classes([entry.model_dump(exclude_none=True) for entry in sent.classes], sent.base)
        version = desk.project.classes.version
        return _json({"classes": sent_classes(desk.project), "classesVersion": version})


def _add_long_work(app: FastAPI, desk: Desk) -> None:
    assistant = desk.assistant

    @app.post("/api/scans/{scan}/frames/{frame}/auto")
    def find(scan: int, frame: int, sent: SentTarget, by: Asker) -> Response:
        return _json(assistant.find(sent.target(scan, frame, by)))

    @app.post("/api/scans/{scan}/track")
    def track(scan: int, sent: SentTrack, by: Asker) -> Response:
        objects = None if sent.objects is None else tuple(sent.objects)
        back = sent.direction == "back"
        request = TrackRequest(scan, sent.frame, by, objects, back, sent.last, sent.axis)
        return StreamingResponse(_lines(assistant.track(request)), media_type="application/x-ndjson")

    @app.post("/api/tracks/cancel")
    def cancel(sent: SentCancel, by: Asker) -> Response:
        assistant.cancel(sent.scan, by.client)
        return _json({})

    @app.post("/api/import")
    async def take(request: Request, by: Asker) -> Response:
        content = await request.body()
        return _json(await run_in_threadpool(assistant.take, content, by))

    @app.get("/api/export")
    def send_export(
        format: str,
        scan: str = "all",
        pseudonymise: bool = False,
        segmentation: Literal["rle", "polygons"] = "rle",
    ) -> Response:
        numbers = list(desk.project.entries) if scan == "all" else [_number(scan)]
        options = ExportOptions(segmentation, pseudonymise, desk.project.salt if pseudonymise else b"")
        folder = tempfile.TemporaryDirectory(prefix="ultrasam-")
        try:
            path = export_to(desk, format, numbers, Path(folder.name), options)
        except BaseException:
            folder.cleanup()
            raise
        disposition = f"attachment; filename*=utf-8''{quote(path.name)}"
        return FileResponse(
            path, headers={"content-disposition": disposition}, background=BackgroundTask(folder.cleanup)
        )


def export_to(desk: Desk, format: str, scans: list[int], folder: Path, options: ExportOptions) -> Path:
    """Write the annotations of scans into a new folder, and return the one file to send: a zip of several."""
    out = folder / "out"
    out.mkdir()
    annotated, names = desk.project.to_export(scans)
    done = export(format, annotated, out, options, names, model_entry(desk.frames.model))
    if len(done.files) == 1 and not done.remarks:
        return done.files[0]
    path = folder / f"{desk.project.name}-{format}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in done.files:
            archive.write(file, file.relative_to(out).as_posix())
        if done.remarks:
            archive.writestr("REMARKS.txt", "\n".join(done.remarks) + "\n")
    return path


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Gone(f"there is no scan {text!r:.40}") from None


async def _lines(lines: Generator[JSON, None, None]) -> AsyncIterator[bytes]:
    """JSON, a line each. Where nobody listens any more, the work ends after the line that it is at."""
    try:
        while (line := await run_in_threadpool(next, lines, None)) is not None:
            yield json.dumps(line, allow_nan=False).encode() + b"\n"
    finally:
        with CancelScope(shield=True):
            await run_in_threadpool(lines.close)


def _json(content: Mapping[str, Any]) -> Response:
    """Not by FastAPI, which would look at each number of a mask."""
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def sent_classes(project: Project) -> list[JSON]:
    """The classes with the keys that choose the first nine."""
    return [
        {"name": found.name, "colour": found.colour, "key": str(position) if position <= 9 else None}
        for position, found in enumerate(project.classes.offered(), start=1)
    ]


def _sent_entry(desk: Desk, scan: int) -> JSON:
    entry, marks = desk.project.entry(scan), desk.editing.timeline(scan)
    scores = [certainty(mark) if mark["doubt"] or mark["checked"] else mark["score"] for mark in marks]
    return {
        "id": scan,
        "place": entry.place,
        "kind": entry.kind,
        "objects": len({mark["object"] for mark in marks}),
        "frames": len({mark["frame"] for mark in marks}),
        "least": min((score for score in scores if score is not None), default=None),
        "done": bool(desk.editing.done(scan)),
    }


def _sent_scan(editing: Editing, opened: Opened) -> JSON:
    scan = opened.entry.id
    height, width = editing.frames.image(opened, 0).shape[:2]
    undo, redo = editing.store.steps(scan)
    time_ms = opened.scan.meta.get("frame_time_ms")
    return {
        "id": scan,
        "place": opened.entry.place,
        "axis": opened.axis or None,
        "axes": ["x", "y", "z"] if opened.axis else [],
        "frames": len(opened.scan.frames),
        "width": width,
        "height": height,
        "spacing": opened.scan.spacing_of((0, 0, width, height)),
        "regions": [vars(region) for region in opened.scan.regions],
        "frameTime": time_ms if isinstance(time_ms, (int, float)) else None,
        "warnings": list(opened.warnings),
        "objects": editing.objects(scan),
        "timeline": editing.timeline(scan),
        "done": editing.done(scan),
        "classesVersion": editing.project.classes.version,
        "seq": editing.store.event(scan),
        "undo": undo,
        "redo": redo,
    }
