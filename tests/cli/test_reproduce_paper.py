"""`ultrasam reproduce table1` and `fig3` through the real executable: all there, a part, nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import write_tiny_model
from tests.us43d import raw_bus_bra, raw_gist514_db, raw_mmotu_2d

from ultrasam.datasets.catalogue import DATASETS

RAW = {"bus_bra": raw_bus_bra, "mmotu_2d": raw_mmotu_2d, "gist514_db": raw_gist514_db}
# The made-up trees: images for tests that can be read.
TESTS = {"bus_bra": 2, "mmotu_2d": 2, "gist514_db": 2}
STARS = {"busbra": "bus_bra", "mmotu2d": "mmotu_2d", "gist514": "gist514_db"}


def ultrasam(*words: str | Path, home: Path | None = None) -> tuple[int, str, str]:
    environment = {**os.environ, "ULTRASAM_HOME": str(home or "/nowhere")}
    command = [sys.executable, "-m", "ultrasam", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three sets of the paper's tests, converted."""
    root = tmp_path_factory.mktemp("paper")
    for name, module in RAW.items():
        module.write(root / "raw" / name)
    code, _, err = ultrasam("data", "build", "--raw", root / "raw", "--out", root / "built", "--partial")
    assert code == 1 and "Traceback" not in err  # the made-up sets have damaged files
    return root / "built"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all models of the paper, as far as cards say, one of a user's own and a broken one."""
    home = tmp_path_factory.mktemp("home")
    store = home / "store"
    medsam = {"fit": "stretch", "normalise": "min-max"}
    sam = {"architecture": "SAM vit-b"}
    write_tiny_model(store / "sam-vit-b", "sam-vit-b", preprocessing="sam", **sam)
    write_tiny_model(store / "medsam", "medsam", preprocessing="medsam", **medsam)
    write_tiny_model(store / "ultrasam-vit-b", "ultrasam-vit-b", preprocessing="ultrasam")
    for organ in STARS:
        name = f"ultrasam-star-{organ}"
        write_tiny_model(store / name, name, preprocessing="ultrasam")
    write_tiny_model(store / "own", "own")
    (store / "broken").mkdir()
    (store / "broken" / "card.json").write_text("{")
    return home


def test_a_table_of_all_models_on_the_official_tests(built: Path, home: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("reproduce", "table1", "--data", built, "--out", tmp_path, home=home)
    assert code == 1 and "Traceback" not in err  # all is there, but not the number of images of the paper
    assert "missing" not in out
    for name, count in TESTS.items():
        paper = DATASETS[name].tests
        assert paper is not None
        text = f"{name}: {count} test images, {paper - count} fewer than the {paper} of the paper"
        assert text in out and f"ultrasam: {text}" in err
    assert {path.name for path in tmp_path.iterdir()} == {f"table1.{form}" for form in ("csv", "json", "md")}
    assert out.startswith((tmp_path / "table1.md").read_text().rstrip())
    content = json.loads((tmp_path / "table1.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table1.csv").read_text())))
    assert len(rows) == len(content["results"]) and not content["complete"] and content["missing"] == []
    found = {(row["model"], row["pipeline"], row["dataset"]) for row in rows}
    whole = {("sam-vit-b", "card"), ("ultrasam-vit-b", "card"), ("ultrasam-lite", "card")}
    whole |= {("medsam", "native"), ("medsam", "paper-pipeline")}
    assert found == {(*one, test) for one in whole for test in TESTS} | {
        (f"ultrasam-star-{organ}", "card", test) for organ, test in STARS.items()
    }
    for row in content["results"]:
        assert row["images"] == TESTS[row["dataset"]]
        assert (row["paper_map"] is None) == (row["model"] == "ultrasam-lite")
    # Of MMOTU-2D only the largest objects count: image 10 has two of other sizes.
    objects = {row["dataset"]: row["objects"] for row in content["results"]}
    raw = json.loads((built / "mmotu_2d" / "annotations.json").read_text())
    tests = {image["id"] for image in raw["images"] if image.get("split") == "test"}
    assert objects["mmotu_2d"] == 2 < sum(one["image_id"] in tests for one in raw["annotations"])


