"""Chromium on the page of `ultrasam annotate`, as a person has it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.annotating import Server

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT = 20_000


def missing(reason: str) -> Any:
    """Skip, or fail where the tests of the page are wanted in any case."""
    if os.environ.get("ULTRASAM_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing("the tests of the page need playwright, of the extra dev")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing(f"the tests of the page need one of {', '.join(NAMES)} on the PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Desk:
    """A person in front of the page: everything is done through what is seen there."""

    page: Any
    server: Server
    troubles: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Write down what the page complains of, and requests to anywhere else."""

        def requested(request: Any) -> None:
            if not request.url.startswith((self.server.base, "blob:", "data:")):
                self.elsewhere.append(request.url)

        def said(message: Any) -> None:
            # What a test provokes (a refused step, a server that is gone) is told there by the browser.
            if message.type == "error" and "Failed to load resource" not in message.text:
                self.troubles.append(message.text)

        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", requested)

    def open(self, place: str | None = None) -> None:
        """Open the printed address, and then a scan."""
        self.page.goto(self.server.url)
        self.ready()
        if place is not None:
            self.choose(place)

    def choose(self, place: str) -> None:
        self.page.get_by_test_id("scan-list").get_by_text(place, exact=True).click()
        self.ready()

    def ready(self) -> None:
        """Until all that was asked is answered and shown."""
        # Not by a function of JavaScript: the page's policy lets nobody evaluate texts.
        self.page.wait_for_timeout(50)
        self.page.wait_for_selector("body[data-state=ready]", timeout=TIMEOUT)

    def id(self, name: str) -> Any:
        """A control by its test id."""
        return self.page.get_by_test_id(name)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the image, in its pixels, lies on the page."""
        view = json.loads(self.page.evaluate("document.getElementById('canvas').dataset.view"))
        box = self.id("canvas").bounding_box()
        return box["x"] + x * view["scale"] + view["x"], box["y"] + y * view["scale"] + view["y"]

    def click(self, x: float, y: float, button: str = "left") -> None:
        self.page.mouse.click(*self.at(x, y), button=button)
        self.ready()

    def drag(self, *points: tuple[float, float]) -> None:
        """Drag over points of the image."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=5)
        self.page.mouse.up()
        self.ready()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.ready()

    def fetch(self, path: str) -> Any:
        """What the server has, asked by the page itself."""
        return self.page.evaluate("path => fetch(path).then(answer => answer.json())", path)

    def scan(self, place: str) -> int:
        return next(int(s["id"]) for s in self.fetch("/api/project")["scans"] if s["place"] == place)

    def annotations(self, place: str, frame: int = 0) -> list[Any]:
        found: list[Any] = self.fetch(f"/api/scans/{self.scan(place)}/frames/{frame}")["annotations"]
        return found

    def picture(self, path: Path) -> None:
        """What is to be seen now, as a picture."""
        self.page.mouse.move(5, 5)
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=str(path))


@pytest.fixture
def desk_of(browser: Any) -> Iterator[Any]:
    """Open the page of a server in a window of its own."""
    opened: list[tuple[Any, Desk]] = []

    def make(server: Server, size: tuple[int, int] = (1280, 720), **options: Any) -> Desk:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        context.set_default_timeout(TIMEOUT)
        desk = Desk(context.new_page(), server)
        desk.watch()
        opened.append((context, desk))
        return desk

    yield make
    for context, desk in opened:
        context.close()
        assert desk.troubles == [] and desk.elsewhere == []
