"""Simulated prompts, the cache, the split and the samples of a step."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("tqdm")

from tests.synthetic import ellipse, write_coco  # noqa: E402

from ultrasam.config import (  # noqa: E402
    AugmentConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    PromptConfig,
    TrainConfig,
)
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.core.geometry import Frame, as_rgb, letterbox, to_tensor  # noqa: E402
from ultrasam.core.masks import box_of, distance_to_border  # noqa: E402
from ultrasam.evaluation.samples import Selection, select_samples  # noqa: E402
from ultrasam.io.scan import read_scan  # noqa: E402
from ultrasam.training.cache import open_cache  # noqa: E402
from ultrasam.training.data import (  # noqa: E402
    TrainingSamples,
    load_split,
    make_sample,
    training_loader,
)
from ultrasam.training.prompts import KINDS, calliper_of, first_prompt, jitter_box, random_point  # noqa: E402
from ultrasam.training.sampling import StepSampler  # noqa: E402

NO_AUGMENT = AugmentConfig(flip=0, warp=0, gamma=0, gain=0, noise=0)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_point_is_the_centre_of_a_foreground_pixel(seed, central):
    mask = ellipse()
    x, y = random_point(np.random.default_rng(seed), mask, central)
    assert x % 1 == 0.5 and y % 1 == 0.5
    assert mask[int(y), int(x)]
    if central == 1.0:
        depth = distance_to_border(mask)
        assert depth[int(y), int(x)] >= depth.max() / 2


@given(st.integers(0, 10**6))
def test_a_jittered_box_stays_near_inside_and_open(seed):
    box = (1.0, 20.0, 41.0, 62.0)
    x0, y0, x1, y1 = jitter_box(np.random.default_rng(seed), box, 0.1, 64)
    assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
    assert abs(x0 - 1) <= 4 and abs(x1 - 41) <= 4
    assert abs(y0 - 20) <= 4.2 and abs(y1 - 62) <= 4.2


def test_no_jitter_is_the_exact_box():
    assert jitter_box(np.random.default_rng(0), (3.0, 4.0, 10.0, 20.0), 0.0, 64) == (3.0, 4.0, 10.0, 20.0)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.5])
def test_a_calliper_spans_the_axes_of_an_ellipse(angle):
    ends = calliper_of(np.random.default_rng(0), ellipse(128, 60, 66, 40, 16, angle), 0.0)
    long, short = ends[1] - ends[0], ends[3] - ends[2]
    assert np.hypot(*long) == pytest.approx(80, abs=3)
    assert np.hypot(*short) == pytest.approx(32, abs=3)
    direction = np.array([np.cos(angle), np.sin(angle)])
    assert abs(long @ direction) / np.hypot(*long) > 0.99
    np.testing.assert_allclose(ends.mean(0), (60, 66), atol=1)


@given(st.integers(0, 10**6), st.floats(0, 3.1), st.floats(3, 26), st.floats(0.5, 9))
def test_the_first_prompt_fits_its_mask(seed, angle, a, b):
    mask = ellipse(64, 31, 33, a, b, angle)
    if not mask.any():
        return
    points, labels, kind = first_prompt(np.random.default_rng(seed), mask, PromptConfig(jitter=0.0))
    assert np.isfinite(points).all() and (points >= 0).all() and (points <= 64).all()
    if KINDS[kind] == "point":
        assert labels.tolist() == [1, -1, -1]
        assert mask[int(points[0, 1]), int(points[0, 0])]
    elif KINDS[kind] == "box":
        assert labels.tolist() == [2, 3, -1]
        assert tuple(points[:2].ravel()) == box_of(mask)
    else:
        assert labels.tolist() == [2, 3, 1]
        assert (points[0] < points[2]).all() and (points[2] < points[1]).all()


def test_kinds_come_as_often_as_asked():
    rng = np.random.default_rng(0)
    config = PromptConfig(point=2, box=1, calliper=1)
    kinds = [first_prompt(rng, ellipse(), config)[2] for _ in range(800)]
    shares = np.bincount(kinds, minlength=3) / 800
    np.testing.assert_allclose(shares, (0.5, 0.25, 0.25), atol=0.06)


def test_calliper_ends_move_along_and_across_by_a_share_of_their_axis():
    mask = ellipse(128, 60, 66, 40, 16)
    exact = calliper_of(np.random.default_rng(0), mask, 0.0)
    moves = abs(calliper_of(np.random.default_rng(0), mask, 0.1) - exact)
    assert 1 < moves[:2].max() <= 8.1 and 0.3 < moves[2:].max() <= 3.3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    return write_coco(folder / "set"), folder / "cache"


def settings_of(data, **changes):
    config = TrainConfig(
        data=DataConfig(annotations=str(data[0]), cache=str(data[1]), validation_share=0.3),
        model=ModelConfig(image_size=64),
        optim=OptimConfig(steps=5, batch_size=3),
    )
    return replace(config, **changes)


def test_training_and_runtime_see_the_same_input(data):
    """Without augmentation a sample is what `letterbox` and `to_tensor` make of the file, bit for bit."""
    config = settings_of(data, augment=NO_AUGMENT)
    cache, train, _ = load_split(config)
    entries = {image["id"]: image for image in json.loads(data[0].read_text())["images"]}
    for image in train[:4]:
        sample = make_sample(np.random.default_rng(0), cache, image, config)
        rgb = as_rgb(read_scan(data[0].parent / "images" / entries[image.id]["file_name"]).frames[0])
        runtime = to_tensor(letterbox(rgb, 64), Frame(96, 72, 64), config.model.mean, config.model.std)
        np.testing.assert_array_equal(sample.image, runtime[0])


def test_a_warped_sample_is_padded_with_zero_after_normalisation(data):
    config = settings_of(
        data, augment=AugmentConfig(warp=1, scale_min=0.5, scale_max=0.5, shift=0, rotation=0)
    )
    cache, train, _ = load_split(config)
    sample = make_sample(np.random.default_rng(3), cache, train[0], config)
    assert (sample.image[:, :8] == 0).all() and (sample.image[:, 56:] == 0).all()
    assert sample.image.any()


def test_targets_hold_the_covered_share(data):
    config = settings_of(data, augment=NO_AUGMENT)
    cache, train, _ = load_split(config)
    sample = make_sample(np.random.default_rng(0), cache, train[0], config)
    areas = {
        a["area"] for a in json.loads(data[0].read_text())["annotations"] if a["image_id"] == train[0].id
    }
    # 96 px become 64: an area shrinks by 2.25, and the mask grid has half the side of the input.
    for target in sample.targets:
        assert min(abs(target.sum() * 4 * 2.25 / area - 1) for area in areas) < 0.02
    assert ((sample.targets > 0) & (sample.targets < 1)).any()


def test_objects_of_an_image_are_drawn_up_to_the_limit(data):
    config = settings_of(data, augment=NO_AUGMENT, prompts=PromptConfig(max_objects=1))
    cache, train, _ = load_split(config)
    image = next(image for image in train if len(image.mask_rows) == 2)
    samples = [make_sample(np.random.default_rng(seed), cache, image, config) for seed in range(20)]
    assert all(len(sample.targets) == 1 for sample in samples)
    assert len({float(sample.targets.sum()) for sample in samples}) == 2  # now one, now the other
    both = make_sample(np.random.default_rng(0), cache, image, replace(config, prompts=PromptConfig()))
    assert len(both.targets) == 2


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_a_point_prompt_lies_on_the_target_of_its_object(data, seed):
    config = settings_of(data, prompts=PromptConfig(point=1, box=0, calliper=0))
    cache, train, _ = load_split(config)
    sample = make_sample(np.random.default_rng(seed), cache, train[seed % len(train)], config)
    if sample is None:
        return
    for target, points in zip(sample.targets, sample.points, strict=True):
        x, y = (points[0] / 2).astype(int)  # the mask grid has half the side of the input
        assert target[y, x] > 0


def test_an_object_that_leaves_the_view_is_not_trained_on(data):
    config = settings_of(
        data, augment=replace(NO_AUGMENT, warp=1, shift=0, rotation=0, scale_min=6, scale_max=6)
    )
    cache, train, _ = load_split(config)
    kept = [make_sample(np.random.default_rng(0), cache, image, config) for image in train]
    # Enlarged six times about the middle, little of an object beside it stays.
    assert any(sample is None for sample in kept)


def test_the_split_keeps_cases_together(data):
    _, train, validation = load_split(settings_of(data))
    assert {image.case_id for image in train}.isdisjoint({image.case_id for image in validation})
    assert {image.dataset for image in train} == {image.dataset for image in validation} == {"a", "b"}
    assert len(train) + len(validation) == 24


def test_a_zoomed_sample_shows_its_object_large(data):
    """The objects of the made-up data are small: a zoomed view holds one at more than its usual size."""
    zoomed = settings_of(data, augment=replace(NO_AUGMENT, zoom=1.0))
    plain = settings_of(data, augment=NO_AUGMENT)
    cache, train, _ = load_split(plain)
    alone = next(image for image in train if len(image.mask_rows) == 1)
    large = make_sample(np.random.default_rng(0), cache, alone, zoomed)
    usual = make_sample(np.random.default_rng(0), cache, alone, plain)
    assert large.targets.sum() > 1.5 * usual.targets.sum()


def test_held_out_data_sets_are_in_neither_part(data):
    config = settings_of(data)
    config = replace(config, data=replace(config.data, hold_out=("a",)))
    _, train, validation = load_split(config)
    assert {image.dataset for image in [*train, *validation]} == {"b"}


def test_samples_depend_on_seed_and_number_alone(data):
    config = settings_of(data)
    cache, train, _ = load_split(config)
    samples, again = TrainingSamples(cache, train, config), TrainingSamples(cache, train, config)
    again[5]
    for number in (0, 7):
        one, other = samples[number], again[number]
        for name in ("image", "targets", "points", "labels", "kinds"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    other_seed = TrainingSamples(cache, train, replace(config, seed=1))
    assert not np.array_equal(samples[0].image, other_seed[0].image)


def test_data_sets_are_drawn_by_weight(data):
    config = settings_of(data)
    config = replace(config, data=replace(config.data, dataset_weights={"a": 0.0}))
    cache, train, _ = load_split(config)
    samples = TrainingSamples(cache, train, config)
    assert samples.weights.tolist() == [0.0, 1.0]


def test_a_resumed_loader_starts_where_the_run_stopped(data):
    config = settings_of(data)
    cache, train, _ = load_split(config)
    samples = TrainingSamples(cache, train, config)
    whole = [batch.image for (batch,) in training_loader(samples, config, lambda: 0)]
    rest = [batch.image for (batch,) in training_loader(samples, config, lambda: 3)]
    assert len(whole) == 5 and len(rest) == 2
    for one, other in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert list(StepSampler(4, 2, lambda: 3)) == [[6, 7]]


def test_objects_know_their_image(data):
    config = settings_of(data)
    cache, train, _ = load_split(config)
    (batch,) = next(iter(training_loader(TrainingSamples(cache, train, config), config, lambda: 0)))
    n = len(batch.target)
    assert batch.image.shape == (3, 3, 64, 64)
    assert (
        batch.target.shape == (n, 32, 32) and batch.points.shape == (n, 3, 2) and batch.labels.shape == (n, 3)
    )
    assert batch.owner.tolist() == sorted(batch.owner.tolist()) and set(batch.owner.tolist()) == {0, 1, 2}


def test_the_cache_is_built_once_and_again_for_another_file(data, tmp_path):
    path = write_coco(tmp_path / "set", cases=2)
    open_cache(path, path.parent / "images", 32, tmp_path / "cache")
    first = sorted((tmp_path / "cache").iterdir())
    (path.parent / "images" / "a_0.png").unlink()  # no image is read again
    open_cache(path, path.parent / "images", 32, tmp_path / "cache")
    assert sorted((tmp_path / "cache").iterdir()) == first
    coco = json.loads(path.read_text())
    coco["annotations"].pop()
    path.write_text(json.dumps(coco))
    with pytest.raises(UltrasamError, match=r"a_0\.png"):
        open_cache(path, path.parent / "images", 32, tmp_path / "cache")
    # A build that failed leaves nothing behind.
    assert not [p for p in (tmp_path / "cache").iterdir() if ".part" in p.name]


def test_without_data_the_error_says_which_option(tmp_path):
    with pytest.raises(UltrasamError, match="--data FILE"):
        load_split(TrainConfig())


def test_nothing_left_to_train_on_is_an_error(data):
    config = settings_of(data)
    config = replace(config, data=replace(config.data, hold_out=("a", "b")))
    with pytest.raises(UltrasamError, match="nothing to train on"):
        load_split(config)


def changed(path, name, change):
    """A copy of a COCO file beside it, after `change(content)`."""
    content = json.loads(path.read_text())
    change(content)
    path.with_name(name).write_text(json.dumps(content))
    return path.with_name(name)


def test_boxes_and_crowds_are_no_targets_but_keep_the_split(data, tmp_path):
    def spoil(content):
        for annotation in content["annotations"][:3]:  # those of the first two images
            del annotation["segmentation"]
        content["annotations"][3]["iscrowd"] = 1  # the only one of the third image

    path = changed(data[0], "spoilt.json", spoil)
    spoilt = settings_of((path, tmp_path))
    _, train, validation = load_split(spoilt)
    _, whole_train, whole_validation = load_split(settings_of(data))
    assert [image.id for image in train] == [image.id for image in whole_train if image.id > 3]
    assert [image.id for image in validation] == [image.id for image in whole_validation if image.id > 3]
    expected = select_samples(path, selection=Selection("validation", 0.3))
    assert {sample.image.id for sample in expected} == {image.id for image in validation}


def test_an_image_of_another_size_than_its_entry_is_an_error(data, tmp_path):
    def spoil(content):
        content["images"][4]["width"] = 95

        for annotation in content["annotations"]:
            if annotation["image_id"] == content["images"][4]["id"]:
                annotation["segmentation"] = [[1, 1, 40, 1, 40, 40]]

    path = changed(data[0], "size.json", spoil)
    with pytest.raises(UltrasamError, match="95"):
        open_cache(path, path.parent / "images", 64, tmp_path)


def test_a_missing_image_is_told_before_any_is_read(data, tmp_path):
    with pytest.raises(UltrasamError, match="24 of 24 images are missing.*--data.images"):
        open_cache(data[0], tmp_path / "elsewhere", 64, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_another_image_folder_is_another_cache(tmp_path):
    path = write_coco(tmp_path / "set", cases=1)
    other = tmp_path / "other"
    other.mkdir()
    for file in (path.parent / "images").iterdir():
        Image.new("L", (96, 72), 200).save(other / file.name)
    first = open_cache(path, path.parent / "images", 32, tmp_path / "cache")
    second = open_cache(path, other, 32, tmp_path / "cache")
    assert (second.images[:, :24] == 200).all() and not np.array_equal(first.images, second.images)


def test_colour_is_kept_and_small_images_are_enlarged(tmp_path):
    path = write_coco(tmp_path / "set", cases=1, per_case=1, size=(24, 18))
    pixels = np.zeros((18, 24, 3), np.uint8)
    pixels[:, :12] = 200, 100, 50
    Image.fromarray(pixels).save(path.parent / "images" / "a_0.png")
    cache = open_cache(path, path.parent / "images", 64, tmp_path / "cache")
    assert cache.images[0, 20, 4].tolist() == [200, 100, 50] and cache.images[0, 20, 60].tolist() == [0, 0, 0]
    truth = select_samples(path)[0].truths()[1]
    # Both sides grow by 64 / 24.
    assert cache.masks[0].sum() / 255 == pytest.approx(truth.sum() * (64 / 24) ** 2, rel=0.05)


@pytest.mark.parametrize(("name", "content"), [("masks.npy", b"x" * 50), ("index.json", b"")])
def test_a_damaged_cache_is_named(name, content, tmp_path):
    path = write_coco(tmp_path / "set", cases=1, per_case=1)
    arguments = path, path.parent / "images", 32, tmp_path / "cache"
    open_cache(*arguments)
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / name).write_bytes(content)
    with pytest.raises(UltrasamError, match=f"{folder.name}.*damaged"):
        open_cache(*arguments)


def test_what_killed_builds_left_is_no_obstacle(tmp_path):
    path = write_coco(tmp_path / "set", cases=1, per_case=1)
    arguments = path, path.parent / "images", 32, tmp_path / "cache"
    whole = open_cache(*arguments)
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "index.json").unlink()
    folder.with_name(f"{folder.name}.part{os.getpid()}").mkdir()
    again = open_cache(*arguments)
    np.testing.assert_array_equal(again.images, whole.images)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_kept_is_an_error(data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UltrasamError, match="file"):
        open_cache(data[0], data[0].parent / "images", 64, tmp_path / "file")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UltrasamError, match="GB free.*--data.cache"):
        open_cache(data[0], data[0].parent / "images", 64, tmp_path)


def test_unknown_data_sets_cannot_be_held_out(data):
    config = settings_of(data)
    config = replace(config, data=replace(config.data, hold_out=("aa",)))
    with pytest.raises(UltrasamError, match=r"'aa'.*\(a, b\).* application \(breast_lesion"):
        load_split(config)


def test_weights_of_zero_for_all_data_sets_are_an_error(data):
    config = settings_of(data)
    config = replace(config, data=replace(config.data, dataset_weights={"a": 0.0, "b": 0.0}))
    cache, train, _ = load_split(config)
    with pytest.raises(UltrasamError, match="dataset_weights"):
        TrainingSamples(cache, train, config)


def test_objects_too_small_to_train_on_end_the_search(data, tmp_path):
    def shrink(content):
        for annotation in content["annotations"]:
            annotation["segmentation"] = [[1, 1, 4, 1, 4, 3]]

    path = changed(data[0], "tiny.json", shrink)
    config = settings_of((path, tmp_path))
    cache, train, _ = load_split(config)
    with pytest.raises(UltrasamError, match="image_size"):
        TrainingSamples(cache, train, config)[0]


def test_an_object_that_touches_the_border_has_its_whole_box(data):
    mask = np.zeros((64, 64), bool)
    mask[40:, :20] = True
    config = PromptConfig(point=0, box=1, calliper=0, jitter=0.2)
    for seed in range(20):
        points, _, _ = first_prompt(np.random.default_rng(seed), mask, config)
        assert (points >= 0).all() and (points <= 64).all()
        assert (points[0] < points[1]).all()
    points, _, _ = first_prompt(np.random.default_rng(0), mask, replace(config, jitter=0.0))
    assert points[:2].tolist() == [[0, 40], [20, 64]]


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_samples_are_usable_whatever_the_draw(data, seed):
    config = settings_of(data)
    cache, train, _ = load_split(config)
    sample = make_sample(np.random.default_rng(seed), cache, train[seed % len(train)], config)
    if sample is None:
        return
    assert np.isfinite(sample.image).all() and sample.image.shape == (3, 64, 64)
    assert ((sample.targets >= 0) & (sample.targets <= 1)).all()
    assert all((target > 0.5).any() for target in sample.targets)
