"""`ultrasam data build` and `verify` through the real executable: also killed, on a full disk, given
nonsense.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.test_hardship import needs_mount, on_tmpfs
from tests.us43d import raw_busi, raw_us_nerve

ULTRASAM = [sys.executable, "-m", "ultrasam", "data"]


def ultrasam(*words: str | Path) -> tuple[int, str, str]:
    command = [*ULTRASAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets, each with damaged files; beside them what is no set."""
    root = tmp_path_factory.mktemp("raw")
    raw_busi.write(root)
    raw_us_nerve.write(root)
    (root / "holiday").mkdir()
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound set of 120 images of noise, about 100 kB each."""
    root = tmp_path_factory.mktemp("many") / "us_nerve" / "train"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(120):
        mask = np.zeros((300, 340), np.uint8)
        mask[40:80, 50 : 90 + number] = 255
        subject = 1 + number // 40
        Image.fromarray(rng.integers(0, 256, mask.shape, np.uint8)).save(root / f"{subject}_{number}.tif")
        Image.fromarray(mask).save(root / f"{subject}_{number}_mask.tif")
    return root.parents[1]


def files(out: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(out.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_sets_with_damaged_files_are_built_and_the_files_named(raw: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("build", "--raw", raw, "--out", tmp_path, "--partial", "--jobs", "2")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["busi", "us_nerve"]
    assert "problems -> " in out
    assert "ultrasam: busi: malignant/malignant (3).png is damaged" in err
    assert err.count("busi: ") == 4 and "Traceback" not in err
    code, out, err = ultrasam("verify", tmp_path, "--json")
    found = json.loads(out)
    assert code == 1 and not found["fine"] and err == ""
    kinds = {one["dataset"]: {finding["kind"] for finding in one["findings"]} for one in found["datasets"]}
    assert kinds == {"busi": {"incomplete"}, "us_nerve": {"incomplete"}}


def test_a_sound_set_is_built_once_and_found_fine(many: Path, tmp_path: Path) -> None:
    code, out, err = ultrasam("build", "--raw", many, "--out", tmp_path, "--partial")
    assert (code, err) == (0, "")
    assert out.startswith("us_nerve") and "120 images, 120 objects, 3 cases -> " in out
    code, out, err = ultrasam("build", "--raw", many, "--out", tmp_path, "--partial", "--json")
    content = json.loads(out)
    assert code == 0 and content["missing"] == [] and content["stopped"] == ""
    (outcome,) = content["datasets"]
    assert outcome["unchanged"] and outcome["status"] == "complete" and outcome["counts"]["images"] == 120
    code, out, err = ultrasam("verify", tmp_path)
    assert (code, err) == (0, "") and "120 images" in out and out.endswith("fine\n")


def test_fewer_images_than_the_catalogue_has_are_not_complete(many: Path, tmp_path: Path) -> None:
    code, _, err = ultrasam("build", "--raw", many, "--out", tmp_path)
    assert code == 1
    assert "120 images where the catalogue has 5,635" in err and "--partial" in err
    code, out, _ = ultrasam("verify", tmp_path)
    assert code == 1 and "count: us_nerve: 120 images" in out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(many: Path, tmp_path: Path, jobs: str) -> None:
    words = ["build", "--raw", str(many), "--out", str(tmp_path / "out"), "--partial", "--jobs", jobs]
    journal = tmp_path / "out" / "us_nerve" / ".ultrasam" / "journal.jsonl"
    # A session of its own, so that the processes under it are killed too.
    process = subprocess.Popen([*ULTRASAM, *words], start_new_session=True, stdout=subprocess.PIPE)
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    assert not (tmp_path / "out" / "us_nerve" / "manifest.json").exists()
    code, out, _ = ultrasam("verify", tmp_path / "out", "--only", "us_nerve")
    assert code == 1 and "not built to its end" in out
    assert ultrasam(*words)[0] == 0
    assert ultrasam("build", "--raw", many, "--out", tmp_path / "fresh", "--partial")[0] == 0
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


@needs_mount
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_full_disk_is_told_and_nothing_counts_as_complete(many: Path, tmp_path: Path, jobs: str) -> None:
    out = tmp_path / "out"
    words = ["data", "build", "--raw", str(many), "--out", str(out), "--partial", "--jobs", jobs]
    done = on_tmpfs(out, "size=4m", words)
    assert done.returncode == 1 and done.stdout == ""
    assert "No space left on device" in done.stderr and "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    left = files(tmp_path / "out.copy")
    assert "us_nerve/manifest.json" not in left and "us_nerve/annotations.json" not in left
    assert len(left) > 10
    for name, data in left.items():
        if name.endswith(".png"):
            Image.open(tmp_path / "out.copy" / name).load()
            assert data
    # With more space it goes on from there.
    assert ultrasam("build", "--raw", many, "--out", tmp_path / "out.copy", "--partial")[0] == 0


def test_a_process_that_is_killed_is_told(many: Path, tmp_path: Path) -> None:
    """As the system kills one when memory is short."""
    words = ["build", "--raw", str(many), "--out", str(tmp_path / "out"), "--partial", "--jobs", "2"]
    process = subprocess.Popen([*ULTRASAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("the system does not tell the children of a process")
    journal = tmp_path / "out" / "us_nerve" / ".ultrasam" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.002)
    victim = 0
    while process.poll() is None and not victim:
        for child in children.read_text().split():
            words_of = Path(f"/proc/{child}/cmdline").read_bytes() if Path(f"/proc/{child}").exists() else b""
            if b"spawn_main" in words_of:
                victim = int(child)
        time.sleep(0.002)
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was killed" in err and "fewer --jobs" in err and "Traceback" not in err
    assert ultrasam("build", "--raw", many, "--out", tmp_path / "out", "--partial")[0] == 0


def test_a_set_of_which_nothing_can_be_used_does_not_stop_the_others(
    raw: Path, many: Path, tmp_path: Path
) -> None:
    code, out, err = ultrasam(
        *("build", "--source", f"busi={many}", "--source", f"us_nerve={many}", "--out", tmp_path, "--partial")
    )
    assert code == 1
    assert out.splitlines()[0].split() == ["busi", "failed"] and "us_nerve" in out.splitlines()[1]
    assert "no folder with benign and malignant in it" in err
    report = json.loads((tmp_path / "busi" / "report.json").read_bytes())
    assert report["status"] == "failed" and report["problems"]
    assert not (tmp_path / "busi" / "manifest.json").exists()


def test_an_archive_that_was_cut_off_is_told(raw: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "BUSI"), "zip", raw, "Dataset_BUSI_with_GT"))
    code, out, _ = ultrasam(
        "build", "--raw", tmp_path, "--only", "busi", "--out", tmp_path / "out", "--partial"
    )
    assert code == 1 and "-> " in out
    archive.write_bytes(archive.read_bytes()[:-3000])
    code, out, err = ultrasam("build", "--raw", tmp_path, "--only", "busi", "--out", tmp_path / "new")
    assert code == 2 and "BUSI.zip" in err and "download it again" in err
    assert not (tmp_path / "new" / "busi" / "annotations.json").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["build"], "missing: --out"),
        (["build", "--out", "{tmp}"], "--raw DIR, or --source ID=PATH"),
        (["build", "--raw", "{tmp}/nowhere", "--out", "{tmp}/o"], "is no folder"),
        (["build", "--raw", "{tmp}", "--out", "{tmp}/o"], "holds no set that is known"),
        (["build", "--raw", "{tmp}", "--out", "{tmp}/o", "--only", "bussi"], "did you mean busi?"),
        (["build", "--raw", "{tmp}", "--out", "{tmp}/o", "--only", "busi"], "`ultrasam data show busi`"),
        (["build", "--source", "busi", "--out", "{tmp}/o"], "ID=PATH"),
        (["build", "--source", "busi={tmp}/no", "--out", "{tmp}/o"], "does not exist"),
        (["build", "--source", "busi=a", "--source", "busi=b", "--out", "{tmp}/o"], "twice"),
        (["build", "--source", "busi={tmp}", "--only", "hc18", "--out", "{tmp}/o"], "--only does not"),
        (["build", "--source", "busi={tmp}", "--out", "{tmp}/o", "--jobs", "0"], "--jobs 0"),
        (["verify", "{tmp}"], "holds no data set"),
        (["verify", "{tmp}/nowhere"], "is no folder"),
        (["verify"], "missing: OUT"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(tmp_path: Path, words: list[str], complaint: str) -> None:
    code, out, err = ultrasam(*(word.format(tmp=tmp_path) for word in words))
    assert code == 2
    assert complaint in err and len(err.strip().splitlines()) == 1, err
    assert out == "" or out.split() in (["busi", "failed"], ["us105", "failed"])


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [*ULTRASAM, "build", "--raw", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "pip install 'ultrasam[data]'" in done.stderr


def test_statistics_of_what_is_built(many: Path, tmp_path: Path) -> None:
    assert ultrasam("build", "--raw", many, "--out", tmp_path, "--partial")[0] == 0
    code, out, err = ultrasam("stats", tmp_path)
    assert (code, err) == (0, "")
    assert re.search(r"image/mask pairs +120 +280,000 +-279,880\n", out)
    text = (tmp_path / "stats" / "stats.md").read_text()
    assert "| us_nerve | peripheral_nerve | yes | complete | yes | 120 | 5,635 | -5,515 | 120 |" in text
    assert Image.open(tmp_path / "stats" / "sheets" / "us_nerve.png").width > 1000
    code, out, _ = ultrasam(
        "stats", tmp_path, "--out", tmp_path / "elsewhere", "--only", "us_nerve", "--json"
    )
    assert code == 0 and "-279880" in out and json.loads(out)
    code, out, err = ultrasam("stats", tmp_path / "nowhere")
    assert code == 2 and "is no folder" in err