def test_what_is_missing_is_told_with_the_way_to_it(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "bus_bra", tmp_path / "bus_bra")
    words = ("reproduce", "table1", "--data", tmp_path)
    code, out, err = ultrasam(*words, "--limit", "1", "--postprocess", "original", home=tmp_path / "home")
    assert code == 1 and "Traceback" not in err
    missing = {line.split()[1]: line for line in out.splitlines() if line.startswith("missing: ")}
    assert set(missing) == {"mmotu_2d", "gist514_db", "sam", "medsam", "ultrasam"} | {
        f"ultrasam-star-{organ}" for organ in STARS
    }
    for name in ("mmotu_2d", "gist514_db"):
        assert all(step in missing[name] for step in DATASETS[name].access)
        assert f"ultrasam data build --raw RAW --out {tmp_path} --only {name}" in missing[name]
    for name, command in (
        ("sam", "sam_vit_b_01ec64.pth --name sam-vit-b --licence Apache-2.0"),
        ("medsam", "medsam_vit_b.pth --name medsam --preprocessing medsam"),
        ("ultrasam", "UltraSam.pth --name ultrasam-vit-b"),
        ("ultrasam-star-mmotu2d", "FILE --name ultrasam-star-mmotu2d"),
    ):
        assert f"ultrasam models import {command}" in missing[name]
    assert "ultrasam train ultrasam-star-mmotu2d --data" in missing["ultrasam-star-mmotu2d"]
    text = (tmp_path / "table1" / "table1.md").read_text()
    assert "**A quick look**: at most 1 images of a test." in text and "Postprocess: original" in text
    assert "## Missing test sets" in text and "- `mmotu_2d`, " in text and "## Missing models" in text
    assert "- BUS-BRA: 1 images, 1 objects" in text and "MMOTU2D:" not in text
    assert "**Not the whole of it**: missing are `mmotu_2d`" in text
    content = json.loads((tmp_path / "table1" / "table1.json").read_text())
    assert {one["id"] for one in content["missing"]} == set(missing) and content["limit"] == 1
    assert {row["model"] for row in content["results"]} == {"ultrasam-lite"}


def test_the_models_can_be_named_and_the_result_is_json(built: Path, home: Path, tmp_path: Path) -> None:
    words = ("table1", "--data", built, "--out", tmp_path, "--model", "own", "sam-vit-b", "--json")
    code, out, _ = ultrasam("reproduce", *words, home=home)
    content = json.loads(out)
    assert code == 1 and content["out"] == str(tmp_path)
    assert [one["id"] for one in content["models"]] == ["sam-vit-b", "own"]
    assert {one["id"] for one in content["missing"]} >= {"medsam", "ultrasam"}


