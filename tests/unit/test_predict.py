"""Batches equal one by one, the mask rule, the embedding cache, and a light import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ultrasam
from ultrasam.core.geometry import Frame
from ultrasam.core.prompts import Prompts
from ultrasam.engines.cache import EmbeddingCache, pixel_hash
from ultrasam.predict import decode as decoding
from ultrasam.predict.decode import choose_masks, decode, decode_rounds

GREY = np.full((96, 128), 127, np.uint8)
SPECKLE = np.random.default_rng(0).integers(0, 255, (96, 128), np.uint8)


class Counting:
    """An engine that notes the batches its decoder gets."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.encoded = 0
        self.batches: list[tuple[int, int]] = []

    def encode(self, image: Any) -> Any:
        self.encoded += 1
        return self.engine.encode(image)

    def decode(self, embedding: Any, points: Any, labels: Any, mask: Any, has_mask: Any) -> Any:
        self.batches.append(labels.shape)
        return self.engine.decode(embedding, points, labels, mask, has_mask)


@pytest.fixture
def counting(tiny_model: ultrasam.Model) -> ultrasam.Model:
    return ultrasam.Model(tiny_model.card, Counting(tiny_model.engine))


def engine_of(model: ultrasam.Model) -> Counting:
    assert isinstance(model.engine, Counting)
    return model.engine


xs, ys = st.floats(0, 127.5), st.floats(0, 95.5)
clicks = st.lists(st.tuples(xs, ys, st.booleans()), max_size=3)
objects = st.lists(st.tuples(st.booleans(), clicks).filter(lambda o: o[0] or o[1]), min_size=1, max_size=5)


@given(objects)
@settings(max_examples=25)
def test_batch_equals_one_by_one(
    tiny_folder: Path, wanted: list[tuple[bool, list[tuple[float, float, bool]]]]
) -> None:
    model = ultrasam.load(tiny_folder, threads=1)
    box = (20.0, 10.0, 70.5, 60.0)
    batch = model.predict(
        [SPECKLE],
        boxes=None
        if not any(boxed for boxed, _ in wanted)
        else [[box if boxed else None for boxed, _ in wanted]],
        points=[[[(x, y) for x, y, _ in points] or None for _, points in wanted]],
        labels=[[[int(sign) for *_, sign in points] or None for _, points in wanted]],
    )[0]
    for (boxed, points), result in zip(wanted, batch, strict=True):
        session = model.session(SPECKLE)
        if boxed:
            alone = session.box(*box)
        for x, y, sign in points:
            alone = session.click(x, y, sign)
        np.testing.assert_allclose(result.logits, alone.logits, atol=1e-4)
        assert result.score == pytest.approx(alone.score, abs=1e-6)
        assert result.prompts == alone.prompts


def test_objects_of_equal_length_share_a_decoder_call(counting: ultrasam.Model) -> None:
    counting.predict([GREY], boxes=[[(1, 1, 9, 9), (5, 5, 20, 20), (8, 8, 30, 40)]])
    assert engine_of(counting).batches == [(3, 2)]


def test_objects_of_other_length_are_not_padded_to_fit(counting: ultrasam.Model) -> None:
    frame = Frame(128, 96, 128)
    embedding, _ = counting.encode(GREY)
    two = [Prompts(((9, 9),), (True,)), Prompts(((9, 9), (30, 9), (50, 9)), (True, True, True))]
    answers = decode(counting.engine, embedding, frame, two, [None, None])
    assert sorted(engine_of(counting).batches) == [(1, 2), (1, 4)]
    assert answers[0].score == pytest.approx(0.79) and answers[1].score == pytest.approx(0.59)


def test_many_objects_are_split_into_calls_of_bounded_size(
    counting: ultrasam.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "OBJECTS_AT_ONCE", 4)
    results = counting.predict([GREY], points=[[(10 + 10 * i, 40) for i in range(10)]])[0]
    assert engine_of(counting).batches == [(4, 2), (4, 2), (2, 2)]
    assert all(result.mask[40, 10 + 10 * i] for i, result in enumerate(results))


def test_predict_on_several_images(tiny_model: ultrasam.Model, tmp_path: Path) -> None:
    Image.fromarray(SPECKLE).save(tmp_path / "a.png")
    results = tiny_model.predict(
        [GREY, tmp_path / "a.png", GREY],
        boxes=[[(10, 10, 40, 40), (50, 10, 90, 40)], None, []],
        points=[None, np.array([[30.0, 30.0]]), None],
    )
    assert [len(found) for found in results] == [2, 1, 0]
    assert results[0][0].mask[20, 20] and results[0][1].mask[20, 60]
    assert results[1][0].mask[30, 30]


