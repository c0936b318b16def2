"""Which images and objects a run is trained on, and what jitter makes of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("transformers")

from PIL import Image  # noqa: E402
from tests.shapes import annotation, write_json, write_shapes  # noqa: E402
from tests.synthetic import ellipse  # noqa: E402

from ultrasam.config import EncoderConfig, InstancesConfig, JitterConfig, OptimConfig, TaskData  # noqa: E402
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.evaluation.samples import Sample, Selection, select_samples  # noqa: E402
from ultrasam.io.coco import CocoAnnotation, CocoImage  # noqa: E402
from ultrasam.training.instances.data import (  # noqa: E402
    ObjectImage,
    ValidationItems,
    ViewSamples,
    collate,
    load_objects,
    make_view,
    random_jitter,
    readable,
    training_loader,
    truth_of,
    validation_loader,
)

SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("coco") / "set")


def config_of(path: Path, **changes: object) -> InstancesConfig:
    return InstancesConfig(
        data=TaskData(train=str(path)),
        encoder=EncoderConfig(image_size=SIZE),
        augment=JitterConfig(**changes),
        optim=OptimConfig(steps=6, batch_size=4, ema=0),
    )


def changed(path: Path, out: Path, change) -> Path:
    """A copy of the COCO file after `change`, which may alter it in place; the images stay where they are."""
    content = json.loads(path.read_text())
    change(content)
    out.write_text(json.dumps(content))
    return out


def test_classes_are_those_that_have_an_object_in_the_order_of_the_file(data):
    objects = load_objects(TaskData(train=str(data)))
    assert objects.classes == ("disc", "square") and objects.without == 0
    one = next(image for image in objects.train if len(image.labels) == 2)
    assert one.labels == (0, 1)


def test_chosen_classes_have_their_order_and_images_without_them_are_left_out(data):
    objects = load_objects(TaskData(train=str(data), classes=("square", "disc")))
    assert objects.classes == ("square", "disc")
    assert {image.labels for image in objects.train} == {(0,), (1,), (1, 0)}
    squares = load_objects(TaskData(train=str(data), classes=("square",)))
    assert squares.without == 8
    assert {image.labels for image in squares.train} == {(0,)}
    assert len(squares.train) + len(squares.validation) == 16


@pytest.mark.parametrize("datasets", [(), ("b",)])
def test_the_split_by_case_is_that_of_an_evaluation(data, datasets):
    for only in ("training", "validation"):
        selection = Selection(only, 0.3, 7, datasets)
        expected = [sample.image.id for sample in select_samples(data, None, selection)]
        objects = load_objects(
            TaskData(train=str(data), datasets=datasets, validation_share=0.3, split_seed=7)
        )
        own = objects.train if only == "training" else objects.validation
        assert [image.sample.image.id for image in own] == expected and expected
    cases = [{image.sample.case_id for image in part} for part in (objects.train, objects.validation)]
    assert not cases[0] & cases[1]


def test_a_split_does_not_depend_on_what_counts(data, tmp_path):
    """Crowds and boxes alone do not count, and their images still take part in the split."""

    def change(content):
        for one in content["annotations"]:
            one["iscrowd"] = int(one["image_id"] in (3, 4))
            if one["image_id"] in (5, 6):
                del one["segmentation"]
        content["annotations"] += [{**content["annotations"][0], "id": 999, "image_id": 9, "iscrowd": 1}]

    path = changed(data, data.with_name("crowds.json"), change)
    whole, some = (load_objects(TaskData(train=str(one), validation_share=0.5)) for one in (data, path))
    assert some.without == 4
    for part in ("train", "validation"):
        ids = {image.sample.image.id for image in getattr(whole, part)}
        assert {image.sample.image.id for image in getattr(some, part)} == ids - {3, 4, 5, 6}
    ninth = next(i for i in (*some.train, *some.validation) if i.sample.image.id == 9)
    assert len(ninth.labels) == 2  # without the crowd


def test_another_file_for_validation_takes_the_classes_by_name(data, tmp_path):
    def swap(content):
        for image in content["images"]:
            image["case_id"] += "/other"
        for category in content["categories"]:
            category["name"] = {"disc": "square", "square": "disc", "star": "star"}[category["name"]]

    shutil.copytree(data.parent / "images", tmp_path / "images")
    path = changed(data, tmp_path / "swapped.json", swap)
    objects = load_objects(TaskData(train=str(data), validation=str(path)))
    assert len(objects.train) == len(objects.validation) == 24
    assert objects.train[0].labels == (0,) and objects.validation[0].labels == (1,)
    # The same images, or other images of the same cases, are no validation.
    with pytest.raises(UltrasamError, match=r"has 000\.png, which is trained on too"):
        load_objects(TaskData(train=str(data), validation=str(data)))
    path = changed(data, tmp_path / "same-cases.json", lambda content: None)
    with pytest.raises(UltrasamError, match="has the case .* which is trained on too: split by case"):
        load_objects(TaskData(train=str(data), validation=str(path)))


def test_a_damaged_image_is_left_out_by_name(data, tmp_path):
    shutil.copytree(data.parent / "images", tmp_path / "images")
    path = changed(data, tmp_path / "set.json", lambda content: None)
    objects = load_objects(TaskData(train=str(path), validation_share=0.0))
    (tmp_path / "images" / "003.png").write_bytes(b"no image")
    kept, (problem,) = readable(objects, threads=2)
    assert len(kept.train) == 23 and "003.png" in problem
    assert "003.png" not in {one.sample.path.name for one in kept.train}
    for image in (tmp_path / "images").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(UltrasamError, match="none of the 24 images to train on can be read"):
        readable(objects, threads=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "name a COCO file with --data"),
        ({"train": "set", "classes": ("cyst",)}, "'cyst', and .* has disc, square, star"),
        ({"train": "set", "datasets": ("c",)}, "'c', and .* has a, b"),
        ({"train": "set", "classes": ("star",)}, "no image with a mask of star"),
        ({"train": "set", "validation": "other"}, r"\(polyp\) has a mask of the classes of training \(disc"),
        ({"train": "boxes"}, "no object with a mask: nothing to train on"),
        ({"train": "lost"}, r"1 of 24 images are missing, the first is .*gone\.png: name .* --data\.images"),
        ({"train": "set", "images": "nowhere"}, "nowhere is no folder"),
    ],
)
def test_data_that_cannot_be_used_is_named(settings, message, data):
    def other(content):
        content["categories"] = [
            {"id": number, "name": f"polyp{number}"[: 4 + number]} for number in (1, 2, 3)
        ]
        content["categories"][0]["name"] = "polyp"
        content["categories"] = content["categories"][:1]
        for one in content["annotations"]:
            one["category_id"] = 1

    def boxes(content):
        for one in content["annotations"]:
            del one["segmentation"]

    def lost(content):
        content["images"][4]["file_name"] = "gone.png"

    files = {"set": data}
    for change in (other, boxes, lost):
        name = change.__name__
        files[name] = changed(data, data.with_name(f"{name}.json"), change)
    settings = {
        key: str(files.get(value, value)) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    with pytest.raises(UltrasamError, match=message) as raised:
        load_objects(TaskData(**settings))
    assert "\n" not in str(raised.value)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.3, 2.0), upright=st.booleans())
def test_a_mask_stays_on_its_object(seed, scale, upright):
    """After any jitter the mask is the ellipse itself at its new place, to a fraction of a pixel, and so is
    what is bright in the image.
    """
    rng = np.random.default_rng(seed)
    cx, cy, a, b = *rng.uniform(160, 320, 2), *rng.uniform(60, 140, 2)
    angle = rng.uniform(0, 3)
    height, width = (480, 360) if upright else (360, 480)
    mask = ellipse(480, cx, cy, a, b, angle)[:height, :width]
    jitter = random_jitter(rng, JitterConfig(scale_min=scale, scale_max=scale), width, height, SIZE)
    part = jitter.apply(mask.astype(np.uint8) * 255) > 127
    grey = jitter.apply(np.repeat(mask[:, :, None], 3, 2).astype(np.uint8) * 255)[:, :, 0] / 255.0
    assert part.shape == grey.shape == jitter.size[::-1]
    np.testing.assert_array_equal(part, grey > 0.5)
    # Where the middles of the new pixels were in the image.
    x0, y0, x1, y1 = jitter.box
    xs = x0 + (np.arange(jitter.size[0]) + 0.5) * (x1 - x0) / jitter.size[0]
    ys = y0 + (np.arange(jitter.size[1]) + 0.5) * (y1 - y0) / jitter.size[1]
    xs, ys = np.meshgrid(xs[::-1] if jitter.flip else xs, ys)
    u = (xs - cx) * np.cos(angle) + (ys - cy) * np.sin(angle)
    v = -(xs - cx) * np.sin(angle) + (ys - cy) * np.cos(angle)
    expected = (u / a) ** 2 + (v / b) ** 2 < 1
    wrong, rim = (part != expected).sum(), 4 * sum(jitter.size) / 3
    assert wrong <= 3 + 0.05 * rim
    if min(part.sum(), expected.sum()) > 150:
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
        for places in (rows, columns):
            middle = (places * part).sum() / part.sum()
            assert middle == pytest.approx((places * expected).sum() / expected.sum(), abs=0.2)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 2.0))
def test_jitter_keeps_the_aspect_and_fits_the_input(seed, scale):
    rng = np.random.default_rng(seed)
    width, height = rng.integers(20, 300, 2).tolist()
    jitter = random_jitter(rng, JitterConfig(scale_min=scale, scale_max=scale), width, height, SIZE)
    x0, y0, x1, y1 = jitter.box
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    for side, (full, low, high) in enumerate(((width, x0, x1), (height, y0, y1))):
        whole = max(1, int(full * scale * SIZE / max(width, height) + 0.5))
        assert jitter.size[side] == min(SIZE, whole)
        assert (high - low) / full == pytest.approx(jitter.size[side] / whole)


def test_scales_and_flips_are_as_often_as_said():
    rng = np.random.default_rng(0)
    drawn = [random_jitter(rng, JitterConfig(), 100, 80, 1000) for _ in range(2000)]
    scales = np.array([one.size[0] / (one.box[2] - one.box[0]) / 10 for one in drawn])
    assert 0.1 <= scales.min() < 0.12 and 1.98 < scales.max() <= 2.01
    assert np.histogram(scales, 4, (0.1, 2.0))[0] == pytest.approx([500] * 4, abs=70)
    assert np.mean([one.flip for one in drawn]) == pytest.approx(0.5, abs=0.04)
    corners = {one.box[:2] for one in drawn if one.size[0] < 1000}
    assert corners == {(0.0, 0.0)}  # what fits is not cut
    cut = [one for one in drawn if one.box[2] - one.box[0] < 60]
    assert min(one.box[0] for one in cut) < 5 and max(one.box[2] for one in cut) > 95


def flat(tmp_path: Path, masks: list[np.ndarray], pixels: np.ndarray) -> ObjectImage:
    height, width = pixels.shape
    Image.fromarray(pixels).save(tmp_path / "flat.png")
    about = CocoImage(1, "flat.png", height, width)
    annotations = []
    for number, mask in enumerate(masks, start=1):
        entry = annotation(number, 1, 1, mask)
        annotations.append(CocoAnnotation(**{**entry, "bbox": tuple(entry["bbox"]), "iscrowd": False}))
    sample = Sample(about, tmp_path / "flat.png", "d", "c", tuple(annotations))
    return ObjectImage(sample, tuple(range(len(masks))))


def test_padding_is_0_after_normalisation_and_a_flip_keeps_it_on_the_right(tmp_path):
    pixels = np.full((32, 64), 255, np.uint8)
    pixels[:, :16] = 0
    left = np.zeros((32, 64), np.bool_)
    left[:, :16] = True
    image = flat(tmp_path, [left], pixels)
    config = config_of(tmp_path, scale_min=0.5, scale_max=0.5, flip=1.0)
    view = make_view(np.random.default_rng(0), image, config)
    assert view.image.shape == (3, 64, 64) and view.masks.shape == (1, 64, 64)
    assert not view.image[:, 16:].any() and not view.image[:, :, 32:].any()
    # Flipped: what was on the left ends at the image's right edge, before the padding.
    assert view.image[0, 8, 30] == pytest.approx((0 - 127) / 128)
    assert view.image[0, 8, 4] == pytest.approx((255 - 127) / 128)
    assert np.flatnonzero(view.masks[0].any(axis=0)).tolist() == list(range(24, 32))
    assert np.flatnonzero(view.masks[0].any(axis=1)).tolist() == list(range(16))


def test_objects_that_are_cut_away_are_dropped_with_their_label(tmp_path):
    masks = [np.zeros((64, 64), np.bool_) for _ in range(2)]
    masks[0][28:36, :3], masks[1][28:36, 61:] = True, True
    image = flat(tmp_path, masks, np.zeros((64, 64), np.uint8))
    config = config_of(tmp_path, scale_min=2.0, scale_max=2.0, flip=0)
    seen = set()
    for seed in range(60):
        view = make_view(np.random.default_rng(seed), image, config)
        if view is None:
            seen.add(())
            continue
        seen.add(tuple(view.labels.tolist()))
        assert len(view.masks) == len(view.labels) and view.masks.any(axis=(1, 2)).all()
        for mask, label in zip(view.masks, view.labels, strict=True):
            columns = np.flatnonzero(mask.any(axis=0))
            assert columns[0] == 0 if label == 0 else columns[-1] == 63
    assert {(0,), (1,)} <= seen <= {(), (0,), (1,)}  # never both


def test_a_view_without_an_object_is_drawn_again(tmp_path):
    corner = np.zeros((64, 64), np.bool_)
    corner[:4, :4] = True
    image = flat(tmp_path, [corner], np.zeros((64, 64), np.uint8))
    config = config_of(tmp_path, scale_min=1.7, scale_max=2.0)
    samples = ViewSamples([image], config)
    assert all(samples[number].masks.any() for number in range(30))
    never = flat(tmp_path, [np.eye(64, dtype=np.bool_)], np.zeros((64, 64), np.uint8))
    with pytest.raises(UltrasamError, match=r"no object is in any of 1000 views: .*scale_min"):
        ViewSamples([never], config_of(tmp_path, scale_min=0.02, scale_max=0.03))[0]


def test_a_sample_is_a_function_of_seed_and_number(data):
    config = config_of(data)
    images = load_objects(config.data).train
    one, other = ViewSamples(images, config), ViewSamples(images, config)
    for number in (0, 5, 23, 5):
        np.testing.assert_array_equal(one[number].image, other[number].image)
        np.testing.assert_array_equal(one[number].masks, other[number].masks)
    again = ViewSamples(images, replace(config, seed=1))
    assert any(not np.array_equal(one[n].image, again[n].image) for n in range(3))
    epoch = [one.images[one._turns[number]].sample.image.id for number in range(len(images))]
    assert sorted(epoch) == sorted(image.sample.image.id for image in images)


def test_workers_and_a_later_start_give_the_same_batches(data):
    config = config_of(data)
    samples = ViewSamples(load_objects(config.data).train, config)
    whole = list(training_loader(samples, config, lambda: 0))
    assert len(whole) == 6 and [len(batch[0].counts) for batch in whole] == [4] * 6
    later = list(training_loader(samples, replace(config, workers=2), lambda: 4))
    for batch, expected in zip(later, whole[4:], strict=True):
        torch.testing.assert_close(batch[0].image, expected[0].image)
        assert torch.equal(batch[0].masks, expected[0].masks)
    shares = [next(iter(training_loader(samples, config, lambda: 4, rank, 2)))[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([one.image for one in shares]), whole[4][0].image)


def test_a_step_is_divided_into_portions(data):
    config = config_of(data)
    samples = ViewSamples(load_objects(config.data).train, config)
    views = [samples[number] for number in range(5)]
    (whole,), parts = collate(views), collate(views, at_once=2)
    assert [len(one.counts) for one in parts] == [2, 2, 1]
    assert sum((one.counts for one in parts), []) == whole.counts
    assert torch.equal(torch.cat([one.masks for one in parts]), whole.masks)
    assert whole.masks.shape[0] == len(whole.labels) == sum(whole.counts) and whole.masks.dtype == torch.bool


def test_validation_images_come_as_they_are(data):
    config = replace(config_of(data), validate_images=5)
    images = load_objects(config.data).train
    items = ValidationItems(images, config)
    assert len(items) == 5 and items.images[0] is images[0] and items.images[-1] is not images[-1]
    batches = list(validation_loader(items, config))
    assert [len(batch.results) for batch in batches] == [4, 1]
    first = batches[0]
    assert first.image.shape == (4, 3, SIZE, SIZE) and not first.image[:, :, 48:].any()  # 96 x 72 pixels
    assert first.results[0] == truth_of(images[0]) and first.results[0].truths[0].label == 0
    two = [batch for rank in (0, 1) for batch in validation_loader(items, config, rank, 2)]
    assert sorted(result.image_id for batch in two for result in batch.results)[:1] == [
        images[0].sample.image.id
    ]
    assert sum(len(batch.results) for batch in two) == 6  # as many for each


def test_an_empty_mask_does_not_count(tmp_path):
    empty, there = np.zeros((64, 64), np.bool_), np.zeros((64, 64), np.bool_)
    there[10:40, 10:40] = True
    image = flat(tmp_path, [there], np.zeros((64, 64), np.uint8))
    hollow = replace(image.sample.annotations[0], id=2, segmentation={"size": [64, 64], "counts": [64 * 64]})
    assert not empty.any()
    image = ObjectImage(replace(image.sample, annotations=(hollow, *image.sample.annotations)), (1, 0))
    assert [truth.label for truth in truth_of(image).truths] == [0]
    view = make_view(np.random.default_rng(0), image, config_of(tmp_path, scale_min=1, scale_max=1))
    assert view.labels.tolist() == [0]


def test_a_damaged_mask_names_its_annotation(tmp_path):
    image = flat(tmp_path, [np.ones((64, 64), np.bool_)], np.zeros((64, 64), np.uint8))
    broken = replace(image.sample.annotations[0], id=77, segmentation={"size": [64, 64], "counts": [3]})
    image = ObjectImage(replace(image.sample, annotations=(broken,)), (0,))
    with pytest.raises(UltrasamError, match=r"annotation 77 of .*flat\.png"):
        make_view(np.random.default_rng(0), image, config_of(tmp_path))


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = write_json(tmp_path / "empty.json", [], [], [])
    with pytest.raises(UltrasamError, match="has no object with a mask"):
        load_objects(TaskData(train=str(path)))
