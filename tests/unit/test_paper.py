"""The paper's two passes, the original's postprocess, and cards with other ways into the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import write_tiny_model

import ultrasam
from ultrasam.core.prompts import Prompts
from ultrasam.engines.base import Engine
from ultrasam.engines.disk import folder_for
from ultrasam.evaluation.protocols import Encoded
from ultrasam.predict.paper import found_box

IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128), np.uint8)


class Recording:
    """An engine that notes what it is given."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.images: list[Any] = []
        self.decoded: list[dict[str, Any]] = []

    def encode(self, image: Any) -> Any:
        self.images.append(image[0])
        return self.engine.encode(image)

    def decode(self, embedding: Any, points: Any, labels: Any, mask: Any, has_mask: Any) -> Any:
        self.decoded.append({"points": points, "labels": labels, "has_mask": has_mask})
        return self.engine.decode(embedding, points, labels, mask, has_mask)


def recorded(folder: Path, **options: Any) -> tuple[ultrasam.Model, Recording]:
    model = ultrasam.load(folder, threads=1, **options)
    engine = Recording(model.engine)
    return ultrasam.Model(model.card, engine, postprocess=model.postprocess), engine


def test_two_passes_of_points_and_boxes_together(tiny_folder: Path) -> None:
    model, engine = recorded(tiny_folder)
    box = (20.0, 10.0, 70.0, 60.0)
    (results,) = model.predict(
        [IMAGE], boxes=[[None, box]], points=[[[(50.0, 40.0)], None]], protocol="paper"
    )
    assert len(results) == 2
    # Pass 1 has a point with its padding and a box; pass 2 two boxes with masks.
    first, last = engine.decoded
    assert first["labels"].tolist() == [[1, -1], [2, 3]] and not first["has_mask"].any()
    assert last["labels"].tolist() == [[2, 3], [2, 3]] and last["has_mask"].tolist() == [1, 1]
    encoded = Encoded(model.engine, *model.encode(IMAGE))
    for prompts, result in zip((Prompts(((50.0, 40.0),), (True,)), Prompts(box=box)), results, strict=True):
        (answer,) = encoded.second([prompts], encoded.first([prompts]))
        np.testing.assert_array_equal(answer.logits, result.logits)
        assert answer.score == result.score


def test_the_box_between_the_passes(tiny_folder: Path) -> None:
    """In input pixels, half-open, and nothing added, though 0.5 is added to a user's box."""
    model, engine = recorded(tiny_folder, postprocess="original")
    image = np.zeros((60, 100), np.uint8)
    model.predict([image], points=[[[(50.5, 30.5)]]], protocol="paper")
    first, second = engine.decoded
    assert first["points"][0, 0].tolist() == pytest.approx([50 * 1.28 + 0.5, 30 * 76 / 60 + 0.5])
    (answer,) = Encoded(model.engine, *model.encode(image)).first([Prompts(((50.5, 30.5),), (True,))])
    frame = model.encode(image)[1]
    box = found_box(answer, frame)
    assert box is not None
    across, down = frame.scales
    whole = np.array([box[0] + 0.5 / across, box[1] + 0.5 / down, box[2] + 0.5 / across, box[3] + 0.5 / down])
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-9)
    np.testing.assert_allclose(second["points"][0].ravel(), whole * ([across, down] * 2), atol=1e-4)


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ({"points": [[[(5, 5), (9, 9)]]]}, {}, "takes one positive point or one box"),
        ({"points": [[[(5, 5)]]], "labels": [[[0]]]}, {}, "takes one positive point or one box"),
        ({"points": [[[(5, 5)]]], "boxes": [[(1, 1, 9, 9)]]}, {}, "takes one positive point or one box"),
        ({"points": [[[(5, 5)]]]}, {"refine": "zoom"}, "looks at the whole frame"),
        ({"points": [[[(5, 5)]]]}, {"crop": "auto"}, "looks at the whole frame"),
    ],
)
def test_what_the_paper_does_not_know(
    tiny_model: ultrasam.Model, prompts: Any, options: Any, words: str
) -> None:
    with pytest.raises(ultrasam.UltrasamError, match=words):
        tiny_model.predict([IMAGE], **prompts, **options, protocol="paper")
    with pytest.raises(ultrasam.UltrasamError, match="no protocol 'scissors': use one of clicks, paper"):
        tiny_model.predict([IMAGE], **prompts, protocol="scissors")


def test_the_original_postprocess_serves_sessions_too(tiny_folder: Path) -> None:
    plain, original = (
        ultrasam.load(tiny_folder, threads=1, postprocess=name).session(IMAGE).box(30, 20, 80, 70)
        for name in ("logits", "original")
    )
    assert original.area > plain.area and original.mask[plain.mask].mean() > 0.99
    with pytest.raises(ultrasam.UltrasamError, match="no postprocess 'smooth': use logits or original"):
        ultrasam.load(tiny_folder, postprocess="smooth")


def test_a_model_that_stretches_its_images(tmp_path: Path) -> None:
    """As MedSAM: both sides fill the input, the extremes of the image become 0 and 1, boxes follow."""
    card = {"fit": "stretch", "normalise": "min-max", "resize": "pil-bicubic"}
    folder = write_tiny_model(tmp_path / "stretching", **card)
    model, engine = recorded(folder)
    image = np.linspace(40, 200, 60 * 120).reshape(60, 120).astype(np.uint8)
    result = model.session(image).box(20, 10, 80, 50)
    (tensor,) = engine.images
    assert tensor.min() == 0 and tensor.max() == 1 and (tensor[:, -1, :] > 0.9).all()
    scales = np.array([128 / 120, 128 / 60] * 2)
    np.testing.assert_allclose(
        engine.decoded[0]["points"].ravel(), np.array([20, 10, 80, 50]) * scales, atol=1e-4
    )
    x0, y0, x1, y1 = result.box or (0, 0, 0, 0)
    # The tiny model widens a box by 4 pixels of its input.
    np.testing.assert_allclose([x0, y0, x1, y1], [16.25, 8.1, 83.75, 51.9], atol=0.5)
    # A prior mask lies where the box was.
    prior = np.zeros((60, 120), bool)
    prior[10:50, 20:80] = True
    session = model.session(image)
    np.testing.assert_allclose(np.mean(session.mask(prior).mask == prior), 1, atol=0.05)
    with pytest.raises(ultrasam.UltrasamError, match="stretches its images"):
        ultrasam.load(folder, postprocess="original")


def test_a_flat_image_has_extremes_too(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", normalise="min-max")
    model, engine = recorded(folder)
    model.session(np.full((50, 50), 77, np.uint8))
    assert not engine.images[0].any()


def test_embeddings_on_disk_know_the_preprocessing(tmp_path: Path, tiny_model: ultrasam.Model) -> None:
    other = write_tiny_model(tmp_path / "m", normalise="min-max")
    card = ultrasam.load(other).card
    folders = {
        folder_for(tiny_model.card, tmp_path),
        folder_for(tiny_model.card, tmp_path, fit="original"),
        folder_for(card, tmp_path),
    }
    assert len(folders) == 3
