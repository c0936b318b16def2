"""`ultrasam data build --shard` and `--dry-run` through the real executable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.us43d import raw_busi, raw_us_nerve

from ultrasam.datasets.catalogue import DATASETS

ULTRASAM = [sys.executable, "-m", "ultrasam", "data"]


def ultrasam(*words: str | Path) -> tuple[int, str, str]:
    command = [*ULTRASAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set as a folder, one as an archive, and a copy of one that has another name."""
    root = tmp_path_factory.mktemp("raw")
    raw_busi.write(root / "busi")
    raw_us_nerve.write(root / "tree")
    shutil.make_archive(str(root / "us_nerve"), "zip", root / "tree")
    (root / "mup").mkdir()
    return root


def results(out: Path) -> dict[str, bytes]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_shards_of_several_sets_are_put_together_by_a_run_without(raw: Path, tmp_path: Path) -> None:
    options = ("build", "--raw", raw, "--partial", "--jobs", "1", "--out")
    ultrasam(*options, tmp_path / "one")
    for part in ("2/2", "1/2"):
        code, out, err = ultrasam(*options, tmp_path / "two", "--shard", part)
        lines = [line for line in out.splitlines() if "shard" in line]
        assert code == 0 and [line.split()[0] for line in lines] == ["busi", "us_nerve"], err
        assert "Traceback" not in err
    code, out, _ = ultrasam(*options, tmp_path / "two")
    assert code == 1 and "problems -> " in out
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_a_shard_tells_in_json_what_it_has_done(raw: Path, tmp_path: Path) -> None:
    code, out, _ = ultrasam(
        *("build", "--raw", raw, "--only", "busi", "--out", tmp_path, "--shard", "1/1", "--json")
    )
    (one,) = json.loads(out)["datasets"]
    assert (code, one["dataset"], one["shard"]) == (0, "busi", "1-of-1")
    assert one["images"] == one["total"] > 0 and one["problems"] > 0


def test_a_wrong_shard_is_one_line(raw: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("build", "--raw", raw, "--out", tmp_path / "out", "--shard", "5/4")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "1/4 to 4/4" in err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_what_is_there_what_is_missing_and_how_to_get_it(raw: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("build", "--all", "--dry-run", "--raw", raw, "--out", tmp_path / "out")
    assert (code, err) == (0, "") and not (tmp_path / "out").exists()
    blocks = {block.split()[0]: block for block in out.replace("\n    ", " | ").splitlines() if block.strip()}
    assert set(DATASETS) <= blocks.keys()
    assert f"there: {raw / 'busi'}," in blocks["busi"] and "(from a sample)" in blocks["busi"]
    assert f"there: {raw / 'us_nerve.zip'}," in blocks["us_nerve"]
    assert "missing" in blocks["hc18"] and "Download training_set.zip" in blocks["hc18"]
    assert "terms: open. CC BY 4.0" in blocks["hc18"] and DATASETS["hc18"].url in blocks["hc18"]
    assert "micro_seg again: left out" in blocks["mup"]
    sets = len(DATASETS) - 1
    assert f"2 of {sets} sets are there" in out and f"{sets - 2} are missing" in out and "free: " in out


def test_a_dry_run_in_json_has_the_same_and_its_sizes(raw: Path, tmp_path: Path) -> None:
    code, out, _ = ultrasam("build", "--dry-run", "--raw", raw, "--out", tmp_path / "out", "--json")
    content = json.loads(out)
    found = {one["id"]: one for one in content["datasets"]}
    assert code == 0 and found.keys() == DATASETS.keys()
    archive = raw / "us_nerve.zip"
    assert found["us_nerve"]["path"] == str(archive)
    assert found["us_nerve"]["raw_bytes"] == archive.stat().st_size
    assert found["hc18"]["path"] is None and found["hc18"]["access"] and not found["hc18"]["sampled"]
    assert found["busi"]["sampled"] and found["busi"]["bytes"] > 0
    assert content["totals"]["there"] == 2 and content["totals"]["free_bytes"] > 0


def test_the_size_told_before_is_about_that_of_the_results(raw: Path, tmp_path: Path) -> None:
    words = ("build", "--only", "busi", "--raw", raw, "--out", tmp_path, "--partial")
    (one,) = json.loads(ultrasam(*words, "--dry-run", "--json")[1])["datasets"]
    ultrasam(*words)
    images = list((tmp_path / "busi" / "images").iterdir())
    assert one["images"] == pytest.approx(len(images), rel=0.5)
    assert one["bytes"] == pytest.approx(sum(path.stat().st_size for path in images), rel=0.5)


def test_a_dry_run_needs_no_downloads(tmp_path: Path) -> None:
    code, out, _ = ultrasam("build", "--dry-run", "--only", "hc18", "--out", tmp_path / "out")
    assert code == 0 and "hc18" in out and "busi " not in out


def test_all_tells_the_sets_that_are_missing(raw: Path, tmp_path: Path) -> None:
    code, _, err = ultrasam("build", "--all", "--raw", raw, "--out", tmp_path, "--partial", "--jobs", "1")
    assert code == 1 and "sets are not there: " in err and "hc18" in err and "--dry-run" in err
    missing = next(line for line in err.splitlines() if "are not there" in line)
    assert "mup" not in missing and " busi" not in missing


def test_a_set_that_is_another_again_is_left_out_unless_named(raw: Path, tmp_path: Path) -> None:
    _, out, err = ultrasam("build", "--raw", raw, "--out", tmp_path, "--partial", "--jobs", "1")
    assert "mup is micro_seg again" in err and "mup" not in out
    for words in (("--only", "mup"), ("--source", f"mup={raw / 'mup'}", "--only", "mup")):
        _, out, _ = ultrasam("build", "--raw", raw, "--out", tmp_path, "--partial", *words)
        assert out.startswith("mup")


def test_all_and_only_contradict_each_other(raw: Path, tmp_path: Path) -> None:
    code, _, err = ultrasam("build", "--all", "--only", "busi", "--raw", raw, "--out", tmp_path)
    assert code == 2 and err.count("\n") == 1 and "--only" in err
