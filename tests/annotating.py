"""A project to annotate and a browser without a page: what the tests of `ultrasam annotate` share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

import ultrasam
from ultrasam.annotate.gate import Keys
from ultrasam.annotate.project import Project
from ultrasam.annotate.server import make_app, make_desk
from ultrasam.core.masks import decode_segmentation

HOST = "127.0.0.1:8321"
# The mean grey of the tiny model: such an image leaves its discs and boxes as they are.
GREY = np.full((96, 128), 127, np.uint8)


def write_scans(folder: Path, frames: int = 12) -> None:
    """A still, one in a sub-folder, a clip of `frames` frames, and a file that is cut off."""
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(GREY).save(folder / "a.png")
    Image.fromarray(GREY).save(folder / "deep" / "b.png")
    pages = [Image.fromarray(GREY) for _ in range(frames)]
    pages[0].save(folder / "clip.tif", save_all=True, append_images=pages[1:])
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:60])


def write_clip(path: Path, frames: int, step: float = 1.0) -> None:
    """A bright ellipse in speckle, which goes `step` pixels to the right with each frame, as a TIFF."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:192, :256]
    pages = []
    for number in range(frames):
        bright = ((columns - 90 - step * number) / 45) ** 2 + ((rows - 96) / 32) ** 2 < 1
        speckle = rng.rayleigh(25.0, bright.shape)
        pixels = np.clip(np.where(bright, 2 * speckle + 90, speckle), 0, 255).astype(np.uint8)
        pages.append(Image.fromarray(pixels))
    pages[0].save(path, save_all=True, append_images=pages[1:])


class Tab:
    """One tab of a browser on a project: calls of the interface, as the page makes them."""

    def __init__(self, app: Any, keys: Keys, name: str = "a" * 16) -> None:
        self.http = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
        self.name = name
        self.http.cookies.set(keys.cookie_name, keys.cookie)

    def call(self, method: str, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        """The answer as JSON; its status has to be the expected one."""
        headers = {"X-Ultrasam-Client": self.name}
        answer = self.http.request(method, path, json=body, headers=headers, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def scan(self, place: str) -> int:
        """The number of the scan with this path."""
        return next(e["id"] for e in self.call("GET", "/api/project")["scans"] if e["place"] == place)

    def prompt(self, scan: int, frame: int, before: Any, status: int = 200, **prompt: Any) -> Any:
        """Prompt the object of an annotation, or with None a new one; the whole answer."""
        label = prompt.pop("label", None)
        preview = prompt.pop("preview", False)
        body = {"object": None, "base": None, "label": label, "prompt": prompt, "preview": preview}
        if before is not None:
            body |= {"object": before["object"], "base": before["version"]}
        return self.call("POST", f"/api/scans/{scan}/frames/{frame}/prompt", body, status)

    def click(self, scan: int, frame: int, x: float, y: float, before: Any = None, **more: Any) -> Any:
        """Click, and return the annotation."""
        answer = self.prompt(scan, frame, before, kind="click", x=x, y=y, **more)
        return answer["annotations"][0]

    def annotations(self, scan: int, frame: int) -> list[Any]:
        found: list[Any] = self.call("GET", f"/api/scans/{scan}/frames/{frame}")["annotations"]
        return found

    def track(self, scan: int, status: int = 200, **request: Any) -> list[Any]:
        """All lines of a run of tracking."""
        headers = {"X-Ultrasam-Client": self.name}
        answer = self.http.post(f"/api/scans/{scan}/track", json=request, headers=headers)
        assert answer.status_code == status, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


def mask_of(annotation: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The mask (H, W) that the page paints."""
    height, width = annotation["mask"]["size"]
    return decode_segmentation(annotation["mask"], height, width)


def two_tabs(project: Project, model: ultrasam.Model) -> tuple[Tab, Tab]:
    """Two tabs on one server."""
    keys = Keys(frozenset({HOST}))
    app = make_app(make_desk(project, model), keys)
    return Tab(app, keys), Tab(app, keys, "b" * 16)


class Server:
    """`ultrasam annotate` as its own process."""

    def __init__(self, path: Path, *options: str, **variables: str) -> None:
        command = [sys.executable, "-m", "ultrasam", "annotate", str(path), "--no-browser", "--json"]
        if "--port" not in options:
            command += ["--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate()
            raise AssertionError(errors)
        self.url: str = json.loads(line)["url"]
        self.base = self.url.partition("/?")[0]
        self.port = int(self.base.rpartition(":")[2])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """kill -9, at any moment."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """As Ctrl+C does; the exit code and what came on stderr."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors
