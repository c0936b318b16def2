"""Which images of a COCO file are evaluated, and that validation is what training holds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.synthetic import write_coco

from ultrasam.config import DataConfig, ModelConfig, TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.datasets.splits import group_of, held_out_cases, held_out_groups
from ultrasam.evaluation.samples import Sample, Selection, select_samples
from ultrasam.io.coco import CocoImage


def write_data(folder: Path, images: list[dict[str, Any]], **extra: object) -> Path:
    """A COCO file and its images of 16 x 12 pixels; `images` are dictionaries of COCO keys.

    Each has one object unless its key `objects` lists others.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    mask = np.zeros((12, 16), np.bool_)
    mask[3:9, 4:12] = True
    entries, annotations = [], []
    for number, image in enumerate(images, start=1):
        entry = {"id": number, "file_name": f"{number:03}.png", "height": 12, "width": 16} | image
        objects = entry.pop("objects", [{"segmentation": encode_rle(mask)}])
        Image.new("L", (16, 12), 127).save(folder / "images" / entry["file_name"])
        entries.append(entry)
        for keys in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": entry["id"],
                    "category_id": 1,
                    "bbox": [4, 3, 8, 6],
                    "iscrowd": 0,
                    **keys,
                }
            )
    content = {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    path = folder / "data.json"
    path.write_text(json.dumps(content | extra))
    return path


def ids(samples: list[Sample]) -> list[int]:
    return [sample.image.id for sample in samples]


def many(dataset: str, cases: int, images: int = 2) -> list[dict[str, Any]]:
    return [{"dataset": dataset, "case_id": f"{dataset}/{i // images}"} for i in range(cases * images)]


def test_validation_is_what_training_holds_out(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra [train]")
    from ultrasam.training.data import load_split

    images = [*many("b", 9), *many("a", 14), {"objects": []}, {"dataset": "b", "case_id": "b/0"}, {}]
    data = write_data(tmp_path, images)
    for share, seed in ((0.15, 43), (0.4, 1)):
        config = TrainConfig(
            data=DataConfig(str(data), cache=str(tmp_path), validation_share=share, split_seed=seed),
            model=ModelConfig(image_size=64),
        )
        _, train, validation = load_split(config)
        samples = select_samples(data, selection=Selection("validation", share, seed))
        assert sorted(ids(samples)) == sorted(image.id for image in validation)
        assert len(validation) >= 6 and not set(ids(samples)) & {image.id for image in train}
        found = {sample.image.id: (sample.dataset, sample.case_id) for sample in samples}
        assert found == {image.id: (image.dataset, image.case_id) for image in validation}


def test_the_defaults_are_those_of_training() -> None:
    config = DataConfig()
    assert (Selection().share, Selection().split_seed) == (config.validation_share, config.split_seed)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30).map(str))),
    st.floats(0, 1, exclude_max=True),
)
def test_groups_are_held_out_within_each_data_set(groups: list[tuple[str, str]], share: float) -> None:
    held_out = held_out_groups(groups, share, 7)
    assert held_out <= set(groups)
    for name in "abc":
        cases = [case for dataset, case in groups if dataset == name]
        assert {case for dataset, case in held_out if dataset == name} == held_out_cases(cases, share, 7)
    assert held_out == held_out_groups(reversed(groups), share, 7)


def test_a_file_without_keys_is_one_data_set_of_single_images() -> None:
    assert group_of(CocoImage(1, "x.png", 3, 4), Path("mine/breast.json")) == ("breast", "x.png")
    assert group_of(CocoImage(1, "x.png", 3, 4, "set", "p1"), Path("breast.json")) == ("set", "p1")


