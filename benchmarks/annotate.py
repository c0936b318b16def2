"""How long a person waits on the page of `ultrasam annotate`: alone, with others, and while it tracks.

    python benchmarks/annotate.py --users 8 --seconds 120
    python benchmarks/annotate.py --page --chromium /usr/bin/chromium

The first form starts the server on made-up scans (speckle with bright structures, 640 x 480, eight frames
each) and lets `--users` click at the same time, each on an own scan, `--pause` seconds after each answer, for
`--seconds`. It prints the median and the 95th percentile of the time from the request to the answer, and of
the part in the server; then the same without any pause, and one user alone. The reference of the same run is
`Session.click` on such a frame in this process, without a server. Then one object is tracked through a
clip of 100 frames by the server.

The second form opens the page in Chromium (by Playwright) and prints how long it takes from choosing a scan
to the first preview of a mask below the resting pointer, and from a click to the painted mask.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

import ultrasam

WIDTH, HEIGHT, FRAMES = 640, 480, 8
TARGETS = {"preview": 250.0, "paint": 80.0, "server": 30.0, "frames": 8.0}


@dataclass
class Times:
    """In milliseconds."""

    whole: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    def row(self, name: str, reference: float) -> str:
        cells = [name, str(len(self.whole))]
        for values in (self.whole, self.server):
            cells += [f"{statistics.median(values):.1f}", f"{percentile(values, 95):.1f}"]
        cells.append(f"{statistics.median(self.server) / reference:.2f}")
        return "| " + " | ".join(cells) + " |"


def percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent))


def frame_of(rng: np.random.Generator, shift: float) -> Image.Image:
    """Speckle with two bright ellipses, which move with `shift`."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    bright = ((columns - 180 - shift) / 80) ** 2 + ((rows - 240) / 60) ** 2 < 1
    bright |= ((columns - 460) / 60) ** 2 + ((rows - 220 - shift) / 90) ** 2 < 1
    speckle = rng.rayleigh(25.0, bright.shape)
    pixels = np.clip(np.where(bright, 2 * speckle + 90, speckle), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def write_scans(folder: Path, users: int, clip: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(users):
        pages = [frame_of(rng, 2.0 * page) for page in range(FRAMES)]
        pages[0].save(folder / f"user{number}.tif", save_all=True, append_images=pages[1:])
    pages = [frame_of(rng, 0.5 * page) for page in range(clip)]
    pages[0].save(folder / "clip.tif", save_all=True, append_images=pages[1:])


class Server:
    """`ultrasam annotate` on a folder, as a process of its own."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        words = ["annotate", str(folder), "--no-browser", "--json", "--port", "0"]
        words += [] if threads is None else ["--threads", str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ultrasam", *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]

    def client(self, name: str) -> httpx2.Client:
        """Somebody who is signed in."""
        headers = {"X-Ultrasam-Client": name * 16}
        base = self.url.partition("/?")[0]
        http = httpx2.Client(base_url=base, headers=headers, timeout=60)
        http.get(self.url)
        return http

    def scans(self) -> dict[str, int]:
        answer = self.client("0").get("/api/project").json()
        return {scan["place"]: scan["id"] for scan in answer["scans"]}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class User(threading.Thread):
    """Somebody who goes through the frames of one scan: begins an object, refines it twice, next frame."""

    def __init__(self, server: Server, name: str, scan: int, seconds: float, pause: float) -> None:
        super().__init__()
        self.http = server.client(name)
        self.scan, self.seconds, self.pause = scan, seconds, pause
        self.times = Times()
        self.error: Exception | None = None

    def run(self) -> None:
        rng = np.random.default_rng(self.scan)
        end = time.perf_counter() + self.seconds
        frame = 0
        try:
            while time.perf_counter() < end:
                self.http.get(f"/api/scans/{self.scan}/frames/{frame}.png").raise_for_status()
                time.sleep(self.pause)
                before: Any = None
                for _ in range(3):
                    x, y = rng.uniform((100, 180), (260, 300))
                    before = self.click(frame, float(x), float(y), before)
                    time.sleep(self.pause)
                frame = (frame + 1) % FRAMES
        except Exception as error:  # told by whoever waits for this user
            self.error = error

    def click(self, frame: int, x: float, y: float, before: Any) -> Any:
        body: dict[str, Any] = {"prompt": {"kind": "click", "x": x, "y": y}}
        if before is not None:
            body |= {"object": before["object"], "base": before["version"]}
        start = time.perf_counter()
        answer = self.http.post(f"/api/scans/{self.scan}/frames/{frame}/prompt", json=body)
        self.times.whole.append(1000 * (time.perf_counter() - start))
        answer.raise_for_status()
        content = answer.json()
        self.times.server.append(content["ms"])
        return content["annotations"][0]


def load_test(server: Server, users: int, seconds: float, pause: float) -> Times:
    scans = server.scans()
    everybody = [
        User(server, "abcdefghijklmnop"[number], scans[f"user{number}.tif"], seconds, pause)
        for number in range(users)
    ]
    for user in everybody:
        user.start()
    times = Times()
    for user in everybody:
        user.join()
        if user.error is not None:
            raise user.error
        times.whole += user.times.whole
        times.server += user.times.server
    return times


def reference_ms(folder: Path, threads: int | None) -> float:
    """The median of `Session.click` in this process."""
    session = ultrasam.load(threads=threads).session(folder / "user0.tif")
    times = []
    for number in range(40):
        session.reset()
        start = time.perf_counter()
        session.click(120 + number, 240)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[5:])


def track(server: Server) -> float:
    """Frames a second of one object through the clip."""
    http = server.client("t")
    scan = server.scans()["clip.tif"]
    body = {"prompt": {"kind": "box", "box": [90, 170, 270, 310]}}
    http.post(f"/api/scans/{scan}/frames/0/prompt", json=body).raise_for_status()
    start = time.perf_counter()
    lines = http.post(f"/api/scans/{scan}/track", json={"frame": 0}).text.splitlines()
    seconds = time.perf_counter() - start
    end = json.loads(lines[-1])
    print(f"tracked {end['frames']} frames; stopped: {end['stopped']}", file=sys.stderr)
    return float(end["frames"]) / seconds


def run_load(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scans"
        write_scans(folder, args.users, 101)
        reference = reference_ms(folder, args.threads)
        server = Server(folder, args.threads)
        try:
            rows = [
                load_test(server, 1, args.seconds / 4, args.pause).row("1 user", reference),
                load_test(server, args.users, args.seconds, args.pause).row(f"{args.users} users", reference),
                load_test(server, args.users, args.seconds / 4, 0.0).row(
                    f"{args.users} users without a pause", reference
                ),
            ]
            rate = track(server)
        finally:
            server.stop()
    print(f"\n`Session.click` without a server: {reference:.1f} ms (median)\n")
    head = "who clicks | clicks | answer, median ms | p95 | in the server, median ms | p95"
    print(f"| {head} | times `Session.click` |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\ntracking: {rate:.1f} frames/s, {rate / TARGETS['frames']:.2f} times the goal of 8")


def run_page(args: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scans"
        write_scans(folder, 20, 2)
        server = Server(folder, args.threads)
        try:
            with sync_playwright() as playwright:
                options: dict[str, Any] = {"executable_path": args.chromium, "args": ["--no-sandbox"]}
                browser = playwright.chromium.launch(**options)
                page = browser.new_page(viewport={"width": 1280, "height": 720})
                page.goto(server.url)
                previews, paints = page_times(page, [f"user{number}.tif" for number in range(20)])
                browser.close()
        finally:
            server.stop()
    print("| wait | times | median ms | p95 | goal |")
    print("|---|---|---|---|---|")
    for what, values, goal in (
        ("from choosing a scan to the first preview", previews, TARGETS["preview"]),
        ("from a click to the painted mask", paints, TARGETS["paint"]),
    ):
        median, high = statistics.median(values), percentile(values, 95)
        print(f"| {what} | {len(values)} | {median:.0f} | {high:.0f} | {goal:.0f} |")


def page_times(page: Any, places: Sequence[str]) -> tuple[list[float], list[float]]:
    """Milliseconds as the page itself measures them: of every scan the first preview, and three clicks."""
    page.wait_for_selector("body[data-state=ready]")
    box = page.get_by_test_id("canvas").bounding_box()
    middle = box["x"] + 0.28 * box["width"], box["y"] + 0.5 * box["height"]
    page.mouse.move(*middle)
    previews: list[float] = []
    paints: list[float] = []
    for _ in places[1:]:
        page.keyboard.press("PageDown")
        previews += wait_for(page, "open-to-preview", len(previews) + 1)[len(previews) :]
        for shift in (0, 12, 24):
            page.mouse.click(middle[0] + shift, middle[1] + shift)
            paints += wait_for(page, "click-to-paint", len(paints) + 1)[len(paints) :]
            page.wait_for_timeout(400)
    return previews, paints


def wait_for(page: Any, name: str, count: int) -> list[float]:
    for _ in range(200):
        found: list[float] = page.evaluate(
            "name => performance.getEntriesByName(name).map(entry => entry.duration)", name
        )
        if len(found) >= count:
            return found
        page.wait_for_timeout(50)
    raise RuntimeError(f"the page did not measure {name!r}: {count - 1} so far")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    if args.page:
        run_page(args)
    else:
        run_load(args)


if __name__ == "__main__":
    main()
