"""Tables 2 and 3 of the paper from runs that are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")
pytest.importorskip("sklearn")

from tests.shapes import draw_shapes  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402
from ultrasam.datasets.lists.write import write_classes  # noqa: E402
from ultrasam.evaluation.published import TESTS  # noqa: E402
from ultrasam.evaluation.published_downstream import ENCODERS, TABLE2, TABLE3  # noqa: E402


def test_the_published_tables_are_whole() -> None:
    """Spot checks against the article, and its own arithmetic."""
    for table in (TABLE2, TABLE3):
        assert set(table) == {(dataset, encoder) for dataset in TESTS for encoder in ENCODERS}
    assert TABLE2["bus_bra", "ultrasam"] == {"precision": 87.6, "recall": 87.5, "f1": 87.5}
    assert TABLE3["gist514_db", "sam"] == {"box": 43.5, "box50": 66.2, "mask": 44.0, "mask50": 61.5}
    assert all(cell["mask"] < cell["mask50"] and cell["box"] < cell["box50"] for cell in TABLE3.values())


def test_table_2_has_our_number_beside_the_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows: dict[str, list[tuple[str, int, str]]] = {"train": [], "val": [], "test": []}
    for number in range(24):
        part = ("train", "train", "val", "test")[number % 4]
        label = number // 4 % 2
        name = f"bus_bra/images/{number}.png"
        (tmp_path / "us43d" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_shapes(rng, 60, 44, (label,))[0]).save(tmp_path / "us43d" / name)
        rows[part].append((name, label, f"case {number // 4}-{part}"))
    write_classes(
        tmp_path / "us43d/lists/classification/bus_bra", tmp_path / "us43d", ["benign", "malignant"], rows
    )
    assert main(["reproduce", "table2"]) == 2
    told = capsys.readouterr().err
    assert "no run of Table 2" in told and "1. ultrasam classify train bus_bra-resnet50" in told

    lists = "us43d/lists/classification/bus_bra"
    small = ["--data", lists, "--encoder.image_size", "64", "--threads", "1"]
    for encoder in ("ultrasam", "mine"):
        out = f"runs/classify/bus_bra-{encoder}"
        assert main(["classify", "train", "probe", *small, "--out", out]) == 0
    capsys.readouterr()
    assert main(["reproduce", "table2"]) == 1
    told = capsys.readouterr()
    assert "missing: bus_bra-sam" in told.out and "missing: mmotu_2d" in told.out
    assert "6 images, the paper tests on 375" in told.err
    content = json.loads((tmp_path / "table2" / "table2.json").read_text())
    assert not content["complete"] and [row["encoder"] for row in content["results"]] == ["ultrasam", "mine"]
    ours, mine = content["results"]
    assert ours["f1"] == 100.0 and ours["f1_paper"] == 87.5 and ours["images"] == ours["cases"] == 6
    assert mine["f1_paper"] is None
    markdown = (tmp_path / "table2" / "table2.md").read_text()
    assert "## Missing runs" in markdown and "| UltraSam" in markdown and "| mine" in markdown
    assert (
        (tmp_path / "table2" / "table2.csv").read_text().startswith("dataset,encoder,images,cases,precision,")
    )
