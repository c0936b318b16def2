"""Videos as frames, written by OpenCV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultrasam.core.errors import UltrasamError
from ultrasam.io.scan import read_scan

cv2 = pytest.importorskip("cv2")

COUNT = 30


def write(path: Path, fourcc: str = "MJPG", count: int = COUNT) -> Path:
    """A clip whose frame k has a left half of brightness 8 k and a blue right half."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 25, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32] = 8 * number
        picture[:, 32:, 0] = 200
        writer.write(picture)
    writer.release()
    return path


def number_of(frame: np.ndarray[Any, Any]) -> int:
    return round(float(frame[8:40, 4:24].mean()) / 8)


@pytest.mark.parametrize(("name", "fourcc"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")])
def test_frames_in_any_order(name: str, fourcc: str, tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / name, fourcc))
    assert len(scan.frames) == COUNT
    assert [number_of(frame) for frame in scan.frames] == list(range(COUNT))
    for index in (17, 3, 4, 29, 0, 28, -2):
        assert number_of(scan.frames[index]) == index % COUNT
    assert scan.meta["frame_time_ms"] == pytest.approx(40)
    assert scan.frames[0].shape == (48, 64, 3) and scan.frames[0].dtype == np.uint8


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    frame = read_scan(write(tmp_path / "a.avi")).frames[2]
    right = frame[8:40, 40:60].mean((0, 1))
    assert right[2] > 150 and right[0] < 60 and right[1] < 60


def test_the_content_goes_before_the_name(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "mp4v").rename(tmp_path / "clip")
    assert len(read_scan(tmp_path / "clip").frames) == COUNT


def test_a_wrong_count_in_the_header_is_corrected(tmp_path: Path) -> None:
    """The count of an AVI stands in its header twice; the frames decide."""
    path = write(tmp_path / "a.avi")
    content = path.read_bytes().replace(COUNT.to_bytes(4, "little"), (COUNT + 9).to_bytes(4, "little"))
    path.write_bytes(content)
    scan = read_scan(path)
    assert len(scan.frames) == COUNT and number_of(scan.frames[-1]) == COUNT - 1


def test_two_readers_share_a_scan(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scan = read_scan(write(tmp_path / "a.avi"))
    order = np.random.default_rng(0).permutation(COUNT).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: number_of(scan.frames[index]), order)) == order


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
@pytest.mark.parametrize("kept", [0.01, 0.3])
def test_a_damaged_video_is_one_line(name: str, kept: float, tmp_path: Path) -> None:
    path = write(tmp_path / name, "MJPG" if name == "a.avi" else "mp4v")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    try:
        frames = list(read_scan(path).frames)
    except UltrasamError as error:
        assert "\n" not in str(error) and "damaged or no video" in str(error)
    else:  # a cut AVI still has its first frames
        assert 0 < len(frames) < COUNT


def test_decoders_do_not_talk_to_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video at all " * 100)
    code = "import sys; from ultrasam.io.scan import read_scan; read_scan(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert "damaged or no video" in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("Traceback") and done.stdout == ""


def test_without_opencv_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.avi")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UltrasamError, match=r"opencv-python-headless: pip install 'ultrasam\[data\]'"):
        read_scan(path)