def test_all_of_it_gives_0(built: Path, home: Path, tmp_path: Path) -> None:
    """With a catalogue that expects as many images as the made-up sets have."""
    for name in RAW:
        shutil.copytree(built / name, tmp_path / name)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest | {"status": "complete"}))
    code = (
        "import sys, dataclasses\n"
        "from ultrasam.datasets.catalogue import DATASETS\n"
        f"for name, tests in {TESTS!r}.items():\n"
        "    DATASETS[name] = dataclasses.replace(DATASETS[name], tests=tests)\n"
        "from ultrasam.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    for what in ("table1", "fig3"):
        words = [sys.executable, "-c", code, "reproduce", what, "--data", str(tmp_path)]
        environment = {**os.environ, "ULTRASAM_HOME": str(home)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        text = (tmp_path / what / f"{what}.md").read_text()
        assert "Not the whole" not in text and "the paper tests on" not in text and "fewer" not in text
        assert json.loads((tmp_path / what / f"{what}.json").read_text())["complete"]
    limited = subprocess.run(
        [sys.executable, "-c", code, "reproduce", "table1", "--data", str(tmp_path), "--limit", "1"],
        capture_output=True,
        check=False,
        env=environment,
    )
    assert limited.returncode == 1  # a quick look is not the table


def test_the_figure_shows_each_test_by_point_and_by_box(built: Path, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("reproduce", "fig3", "--data", built, "--out")
    code, out, err = ultrasam(*words, tmp_path / "one", home=home)
    assert code == 1 and "Traceback" not in err
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        f"fig3.{form}" for form in ("json", "md", "png", "svg")
    }
    with Image.open(tmp_path / "one" / "fig3.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert picture.width > 1000 and picture.height > 800
    green = (pixels[..., 1] > 180) & (pixels[..., 0] < 100) & (pixels[..., 2] < 160)
    orange = (pixels[..., 0] > 220) & (abs(pixels[..., 1] - 167) < 25) & (pixels[..., 2] < 90)
    yellow = (pixels[..., 0] > 230) & (pixels[..., 1] > 210) & (pixels[..., 2] < 120)
    # Prompts stand in the first column only, truths in none before the second, masks from the third on.
    edges = [np.flatnonzero(colour.any(axis=0)) for colour in (yellow, green)]
    assert edges[0].max() < edges[1].min()
    width = (pixels.shape[1] - 115) / 8
    counts = [int(orange[:, int(115 + n * width) : int(115 + (n + 1) * width)].sum()) for n in range(8)]
    # The made-up scans have a small mark of nearly that colour.
    assert 10 * max(counts[:2]) < min(counts[2:])
    svg = (tmp_path / "one" / "fig3.svg").read_text()
    assert svg.startswith("<?xml") and svg.rstrip().endswith("</svg>")

    content = json.loads((tmp_path / "one" / "fig3.json").read_text())
    columns = ["sam-vit-b", "medsam, native", "medsam, paper-pipeline", "ultrasam-vit-b", "UltraSam*"]
    columns.append("ultrasam-lite")
    assert [(row["dataset"], row["prompt"], row["model"]) for row in content["results"]] == [
        (dataset, prompt, model) for dataset in TESTS for prompt in ("point", "box") for model in columns
    ]
    lite = [row["iou"] for row in content["results"] if row["model"] == "ultrasam-lite"]
    assert min(lite) > 0.75
    assert f"{lite[0]:.3f} |" in out
    # The same again; and more images where they are asked for.
    ultrasam(*words, tmp_path / "again", home=home)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    ultrasam(*words, tmp_path / "two", "--limit", "2", "--model", "own", home=home)
    content = json.loads((tmp_path / "two" / "fig3.json").read_text())
    assert len(content["results"]) == sum(TESTS.values()) * 2
    assert len({row["image"] for row in content["results"]}) == 6


def test_an_image_without_its_organ_model_is_left_blank(built: Path, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("--data", built, "--out", tmp_path, "--model", "ultrasam-star-mmotu2d", "--json")
    code, out, err = ultrasam("reproduce", "fig3", *words, home=home)
    assert code == 1, err
    assert {row["dataset"] for row in json.loads(out)["results"]} == {"mmotu_2d"}
    text = (tmp_path / "fig3.md").read_text()
    assert "| BUS-BRA " in text and "UltraSam*" in text


@pytest.mark.parametrize("what", ["table1", "fig3"])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "missing: --data"),
        (["--data", "{tmp}/no"], "is no folder"),
        (["--data", "{tmp}"], "holds none of the three tests of the paper"),
        (["--data", "{built}", "--limit", "0"], "--limit 0"),
        (["--data", "{built}", "--model", "no-such"], "there is no model 'no-such'"),
        (["--data", "{built}", "--out", "{built}/bus_bra/report.json"], "a file is in the way"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    what: str, built: Path, tmp_path: Path, words: list[str], complaint: str
) -> None:
    code, out, err = ultrasam("reproduce", what, *(word.format(tmp=tmp_path, built=built) for word in words))
    assert (code, out) == (2, "") and complaint in err, err
    last = [line for line in err.splitlines() if "test images" not in line and "incomplete" not in line]
    assert len(last) == 1, err
    assert list(tmp_path.iterdir()) == [] and not (built / what).exists()


def test_a_set_that_is_not_finished_is_told(built: Path, tmp_path: Path) -> None:
    for name in ("bus_bra", "mmotu_2d"):
        shutil.copytree(built / name, tmp_path / name)
    (tmp_path / "bus_bra" / "manifest.json").unlink()
    coco = tmp_path / "mmotu_2d" / "annotations.json"
    coco.write_text(coco.read_text() + "\n")
    code, out, err = ultrasam("reproduce", "table1", "--data", tmp_path)
    assert (code, out) == (2, "")
    assert "bus_bra is no finished set" in err and "has changed since it was built" in err
