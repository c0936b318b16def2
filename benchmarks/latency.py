"""How long a user waits, and how much memory and disk it takes, on this machine. Needs no torch.

    python benchmarks/latency.py [--image FILE] [--model NAME_OR_FOLDER] [--runs 7] [--json FILE]

Run it with the Python of a fresh environment that holds only the base package, on a quiet machine.
Prints a Markdown table; `--json` also writes the numbers. Cold starts are whole processes, disk caches warm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# what is measured -> (unit, the limit it should keep)
LIMITS = {
    "import ultrasam": ("s", 0.15),
    "ultrasam segment, cold start to written mask": ("s", 2.0),
    "load model and first encode": ("ms", None),
    "encode": ("ms", 80.0),
    "click, first": ("ms", None),
    "click": ("ms", 25.0),
    "peak memory of ultrasam segment": ("MB", 600.0),
    "peak memory of this session": ("MB", 600.0),
    "site-packages": ("MB", 300.0),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="default: speckle of 800 x 600 pixels")
    parser.add_argument("--model", default="ultrasam-lite")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=7, help="processes per cold start")
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = args.image or write_speckle(Path(folder) / "speckle.png")
        numbers = cold_starts(image, args, Path(folder) / "out")
        numbers |= warm(image, args)
    numbers["site-packages"] = folder_size(Path(sysconfig.get_path("purelib")))
    report = {"machine": machine(args), "numbers": numbers}
    print(markdown(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def cold_starts(image: Path, args: argparse.Namespace, out: Path) -> dict[str, float]:
    """Medians over whole processes, the time of starting Python itself included in all but the import."""
    baseline = statistics.median(run([sys.executable, "-c", "pass"])[0] for _ in range(args.runs))
    imports = statistics.median(run([sys.executable, "-c", "import ultrasam"])[0] for _ in range(args.runs))
    command = [
        sys.executable,
        "-m",
        "ultrasam",
        "segment",
        str(image),
        "--point",
        middle(image),
        "--out",
        str(out),
    ]
    command += ["--model", str(args.model)] + ([f"--threads={args.threads}"] if args.threads else [])
    runs = [run(command) for _ in range(args.runs)]
    return {
        "import ultrasam": max(0.0, imports - baseline),
        "ultrasam segment, cold start to written mask": statistics.median(seconds for seconds, _ in runs),
        "peak memory of ultrasam segment": max(peak for _, peak in runs),
    }


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of one process; where the system cannot tell the memory, nan."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not hasattr(os, "wait4"):
        _, error = process.communicate()
        code, peak = process.returncode, float("nan")
    else:
        error = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        peak = in_megabytes(usage.ru_maxrss)
    seconds = time.perf_counter() - start
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}: {error.decode(errors='replace')}")
    return seconds, peak


def warm(image: Path, args: argparse.Namespace) -> dict[str, float]:
    """Medians in this process after warm-up: preprocessing and mask at full size included."""
    import ultrasam

    start = time.perf_counter()
    model = ultrasam.load(args.model, threads=args.threads)
    pixels = ultrasam.read_scan(image).frames[0]
    session = model.session(pixels)
    loaded = time.perf_counter() - start
    height, width = pixels.shape[:2]
    first = timed(lambda: session.click(width / 2, height / 2))

    def encode(number: int) -> Callable[[], Any]:
        changed = pixels.copy()
        changed.flat[0] = number  # other pixels, so that the cached embedding does not answer
        return lambda: model.encode(changed)

    encodes = [timed(encode(number)) for number in range(20)][3:]
    clicks = []
    for number in range(args.clicks + 5):
        x, y = width * (0.3 + 0.4 * (number % 7) / 7), height * (0.3 + 0.4 * (number % 5) / 5)
        clicks.append(timed(lambda x=x, y=y, n=number: session.click(x, y, positive=n % 3 != 2)))
        if number % 6 == 5:
            session.reset()
    numbers = {
        "load model and first encode": 1000 * loaded,
        "encode": 1000 * statistics.median(encodes),
        "click, first": 1000 * first,
        "click": 1000 * statistics.median(clicks[5:]),
    }
    if sys.platform != "win32":
        import resource

        numbers["peak memory of this session"] = in_megabytes(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        )
    return numbers


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def write_speckle(path: Path) -> Path:
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[:600, :800]
    dark = ((columns - 400) / 180) ** 2 + ((rows - 300) / 120) ** 2 < 1
    speckle = np.random.default_rng(0).rayleigh(1.0, dark.shape) * np.where(dark, 20, 80)
    Image.fromarray(np.clip(speckle, 0, 255).astype(np.uint8)).save(path)
    return path


def middle(image: Path) -> str:
    from PIL import Image

    with Image.open(image) as opened:
        width, height = opened.size
    return f"{width / 2},{height / 2}"


def folder_size(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def in_megabytes(max_rss: int) -> float:
    """`ru_maxrss` is in KiB, on macOS in bytes."""
    return max_rss / 1e6 if sys.platform == "darwin" else max_rss * 1024 / 1e6


def machine(args: argparse.Namespace) -> dict[str, Any]:
    from importlib import metadata

    from ultrasam.engines.threads import checked_threads, usable_cores

    packages = ("ultrasam", "numpy", "onnxruntime", "pillow")
    installed = {entry.metadata["Name"].lower(): entry.version for entry in metadata.distributions()}
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": usable_cores(),
        "threads": checked_threads(args.threads),
        "model": str(args.model),
        "packages": {name: installed.get(name) for name in packages},
    }


def markdown(report: dict[str, Any]) -> str:
    about = report["machine"]
    lines = [
        f"{about['platform']}, {about['cores']} cores, {about['threads']} threads, Python {about['python']}, "
        + ", ".join(f"{name} {version}" for name, version in about["packages"].items() if version),
        "",
        "| | measured | should be at most |",
        "|---|---:|---:|",
    ]
    for name, (unit, limit) in LIMITS.items():
        if name in report["numbers"]:
            digits = 3 if unit == "s" else 0 if unit == "MB" else 1
            goal = "" if limit is None else f"{limit:g} {unit}"
            lines.append(f"| {name} | {report['numbers'][name]:.{digits}f} {unit} | {goal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
