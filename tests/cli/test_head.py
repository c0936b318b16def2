"""A run of `ultrasam instances train` as the head of `segment --auto`, and in Table 3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")
pytest.importorskip("transformers")

from tests.cli.test_instances import TINY, program  # noqa: E402
from tests.shapes import CLASSES, write_shapes  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shapes as a list of BUS-BRA for tests, and a short run on them."""
    folder = tmp_path_factory.mktemp("head")
    data = write_shapes(folder / "set", images=12)
    out = folder / "runs" / "instances" / "bus_bra-ultrasam"
    words = ["instances", "train", "smoke", "--data", data, "--out", out, *TINY]
    program(*words, "--optim.steps", "30", "--optim.lr", "3e-3")
    lists = folder / "us43d" / "lists" / "sets" / "bus_bra"
    shutil.copytree(data.parent, lists)
    (lists / "annotations.json").rename(lists / "test.json")
    return folder


def test_a_head_finds_and_the_model_outlines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sorted((place / "set" / "images").glob("*.png"))[:2]
    scans = place / "scans"
    scans.mkdir(exist_ok=True)
    for path in images:
        shutil.copy(path, scans)
    run = place / "runs/instances/bus_bra-ultrasam"
    words = ["--auto", "--head", str(run), "--head-score", "0", "--threads", "1"]
    program("segment", scans, *words, "--masks", "labels", "--out", place / "draft")
    content = json.loads((place / "draft" / "predictions.json").read_text())
    assert [one["name"] for one in content["categories"]] == list(CLASSES)
    assert content["annotations"]
    for one in content["annotations"]:
        assert one["category_id"] in (1, 2) and 0 <= one["confidence"] <= 1 and one["prompts"]["box"]
    labels = np.asarray(Image.open(place / "draft" / f"{images[0].stem}_labels.png"))
    first = [one for one in content["annotations"] if one["image_id"] == content["images"][0]["id"]]
    assert labels.max() == len(first)
    # Done once: nothing is asked again. Another score is another question.
    assert main(["segment", str(scans), *words, "--masks", "labels", "--out", str(place / "draft")]) == 0
    assert "kept" in capsys.readouterr().out
    assert main(["segment", str(images[0]), *words, "--json", "--out", str(place / "one")]) == 0
    (best, *_) = json.loads(capsys.readouterr().out)["objects"]
    assert best["class"] in CLASSES and 0 <= best["confidence"] <= 1
    quiet = [*words[:3], "--head-score", "1", "--out", str(place / "none")]
    assert main(["segment", str(images[0]), *quiet]) == 0
    assert "with a score of 1: lower --head-score, or click" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--head", "RUN"], "--head RUN finds objects by itself: add --auto"),
        (["--auto", "--head-score", "0.5"], "--head-score goes with --head RUN"),
        (["--auto", "--head", "RUN", "--auto-grid", "8"], "--auto-grid is for the grid of clicks"),
        (["--auto", "--head", "RUN", "--head-score", "2"], "head score 2: use a number from 0 to 1"),
        (["--auto", "--head", "absent"], "absent is not the folder of a finished run of `instances train`"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(place / "runs/instances/bus_bra-ultrasam")
    image = str(next((place / "set" / "images").glob("*.png")))
    words = [word.replace("RUN", run) for word in words]
    if not {"--auto"} & set(words):
        words += ["--point", "30,30"]
    assert main(["segment", image, *words, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line.replace(run, "RUN") and not (tmp_path / "out").exists()


def test_table_3_has_our_number_beside_the_papers(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert main(["reproduce", "table3", "--threads", "1"]) == 1
    told = capsys.readouterr()
    assert "missing: bus_bra-medsam" in told.out and "12 images, the paper tests on 375" in told.err
    (row,) = json.loads((place / "table3" / "table3.json").read_text())["results"]
    assert (row["dataset"], row["encoder"], row["images"]) == ("bus_bra", "ultrasam", 12)
    assert row["mask50_paper"] == 87.2 and 0 <= row["mask"] <= row["mask50"] <= 100
    assert row["mask50_low"] <= row["mask50"] <= row["mask50_high"]
    # The same figures as the verb itself.
    assert (
        main(
            ["instances", "evaluate", "--run", "runs/instances/bus_bra-ultrasam", "--json"]
            + ["--data", "us43d/lists/sets/bus_bra/test.json", "--threads", "1"]
        )
        == 0
    )
    figures = json.loads(capsys.readouterr().out)
    assert row["box50"] == pytest.approx(100 * figures["precision"]["box50"], abs=1e-3)
    assert "| UltraSam" in (place / "table3" / "table3.md").read_text()
