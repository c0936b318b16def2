"""The converters on a few real files, where they are at hand: they are not part of the repository."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.us43d.truth import Mask
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.results import Outcome

RAW = Path(__file__).parents[2].parent / "shared" / "data" / "raw"


@dataclass(frozen=True, eq=False)
class Real:
    """A real sample as it was converted: images and (category, mask) by the name of the file."""

    raw: Path
    outcome: Outcome
    images: dict[str, dict[str, Any]]
    objects: dict[str, list[tuple[str, Mask]]]
    folder: Path

    def pixels(self, name: str) -> np.ndarray:
        with Image.open(self.folder / "images" / name) as picture:
            return np.array(picture)


def converted(identifier: str, folder: str, out: Path) -> Real:
    raw = RAW / folder
    if not raw.is_dir():
        pytest.skip(f"the real files of {folder} are not there ({raw})")
    outcome = build(dataset(identifier), raw, out, partial=True)
    content = json.loads((out / identifier / "annotations.json").read_bytes())
    images = {image["file_name"]: image for image in content["images"]}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    categories = {one["id"]: one["name"] for one in content["categories"]}
    objects: dict[str, list[tuple[str, Mask]]] = {name: [] for name in images}
    for one in content["annotations"]:
        image = images[names[one["image_id"]]]
        mask = decode_segmentation(one["segmentation"], image["height"], image["width"])
        objects[image["file_name"]].append((categories[one["category_id"]], mask))
    return Real(raw, outcome, images, objects, out / identifier)


@pytest.fixture(scope="module")
def hc18(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return converted("hc18", "HC18", tmp_path_factory.mktemp("hc18"))


@pytest.fixture(scope="module")
def busi(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return converted("busi", "Dataset_BUSI_with_GT", tmp_path_factory.mktemp("busi"))


@pytest.fixture(scope="module")
def nerve(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return converted("us_nerve", "ultrasound-nerve-segmentation", tmp_path_factory.mktemp("nerve"))


@pytest.fixture(scope="module")
def stu(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return converted("stu_hospital", "STU-Hospital", tmp_path_factory.mktemp("stu"))


@pytest.fixture(scope="module")
def camus(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return converted("camus", "CAMUS_mhd", tmp_path_factory.mktemp("camus"))


def grey(path: Path) -> np.ndarray:
    """A mask file as levels; some of BUSI have four channels, some one bit."""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))[..., 0]


def circumference(a: float, b: float) -> float:
    """Of an ellipse with the half axes a and b (Ramanujan 1914)."""
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


def border_pixels(mask: Mask) -> int:
    frame = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return int(np.count_nonzero(frame))


CUT = {"186__HC.png", "346__HC.png"}


def test_heads_are_filled_also_where_the_border_cuts_them(hc18: Real) -> None:
    assert (hc18.outcome.problems, len(hc18.images), hc18.outcome.counts["objects"]) == ((), 7, 7)
    for name, [(category, head)] in hc18.objects.items():
        exam = name.partition("__")[0]
        line = grey(hc18.raw / "training_set" / f"{exam}_HC_Annotation.png") > 127
        assert category == "fetal_head"
        assert head[line].all(), "the line belongs to the head"
        assert ndimage.label(head)[1] == 1 and np.array_equal(ndimage.binary_fill_holes(head), head)
        # An independent fit to the line, drawn on a canvas so large that nothing is cut.
        rows, columns = np.nonzero(line)
        (x, y), axes, angle = cv2.fitEllipseAMS(np.stack([columns, rows], 1).astype(np.float32))
        canvas = np.zeros((head.shape[0] + 800, head.shape[1] + 800), np.uint8)
        cv2.ellipse(canvas, ((x + 400, y + 400), axes, angle), 1, thickness=-1)
        whole = int(canvas.sum())
        expected = canvas[400:-400, 400:-400].astype(np.bool_)
        union = np.count_nonzero(head | expected)
        assert np.count_nonzero(head & expected) > 0.98 * union, name
        assert (whole > int(expected.sum()) + 50) is (name in CUT)
        assert (border_pixels(head) > 20) is (name in CUT)


def test_the_circumference_in_mm_is_the_one_in_the_table(hc18: Real) -> None:
    with (hc18.raw / "training_set_pixel_size_and_HC.csv").open() as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    checked = 0
    for name, [(_, head)] in hc18.objects.items():
        row = rows[f"{name.partition('__')[0]}_HC.png"]
        size = float(row["pixel size(mm)"])
        assert hc18.images[name]["spacing"] == [size, size]
        if name in CUT:
            continue
        contour = max(cv2.findContours(head.astype(np.uint8), 0, 1)[0], key=len)
        _, (width, height), _ = cv2.fitEllipse(contour)
        found = circumference(width / 2, height / 2) * size
        assert found == pytest.approx(float(row["head circumference (mm)"]), rel=0.02), name
        checked += 1
    assert checked == 5


def test_each_lesion_of_busi_has_its_own_mask_and_normal_breasts_are_left_out(busi: Real) -> None:
    files = sorted(path for part in ("benign", "malignant") for path in (busi.raw / part).iterdir())
    masks = [path for path in files if "_mask" in path.name]
    assert busi.outcome.problems == ()
    assert len(busi.images) == len(files) - len(masks) == 13
    assert not any(name.startswith("normal") for name in busi.images)
    several = 0
    for name, drawn in busi.objects.items():
        pathology, number = name.removesuffix(".png").split("-")
        stem = f"{pathology} ({number})_mask"
        own = [path for path in masks if path.stem == stem or path.stem.startswith(f"{stem}_")]
        wanted = sorted((grey(path) > 127).tobytes() for path in own)
        assert sorted(mask.tobytes() for _, mask in drawn) == wanted
        assert {category for category, _ in drawn} == {f"breast_lesion_{pathology}"}
        several += len(drawn) > 1
    assert several == 4


def test_frames_without_a_nerve_stay_and_are_flagged(nerve: Real) -> None:
    assert (nerve.outcome.problems, len(nerve.images)) == ((), 8)
    for name, image in nerve.images.items():
        subject, frame = name.removesuffix(".png").split("__")
        mask = grey(nerve.raw / "train" / f"{subject}_{int(frame)}_mask.tif") > 127
        assert image.get("negative", False) is not bool(mask.any())
        assert (image["case_id"], image["frame"]) == (f"us_nerve/{subject}", int(frame))
        drawn = [one for _, one in nerve.objects[name]]
        assert np.array_equal(np.any([np.zeros_like(mask), *drawn], axis=0), mask)
        assert np.array_equal(
            nerve.pixels(name), np.array(Image.open(nerve.raw / "train" / f"{subject}_{int(frame)}.tif"))
        )
    assert 0 < nerve.outcome.counts["negatives"] < 8


def test_masks_of_stu_come_to_the_size_of_their_image_as_one_lesion(stu: Real) -> None:
    assert (stu.outcome.problems, len(stu.images)) == ((), 5)
    for name, [(category, lesion)] in stu.objects.items():
        mask = grey(stu.raw / "Hospital" / f"mask_{name}") / 255
        assert (category, lesion.shape) == ("breast_lesion", (128, 128))
        assert ndimage.label(lesion, np.ones((3, 3)))[1] == 1
        # The share of the field of view and its middle stay as they are.
        assert lesion.mean() == pytest.approx(mask.mean(), rel=0.02)
        for axis in (0, 1):
            middle = np.average(np.arange(128) + 0.5, weights=lesion.sum(1 - axis)) / 128
            true = np.average(np.arange(len(mask)) + 0.5, weights=mask.sum(1 - axis)) / len(mask)
            assert middle == pytest.approx(true, abs=0.005)


def test_camus_has_three_structures_in_two_phases_of_two_views(camus: Real) -> None:
    assert camus.outcome.problems == ()
    assert sorted(camus.images) == [
        f"patient0001__{view}-{phase}.png" for view in ("2CH", "4CH") for phase in ("ED", "ES")
    ]
    for name, image in camus.images.items():
        assert image["spacing"] == [0.308, 0.154]
        assert image["case_id"] == "camus/patient0001"
        assert image["attributes"]["phase"] == name[-6:-4]
        stem = camus.raw / "patient0001" / name.removesuffix(".png").replace("__", "_").replace("-", "_")
        shape = (image["height"], image["width"])
        stored = np.frombuffer(stem.with_suffix(".raw").read_bytes(), np.uint8).reshape(shape)
        labels = np.frombuffer(stem.with_name(f"{stem.name}_gt.raw").read_bytes(), np.uint8).reshape(shape)
        assert np.array_equal(camus.pixels(name), stored)
        for value, structure in ((1, "lv_endocardium"), (2, "lv_myocardium"), (3, "left_atrium")):
            drawn = [mask for category, mask in camus.objects[name] if category == structure]
            assert np.array_equal(np.any(drawn, axis=0), labels == value)
        # The apex is up: the atrium lies below the cavity, which the muscle surrounds.
        rows = {
            structure: np.nonzero(np.any([m for c, m in camus.objects[name] if c == structure], axis=0))[
                0
            ].mean()
            for structure in ("lv_endocardium", "left_atrium")
        }
        assert rows["lv_endocardium"] < rows["left_atrium"]


def test_the_heart_is_smaller_at_the_end_of_systole(camus: Real) -> None:
    for view in ("2CH", "4CH"):
        area = {
            phase: sum(
                np.count_nonzero(mask)
                for category, mask in camus.objects[f"patient0001__{view}-{phase}.png"]
                if category == "lv_endocardium"
            )
            for phase in ("ED", "ES")
        }
        assert area["ES"] < 0.8 * area["ED"]
