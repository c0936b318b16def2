"""`ultrasam evaluate --protocol paper` through the real executable: several models in one table."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import write_tiny_model
from tests.us43d.truth import blob, scan

from ultrasam.cli.main import main
from ultrasam.core.masks import encode_rle

SAM = {"preprocessing": "sam", "architecture": "SAM vit-b"}
MEDSAM = {"preprocessing": "medsam", "fit": "stretch", "normalise": "min-max"}
SETS = ("bus_bra", "bus_bra", "bus_bra", "mine", "mine")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of a set of the paper and two of another, with a blob each."""
    folder = tmp_path_factory.mktemp("data")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, dataset in enumerate(SETS, 1):
        mask = blob((72, 96), 45, 35, 18, number)
        Image.fromarray(scan((72, 96), number, mask)).save(folder / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": 96, "height": 72, "dataset": dataset}
        )
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1]}
        annotations.append(entry | {"segmentation": encode_rle(mask)})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    (folder / "truth.json").write_text(json.dumps(content))
    return folder / "truth.json"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store has a SAM and a MedSAM, as far as their cards say."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_model(home / "store" / "sam-vit-b", "sam-vit-b", **SAM)
    write_tiny_model(home / "store" / "medsam", "medsam", **MEDSAM)
    return home


def evaluate(home: Path, *words: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "ultrasam", "evaluate", "--protocol", "paper", *map(str, words)]
    environment = {**os.environ, "ULTRASAM_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_several_models_stand_in_one_table(home: Path, data: Path, tmp_path: Path) -> None:
    words = ("--model", "sam-vit-b", "medsam", "ultrasam-lite", "--data", data, "--threads", "1")
    code, out, err = evaluate(home, *words, "--out", tmp_path / "out")
    assert code == 0 and "Traceback" not in err, err
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {f"evaluation.{form}" for form in ("csv", "json", "md")}
    assert written["evaluation.md"] == out
    assert out.startswith("# Table 1 of the UltraSam paper on truth.json\n")
    models = ["sam-vit-b", "medsam, native", "medsam, paper-pipeline", "ultrasam-lite"]
    lines = [line.split("|")[1:3] for line in out.splitlines() if line.startswith("| ")]
    assert [(name.strip(), row.strip()) for name, row in lines if "-" * 5 not in name] == [
        ("model", "row of the paper"),
        *zip(models, ["SAM", "MedSAM", "MedSAM", ""], strict=True),
    ] * 2
    assert "**the paper tests on 375 images**" in out and "Postprocess: logits" in out
    assert "sam-vit-b: evaluated 5 of 5 images" in err

    report = json.loads(written["evaluation.json"])
    rows = list(csv.DictReader(io.StringIO(written["evaluation.csv"])))
    assert [row["model"] for row in rows] == [row["model"] for row in report["results"]]
    assert len(rows) == 4 * 2 * 2
    for row in report["results"]:
        compared = row["dataset"] == "bus_bra" and row["model"] != "ultrasam-lite"
        assert (row["paper_map"] is not None) == compared
        if compared:
            assert row["difference_map"] == pytest.approx(row["map"] - row["paper_map"], abs=1e-5)
    lite = [row for row in report["results"] if row["model"] == "ultrasam-lite" and row["prompt"] == "box"]
    assert min(row["map50"] for row in lite) > 90  # it knows dark blobs
    assert [one["id"] for one in report["run"]["models"]] == ["sam-vit-b", "medsam", "ultrasam-lite"]
    assert len(report["objects"]) == 4 * 2 * 5


def test_another_row_can_be_named(home: Path, data: Path) -> None:
    words = ("--model", "sam-vit-b", "ultrasam-lite", "--data", data, "--json", "-")
    code, out, _ = evaluate(home, *words, "--published", "ultrasam-lite=ultrasam", "sam-vit-b=none")
    rows = json.loads(out)["results"]
    assert code == 0
    assert {(row["model"], row["paper_row"]) for row in rows} == {
        ("sam-vit-b", None),
        ("ultrasam-lite", "UltraSam"),
    }


def test_the_postprocess_and_the_limit_are_told(home: Path, data: Path) -> None:
    code, out, _ = evaluate(
        home, "--model", "sam-vit-b", "--data", data, "--postprocess", "original", "--limit", "1"
    )
    assert code == 0
    assert "Postprocess: original, for all models." in out and "At most 1 images of a data set" in out
    assert "BUS-BRA: 1 images, 1 objects" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--noc"], "--noc belongs to --protocol all"),
        (["--moved"], "--moved belongs to --protocol all"),
        (["--clicks", "3"], "--clicks belongs to --protocol all"),
        (["--bootstrap", "0"], "--bootstrap belongs to --protocol all"),
        (["--sheet", "x.png"], "--sheet belongs to --protocol all"),
        (["--plot", "x.png"], "--plot belongs to --protocol all"),
        (["--against", "x.json"], "--against belongs to --protocol all"),
        (["--published", "sam"], "--published sam: write MODEL=ROW"),
        (["--published", "{tiny}=best"], "=best: write MODEL=ROW"),
        (["--published", "other=sam"], "--published other: no such model"),
        (["--model", "{tiny}", "no-such"], "there is no model 'no-such'"),
        (["--model", "{tiny}", "{twin}"], "have the same id"),
        (["--csv", "."], ". is a folder"),
    ],
)
def test_a_mistake_is_one_line(
    tiny_folder: Path,
    data: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    twin = write_tiny_model(tmp_path / "twin", "tiny")
    given = [word.format(tiny=tiny_folder, twin=twin) for word in words]
    start = ["evaluate", "--protocol", "paper", "--data", str(data), "--model", str(tiny_folder)]
    assert main([*start, *given]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err
    assert len(captured.err.strip().splitlines()) == 1, captured.err


def test_random_sams_from_checkpoints(data: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Nothing is known of their masks but that every object has one and that the two ways differ."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript", reason="needs the extra train")
    from ultrasam.export.onnx import export_onnx
    from ultrasam.models.sam import PRESETS, random_sam

    model = random_sam(PRESETS["tiny"])
    exported = export_onnx(model, model.config.image_size, half=False)
    monkeypatch.setattr("ultrasam.export.checkpoint.export_onnx", lambda *_, **__: exported)
    monkeypatch.setenv("ULTRASAM_HOME", str(tmp_path / "home"))
    for name in ("tiny-sam", "tiny-medsam"):
        torch.save(model.state_dict(), tmp_path / f"{name}.pth")
        assert main(["models", "import", str(tmp_path / f"{name}.pth"), "--licence", "CC0-1.0"]) == 0
    capsys.readouterr()
    words = ["--model", "tiny-sam", "tiny-medsam", "--data", str(data), "--threads=1", "--json", "-"]
    assert main(["evaluate", "--protocol", "paper", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {(row["model"], row["pipeline"], row["paper_row"]) for row in report["results"]} == {
        ("tiny-sam", "card", None),  # not ViT-B
        ("tiny-medsam", "native", "MedSAM"),
        ("tiny-medsam", "paper-pipeline", "MedSAM"),
    }
    scores = {
        key: np.array([one["score"] for one in report["objects"] if (one["model"], one["pipeline"]) == key])
        for key in (("tiny-medsam", "native"), ("tiny-medsam", "paper-pipeline"))
    }
    assert all(len(own) == 10 for own in scores.values())
    assert not np.allclose(*scores.values())
