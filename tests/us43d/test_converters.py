"""Each converter against a made-up raw tree of which everything is known."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from scipy import ndimage

from tests.us43d.trees import TREES, Tree
from tests.us43d.truth import Mask, TrueImage, TrueObject, Truth
from ultrasam.datasets.build import build, converter
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.results import Outcome
from ultrasam.io.coco import CocoAnnotation, CocoImage, read_coco


@dataclass(frozen=True, eq=False)
class Built:
    """A set as it was converted, and what it should be."""

    id: str
    raw: Path
    folder: Path
    truth: Truth
    outcome: Outcome

    def content(self, annotator: str = "") -> dict[str, Any]:
        return json.loads(self.file(annotator).read_bytes())

    def file(self, annotator: str = "") -> Path:
        return self.folder / (f"annotations.{annotator}.json" if annotator else "annotations.json")

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "report.json").read_bytes())

    @property
    def annotators(self) -> set[str]:
        return {"", *(one.annotator for image in self.truth.images.values() for one in image.objects)}

    def expected(self, annotator: str = "") -> dict[str, TrueImage]:
        """The images of the file of an annotator: those in which something is drawn, or negatives too."""
        negatives = dataset(self.id).keep_negatives and not annotator
        return {
            name: image
            for name, image in self.truth.images.items()
            if negatives or any(one.annotator == annotator for one in image.objects)
        }

    def found(self, annotator: str = "") -> Iterator[tuple[CocoImage, list[CocoAnnotation]]]:
        coco = read_coco(self.file(annotator))
        for image in coco.images:
            yield image, [one for one in coco.annotations if one.image_id == image.id]


@pytest.fixture(scope="module", params=TREES, ids=str)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    tree: Tree = request.param
    place = tmp_path_factory.mktemp(tree.name)
    truth = tree.write(place / "raw")
    outcome = build(dataset(tree.id), place / "raw", place / "out", partial=True)
    return Built(tree.id, place / "raw", place / "out" / tree.id, truth, outcome)


def agrees(found: Mask, true: TrueObject) -> bool:
    """Whether two masks are equal, but for pixels within `edge` of the border of the true one."""
    if found.shape != true.mask.shape:
        return False
    wrong = found != true.mask
    if true.edge and wrong.any():
        square = np.ones((3, 3), np.bool_)
        outer = ndimage.binary_dilation(true.mask, square, iterations=true.edge)
        # Where the image ends is no border.
        inner = ndimage.binary_erosion(true.mask, square, iterations=true.edge, border_value=1)
        wrong &= ~(outer & ~inner)
    return not wrong.any()


def decoded(rle: object) -> Mask:
    return mask_api.decode(rle).astype(np.bool_)


def test_the_images_are_those_of_the_tree_and_no_other(built: Built) -> None:
    assert {path.name for path in (built.folder / "images").iterdir()} == set(built.truth.images)
    for annotator in built.annotators:
        names = [image.file_name for image, _ in built.found(annotator)]
        assert sorted(names) == sorted(built.expected(annotator))


def test_no_pixel_is_changed(built: Built) -> None:
    for name, true in built.truth.images.items():
        with Image.open(built.folder / "images" / name) as picture:
            pixels = np.array(picture)
        assert pixels.shape == true.pixels.shape, name
        assert np.array_equal(pixels, true.pixels), name


def test_an_image_has_its_case_view_frame_part_spacing_and_facts(built: Built) -> None:
    for annotator in built.annotators:
        for image, drawn in built.found(annotator):
            true = built.truth.images[image.file_name]
            assert (image.height, image.width) == true.pixels.shape[:2]
            assert (image.dataset, image.case_id) == (built.id, f"{built.id}/{true.case}")
            assert (image.view or "", image.frame, image.split or "") == (true.view, true.frame, true.split)
            assert (image.attributes or {}) == true.attributes
            assert (image.negative or False) is (not drawn)
            assert image.spacing == (None if true.spacing is None else pytest.approx(true.spacing, rel=1e-6))


def test_each_object_is_the_one_drawn(built: Built) -> None:
    names = dataset(built.id).category_names
    for annotator in built.annotators:
        for image, drawn in built.found(annotator):
            objects = built.truth.images[image.file_name].objects
            wanted = [one for one in objects if one.annotator == annotator]
            found = [(names[one.category_id - 1], decoded(one.segmentation)) for one in drawn]
            assert sorted(name for name, _ in found) == sorted(one.category for one in wanted)
            for category, mask in found:
                fits = [one for one in wanted if one.category == category and agrees(mask, one)]
                assert len(fits) == 1, f"{image.file_name}: a {category} is not as drawn"
                wanted.remove(fits[0])


def test_box_and_area_are_those_of_the_mask(built: Built) -> None:
    for annotator in built.annotators:
        for _, drawn in built.found(annotator):
            for one in drawn:
                rows, columns = np.nonzero(decoded(one.segmentation))
                assert one.area == len(rows)
                x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                assert one.bbox == (x0, y0, x1 - x0, y1 - y0)


def test_other_programs_read_the_file(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    files = {path.name for path in built.folder.glob("annotations*.json")}
    assert files == {built.file(annotator).name for annotator in built.annotators}
    for annotator in built.annotators:
        coco = COCO(built.file(annotator))
        capsys.readouterr()
        content = built.content(annotator)
        categories = [(one["id"], one["name"]) for one in content["categories"]]
        assert categories == list(enumerate(dataset(built.id).category_names, 1))
        ids = [one["id"] for key in ("images", "annotations") for one in content[key]]
        assert len(ids) == len(set(ids)) and all(0 <= number < 2**63 for number in ids)
        for image, drawn in built.found(annotator):
            theirs = coco.loadAnns(coco.getAnnIds(imgIds=image.id))
            assert [one["id"] for one in theirs] == [one.id for one in drawn]
            for one, ours in zip(theirs, drawn, strict=True):
                assert np.array_equal(coco.annToMask(one).astype(np.bool_), decoded(ours.segmentation))


def test_what_cannot_be_used_is_named_with_the_reason_and_nothing_else_is(built: Built) -> None:
    found = dict(built.outcome.problems)
    assert found.keys() == built.truth.problems.keys()
    for file, words in built.truth.problems.items():
        assert words in found[file]
    assert built.outcome.status == "incomplete"
    written = [(one["file"], one["reason"]) for one in built.report()["problems"]]
    assert written == list(built.outcome.problems)
    assert not any(str(built.raw) in reason for _, reason in written)


def test_one_cause_is_one_problem(built: Built) -> None:
    counts = Counter(built.outcome.problems)
    assert {problem: count for problem, count in counts.items() if count > 1} == {}


def test_what_is_left_out_on_purpose_is_named(built: Built) -> None:
    assert {one["file"] for one in built.report()["left out"]} == built.truth.left_out


def test_the_counts_are_right(built: Built) -> None:
    main = built.expected()
    drawn = [one for image in main.values() for one in image.objects if not one.annotator]
    by_category = Counter(one.category for one in drawn)
    by_split = Counter(image.split for image in main.values())
    assert built.outcome.counts == {
        "images": len(main),
        "objects": len(drawn),
        "cases": len({image.case for image in main.values()}),
        "negatives": sum(not image.objects for image in main.values()),
        "duplicates": 0,
        "dropped without objects": built.truth.dropped,
        "objects by category": {name: by_category[name] for name in dataset(built.id).category_names},
        "images by split": dict(sorted(by_split.items())),
    }


def test_a_folder_more_around_it_does_not_matter(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.raw, tmp_path / "Unpacked")
    plans = [make_plan(converter(built.id), raw) for raw in (built.raw, tmp_path)]
    names = [[record.name for group in plan.groups for record in group.records] for plan in plans]
    assert names[0] == names[1]


def test_the_order_of_the_directory_does_not_matter(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(backwards: bool) -> Plan:
        """The plan if directories list their files by name, or by name backwards."""
        with monkeypatch.context() as patch:
            for name in ("iterdir", "glob", "rglob"):
                patch.setattr(Path, name, ordered(getattr(Path, name), backwards))
            return make_plan(converter(built.id), built.raw)

    def ordered(method: Callable[..., Iterator[Path]], backwards: bool) -> Callable[..., Iterator[Path]]:
        def listed(path: Path, *args: str) -> Iterator[Path]:
            return iter(sorted(method(path, *args), reverse=backwards))

        return listed

    def told(plan: Plan) -> list[Any]:
        records = [record for group in plan.groups for record in group.records]
        lines = [(record.name, record.files, record.split, dict(record.attributes)) for record in records]
        return [lines, plan.tables, plan.skipped, plan.problems]

    assert told(plan(backwards=True)) == told(plan(backwards=False))


def test_a_record_can_go_to_another_process(built: Built) -> None:
    plan = make_plan(converter(built.id), built.raw)
    records = [record for group in plan.groups for record in group.records]
    copies = pickle.loads(pickle.dumps(records))
    checked = 0
    for copy, record in zip(copies, records, strict=True):
        assert (copy.name, copy.files, copy.split) == (record.name, record.files, record.split)
        true = built.truth.images.get(f"{copy.name}.png")
        if true is not None:
            assert np.array_equal(copy.load().image, true.pixels)
            checked += 1
    assert checked == len(built.truth.images)
