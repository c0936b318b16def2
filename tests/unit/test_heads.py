"""Objects that an instance head finds, outlined from their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from tests.unit.test_automatic import ellipses

import ultrasam
from ultrasam import Automatic, Model, UltrasamError
from ultrasam.cli import head as head_options
from ultrasam.core.geometry import ByteArray
from ultrasam.core.metrics import iou
from ultrasam.io.scan import Scan
from ultrasam.predict.frames import Settings, annotation_of, categories_of, segment_frame
from ultrasam.predict.heads import HeadSettings, Proposal

# The boxes of the two ellipses, and a second one of the first.
LEFT = Proposal((50, 90, 131, 151), 1, 0.9)
RIGHT = Proposal((200, 65, 261, 156), 0, 0.8)
AGAIN = Proposal((52, 91, 130, 150), 0, 0.6)


@dataclass(frozen=True)
class Told:
    """A head that says what it was told."""

    proposals: Sequence[Proposal]
    classes: tuple[str, ...] = ("cyst", "lesion")

    def propose(self, image: ByteArray, least: float) -> Sequence[Proposal]:
        assert image.shape == (240, 320, 3)
        return [one for one in self.proposals if one.score >= least]


@pytest.fixture(scope="module")
def lite() -> Model:
    return ultrasam.load(threads=1)


def test_proposals_are_outlined_once_the_best_first(lite: Model) -> None:
    image, masks = ellipses()
    model = replace(lite, head=Told([AGAIN, RIGHT, LEFT]))
    results = model.detect(image)
    assert [(one.label, one.confidence) for one in results] == [("lesion", 0.9), ("cyst", 0.8)]
    assert all(iou(one.mask, mask) > 0.9 for one, mask in zip(results, masks, strict=True))
    assert results[0].prompts.box == LEFT.box
    (straight,) = lite.predict([image], boxes=[[LEFT.box]])[0]
    assert np.array_equal(results[0].mask, straight.mask) and straight.label == ""
    # Without suppression the second box of the same object stays.
    assert len(model.detect(image, settings=Automatic(overlap=1.0, contained=1.0))) == 3
    assert [one.label for one in model.detect(image, least=0.85)] == ["lesion"]
    assert [one.label for one in model.detect(image, settings=Automatic(most=1))] == ["lesion"]


def test_a_head_may_find_nothing_and_a_model_may_have_none(lite: Model) -> None:
    image, _ = ellipses()
    assert replace(lite, head=Told([])).detect(image) == []
    with pytest.raises(UltrasamError, match="no instance head: find objects with `automatic`"):
        lite.detect(image)
    with pytest.raises(UltrasamError, match=r"head score 1\.5: use a number from 0 to 1"):
        HeadSettings("", ("cyst",), 1.5).checked()
    assert HeadSettings("", ()).score == head_options.SCORE


def test_the_classes_of_a_head_are_categories(lite: Model) -> None:
    image, _ = ellipses()
    model = replace(lite, head=Told([LEFT, RIGHT]))
    settings = Settings(automatic=Automatic(), head=HeadSettings("abc", model.head.classes, 0.5))  # type: ignore[union-attr]
    rgb = np.stack([image] * 3, axis=-1)
    results = segment_frame(model, Scan([rgb], None), rgb, [], settings)
    entries = [annotation_of(result, settings, {}) for result in results]
    assert [(entry["category_id"], entry["confidence"]) for entry in entries] == [(2, 0.9), (1, 0.8)]
    assert categories_of(settings) == [{"id": 1, "name": "cyst"}, {"id": 2, "name": "lesion"}]
    plain = replace(settings, head=None)
    assert categories_of(plain) == [{"id": 1, "name": "object"}]
    assert "confidence" not in annotation_of(results[0], plain, {})
