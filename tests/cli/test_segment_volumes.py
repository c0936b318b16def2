"""`ultrasam segment` on volumes and videos: the axis, and each file opened once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultrasam.cli.main import main
from ultrasam.predict import batch

sitk = pytest.importorskip("SimpleITK", reason="needs the extra data")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """5 x 60 x 80 (z, y, x), each value its own z."""
    values = np.broadcast_to(np.arange(0, 250, 50, dtype=np.uint8)[:, None, None], (5, 60, 80)).copy()
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.2, 0.3, 2.0))
    path = tmp_path / "scans" / "volume.nii.gz"
    path.parent.mkdir()
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(("axis", "size", "spacing"), [("z", (80, 60), 0.06), ("x", (60, 5), 0.6)])
def test_one_frame_along_an_axis(
    volume: Path,
    tmp_path: Path,
    tiny_folder: Path,
    capsys: Any,
    axis: str,
    size: tuple[int, int],
    spacing: float,
) -> None:
    words = ["segment", str(volume), "--axis", axis, "--frame=3", "--box=10,1,40,4", "--json"]
    assert main([*words, f"--out={tmp_path / 'out'}", f"--model={tiny_folder}"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["width"], report["height"]) == size
    (found,) = report["objects"]
    assert found["measurements"]["unit"] == "mm"
    assert found["measurements"]["area"] == pytest.approx(found["area_px"] * spacing)


def test_all_frames_along_an_axis(volume: Path, tmp_path: Path, tiny_folder: Path, capsys: Any) -> None:
    words = ["segment", str(volume.parent), "--frames=all", "--box=2,1,30,4", f"--out={tmp_path / 'out'}"]
    words += [f"--model={tiny_folder}", "--json"]
    assert main([*words, "--axis=x"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["done"] == 80
    assert main([*words, "--axis=x"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["kept"] == 80
    assert main([*words, "--axis=y"]) == 0  # another axis is another question
    assert json.loads(capsys.readouterr().out)["totals"]["done"] == 60


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_file_is_opened_once_for_all_its_frames(
    volume: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    opened: list[Path] = []
    read_scan = batch.read_scan

    def counting(path: Path, axis: str) -> Any:
        opened.append(path)
        return read_scan(path, axis)

    monkeypatch.setattr(batch, "read_scan", counting)
    words = ["segment", str(volume), "--frames=all", "--box=2,1,30,40", f"--out={tmp_path / 'out'}"]
    assert main([*words, f"--model={tiny_folder}", f"--jobs={jobs}"]) == 0
    assert opened == [volume]
