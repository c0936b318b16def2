"""How the data tools scale: conversion against plain OpenCV, lists of many images, and opening their index.

    python benchmarks/data_scale.py [--only build,lists,index] [--images 280000] [--convert 2000] [--keep DIR]

Everything is made up, so it needs no data; the machine should do nothing else meanwhile.

build   converts `--convert` TIFF images of 580 x 420 pixels with their masks (`us_nerve`), by one and two
        processes; the reference decodes the same images with OpenCV and writes them as PNG of the same level
        and strategy, by as many processes, without looking at masks, hashes or checksums.
lists   runs `data split` on a quarter, a half and all of `--images` images with two objects each: the time
        for an image should not grow.
index   opens the index of the merged list, and reads 1,000 images anywhere in it; the reference is
        pycocotools loading the JSON of the same list. Then four processes read it at once. Seconds, and
        the most memory of a process (VmHWM, Linux), in a process of its own each.

Prints Markdown tables with a ratio to the reference of the same run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

PARTS = ("build", "lists", "index")
SIZE = (420, 580)
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
WORKERS = 4


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help=", ".join(PARTS))
    parser.add_argument("--images", type=int, default=280_000, help="of the list")
    parser.add_argument("--convert", type=int, default=2000, help="images that are converted")
    parser.add_argument("--rounds", type=int, default=3, help="of conversion and reference, in turn")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave what was made in this folder")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(CASES[args.case](args.keep)))
        return 0
    parts = args.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    folder = args.keep or Path(tempfile.mkdtemp(prefix="ultrasam-scale-"))
    try:
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}\n"
        )
        if "build" in parts:
            build(folder / "build", args.convert, args.rounds)
        if "lists" in parts or "index" in parts:
            sizes = [args.images // 4, args.images // 2, args.images] if "lists" in parts else [args.images]
            lists(folder, sizes)
        if "index" in parts:
            index(folder / f"lists-{args.images}" / "agnostic")
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def table(rows: Iterable[tuple[Any, ...]]) -> None:
    for number, row in enumerate(rows):
        print(f"| {' | '.join(map(str, row))} |")
        if number == 0:
            print(f"|{'|'.join(['---', *['---:'] * (len(row) - 1)])}|")
    print(flush=True)


def run(case: str, folder: Path) -> dict[str, Any]:
    """What a case measures in a process of its own."""
    command = [sys.executable, __file__, "--case", case, "--keep", str(folder)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


# Conversion


def build(folder: Path, count: int, rounds: int) -> None:
    raw = folder / "raw"
    images = raw / "us_nerve" / "train"
    if not raw.exists():
        write_raw(images, count)
    rows: list[tuple[Any, ...]] = [("conversion", "images/s", "OpenCV alone", "ratio")]
    for jobs in (1, 2):
        speeds: dict[str, list[float]] = {"ours": [], "reference": []}
        for _ in range(rounds):
            speeds["reference"].append(
                count / reference(raw / "us_nerve" / "train", folder / "reference", jobs)
            )
            speeds["ours"].append(count / converted(raw, folder / "out", jobs))
        ours, plain = (float(np.median(speeds[name])) for name in ("ours", "reference"))
        rows.append(
            (f"{jobs} process" + "es" * (jobs > 1), f"{ours:.0f}", f"{plain:.0f}", f"{ours / plain:.2f}")
        )
    table(rows)


def write_raw(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    speckle = [cv2.GaussianBlur(rng.integers(0, 255, SIZE, dtype=np.uint8), (0, 0), 1.2) for _ in range(20)]
    for number in range(count):
        name = f"{1 + number // 100}_{1 + number % 100}"
        mask = np.zeros(SIZE, np.uint8)
        cv2.ellipse(mask, (200 + number % 100, 150), (60, 30), 20, 0, 360, 255, -1)
        cv2.imwrite(str(folder / f"{name}.tif"), np.roll(speckle[number % 20], number, 1))
        cv2.imwrite(str(folder / f"{name}_mask.tif"), mask)


def converted(raw: Path, out: Path, jobs: int) -> float:
    shutil.rmtree(out, ignore_errors=True)
    words = ["data", "build", "--raw", raw, "--out", out, "--partial", "--jobs", jobs]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ultrasam", *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - start


def reference(raw: Path, out: Path, jobs: int) -> float:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    names = [str(path) for path in sorted(raw.iterdir()) if "_mask" not in path.name]
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        pool.starmap(copy_as_png, ((name, str(out)) for name in names), chunksize=16)
    return time.perf_counter() - start


def copy_as_png(path: str, out: str) -> None:
    cv2.setNumThreads(1)
    pixels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    cv2.imwrite(os.path.join(out, f"{Path(path).stem}.png"), pixels, PNG)


# Lists


def lists(folder: Path, sizes: list[int]) -> None:
    rows: list[tuple[Any, ...]] = [("images", "seconds of data split", "ms for an image", "most memory (MB)")]
    for count in sizes:
        built = folder / f"built-{count}"
        if not built.exists():
            write_built(built, count)
        target = folder / f"lists-{count}"
        shutil.rmtree(target, ignore_errors=True)
        words = ["data", "split", built, "--out", target, "--jobs", 2]
        start = time.perf_counter()
        command = [sys.executable, "-m", "ultrasam", *map(str, words)]
        _, status, usage = os.wait4(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit("data split failed")
        memory = f"{usage.ru_maxrss / 1024:.0f}"
        rows.append((f"{count:,}", f"{seconds:.1f}", f"{1000 * seconds / count:.2f}", memory))
    table(rows)


def write_built(built: Path, count: int, sets: int = 10) -> None:
    """Converted sets without pixels: `data split` asks for those of look-alikes only, and there are none."""
    from ultrasam.core.masks import encode_rle

    rng = np.random.default_rng(1)
    masks = []
    for _ in range(300):
        mask = np.zeros((500, 600), np.uint8)
        centre, axes = rng.integers(100, 400, 2), rng.integers(20, 90, 2)
        cv2.ellipse(mask, centre.tolist(), axes.tolist(), int(rng.integers(180)), 0, 360, 1, -1)
        x, y, w, h = cv2.boundingRect(mask)
        box = [float(side) for side in (x, y, w, h)]
        masks.append((encode_rle(mask.astype(bool)), box, float(mask.sum())))
    for number in range(sets):
        name = f"set{number}"
        (built / name).mkdir(parents=True)
        images, annotations = [], []
        for row in range(number * count // sets, (number + 1) * count // sets):
            hashed = int.from_bytes(sha256(str(row).encode()).digest()[:8], "big")
            image = {"id": hashed >> 1, "file_name": f"{row:06d}.png", "height": 500, "width": 600}
            image |= {"dataset": name, "case_id": f"{name}/{row // 4}", "frame": row % 4}
            images.append(image | {"phash": f"{hashed:016x}", "attributes": {"pathology": "benign"}})
            for place in (0, 1):
                rle, box, area = masks[(2 * row + place) % len(masks)]
                annotation = {"id": (hashed >> 1) ^ (place + 1), "image_id": hashed >> 1, "category_id": 1}
                annotation |= {"bbox": box, "segmentation": rle, "area": area, "iscrowd": 0}
                annotations.append(annotation)
        categories = [{"id": 1, "name": "lesion", "supercategory": "lesion"}]
        text = json.dumps(
            {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        )
        (built / name / "annotations.json").write_text(text)
        manifest = {"dataset": name, "name": name, "licence": "", "terms": "open", "citation": "", "url": ""}
        manifest |= {"status": "complete", "results": {"annotations.json": sha256(text.encode()).hexdigest()}}
        (built / name / "manifest.json").write_text(json.dumps(manifest))


# Index


def index(folder: Path) -> None:
    ours, reference_ = run("index", folder), run("pycocotools", folder)
    images = ours["images"]
    size = (folder / "train.json").stat().st_size / 1e6
    print(f"The list for training: {images:,} images, {ours['objects']:,} objects, {size:.0f} MB of JSON.\n")
    rows: list[tuple[Any, ...]] = [("", "index", "pycocotools", "ratio")]
    for what, key, unit in (
        ("open", "open", "s"),
        ("open and read 1,000 images with their masks", "read", "s"),
        ("most memory, opened", "memory", "MB"),
        ("most memory, 1,000 images read", "memory after", "MB"),
    ):
        one, other = ours[key], reference_[key]
        rows.append((f"{what} ({unit})", f"{one:.3g}", f"{other:.3g}", f"{one / other:.3f}"))
    table(rows)
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        private = pool.map(read_all, [(str(folder / "train"), n) for n in range(WORKERS)], chunksize=1)
    seconds = time.perf_counter() - start
    print(
        f"{WORKERS} processes that each read every {WORKERS}th image: {seconds:.1f} s; memory of their "
        f"own, without what they share: {', '.join(f'{one:.0f}' for one in private)} MB.\n"
    )


def measure_index(folder: Path) -> dict[str, Any]:
    from ultrasam.datasets.index import open_index

    before = high_water()
    start = time.perf_counter()
    found = open_index(folder / "train")
    opened, memory = time.perf_counter() - start, high_water()
    pixels = 0
    for row in places(len(found)):
        found.image(row)
        pixels += sum(int(one.mask().sum()) for one in found.objects_of(row))
    read = time.perf_counter() - start
    return {
        "images": len(found),
        "objects": len(found.objects),
        "open": opened,
        "read": read,
        "memory": memory,
        "memory after": high_water(),
        "before": before,
    }


def measure_pycocotools(folder: Path) -> dict[str, Any]:
    from pycocotools.coco import COCO

    stdout, sys.stdout = sys.stdout, sys.stderr
    start = time.perf_counter()
    coco = COCO(str(folder / "train.json"))
    sys.stdout = stdout
    opened, memory = time.perf_counter() - start, high_water()
    ids = list(coco.imgs)
    pixels = 0
    for row in places(len(ids)):
        pixels += sum(int(coco.annToMask(one).sum()) for one in coco.imgToAnns[ids[row]])
    read = time.perf_counter() - start
    return {"open": opened, "read": read, "memory": memory, "memory after": high_water()}


def places(count: int) -> list[int]:
    return np.random.default_rng(0).integers(0, count, 1000).tolist()


def read_all(task: tuple[str, int]) -> float:
    """Read a part of the index; MB of memory of its own, not counting what is mapped from the files."""
    from ultrasam.datasets.index import open_index

    found = open_index(task[0])
    for row in range(task[1], len(found), WORKERS):
        found.image(row)
        found.objects_of(row)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def high_water() -> float:
    """The most memory that this process has had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


CASES = {"index": measure_index, "pycocotools": measure_pycocotools}

if __name__ == "__main__":
    raise SystemExit(main())
