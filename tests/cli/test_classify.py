"""The verb classify through the real executable: train, predict, evaluate, and mistakes in one line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")
pytest.importorskip("sklearn")

from tests.shapes import CLASSES, draw_shapes  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402

PROBE = ("probe", "--encoder.image_size", "64", "--threads", "1")


def ultrasam(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ultrasam", "classify", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image folder for each class, and a probe trained on them in runs/probe."""
    folder = tmp_path_factory.mktemp("classify")
    rng = np.random.default_rng(0)
    for number in range(24):
        label = number % 2
        path = folder / "shapes" / CLASSES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_shapes(rng, 60, 44, (label,))[0]).save(path)
    done = ultrasam(folder, "train", *PROBE, "--data", "shapes", "--out", "runs/probe")
    assert "weights written to runs/probe/weights.safetensors" in done.stdout
    assert "mean over classes" in done.stdout
    return folder


def test_a_run_says_the_class_of_images(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "new").mkdir(exist_ok=True)
    for number, label in enumerate((1, 0, 1)):
        pixels, _ = draw_shapes(np.random.default_rng(7 + number), 80, 50, (label,))
        Image.fromarray(pixels).save(place / "new" / f"{number}.png")
    (place / "new" / "broken.png").write_bytes(b"nothing")
    done = ultrasam(place, "predict", "new", "--run", "runs/probe", "--out", "new.csv", code=1)
    assert "broken.png" in done.stderr
    rows = list(csv.DictReader((place / "new.csv").open()))
    assert [(row["file"], row["class"]) for row in rows] == [
        ("new/0.png", "square"),
        ("new/1.png", "disc"),
        ("new/2.png", "square"),
    ]
    assert float(rows[0]["score square"]) > float(rows[0]["score disc"])
    monkeypatch.chdir(place)
    assert main(["classify", "predict", "new/1.png", "--run", "runs/probe", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["class"] == "disc" and set(result["scores"]) == set(CLASSES)
    assert main(["classify", "predict", "new/broken.png", "--run", "runs/probe"]) == 2


def test_a_run_is_measured_on_what_it_held_out_and_on_other_data(place: Path) -> None:
    held = json.loads(ultrasam(place, "evaluate", "--run", "runs/probe", "--json").stdout)
    assert held["images"] == 4 and held["classes"] == list(CLASSES)
    done = ultrasam(
        place, "evaluate", "--run", "runs/probe", "--data", "shapes", "--markdown", "t.md", "--out", "s.csv"
    )
    assert "trained on 20 of these images" in done.stderr
    assert (place / "t.md").read_text().strip() == done.stdout.strip()
    assert len((place / "s.csv").read_text().splitlines()) == 25


def test_folds_compare_two_encoders(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for name, words in (("lite", ()), ("random", ("--init", "", "--seed", "1"))):
        train = ["classify", "train", *PROBE, "--data", "shapes", "--folds", "3", "--out", f"runs/{name}"]
        assert main([*train, *words]) == 0
        out = capsys.readouterr().out
        assert "24 images of 24 cases" in out and "| 3 | 8 |" in out
    assert main(["classify", "evaluate", "--run", "runs/lite", "--against", "runs/random", "--json"]) == 0
    gains = {one["figure"]: one for one in json.loads(capsys.readouterr().out)["against"]["gains"]}
    assert set(gains) == {"precision", "recall", "f1", "auroc"} and len(gains["f1"]["interval"]) == 2
    assert main(["classify", "predict", "shapes", "--run", "runs/lite"]) == 2
    error = capsys.readouterr().err
    assert "is a cross-validation, which keeps no model: train one without --folds" in error
    # With --json one object and nothing else, also from a training.
    assert main(["classify", "train", *PROBE, "--data", "shapes", "--out", "runs/json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train",), "name a recipe first, as in `ultrasam classify train lite`"),
        (("train", "nowhere"), "no recipe 'nowhere'"),
        (("train", "probe"), "no training data"),
        (("train", "probe", "--folds", "1"), "folds is 0, or at least 2"),
        (("train", "probe", "--data.classes", "[disc]"), "data.classes are none, or two or more"),
        (("train", "probe", "--encoder.image_size", "50"), "multiple of 32"),
        (("train", "resnet50", "--tokens", "embedding"), 'tokens are "last" for a resnet50'),
        (("train", "probe", "--data", "absent.csv"), "absent.csv does not exist"),
        (("train", *PROBE, "--data", "shapes", "--data.classes", "[disc,cyst]"), "there is no class 'cyst'"),
        (("train", *PROBE, "--data", "shapes", "--folds", "13"), "the class disc has 12 cases"),
        (("train", *PROBE, "--data", "shapes", "--init", "absent"), "encoder.init absent is neither"),
        (
            ("train", *PROBE, "--data", "shapes", "--out", "runs/probe", "--seed", "5"),
            "other settings (seed)",
        ),
        (("predict", "shapes", "--run", "absent"), "absent is not the folder of a run of `ultrasam classify"),
        (("predict", "shapes", "--run", "shapes"), "shapes is not the folder of a run"),
        (("predict", "absent.png", "--run", "runs/probe"), "absent.png"),
        (("evaluate", "--run", "shapes"), "shapes has no predictions.csv"),
        (
            ("evaluate", "--run", "runs/probe", "--data", "other.csv"),
            "has images of blob, the run knows disc",
        ),
        (("evaluate", "--run", "runs/probe", "--data", "single.csv"), "all 2 images are of the class disc"),
        (("evaluate", "--run", "runs/probe", "--data", "empty.csv"), "no image with a class"),
        (("evaluate",), "missing: --run"),
        ((), "train"),
    ],
)
def test_a_mistake_is_one_line(
    place: Path,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    (place / "other.csv").write_text("image,label\nshapes/disc/0.png,blob\nshapes/square/1.png,square\n")
    (place / "single.csv").write_text("image,label\nshapes/disc/0.png,disc\nshapes/disc/2.png,disc\n")
    (place / "empty.csv").write_text("image,label\nshapes/disc/0.png,\n")
    assert main(["classify", *words]) == 2
    *before, last = capsys.readouterr().err.strip().splitlines()
    assert message in last
    assert all("trained on" in line for line in before)
    assert not (place / "runs" / "classify" / "probe" / "config.json").exists()  # nothing half begun