def test_all_images_with_a_mask_are_taken_in_order(tmp_path: Path) -> None:
    images = [{"dataset": "b"}, {"dataset": "a", "id": 9}, {"dataset": "a", "id": 5}, {"objects": []}]
    samples = select_samples(write_data(tmp_path, images))
    assert [(sample.dataset, sample.image.id) for sample in samples] == [("a", 5), ("a", 9), ("b", 1)]
    assert samples[0].path == tmp_path / "images" / "003.png"
    assert samples[0].pixels().shape == (12, 16)
    (truth,) = samples[0].truths().values()
    assert truth.sum() == 48


def test_only_masks_count(tmp_path: Path) -> None:
    mask = {"segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]}
    empty = {"segmentation": encode_rle(np.zeros((12, 16), np.bool_))}
    images = [
        {"objects": [{}, mask, mask | {"iscrowd": 1}, empty]},
        {"objects": [{}]},
        {"objects": [mask | {"iscrowd": 1}]},
    ]
    (sample,) = select_samples(write_data(tmp_path, images))
    assert sample.image.id == 1 and list(sample.truths()) == [2] and len(sample.annotations) == 4


def test_data_sets_can_be_chosen(tmp_path: Path) -> None:
    data = write_data(tmp_path, [{"dataset": "a"}, {"dataset": "b"}, {"dataset": "c"}])
    assert ids(select_samples(data, selection=Selection(datasets=("c", "a")))) == [1, 3]
    with pytest.raises(UltrasamError, match=r"no data set 'd' in .*: use a, b, c$"):
        select_samples(data, selection=Selection(datasets=("a", "d")))


def test_a_larger_limit_only_adds(tmp_path: Path) -> None:
    data = write_data(tmp_path, [*many("a", 9, 1), *many("b", 3, 1)])
    chosen = [set(ids(select_samples(data, selection=Selection(limit=limit)))) for limit in range(1, 10)]
    assert [len(images) for images in chosen] == [2, 4, 6, 7, 8, 9, 10, 11, 12]
    assert all(small < large for small, large in zip(chosen[:-1], chosen[1:], strict=True))
    assert chosen[3] & set(range(1, 10)) != {1, 2, 3, 4}  # not just the first of the file


def test_images_lie_beside_the_file_or_where_one_says(tmp_path: Path) -> None:
    data = write_data(tmp_path, [{}])
    moved = tmp_path / "elsewhere"
    (tmp_path / "images").rename(moved)
    with pytest.raises(UltrasamError, match=r"1 of 1 images are missing, the first is .*001\.png"):
        select_samples(data)
    assert select_samples(data, moved)[0].path == moved / "001.png"
    (moved / "001.png").rename(tmp_path / "001.png")
    assert select_samples(data)[0].path == tmp_path / "001.png"
    with pytest.raises(UltrasamError, match="is no folder"):
        select_samples(data, tmp_path / "nowhere")


def test_missing_images_are_counted_before_any_work(tmp_path: Path) -> None:
    data = write_data(tmp_path, [{}, {}, {}])
    for name in ("002.png", "003.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(UltrasamError, match=r"2 of 3 images are missing, the first is .*002\.png"):
        select_samples(data)


@pytest.mark.parametrize(
    ("images", "selection"),
    [
        ([], Selection()),
        ([{"objects": []}], Selection()),
        ([{}], Selection("validation")),  # a single case is not split
        ([{"dataset": "a"}, {"dataset": "b", "objects": []}], Selection(datasets=("b",))),
    ],
)
def test_nothing_left_is_an_error(tmp_path: Path, images: list[dict[str, Any]], selection: Selection) -> None:
    with pytest.raises(UltrasamError, match="nothing to evaluate"):
        select_samples(write_data(tmp_path, images), selection=selection)


def test_training_cases_are_those_that_are_not_held_out(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "set")
    ids = {
        only: {sample.image.id for sample in select_samples(path, selection=Selection(only, 0.3))}
        for only in ("all", "training", "validation")
    }
    assert ids["training"] | ids["validation"] == ids["all"] and not ids["training"] & ids["validation"]
    assert ids["training"] and ids["validation"]
