"""Measure how long a user waits for a model on this machine, and the memory and disk it takes.

Cold starts are whole processes, with disk caches warm. Everything else is a median after warm-up, with
preprocessing and the mask at full size. Run it on a machine that does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_threads
from ultrasam.core.errors import UltrasamError

# What is measured -> its unit.
_UNITS = {
    "import ultrasam": "s",
    "ultrasam segment, cold start to written mask": "s",
    "load model and first encode": "ms",
    "encode": "ms",
    "first click": "ms",
    "next click": "ms",
    "peak memory of ultrasam segment": "MB",
    "peak memory of this session": "MB",
    "ultrasam and what it requires": "MB",
}
_DIGITS = {"s": 3, "ms": 1, "MB": 0}
_WARM_UP = 5


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--image", metavar="FILE", help="default: speckle of 800 x 600 pixels")
    parser.add_argument("--model", default="ultrasam-lite", help="name or folder of a model")
    parser.add_argument("--engine", choices=("onnx", "torch"), default="onnx", help="what runs the model")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="processes for each cold start")
    parser.add_argument("--clicks", type=int, default=50, metavar="N", help="clicks to take the median of")
    add_threads(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: Namespace) -> int:
    import json
    import sys
    import tempfile

    from ultrasam.engines.threads import checked_threads
    from ultrasam.io.scan import read_scan
    from ultrasam.zoo.store import find

    for name in ("runs", "clicks"):
        if getattr(args, name) < 1:
            raise UltrasamError(f"--{name} is {getattr(args, name)}: give a whole number from 1 on")
    checked_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(args.image) if args.image else _speckle(Path(folder) / "speckle.png")
        height, width = read_scan(image).frames[0].shape[:2]
        find(args.model)  # a wrong name is told at once
        print("starting processes ...", file=sys.stderr, flush=True)
        # Before a model is loaded here: Linux hands the peak memory of a process on to those that it starts.
        numbers = _cold_starts(image, (width / 2, height / 2), args, Path(folder) / "out")
        numbers |= _warm(image, args)
    numbers["ultrasam and what it requires"] = _installed_megabytes()
    report = {
        "machine": _machine(args),
        "units": _UNITS,
        "numbers": {name: numbers[name] for name in _UNITS if name in numbers},
    }
    print(json.dumps(report) if args.json else _table(report))
    return 0


def _cold_starts(image: Path, middle: tuple[float, float], args: Namespace, out: Path) -> dict[str, float]:
    """Medians over whole processes; the start of Python itself counts in all but the import."""
    import statistics
    import sys

    def seconds(code: str) -> float:
        return statistics.median(_process([sys.executable, "-c", code])[0] for _ in range(args.runs))

    command = [sys.executable, "-m", "ultrasam", "segment", str(image), f"--point={middle[0]},{middle[1]}"]
    command += ["--out", str(out), "--model", str(args.model), "--engine", args.engine]
    command += [f"--threads={args.threads}"] if args.threads else []
    runs = [_process(command) for _ in range(args.runs)]
    peaks = [peak for _, peak in runs if peak is not None]
    numbers = {
        "import ultrasam": max(0.0, seconds("import ultrasam") - seconds("pass")),
        "ultrasam segment, cold start to written mask": statistics.median(took for took, _ in runs),
    }
    return numbers | ({"peak memory of ultrasam segment": max(peaks)} if peaks else {})


def _process(command: list[str]) -> tuple[float, float | None]:
    """Seconds and, where the system tells it, peak memory in MB of one process."""
    import os
    import subprocess
    import tempfile
    import time

    peak = None
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = _megabytes(usage.ru_maxrss)
        process.wait()
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines() or ["nothing"]
            raise UltrasamError(
                f"`{' '.join(command[1:4])}` ended with {process.returncode}: {said[-1]:.200}"
            )
    return seconds, peak


def _warm(image: Path, args: Namespace) -> dict[str, float]:
    """Medians in this process."""
    import statistics
    import sys
    from functools import partial

    from ultrasam.io.scan import read_scan
    from ultrasam.predict.model import load as load_model

    def load() -> Any:
        model = load_model(args.model, threads=args.threads, engine=args.engine)
        return model, model.session(pixels)

    pixels = read_scan(image).frames[0].copy()
    loaded, (model, session) = _timed(load)
    height, width = pixels.shape[:2]
    first, _ = _timed(lambda: session.click(width / 2, height / 2))

    encodes = []
    for number in range(3 + 17):
        pixels.flat[0] = number  # other pixels, so that the cached embedding does not answer
        encodes.append(_timed(lambda: model.encode(pixels))[0])
    clicks = []
    for number in range(args.clicks + _WARM_UP):
        x, y = width * (0.3 + 0.4 * (number % 7) / 7), height * (0.3 + 0.4 * (number % 5) / 5)
        clicks.append(_timed(partial(session.click, x, y, positive=number % 3 != 2))[0])
        if number % 6 == 5:
            session.reset()
    numbers = {
        "load model and first encode": 1000 * loaded,
        "encode": 1000 * statistics.median(encodes[3:]),
        "first click": 1000 * first,
        "next click": 1000 * statistics.median(clicks[_WARM_UP:]),
    }
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        numbers["peak memory of this session"] = _megabytes(peak)
    return numbers


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    import time

    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _speckle(path: Path) -> Path:
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[:600, :800]
    dark = ((columns - 400) / 180) ** 2 + ((rows - 300) / 120) ** 2 < 1
    speckle = np.random.default_rng(0).rayleigh(1.0, dark.shape) * np.where(dark, 20, 80)
    Image.fromarray(np.clip(speckle, 0, 255).astype(np.uint8)).save(path)
    return path


def _installed_megabytes() -> float:
    """The files of this package and of all packages that it requires without extras."""
    import re
    from importlib import metadata

    todo, seen, total = ["ultrasam"], set(), 0
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # a requirement of other systems
            continue
        for requirement in package.requires or []:
            if not re.search(r";.*\bextra\b", requirement):
                todo.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-"))
        total += sum(
            path.stat().st_size
            for file in package.files or []
            if (path := Path(str(package.locate_file(file)))).is_file()
        )
    return total / 1e6


def _megabytes(max_rss: int) -> float:
    """`ru_maxrss` is in KiB, on macOS in bytes."""
    import sys

    return max_rss / 1e6 if sys.platform == "darwin" else max_rss * 1024 / 1e6


def _machine(args: Namespace) -> dict[str, Any]:
    import platform
    import re
    from importlib import metadata

    from ultrasam import __version__
    from ultrasam.engines.threads import checked_threads, usable_cores

    try:
        names = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = None
    return {
        "processor": names[1] if names else platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "threads": checked_threads(args.threads),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ultrasam": __version__,
        **{name: metadata.version(name) for name in ("onnxruntime", "numpy", "pillow")},
        "model": str(args.model),
        "engine": args.engine,
    }


def _table(report: dict[str, Any]) -> str:
    """Markdown: the machine in one line, then a row for each number."""
    about = report["machine"]
    lines = [
        f"{about['model']} ({about['engine']}) on {about['processor']}, {about['cores']} cores, "
        f"{about['threads']} threads, {about['system']}; Python {about['python']}, "
        f"ultrasam {about['ultrasam']}, onnxruntime {about['onnxruntime']}, numpy {about['numpy']}",
        "",
        "| step | measured |",
        "|---|---:|",
    ]
    for name, value in report["numbers"].items():
        unit = _UNITS[name]
        lines.append(f"| {name} | {value:.{_DIGITS[unit]}f} {unit} |")
    return "\n".join(lines)
