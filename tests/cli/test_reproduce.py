"""`ultrasam reproduce fig2` through the real executable: from a part of the data, from all, from none."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.us43d_stats.made_up import build, random_images

from ultrasam.datasets.catalogue import DATASETS

ULTRASAM = [sys.executable, "-m", "ultrasam", "reproduce"]
WANTED = [entry.id for entry in DATASETS.values() if entry.in_us43d and not entry.duplicate_of]


def ultrasam(*words: str | Path) -> tuple[int, str, str]:
    command = [*ULTRASAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished sets and one that is not."""
    out = tmp_path_factory.mktemp("some")
    for name, status in (("busi", "complete"), ("hc18", "complete"), ("camus", "incomplete")):
        build(out, name, random_images(5, 1), status=status)
    return out


def test_a_part_of_the_data_gives_a_figure_and_what_is_missing(some: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("fig2", "--data", some, "--out", tmp_path / "fig2")
    assert code == 1 and "camus is built in part" in err and "Traceback" not in err
    assert "280,000" in out
    missing = next(line for line in out.splitlines() if line.startswith("missing: "))
    assert missing.removeprefix("missing: ").split(", ") == [
        name for name in WANTED if name not in ("busi", "hc18", "camus")
    ]
    names = {path.name for path in (tmp_path / "fig2").iterdir()}
    assert names == {f"fig2.{form}" for form in ("png", "svg", "md", "csv", "json")}
    with Image.open(tmp_path / "fig2" / "fig2.png") as picture:
        assert picture.width == 1200 and np.asarray(picture.convert("L")).std() > 10
    text = (tmp_path / "fig2" / "fig2.md").read_text()
    for name in set(WANTED) - {"busi", "hc18", "camus"}:
        entry = DATASETS[name]
        assert f"- `{name}`, [{entry.name}]({entry.url}), {entry.terms}: 1. {entry.access[0]}" in text
    assert "Not the whole of US-43d" in text and "Missing: 39 of 42 sets" in text and "`camus`" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "fig2" / "fig2.csv").read_text())))
    assert len(rows) == 20 and sum(int(row["images"]) for row in rows) > 0


def test_the_same_in_json(some: Path, tmp_path: Path) -> None:
    code, out, _ = ultrasam("fig2", "--data", some, "--out", tmp_path / "fig2", "--json")
    content = json.loads(out)
    assert code == 1 and not content["complete"] and content["unfinished"] == ["camus"]
    assert {one["id"] for one in content["missing"]} == set(WANTED) - {"busi", "hc18", "camus"}
    assert all(one["access"] and one["licence"] for one in content["missing"])


def test_all_of_the_data_gives_0_and_the_same_bytes_again(tmp_path: Path) -> None:
    for name in WANTED:
        build(tmp_path / "all", name, random_images(2, 1), status="complete")
    code, out, err = ultrasam("fig2", "--data", tmp_path / "all")
    assert (code, err) == (0, "") and "missing" not in out
    folder = tmp_path / "all" / "fig2"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert b"Not the whole" not in before["fig2.md"]
    assert ultrasam("fig2", "--data", tmp_path / "all")[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fig2"], "missing: --data"),
        (["fig2", "--data", "{tmp}/no"], "is no folder"),
        (["fig2", "--data", "{tmp}"], "holds no data set"),
        ([], "fig2"),
        (["fig9"], "fig2"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, words: list[str], complaint: str) -> None:
    code, out, err = ultrasam(*(word.format(tmp=tmp_path) for word in words))
    assert (code, out) == (2, "") and complaint in err and len(err.strip().splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []
