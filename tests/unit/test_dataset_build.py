"""Building a set: the same bytes each time, nothing done twice, nothing partial taken for complete."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.workplace import own_folder
from ultrasam.datasets import build as building
from ultrasam.datasets import convert as converting
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.convert import GROUP
from ultrasam.datasets.raw import find_raw
from ultrasam.datasets.results import Outcome
from ultrasam.io.coco import read_coco

SET = dataset("usgra_seg")
COUNT = 2 * GROUP + 5


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw tree of USGRA-seg with `COUNT` images and one for tests; nothing is drawn in image 4."""
    raw = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    for number in range(COUNT + 1):
        folder = raw / "dataset" if number < COUNT else raw / "dataset" / "test"
        save(folder / "images" / f"{number:04d}.png", rng.integers(0, 255, (40, 61), dtype=np.uint8))
        mask = np.zeros((40, 61), np.uint8)
        if number != 4:
            mask[5:10, 8 + number % 9 : 20], mask[20:30, 30:40], mask[20:22, 50:55] = 1, 2, 2
        save(folder / "masks" / f"{number:04d}.png", mask)
    return raw


@pytest.fixture
def raw(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "raw"))


def run(raw: Path, out: Path, jobs: int = 1) -> Outcome:
    return build(SET, raw, out, jobs, partial=True)


