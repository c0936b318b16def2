"""Annotate images, clips and volumes on a page in the browser, served from this computer alone.

PATH is a folder, with all scans below it, or one scan. Open the address that is printed: click, refine, track
through a clip, export. Each step is kept in PATH/.ultrasam before the page shows it as saved, so a run that
is stopped, in whatever way, goes on where it was. --import begins with the masks or boxes of a COCO file.
--export writes files and serves nothing.
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_engine, add_keep_embeddings, add_threads
from ultrasam.cli.terminal import StatusLine, remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.annotate.project import Project
    from ultrasam.annotate.run import Address
    from ultrasam.annotate.server import Desk
    from ultrasam.predict.model import Model

FORMATS = ("coco", "png", "nifti", "nrrd", "csv", "dicom-seg")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a folder with scans, or one scan")
    parser.add_argument("--model", default="ultrasam-lite", metavar="MODEL", help="name or folder of a model")
    parser.add_argument(
        "--classes",
        action="append",
        metavar="NAME,...",
        help="classes of the objects, added to those there are",
    )
    parser.add_argument(
        "--import", dest="imported", metavar="FILE.json", help="begin with the objects of a COCO file"
    )
    parser.add_argument(
        "--auto",
        action="store_true",
        help="draft the objects of each scan in which nothing is annotated (of a clip: of its first frame)",
    )
    parser.add_argument(
        "--project", metavar="DIR", help="keep the annotations in this folder (default: that of the scans)"
    )
    group = parser.add_argument_group("serving")
    group.add_argument(
        "--port", type=int, metavar="N", help="port (default: 8321, or a free one if that is taken)"
    )
    group.add_argument("--no-browser", action="store_true", help="print the address, open no browser")
    group.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="listen on this address; needs a password"
    )
    group.add_argument(
        "--name", action="append", metavar="HOST", help="a further name or address by which it is reached"
    )
    group.add_argument(
        "--password-file", metavar="FILE", help="file whose first line is the password that others need"
    )
    export = parser.add_argument_group("exporting without a page")
    export.add_argument(
        "--export", dest="formats", metavar="FORMAT,...", help=f"write files: {', '.join(FORMATS)}"
    )
    export.add_argument("--out", metavar="DIR", help="folder for them")
    export.add_argument(
        "--segmentation", choices=("rle", "polygons"), default="rle", help="how COCO holds a mask"
    )
    export.add_argument(
        "--pseudonymise", action="store_true", help="DICOM-SEG with pseudonyms in place of the patient"
    )
    add_engine(parser)
    add_keep_embeddings(parser)
    add_threads(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(args: Namespace) -> int:
    from ultrasam.annotate.project import open_project
    from ultrasam.annotate.run import Address

    formats = _formats(args)
    address = Address(args.host, args.port, tuple(args.name or ()), _password(args.password_file)).checked()
    with open_project(args.path, args.project) as project:
        for problem in project.problems:
            remark(problem)
        names = [name.strip() for text in args.classes or () for name in text.split(",") if name.strip()]
        if names:
            project.classes.add(names)
        model = _model(args)
        problems = _prepare(args, project, model)
        if formats:
            return max(_export(args, project, model, formats), problems)
        return _serve(args, project, model, address)


def _formats(args: Namespace) -> list[str]:
    formats = [name.strip() for name in (args.formats or "").split(",") if name.strip()]
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UltrasamError(f"--export {unknown[0]}: use one of {', '.join(FORMATS)}")
    if formats and not args.out:
        raise UltrasamError("--export needs --out DIR, the folder to write to")
    if not formats and (args.out or args.pseudonymise):
        raise UltrasamError("--out and --pseudonymise go with --export: add it, or leave them out")
    return formats


def _password(path: str | None) -> str | None:
    from ultrasam.core.files import check_file, shown

    if path is None:
        return None
    try:
        lines = check_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UltrasamError(f"{shown(path)} is no text file with a password in its first line") from None
    if not lines or not lines[0].strip():
        raise UltrasamError(f"{shown(path)} has no password in its first line")
    return lines[0].strip()


def _model(args: Namespace) -> Model:
    from ultrasam.engines.threads import checked_threads
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    return prepare(
        find(args.model),
        threads=checked_threads(args.threads),
        device=args.device,
        keep_embeddings=args.keep_embeddings,
        engine=args.engine,
        postprocess=args.postprocess,
    )


def _prepare(args: Namespace, project: Project, model: Model) -> int:
    """Draft objects from a COCO file and without prompts; the exit code that what was skipped asks for."""
    from ultrasam.annotate.server import make_desk
    from ultrasam.annotate.store import By

    problems = 0
    desk = make_desk(project, model)
    try:
        if args.imported is not None:
            problems = _take(args.imported, project, desk)
        if args.auto:
            line = StatusLine()
            drafted = 0
            for number, (place, found) in enumerate(desk.assistant.draft(By("auto")), start=1):
                line.write(f"drafting: {number} scans, {place}")
                if isinstance(found, str):
                    line.write("")
                    remark(found)
                    problems = 1
                else:
                    drafted += found
            line.write("")
            remark(f"drafted {drafted} objects: each is a proposal, look at it")
    finally:
        desk.frames.close()
    return problems


def _take(path: str, project: Project, desk: Desk) -> int:
    """Take the objects of a COCO file, the first time that it comes; as `_prepare` otherwise."""
    from ultrasam.annotate.store import By
    from ultrasam.core.files import sha256_of, shown

    digest = sha256_of(path)
    taken = project.store.setting("imported", [])
    if digest in taken:
        remark(f"{shown(path)} was imported before: nothing of it is taken again")
        return 0
    done = desk.assistant.take(path, By("import"), once=digest)
    project.store.set_setting("imported", [*taken, digest])
    for text in done["skipped"]:
        remark(text)
    remark(f"took {done['objects']} objects on {done['images']} images from {shown(path)}")
    return 1 if done["skipped"] else 0


def _export(args: Namespace, project: Project, model: Model, formats: list[str]) -> int:
    from ultrasam.annotate.exports import ExportOptions, export
    from ultrasam.core.files import ensure_writable_dir, shown
    from ultrasam.predict.frames import model_entry

    out = ensure_writable_dir(args.out)
    scans, names = project.to_export(project.entries)
    salt = project.salt if args.pseudonymise else b""
    options = ExportOptions(args.segmentation, args.pseudonymise, salt)
    files: list[Path] = []
    remarks: list[str] = []
    for name in formats:
        done = export(name, scans, out, options, names, model_entry(model))
        files += done.files
        remarks += done.remarks
    for text in remarks:
        remark(text)
    if args.json:
        print(json.dumps({"files": [str(file) for file in files], "remarks": remarks}))
    else:
        print(f"wrote {len(files)} files to {shown(out)}")
    return 0


def _serve(args: Namespace, project: Project, model: Model, address: Address) -> int:
    from ultrasam.annotate.run import serve

    def started(url: str) -> None:
        if args.json:
            print(json.dumps({"url": url, "scans": len(project.entries)}), flush=True)
        else:
            count = len(project.entries)
            print(f"{count} scan{'' if count == 1 else 's'}; open {url}", flush=True)
            print("Stop it with Ctrl+C. Each step is kept at once.", flush=True)
        if not args.no_browser:
            _open_browser(url)

    try:
        serve(project, model, address, started)
    except KeyboardInterrupt:
        remark("stopped; every step is kept")
    return 0


def _open_browser(url: str) -> None:
    """Open the address by way of a file that only this user can read: others see the words of a command."""
    import atexit
    import html
    import os
    import tempfile
    import webbrowser

    handle, name = tempfile.mkstemp(prefix="ultrasam-", suffix=".html")
    with open(handle, "w", encoding="utf-8") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(url)}">')

    def remove() -> None:
        with contextlib.suppress(OSError):
            os.unlink(name)

    atexit.register(remove)
    # The page answers from now on: the socket listens already.
    threading.Thread(target=webbrowser.open, args=[Path(name).as_uri()], daemon=True).start()
