"""Verifying: each kind of damage to a built set is found, and a sound one has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.verify import KINDS, built_sets, verify

Coco = dict[str, Any]


def write_raw(raw: Path, subject: int = 1) -> None:
    """A raw tree of us_nerve: ten images, a nerve in every second."""
    train = raw / "train"
    train.mkdir(parents=True)
    rng = np.random.default_rng(subject)
    for number in range(1, 11):
        pixels = rng.integers(0, 255, (42, 58), dtype=np.uint8)
        Image.fromarray(pixels).save(train / f"{subject}_{number}.tif")
        mask = np.zeros((42, 58), np.uint8)
        mask[10:20, 8 : 20 + number] = 255 * (number % 2)
        Image.fromarray(mask).save(train / f"{subject}_{number}_mask.tif")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    write_raw(root / "raw")
    assert build(dataset("us_nerve"), root / "raw", root / "out", partial=True).status == "complete"
    return root / "out"


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def findings(out: Path, jobs: int = 1) -> list[tuple[str, str, str]]:
    return [
        (found.kind, found.file, found.reason)
        for one in verify(built_sets(out), jobs)
        for found in one.findings
    ]


def change(out: Path, edit: Callable[[Coco], None], name: str = "annotations.json") -> None:
    """Edit a JSON file, and let the manifest believe that it was built so."""
    path = out / "us_nerve" / name
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))


def kinds(out: Path) -> set[str]:
    return {kind for kind, _, _ in findings(out)} - {"changed"}


def test_a_sound_set_has_no_finding_with_one_process_or_two(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checked,) = verify(built_sets(sound))
    assert (checked.images, checked.objects, checked.findings) == (10, 5, ())
    monkeypatch.setattr("ultrasam.datasets.verify.CHUNK", 3)
    assert list(verify(built_sets(sound), jobs=2)) == [checked]


def test_a_missing_an_unreadable_and_a_resized_image(out: Path) -> None:
    images = out / "us_nerve" / "images"
    (images / "1__00001.png").unlink()
    data = (images / "1__00002.png").read_bytes()
    (images / "1__00002.png").write_bytes(data[: len(data) // 2])
    Image.fromarray(np.zeros((58, 42), np.uint8)).save(images / "1__00003.png")
    found = {(kind, file) for kind, file, _ in findings(out)}
    assert found == {
        ("missing", "1__00001.png"),
        ("unreadable", "1__00002.png"),
        ("outside", "1__00003.png"),
        ("changed", "images"),
    }


def test_an_image_with_other_pixels_is_not_the_one_that_was_built(out: Path) -> None:
    Image.fromarray(np.zeros((42, 58), np.uint8)).save(out / "us_nerve" / "images" / "1__00003.png")
    assert [kind for kind, _, _ in findings(out)] == ["changed"]


def test_a_changed_annotation_file_is_told(out: Path) -> None:
    change(out, lambda coco: coco["info"].update(description="mine"))
    assert findings(out) == [("changed", "annotations.json", "is not the file that was built")]


def first(coco: Coco) -> Coco:
    return dict.__getitem__(coco, "annotations")[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("empty", lambda c: first(c).update(segmentation=encode_rle(np.zeros((42, 58), bool)))),
        ("empty", lambda c: c["annotations"].pop()),
        ("empty", lambda c: [image.pop("negative", None) for image in c["images"]]),
        ("empty", lambda c: first(c).pop("segmentation")),
        ("full", lambda c: first(c).update(segmentation=encode_rle(np.ones((42, 58), bool)))),
        ("outside", lambda c: first(c).update(segmentation=encode_rle(np.ones((58, 42), bool)))),
        ("outside", lambda c: first(c).update(bbox=[50, 10, 30, 10])),
        ("box", lambda c: first(c).update(bbox=[8, 10, 12, 10])),
        ("box", lambda c: first(c).update(area=1.0)),
        ("unreadable", lambda c: first(c).update(id=c["annotations"][1]["id"])),
        ("unreadable", lambda c: first(c).update(image_id=7)),
        ("split", lambda c: c["images"][3].update(split="test")),
    ],
)
def test_damage_to_the_annotations_is_found(out: Path, kind: str, edit: Callable[[Coco], None]) -> None:
    change(out, edit)
    assert kind in kinds(out)
    if kind not in ("outside", "unreadable"):
        assert kinds(out) == {kind}


def test_ids_of_another_set_are_found(out: Path) -> None:
    shutil.copytree(out / "us_nerve", out / "zz_copy")
    found = [(kind, reason) for kind, _, reason in findings(out)]
    assert {kind for kind, _ in found} == {"id"}
    assert len(found) == 15 and all("also one of us_nerve" in reason for _, reason in found)


def test_a_set_that_was_not_finished_or_had_problems(out: Path) -> None:
    change(out, lambda manifest: manifest.update(status="incomplete"), "manifest.json")
    assert kinds(out) == {"incomplete"}
    (out / "us_nerve" / "manifest.json").unlink()
    assert ("incomplete", "manifest.json", "is missing: the set was not built to its end") in findings(out)
    (out / "us_nerve" / "manifest.json").write_text("{")
    assert "unreadable" in kinds(out)


def test_counts_are_compared_with_the_catalogue(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    outcome = build(dataset("us_nerve"), tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "incomplete"
    assert {"count", "incomplete"} == kinds(tmp_path / "out")
    assert any(
        "10 images where the catalogue has 5,635" in reason for _, _, reason in findings(tmp_path / "out")
    )


def test_no_annotations_no_set_no_folder(out: Path, tmp_path: Path) -> None:
    (out / "us_nerve" / "annotations.json").unlink()
    assert "missing" in kinds(out)
    assert [path.name for path in built_sets(out, ["us_nerve", "busi"])] == ["us_nerve", "busi"]
    with pytest.raises(UltrasamError, match="holds no data set"):
        built_sets(tmp_path)
    with pytest.raises(UltrasamError, match="is no folder"):
        built_sets(tmp_path / "nowhere")


def test_every_kind_of_finding_has_words() -> None:
    assert {"missing", "unreadable", "outside", "empty", "full", "id", "split", "count"} <= KINDS.keys()
