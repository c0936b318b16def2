"""`ultrasam data split` through the real executable: what it prints and writes, also killed, on a full disk,
given nonsense.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.cli.test_hardship import needs_mount, on_tmpfs
from tests.us43d.trees import TREES
from tests.us43d.truth import blob, scan

from ultrasam.datasets.index import images_of, open_index

ULTRASAM = [sys.executable, "-m", "ultrasam", "data"]
SETS = ["bus_bra", "busi", "camus", "us_nerve"]
PARTS = ("train", "val", "test", "test_extra")


def ultrasam(*words: str | Path, cwd: Path | None = None) -> tuple[int, str, str]:
    command = [*ULTRASAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sets of the catalogue and one of a user's own, in a folder that no shell likes."""
    root = tmp_path_factory.mktemp("split") / "my sets \u00fc"
    for tree in TREES:
        if tree.id in SETS and tree.function == "write":
            tree.write(root / "raw" / tree.id)
    for number in range(12):
        size = (60, 80)
        mask = blob(size, 40, 30, 14, number)
        name = f"P{number // 2} \u00e4 {number % 2}.png"
        for folder, pixels in (("images", scan(size, number, mask)), ("masks", mask.astype(np.uint8) * 255)):
            (root / "own" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "own" / folder / name)
    words = ("--raw", root / "raw", "--own", f"cysts={root / 'own'}", "--case-pattern", r"(P\d)")
    code, _, err = ultrasam("build", *words, "--out", root / "built", "--partial")
    assert code == 1 and "Traceback" not in err  # the made-up sets have damaged files
    return root / "built"


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def files(out: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(out.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def images_in(lists: Path) -> set[Path]:
    """The image files that COCO files, index and lists for classification lead to; all are there."""
    found = set()
    for path in [*lists.glob("sets/*/*.json"), *lists.glob("agnostic/*.json")]:
        found |= {path.parent / image["file_name"] for image in load(path)["images"]}
    for part in PARTS:
        found |= {image.file for image, _ in images_of(open_index(lists / "agnostic" / part))}
    for path in lists.glob("classification/*/*.txt"):
        if path.name != "classes.txt":
            found |= {path.parent / line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()}
    assert found and all(path.is_file() for path in found)
    return {path.resolve() for path in found}


def test_a_table_of_the_sets_and_what_was_done_is_printed(built: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("split", built, "--out", tmp_path / "lists", "--val", "0.2")
    assert code == 0 and "Traceback" not in err
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["set", *PARTS, "objects"]
    assert [row[0] for row in rows[1:7]] == ["bus_bra", "busi", "camus", "cysts", "us_nerve", "together"]
    for name, *numbers in rows[1:6]:
        own = {part: tmp_path / "lists" / "sets" / name / f"{part}.json" for part in PARTS}
        contents = {part: load(path) for part, path in own.items() if path.exists()}
        assert numbers[:4] == [
            str(len(contents[part]["images"])) if part in contents else "0" for part in PARTS
        ]
        assert int(numbers[4]) == sum(len(content["annotations"]) for content in contents.values())
    sums = np.array([[int(cell) for cell in row[1:]] for row in rows[1:6]]).sum(axis=0)
    assert [int(cell) for cell in rows[6][1:]] == sums.tolist()
    assert out.splitlines()[7].startswith("cleaned: ")
    assert "pairs of near-duplicates that join cases: 0\n" in out
    assert out.splitlines()[-1] == f"lists: {tmp_path / 'lists'}"
    remarks = err.splitlines()
    assert any(line.startswith("ultrasam: incomplete, as their report.json says: ") for line in remarks)
    assert (
        "ultrasam: in the lists without an organ too, since nothing says which organ it shows: cysts"
        in remarks
    )
    assert len(images_in(tmp_path / "lists")) == sums[:4].sum()


def test_the_same_in_json_and_a_second_run_does_nothing(built: Path, tmp_path: Path) -> None:
    words = ("split", built, "--out", tmp_path / "lists", "--json")
    code, out, _ = ultrasam(*words)
    first = json.loads(out)
    assert code == 0 and first["unchanged"] is False and first["out"] == str(tmp_path / "lists")
    assert first["sets"].keys() == first["counts"].keys() == {*SETS, "cysts"}
    assert load(tmp_path / "lists" / "how.json").items() <= first.items()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    code, out, _ = ultrasam(*words)
    assert code == 0 and json.loads(out) == first | {"unchanged": True}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    assert ultrasam(*words[:-1])[1].endswith(f"lists: {tmp_path / 'lists'} (unchanged)\n")


def test_one_and_two_processes_write_the_same_bytes(built: Path, tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        assert ultrasam("split", built, "--out", tmp_path / jobs, "--jobs", jobs)[0] == 0
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_lists_lie_among_the_sets_by_default_which_stay_fine(built: Path, tmp_path: Path) -> None:
    sets = Path(shutil.copytree(built, tmp_path / "built"))
    before = files(sets)
    assert ultrasam("split", "built", cwd=tmp_path)[0] == 0
    assert images_in(sets / "lists")
    assert ultrasam("verify", sets, "--only", "cysts")[:2][0] == 0
    shutil.rmtree(sets / "lists")
    assert files(sets) == before


@pytest.mark.parametrize("licence", ["open", "nc", "all"])
def test_the_licence_says_which_sets_go_in(built: Path, tmp_path: Path, licence: str) -> None:
    code, out, err = ultrasam("split", built, "--licence", licence, "--out", tmp_path / "lists", "--json")
    wanted = {"open": {"bus_bra"}, "nc": {"bus_bra", "camus"}, "all": {*SETS, "cysts"}}[licence]
    assert code == 0 and json.loads(out)["sets"].keys() == wanted
    left = {*SETS, "cysts"} - wanted
    told = [line for line in err.splitlines() if f"left out by --licence {licence}: " in line]
    assert len(told) == bool(left) and all(f"{name} (" in told[0] for name in left)
    inside = {image["dataset"] for image in load(tmp_path / "lists" / "agnostic" / "train.json")["images"]}
    assert inside == wanted


def test_the_split_of_the_paper_parts_cases(built: Path, tmp_path: Path) -> None:
    code, out, _ = ultrasam(
        "split", built, "--paper-split", "--val", "0.2", "--out", tmp_path / "lists", "--json"
    )
    counts = json.loads(out)["counts"]
    assert code == 0 and counts["camus"].keys() == {"train", "val"}
    own = [load(tmp_path / "lists" / "sets" / "cysts" / f"{part}.json") for part in ("train", "val")]
    cases = [{image["case_id"] for image in content["images"]} for content in own]
    assert [len(content["images"]) for content in own] == [9, 3] and cases[0] & cases[1]


def test_only_the_sets_that_are_named_go_in_own_ones_too(built: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("split", built, "--only", "cysts, busi", "--out", tmp_path / "lists", "--json")
    assert code == 0, err
    assert json.loads(out)["sets"].keys() == {"cysts", "busi"}
    for verb in ("verify", "stats"):
        words = ("--out", tmp_path / "stats") if verb == "stats" else ()
        code, out, err = ultrasam(verb, built, "--only", "cysts", *words)
        assert (code, err) == (0, ""), verb


def test_other_options_do_not_replace_lists(built: Path, tmp_path: Path) -> None:
    words = ("split", built, "--out", tmp_path / "lists")
    ultrasam(*words)
    before = files(tmp_path / "lists")
    for more, what in ((["--seed", "3"], "other options"), (["--only", "busi"], "other sets")):
        code, out, err = ultrasam(*words, *more)
        assert (code, out) == (2, "") and what in err and "choose another folder with --out" in err
        assert len(err.splitlines()) == 1
    assert files(tmp_path / "lists") == before


def test_sets_and_lists_can_be_moved_together(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "here" / "sets")
    assert ultrasam("split", "sets", "--out", "lists/v1", cwd=tmp_path / "here")[0] == 0
    shutil.move(tmp_path / "here", tmp_path / "there \u00f6")
    assert all(
        tmp_path / "there \u00f6" in path.parents for path in images_in(tmp_path / "there \u00f6/lists/v1")
    )


def test_links_are_followed(built: Path, tmp_path: Path) -> None:
    """The folder of the sets, a set in it and that of the lists may all be links."""
    (tmp_path / "real").mkdir()
    for name in ("bus_bra", "cysts"):
        shutil.copytree(built / name, tmp_path / ("real" if name == "cysts" else "disk") / name)
    (tmp_path / "real" / "bus_bra").symlink_to(tmp_path / "disk" / "bus_bra")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "sets").symlink_to(tmp_path / "real")
    (tmp_path / "lists").symlink_to(tmp_path / "deep" / "er")
    for out in (tmp_path / "lists", tmp_path / "sets" / "lists"):
        assert ultrasam("split", tmp_path / "sets", "--out", out)[0] == 0
        for path in out.glob("sets/*/*.json"):
            images = load(path)["images"]
            assert images and all((path.parent / image["file_name"]).is_file() for image in images)
        lines = (out / "classification" / "bus_bra" / "train.txt").read_text().splitlines()
        assert all((out / "classification" / "bus_bra" / line.rsplit(" ", 1)[0]).is_file() for line in lines)
        assert all(image.file.is_file() for image, _ in images_of(open_index(out / "agnostic" / "train")))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_run_is_made_again(built: Path, tmp_path: Path, jobs: str) -> None:
    words = ["split", str(built), "--out", str(tmp_path / "lists"), "--jobs", jobs]
    # A session of its own, so that the processes under it are killed too.
    process = subprocess.Popen([*ULTRASAM, *words], start_new_session=True, stdout=subprocess.PIPE)
    while process.poll() is None and not (tmp_path / "lists" / "sets").exists():
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    assert not (tmp_path / "lists" / "how.json").exists()
    # What a kill while a file was written leaves.
    (tmp_path / "lists" / f".{'0' * 16}.tmp").write_bytes(b"half")
    assert ultrasam(*words)[0] == 0
    assert ultrasam("split", built, "--out", tmp_path / "fresh")[0] == 0
    assert files(tmp_path / "lists") == files(tmp_path / "fresh")


@needs_mount
@pytest.mark.parametrize("size", ["32k", "150k"])
def test_a_full_disk_is_told_and_nothing_counts_as_done(built: Path, tmp_path: Path, size: str) -> None:
    out = tmp_path / "out"
    done = on_tmpfs(out, f"size={size}", ["data", "split", str(built), "--out", str(out)])
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr and "free some space" in done.stderr.splitlines()[-1]
    left = tmp_path / "out.copy"
    assert not (left / "how.json").exists()
    assert not list(left.rglob(".*.tmp"))
    # With more space it is made again.
    assert ultrasam("split", built, "--out", left)[0] == 0
    assert ultrasam("split", built, "--out", tmp_path / "fresh")[0] == 0
    assert files(left) == files(tmp_path / "fresh")


@needs_mount
def test_sets_that_are_read_only_need_another_folder_for_the_lists(built: Path, tmp_path: Path) -> None:
    sets = shlex.quote(str(built))
    split = f"{shlex.join([*ULTRASAM, 'split'])} {sets}"
    script = [f"mount --bind {sets} {sets} && mount -o remount,bind,ro {sets} || exit 9"]
    script += [f"{split} --out {shlex.quote(str(tmp_path / 'lists'))} && {split} --json"]
    command = ["unshare", "-rm", "sh", "-c", "\n".join(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == f"lists: {tmp_path / 'lists'}"
    assert "Read-only file system" in done.stderr and "choose a folder that you may write to" in done.stderr
    assert "Traceback" not in done.stderr
    assert images_in(tmp_path / "lists")


def test_a_set_that_is_not_finished_is_told_and_the_others_go_in(built: Path, tmp_path: Path) -> None:
    sets = Path(shutil.copytree(built, tmp_path / "built"))
    (sets / "busi" / "manifest.json").unlink()
    (sets / "cysts").rename(sets / "other")
    code, out, err = ultrasam("split", sets, "--json")
    assert code == 0 and json.loads(out)["sets"].keys() == {"bus_bra", "camus", "us_nerve"}
    assert "left out: " in err and "busi is no finished set" in err
    assert "other holds the set cysts: give the folder that name" in err
    code, out, err = ultrasam("split", sets, "--only", "busi", "--out", tmp_path / "new")
    assert (code, out) == (2, "") and "run `ultrasam data build` again" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["split"], "missing: OUT"),
        (["split", "{tmp}/nowhere"], "is no folder"),
        (["split", "{tmp}/empty"], "holds no data set"),
        (["split", "{built}", "--only", "bussi"], "did you mean busi?"),
        (["split", "{built}", "--only", "hc18"], "hc18 is no finished set"),
        (["split", "{built}", "--only", ".."], "there is no data set '..'"),
        (["split", "{built}", "--only", ","], "--only names no set"),
        (["split", "{built}", "--licence", "free"], "--licence"),
        (["split", "{built}", "--only", "busi", "--licence", "open"], "left out by --licence open: busi"),
        (["split", "{built}", "--val", "1.5"], "--val 1.5: give a number from 0 to 0.9"),
        (["split", "{built}", "--val", "nan"], "--val 'nan' is no number"),
        (["split", "{built}", "--val", "few"], "--val 'few' is no number"),
        (["split", "{built}", "--min-area", "-3"], "--min-area -3"),
        (["split", "{built}", "--min-share", "2"], "--min-share 2"),
        (["split", "{built}", "--hole", "1.5"], "--hole '1.5' is no whole number"),
        (["split", "{built}", "--most-cut", "-1"], "--most-cut -1"),
        (["split", "{built}", "--distance", "16"], "--distance 16"),
        (["split", "{built}", "--similarity", "7"], "--similarity 7"),
        (["split", "{built}", "--jobs", "0"], "--jobs 0"),
        (["split", "{built}", "--seeds", "1"], "--seeds"),
        (["split", "{built}", "--out", "{built}"], "is not empty and holds no lists"),
        (["split", "{built}", "--out", "{built}/busi"], "is not empty and holds no lists"),
        (["split", "{built}", "--out", "{tmp}/file"], "{tmp}/file"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(
    built: Path, tmp_path: Path, words: list[str], complaint: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    before = files(built)
    if "{built}" in words and "--out" not in words:
        words = [*words, "--out", "{tmp}/lists"]
    places = {"tmp": tmp_path, "built": built}
    code, out, err = ultrasam(*(word.format(**places) for word in words))
    assert (code, out) == (2, "")
    assert complaint.format(**places) in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "lists").exists() and files(built) == before