def hashes(out: Path) -> dict[str, str]:
    """What a user sees, without what a run keeps for itself."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def report(out: Path) -> dict:
    return json.loads((out / SET.id / "report.json").read_bytes())


def counting(
    monkeypatch: pytest.MonkeyPatch, fail_at: int = 0, error: BaseException | None = None
) -> list[int]:
    """Counts the groups that are converted; the one with this number raises instead."""
    calls: list[int] = []
    original = converting.convert

    def convert(job: converting.Job) -> converting.Converted:
        calls.append(len(job.group.records))
        if error is not None and len(calls) == fail_at:
            raise error
        return original(job)

    monkeypatch.setattr(building, "convert", convert)
    return calls


def test_a_set_is_built(raw: Path, tmp_path: Path) -> None:
    outcome = run(raw, tmp_path / "out")
    folder = tmp_path / "out" / SET.id
    assert (outcome.status, outcome.problems, outcome.unchanged) == ("complete", (), False)
    assert outcome.counts["images"] == COUNT == len(list((folder / "images").iterdir()))
    assert outcome.counts["objects"] == 3 * COUNT
    assert outcome.counts["images by split"] == {"test": 1, "train": COUNT - 1}
    assert outcome.counts["dropped without objects"] == 1
    coco = read_coco(folder / "annotations.json")
    assert [(category.id, category.name) for category in coco.categories] == [(1, "nerve"), (2, "vessel")]
    assert all(image.case_id == f"usgra_seg/{image.file_name[:-4]}" for image in coco.images)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["licence"] == SET.licence and manifest["citation"] == SET.paper
    assert len(manifest["inputs"]) == 2 * COUNT + 2
    for entry in manifest["inputs"]:
        data = (raw / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), sha256(data).hexdigest())
    assert manifest["results"] == {"annotations.json": hashes(folder)["annotations.json"]}
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.glob("*.json"))


def test_the_bytes_are_the_same_with_processes_and_in_any_order(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(raw, tmp_path / "one")
    run(raw, tmp_path / "two", jobs=2)
    elsewhere = Path(shutil.move(raw, tmp_path / "moved"))
    listed: Callable[[Path], object] = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: reversed(sorted(listed(path))))
    run(elsewhere, tmp_path / "three")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two") == hashes(tmp_path / "three")


def test_a_second_run_does_nothing(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(raw, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    calls = counting(monkeypatch)
    second = run(raw, tmp_path / "out")
    assert second.unchanged and (second.status, second.counts) == (first.status, first.counts)
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize(
    "lost", ["images/train-0003.png", "annotations.json", "manifest.json", "report.json"]
)
def test_what_was_lost_is_made_again(raw: Path, tmp_path: Path, lost: str) -> None:
    run(raw, tmp_path / "out")
    before = hashes(tmp_path / "out")
    (tmp_path / "out" / SET.id / lost).unlink()
    assert not run(raw, tmp_path / "out").unchanged
    assert hashes(tmp_path / "out") == before


def test_only_what_changed_is_converted_again_and_old_images_go(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(raw, tmp_path / "out")
    calls = counting(monkeypatch)
    (raw / "dataset" / "masks" / f"{COUNT - 1:04d}.png").unlink()
    (raw / "dataset" / "images" / f"{COUNT - 1:04d}.png").unlink()
    assert run(raw, tmp_path / "out").counts["images"] == COUNT - 1
    assert calls == [COUNT - 2 * GROUP]
    run(raw, tmp_path / "fresh")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), converting.BuildStopped("no space left"), MemoryError()]
)
def test_a_stopped_run_is_not_complete_and_goes_on(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as patch:
        counting(patch, fail_at=2, error=error)
        with pytest.raises(type(error)):
            run(raw, tmp_path / "out")
    assert not (tmp_path / "out" / SET.id / "manifest.json").exists()
    journal = tmp_path / "out" / SET.id / ".ultrasam" / "journal.jsonl"
    with journal.open("ab") as file:  # cut off while it was written
        file.write(b'{"group": "abc", "entr')
    calls = counting(monkeypatch)
    assert run(raw, tmp_path / "out").status == "complete"
    assert len(calls) == 2  # of three groups
    monkeypatch.undo()
    run(raw, tmp_path / "fresh")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh")


def test_a_full_disk_is_told_and_leaves_nothing_that_counts(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, data: bytes) -> None:
        raise UltrasamError(f"{path} cannot be written (No space left on device): free some space")

    with monkeypatch.context() as patch:
        patch.setattr(converting, "atomic_write", write)
        with pytest.raises(converting.BuildStopped, match="No space left"):
            run(raw, tmp_path / "out")
    assert not (tmp_path / "out" / SET.id / "manifest.json").exists()
    assert run(raw, tmp_path / "out").status == "complete"


def test_damaged_files_are_named_and_the_rest_goes_on(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, masks = raw / "dataset" / "images", raw / "dataset" / "masks"
    (images / "0001.png").write_bytes((images / "0001.png").read_bytes()[:700])
    (masks / "0002.png").write_bytes(b"")
    save(masks / "0003.png", np.full((40, 61), 9, np.uint8))
    save(masks / "0005.png", np.ones((61, 40), np.uint8))
    (masks / "0006.png").unlink()
    save(images / "9999.jpeg", np.zeros((4, 4), np.uint8))
    (images / ".DS_Store").write_bytes(b"junk")
    (images / "readme.txt").write_text("hello")
    outcome = run(raw, tmp_path / "out")
    assert outcome.status == "incomplete"
    found = dict(outcome.problems)
    assert {name: words in found.get(name, "") for name, words in DAMAGE.items()} == dict.fromkeys(
        DAMAGE, True
    )
    assert len(found) == len(DAMAGE) == len(outcome.problems)
    assert outcome.counts["images"] == COUNT - 5
    assert report(tmp_path / "out")["problems"] == [{"file": f, "reason": r} for f, r in outcome.problems]
    manifest = json.loads((tmp_path / "out" / SET.id / "manifest.json").read_bytes())
    assert manifest["status"] == "incomplete"
    before = hashes(tmp_path / "out")
    calls = counting(monkeypatch)
    assert run(raw, tmp_path / "out").problems == outcome.problems
    assert hashes(tmp_path / "out") == before
    assert len(calls) == 1  # what had problems is tried again, and nothing else


DAMAGE = {
    "dataset/images/0001.png": "damaged",
    "dataset/images/0002.png": "dataset/masks/0002.png is not an image",
    "dataset/images/0003.png": "dataset/masks/0003.png has the label 9",
    "dataset/images/0005.png": "dataset/masks/0005.png is 40 x 61 pixels, its image 61 x 40",
    "dataset/images/0006.png": "has no mask",
    "dataset/images": "has a file that belongs to no image: 9999.jpeg",
}


def test_too_few_images_are_told_unless_a_part_is_meant(raw: Path, tmp_path: Path) -> None:
    outcome = build(SET, raw, tmp_path / "out")
    assert outcome.status == "incomplete"
    assert [file for file, _ in outcome.problems] == ["", ""]
    assert f"{COUNT} images where the catalogue has {SET.images}" in outcome.problems[0][1]
    assert f"1 images for tests where the catalogue has {SET.tests}" in outcome.problems[1][1]
    assert run(raw, tmp_path / "out").status == "complete"


def test_a_layout_that_is_not_understood_fails_and_keeps_what_was_built(raw: Path, tmp_path: Path) -> None:
    run(raw, tmp_path / "out")
    before = hashes(tmp_path / "out")
    for folder in (raw / "dataset", raw / "dataset" / "test"):
        (folder / "masks").rename(folder / "labels")
    outcome = run(raw, tmp_path / "out")
    assert outcome.status == "failed" and "no folder with images and masks" in outcome.problems[0][1]
    after = hashes(tmp_path / "out")
    assert report(tmp_path / "out")["status"] == "failed"
    assert {name: after[name] for name in after if "report" not in name} == {
        name: before[name] for name in before if "report" not in name
    }


def test_an_archive_is_unpacked_and_its_copy_removed(raw: Path, tmp_path: Path) -> None:
    run(raw, tmp_path / "folder")
    archive = tmp_path / "usgra-seg-main.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(raw.rglob("*.png")):
            file.write(path, path.relative_to(raw))
    outcome = run(archive, tmp_path / "zip")
    assert outcome.status == "complete"
    assert hashes(tmp_path / "zip") == hashes(tmp_path / "folder")
    assert not (tmp_path / "zip" / SET.id / ".ultrasam" / "raw").exists()
    assert run(archive, tmp_path / "zip").unchanged
    archive.write_bytes(archive.read_bytes()[:-2000])
    outcome = run(archive, tmp_path / "zip")
    assert outcome.status == "failed" and archive.name in outcome.problems[0][1]


def test_a_raw_set_is_found_by_id_or_name_as_folder_or_archive(tmp_path: Path) -> None:
    name = SET.folders[0]
    assert find_raw(SET, tmp_path, {}) is None
    (tmp_path / f"{name}.ZIP").write_bytes(b"")
    assert find_raw(SET, tmp_path, {}) == tmp_path / f"{name}.ZIP"
    (tmp_path / name.upper()).mkdir()
    assert find_raw(SET, tmp_path, {}) == tmp_path / name.upper()
    (tmp_path / SET.id).mkdir()
    assert find_raw(SET, tmp_path, {}) == tmp_path / SET.id
    assert find_raw(SET, tmp_path, {SET.id: tmp_path}) == tmp_path
    with pytest.raises(UltrasamError, match="does not exist: check --source"):
        find_raw(SET, tmp_path, {SET.id: tmp_path / "nowhere"})
    with pytest.raises(UltrasamError, match="is no folder, zip, tar or rar file"):
        (tmp_path / "text").write_text("x")
        find_raw(SET, tmp_path, {SET.id: tmp_path / "text"})


@pytest.mark.parametrize("out", ["raw", "raw/out", ".."])
def test_results_do_not_go_among_the_raw_files(raw: Path, out: str, tmp_path: Path) -> None:
    source, place = raw, tmp_path / out
    if out == "raw":
        source = Path(shutil.move(raw, tmp_path / "all" / SET.id))
        place = tmp_path / "all"
    elif out == "..":  # the raw files lie in the folder of the results
        source = Path(shutil.move(raw, tmp_path / SET.id / "raw"))
        place = tmp_path
    before = hashes(source)
    with pytest.raises(UltrasamError, match="lie within each other: choose another folder"):
        run(source, place)
    assert hashes(source) == before


def test_two_runs_do_not_write_to_one_folder(raw: Path, tmp_path: Path) -> None:
    with own_folder(tmp_path / "out" / SET.id), pytest.raises(UltrasamError, match="another run is writing"):
        run(raw, tmp_path / "out")


def test_a_set_without_a_converter_says_so(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    outcome = build(replace(SET, id="unheard_of"), tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and "no converter yet" in outcome.problems[0][1]
