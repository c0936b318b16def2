"""The real executable where things are scarce or strange: a full disk, a read-only folder, a bomb, a clip of
ten thousand frames, names that no shell likes, links in circles.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.dicoms import dataset, saved

ULTRASAM = [sys.executable, "-m", "ultrasam"]
BOX = "--box=10,10,60,50"


def can_mount() -> bool:
    """Whether this user may mount a file system of its own."""
    if not shutil.which("unshare"):
        return False
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="may not mount a small file system")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten images whose overlays have about 60 kB each."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (160, 160), np.uint8)).save(folder / f"{number}.png")
    return folder


def on_tmpfs(out: Path, options: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `ultrasam WORDS` with `out` on a file system of its own, then copy what is there to `out`.copy."""
    out.mkdir(exist_ok=True)
    size, *later = options.split(",")
    script = [
        f"mount -t tmpfs -o {size} none {shlex.quote(str(out))}",
        *[f"mount -o remount,{option} {shlex.quote(str(out))}" for option in later],
        f"{shlex.join([*ULTRASAM, *words])}; code=$?",
        f"cp -a {shlex.quote(str(out))} {shlex.quote(str(out))}.copy",
        "exit $code",
    ]
    command = ["unshare", "-rm", "sh", "-c", "\n".join(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def whole_files(folder: Path) -> list[str]:
    """The names of all files, hidden ones too; each picture and each document is whole."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".ultrasam" not in path.parts]
    for path in paths:
        if path.suffix == ".png":
            Image.open(path).load()
        else:
            json.loads(path.read_text())
    return sorted(path.name for path in paths)


@needs_mount
def test_a_full_disk_one_image(noise: Path, tmp_path: Path, tiny_folder: Path) -> None:
    words = ["segment", str(noise / "0.png"), BOX, f"--out={tmp_path / 'out'}", f"--model={tiny_folder}"]
    done = on_tmpfs(tmp_path / "out", "size=32k", words)
    assert done.returncode == 2 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert "No space left on device" in last and "free some space" in last
    assert whole_files(tmp_path / "out.copy") == []


@needs_mount
def test_a_full_disk_in_the_middle_of_a_folder(noise: Path, tmp_path: Path, tiny_folder: Path) -> None:
    words = ["segment", str(noise), BOX, f"--out={tmp_path / 'out'}", f"--model={tiny_folder}"]
    done = on_tmpfs(tmp_path / "out", "size=400k", words)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    names = whole_files(tmp_path / "out.copy")
    overlays = [name for name in names if name.endswith("_overlay.png")]
    assert 1 <= len(overlays) < 10
    # With space again, the run goes on where it was.
    words[3] = f"--out={tmp_path / 'out.copy'}"
    again = subprocess.run([*ULTRASAM, *words, "--json"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    totals = json.loads(again.stdout)["totals"]
    assert totals["kept"] >= len(overlays) - 1 and totals["kept"] + totals["done"] == 10


@needs_mount
def test_a_folder_that_is_read_only(noise: Path, tmp_path: Path, tiny_folder: Path) -> None:
    words = [f"--out={tmp_path / 'out'}", f"--model={tiny_folder}"]
    for name, scan in (("one", noise / "0.png"), ("all", noise)):
        shutil.rmtree(tmp_path / "out.copy", ignore_errors=True)
        done = on_tmpfs(tmp_path / "out", "size=1m,ro", ["segment", str(scan), BOX, *words])
        assert done.returncode == 2, name
        (line,) = [line for line in done.stderr.splitlines() if "licence" not in line]
        assert "choose a folder that you may write to" in line


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that promises so many pixels and holds one compressed row of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(width + 1))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def peak_megabytes(words: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    """A finished command and the most memory it held. Not `ru_maxrss`: Linux hands on that of the parent."""
    code = (
        "import runpy, sys; sys.argv[0] = 'ultrasam'\n"
        "try: runpy.run_module('ultrasam', run_name='__main__')\n"
        "finally: print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done, int(done.stderr.rsplit("VmHWM:", 1)[1].split()[0]) / 2**10


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")


@needs_proc
def test_a_decompression_bomb(tmp_path: Path, tiny_folder: Path) -> None:
    path = png_header(tmp_path / "bomb.png", 30_000, 30_000)
    done, peak = peak_megabytes(
        ["segment", str(path), BOX, f"--out={tmp_path / 'out'}", f"--model={tiny_folder}"]
    )
    assert done.returncode == 2
    assert "bomb.png is too large (at most" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert peak < 300  # the pixels would be 900 MB


@needs_proc
def test_a_clip_of_ten_thousand_frames_in_little_memory(tmp_path: Path, tiny_folder: Path) -> None:
    count, rows, columns = 10_000, 200, 200
    ds = dataset(np.zeros((2, rows, columns), np.uint8), "MONOCHROME2")
    path = saved(tmp_path, ds)
    content = path.read_bytes()
    # The same header with more frames; the pixels are a hole in the file, which takes no disk.
    ds.NumberOfFrames = count
    ds.PixelData = b""
    header = saved(tmp_path, ds, "header.dcm").read_bytes()
    assert header[-4:] == bytes(4) and len(content) > len(header)
    with path.open("wb") as file:
        file.write(header[:-4] + struct.pack("<I", count * rows * columns))
        file.truncate(len(header) + count * rows * columns)
    words = ["segment", str(path), "--box=20,20,150,150", f"--model={tiny_folder}", "--no-overlay", "--json"]
    done, peak = peak_megabytes([*words, "--frame=-1", f"--out={tmp_path / 'one'}"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frame"] == count - 1
    assert peak < 250  # all frames would be 400 MB
    done, peak = peak_megabytes([*words, "--frames=0:10000:500", f"--out={tmp_path / 'some'}"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"]["done"] == 20
    assert peak < 250


NAMES = [
    "with space.png",
    "üñí 超声.png",
    "new\nline.png",
    "-point.png",
    "quo'te\".png",
    "a;b&c|d.png",
    "%s{}.png",
]
NAMES += ["x" * 240 + ".png", "bell\x07.png", ".hidden.png", "no suffix"]


@pytest.mark.skipif(os.name == "nt", reason="such names are for POSIX")
def test_strange_names(tmp_path: Path, tiny_folder: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in NAMES:
        Image.new("L", (80, 60), 90).save(scans / name, "PNG")
    for number, name in enumerate(NAMES):
        out = tmp_path / "one" / str(number)
        words = ["segment", BOX, f"--out={out}", f"--model={tiny_folder}", "--", name]
        done = subprocess.run([*ULTRASAM, *words], cwd=scans, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (name, done.stderr)
        assert len(list(out.glob("*_mask.png"))) == 1
        assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())
    words = ["segment", str(scans), BOX, f"--out={tmp_path / 'all'}", f"--model={tiny_folder}", "--json"]
    done = subprocess.run([*ULTRASAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "all" / "predictions.json").read_text())
    # Hidden files are left alone, as everywhere; a file without a suffix is only a scan if it is DICOM.
    assert {image["file_name"] for image in found["images"]} == set(NAMES) - {".hidden.png", "no suffix"}


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_links_in_circles(tmp_path: Path, tiny_folder: Path) -> None:
    scans = tmp_path / "scans"
    (scans / "deep").mkdir(parents=True)
    Image.new("L", (80, 60), 90).save(scans / "deep" / "a.png")
    (scans / "deep" / "up").symlink_to(scans, target_is_directory=True)
    (scans / "one.png").symlink_to("two.png")
    (scans / "two.png").symlink_to("one.png")
    words = ["segment", str(scans), BOX, f"--out={tmp_path / 'out'}", f"--model={tiny_folder}", "--json"]
    done = subprocess.run([*ULTRASAM, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["totals"]["done"] == 1
    assert "one.png" in done.stderr and "Traceback" not in done.stderr
    single = ["segment", str(scans / "one.png"), BOX, f"--out={tmp_path / 'x'}", f"--model={tiny_folder}"]
    done = subprocess.run([*ULTRASAM, *single], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