@pytest.mark.parametrize(
    "images, prompts, word",
    [
        ([GREY], {"boxes": [[(1, 1, 5, 5)], []]}, "one entry per image"),
        ([GREY], {"boxes": [[(1, 1, 5, 5)]], "points": [[(1, 1), (2, 2)]]}, "one entry per object"),
        ([GREY], {"boxes": [[(1, 1, 500, 5)]]}, "not inside"),
        ([GREY], {"boxes": [[1, 1, 5, 5]]}, "four numbers"),
        ([GREY], {"points": [[[(1, 1)]]], "labels": [[[1, 0]]]}, "labels"),
        ("a.png", {"boxes": [[(1, 1, 5, 5)]]}, "list of images"),
        (["missing.png"], {"boxes": [[(1, 1, 5, 5)]]}, "does not exist"),
        ([np.zeros((), np.uint8)], {"points": [[(1, 1)]]}, r"shape \(\)"),
        ([Image.fromarray(GREY)], {"points": [[(1, 1)]]}, r"got Image: try numpy.asarray"),
        ([None], {"points": [[(1, 1)]]}, "got NoneType"),
    ],
)
def test_predict_refuses(tiny_model: ultrasam.Model, images: Any, prompts: Any, word: str) -> None:
    with pytest.raises(ultrasam.UltrasamError, match=word):
        tiny_model.predict(images, **prompts)


def test_no_objects_need_no_decoder(counting: ultrasam.Model) -> None:
    embedding, frame = counting.encode(GREY)
    assert decode_rounds(counting.engine, embedding, frame, []) == []
    assert engine_of(counting).batches == []


def test_mask_rule() -> None:
    masks = np.arange(3 * 4, dtype=np.float32).reshape(3, 4, 1, 1)
    iou = np.array([[0.9, 0.1, 0.3, 0.2], [0.9, 0.1, 0.3, 0.2], [0.1, 0.9, 0.3, 0.2]], np.float32)
    answers = choose_masks(masks, iou, np.array([1, 2, 3]))
    assert [float(answer.logits[0, 0]) for answer in answers] == [2, 4, 8]
    assert [answer.score for answer in answers] == pytest.approx([0.3, 0.9, 0.1])


def test_scores_stay_between_0_and_1() -> None:
    iou = np.array([[1.2] * 4, [-0.2] * 4], np.float32)
    answers = choose_masks(np.zeros((2, 4, 1, 1), np.float32), iou, np.array([1, 1]))
    assert [answer.score for answer in answers] == [1, 0]


@pytest.mark.parametrize("spoil", ["masks", "iou"])
def test_answers_that_are_not_finite_are_an_error(spoil: str) -> None:
    values = {"masks": np.zeros((1, 4, 2, 2), np.float32), "iou": np.zeros((1, 4), np.float32)}
    values[spoil][0, 0] = np.nan
    with pytest.raises(ultrasam.UltrasamError, match="not finite"):
        choose_masks(values["masks"], values["iou"], np.array([2]))


def test_a_revisited_frame_is_not_encoded_again(counting: ultrasam.Model) -> None:
    for image in (GREY, SPECKLE, GREY.copy(), np.repeat(SPECKLE[:, :, None], 3, axis=2)):
        counting.session(image)
    assert engine_of(counting).encoded == 2


def test_the_image_reaches_the_encoder(tiny_model: ultrasam.Model) -> None:
    dark, bright = (
        tiny_model.session(np.full((96, 128), grey, np.uint8)).click(64, 48).logits for grey in (127, 255)
    )
    # The tiny decoder adds the mean of the embedding: 1 on three quarters of the square, 0 on its padding.
    np.testing.assert_allclose(bright - dark, 0.75, atol=1e-3)


def test_the_cache_drops_what_was_used_longest_ago() -> None:
    images = [np.full((2, 2, 3), grey, np.uint8) for grey in range(3)]
    encoded: list[int] = []

    def encode(image: Any) -> Any:
        encoded.append(int(image[0, 0, 0]))
        return np.zeros(100, np.float32)

    cache = EmbeddingCache(max_bytes=800)
    for which in (0, 1, 0, 2, 0, 1):
        cache.get(images[which], encode)
    assert encoded == [0, 1, 2, 1]
    assert len(cache) == 2


def test_the_cache_keeps_the_newest_even_if_it_is_large() -> None:
    cache = EmbeddingCache(max_bytes=1)
    image = np.zeros((2, 2, 3), np.uint8)
    kept = cache.get(image, lambda _: np.zeros(100, np.float32))
    assert cache.get(image, lambda _: np.ones(100, np.float32)) is kept


def test_pixel_hash_tells_shapes_and_values_apart() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_hash(image) == pixel_hash(image.copy())
    assert pixel_hash(image) == pixel_hash(np.asfortranarray(image))
    assert pixel_hash(image) != pixel_hash(image.reshape(4, 2, 3))
    assert pixel_hash(image) != pixel_hash(image + 1)


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ultrasam; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(run_python(code).split())
    assert "ultrasam" in loaded
    assert not loaded & {"torch", "onnxruntime", "cv2", "pydicom", "numpy", "PIL", "scipy", "jsonargparse"}


def test_segmenting_an_array_needs_neither_torch_nor_dicom(tiny_folder: Path) -> None:
    code = f"""
import sys, numpy, ultrasam
session = ultrasam.load({str(tiny_folder)!r}).session(numpy.full((20, 20), 127, "u1"))
assert session.click(9, 9).area
print(*sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    loaded = set(run_python(code).split())
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "cv2", "pydicom", "scipy", "matplotlib"}


def test_every_public_name_exists() -> None:
    for name in ultrasam.__all__:
        assert getattr(ultrasam, name) is not None
    assert set(dir(ultrasam)) == set(ultrasam.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ultrasam.nothing  # noqa: B018
