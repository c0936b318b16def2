"""Shards: any number of runs together give what one run gives, byte for byte."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.us43d import raw_us_nerve, raw_usgra_seg

from ultrasam.core.errors import UltrasamError
from ultrasam.core.workplace import own_folder
from ultrasam.datasets import build as building
from ultrasam.datasets import convert as converting
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.shards import Shard, build_shard

SET = dataset("us_nerve")
COUNT = 100


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`COUNT` images, of which one is damaged and some show nothing."""
    root = tmp_path_factory.mktemp("raw") / "train"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        mask = np.zeros((30, 34), np.uint8)
        if number % 7:
            mask[4:8, 5 : 9 + number % 9] = 255
        Image.fromarray(rng.integers(0, 256, mask.shape, np.uint8)).save(
            root / f"{1 + number // 9}_{number}.tif"
        )
        Image.fromarray(mask).save(root / f"{1 + number // 9}_{number}_mask.tif")
    (root / "1_3.tif").write_bytes(b"II*\0")
    return root.parent


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one run makes of it."""
    out = tmp_path_factory.mktemp("whole")
    build(SET, raw, out, partial=True)
    return hashes(out)


def hashes(out: Path) -> dict[str, str]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def shard(raw: Path, out: Path, number: int, count: int = 4) -> int:
    return build_shard(SET, raw, out, Shard(number, count)).images


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each group that is converted from now on."""
    calls: list[int] = []
    original = converting.convert

    def convert(job: converting.Job) -> converting.Converted:
        calls.append(len(job.group.records))
        return original(job)

    monkeypatch.setattr(building, "convert", convert)
    return calls


def test_four_shards_at_once_are_one_run(
    raw: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: shard(raw, tmp_path, number), (3, 1, 4, 2)))
    assert sum(done) == COUNT and all(done)
    assert not (tmp_path / SET.id / "annotations.json").exists()
    calls = counted(monkeypatch)
    outcome = build(SET, raw, tmp_path, partial=True)
    assert hashes(tmp_path) == whole
    assert [file for file, _ in outcome.problems] == ["train/1_3.tif"]
    assert len(calls) == 1, "only the group with the damaged file is tried once more"
    assert not list((tmp_path / SET.id / ".ultrasam").glob("journal.*-of-*"))
    calls.clear()
    build(SET, raw, tmp_path, partial=True)
    assert len(calls) == 1


def test_folders_filled_on_several_disks_are_put_together_by_copying(
    raw: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        place = tmp_path / f"machine{number}"
        shard(raw, place, number, 3)
        shutil.copytree(place, tmp_path / "out", dirs_exist_ok=True)
    calls = counted(monkeypatch)
    build(SET, raw, tmp_path / "out", partial=True)
    assert hashes(tmp_path / "out") == whole and len(calls) == 1


def test_a_shard_that_never_ran_or_was_killed_only_costs_time(
    raw: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    for number in (2, 3):
        shard(raw, tmp_path, number)
    journal = tmp_path / SET.id / ".ultrasam" / "journal.2-of-4.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    (tmp_path / SET.id / ".ultrasam" / "journal.9-of-9.jsonl").write_bytes(b"\0nonsense\n{}\n")
    build(SET, raw, tmp_path, partial=True)
    assert hashes(tmp_path) == whole


@pytest.mark.parametrize("missing", [10, 30_000])
def test_a_full_disk_while_a_journal_is_taken_over_loses_none_of_it(
    raw: Path, whole: dict[str, str], tmp_path: Path, missing: int
) -> None:
    resource = pytest.importorskip("resource")
    for number in (1, 2):
        shard(raw, tmp_path, number, 2)
    hidden = tmp_path / SET.id / ".ultrasam"
    part = hidden / "journal.1-of-2.jsonl"
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size - missing, hard))
    try:
        with pytest.raises(UltrasamError, match=r"/journal\.jsonl cannot be written .*free some space"):
            build(SET, raw, tmp_path, partial=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert part.exists()
    build(SET, raw, tmp_path, partial=True)
    assert hashes(tmp_path) == whole


def test_a_shard_goes_on_where_it_was(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    shard(raw, tmp_path, 1)
    first = len(calls)
    shard(raw, tmp_path, 1)
    assert first and len(calls) == first


def test_shards_of_an_archive_are_one_run(tmp_path: Path) -> None:
    raw_us_nerve.write(tmp_path / "tree")
    archive = Path(shutil.make_archive(str(tmp_path / "us_nerve"), "zip", tmp_path / "tree"))
    build(SET, archive, tmp_path / "one", partial=True)
    for number in (1, 2):
        build_shard(SET, archive, tmp_path / "two", Shard(number, 2))
    build(SET, archive, tmp_path / "two", partial=True)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_more_shards_than_groups_leave_some_without_work(tmp_path: Path) -> None:
    raw_usgra_seg.write(tmp_path / "raw")
    done = [
        build_shard(dataset("usgra_seg"), tmp_path / "raw", tmp_path / "out", Shard(number, 9)).images
        for number in range(1, 10)
    ]
    assert done[0] > 0 and done[-1] == 0


def test_a_finished_set_is_not_complete_while_a_shard_works_on_it(raw: Path, tmp_path: Path) -> None:
    build(SET, raw, tmp_path, partial=True)
    shard(raw, tmp_path, 1)
    assert not (tmp_path / SET.id / "manifest.json").exists()


def test_one_run_keeps_out_only_what_it_must(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / SET.id
    with own_folder(folder, "1-of-4"):
        with pytest.raises(UltrasamError, match="another run"):
            shard(raw, tmp_path, 1)
        with pytest.raises(UltrasamError, match="another run"):
            build(SET, raw, tmp_path, partial=True)
        assert shard(raw, tmp_path, 2) > 0
    with own_folder(folder), pytest.raises(UltrasamError, match="another run"):
        shard(raw, tmp_path, 2)


def test_the_locks_hold_where_they_are_those_of_fcntl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a file has to be open for reading to be shared and for writing to be one's own."""
    fcntl = pytest.importorskip("fcntl")
    failed = []

    def flock(descriptor: int, operation: int) -> None:
        try:
            fcntl.lockf(descriptor, operation)
        except OSError as error:
            failed.append(error)
            raise

    monkeypatch.setattr(fcntl, "flock", flock)
    with own_folder(tmp_path, "1-of-2"):
        pass
    with own_folder(tmp_path):
        pass
    assert failed == []


def test_a_foreign_coco_file_is_not_touched_by_a_shard(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / SET.id
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps({"info": {}, "images": []}))
    with pytest.raises(UltrasamError, match="not from `ultrasam data build`"):
        shard(raw, tmp_path, 1)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2", ""])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(UltrasamError, match="1/4 to 4/4"):
        Shard.parse(text)


def test_a_shard_is_spelled_i_of_n() -> None:
    assert Shard.parse(" 2/16 ") == Shard(2, 16) and Shard(2, 16).name == "2-of-16"
