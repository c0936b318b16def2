"""Run a model over the objects of a COCO file, image by image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ultrasam.core.errors import UltrasamError, UltrasamWarning
from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import encode_rle
from ultrasam.core.metrics import dice, iou, surface_dice
from ultrasam.evaluation.metrics import Outcome
from ultrasam.evaluation.protocols import (
    Encoded,
    Prediction,
    ellipses,
    interactive,
    moved_prompts,
    paper_prompts,
    two_passes,
)
from ultrasam.evaluation.samples import Sample
from ultrasam.predict.model import Model

# More corrective clicks than anyone gives; also the cap of the NoC figures in the literature.
MAX_CLICKS = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """What is asked of a model for each object: `clicks` corrective ones, and whether prompts are `moved`.

    `paper`: only the point and the box of the paper, which is much less work.
    """

    clicks: int = 5
    moved: bool = False
    paper: bool = False


@dataclass(frozen=True)
class Tolerance:
    """How far contours may be apart for the normalised surface Dice: `mm` where the size of a pixel is known,
    else `pixels`.
    """

    mm: float = 1.0
    pixels: float = 2.0


def evaluate(
    model: Model,
    samples: Sequence[Sample],
    asked: Asked | None = None,
    progress: Progress | None = None,
    tolerance: Tolerance | None = None,
) -> list[Outcome]:
    """Every object of `samples` under every protocol of `ultrasam.evaluation.protocols`.

    Each image is encoded once; of an image nothing stays but run-length encodings and numbers. `progress`
    is called with the images done and their number. Raises UltrasamError for an image or mask that cannot
    be used, and where no object has a pixel.
    """
    outcomes: list[Outcome] = []
    for done, sample in enumerate(samples, start=1):
        outcomes += evaluate_sample(model, sample, asked, tolerance)
        if progress is not None:
            progress(done, len(samples))
    if not outcomes:
        raise UltrasamError("all ground-truth masks are empty: nothing to evaluate")
    left_out = sum(len(s.annotations) for s in samples) - len({o.annotation_id for o in outcomes})
    if left_out:
        text = f"{left_out} objects left out: no mask, an empty one, or a crowd"
        warnings.warn(text, UltrasamWarning, stacklevel=2)
    return outcomes


def evaluate_sample(
    model: Model, sample: Sample, asked: Asked | None = None, tolerance: Tolerance | None = None
) -> list[Outcome]:
    """The objects of one image under every protocol; objects with an empty mask are left out."""
    asked = asked or Asked()
    truths = sample.truths()
    if not truths:
        return []
    pixels = sample.pixels()
    embedding, frame = model.encode(pixels)

    def predictions() -> Iterator[Prediction]:
        encoded = Encoded(model.engine, embedding, frame)
        if asked.paper:
            yield from paper_prompts(encoded, truths)
            return
        yield from two_passes(encoded, truths)
        if asked.moved:
            yield from moved_prompts(encoded, truths)
        yield from ellipses(truths)
        # The model's cache holds the embedding: the image is not encoded a second time.
        yield from interactive(model.session(pixels), truths, asked.clicks)

    return outcomes_of(sample, truths, predictions(), tolerance)


def outcomes_of(
    sample: Sample,
    truths: Mapping[int, BoolArray],
    predictions: Iterable[Prediction],
    tolerance: Tolerance | None = None,
) -> list[Outcome]:
    """The predictions for one image, compared with `truths` at its own resolution."""
    tolerance = tolerance or Tolerance()
    spacing = sample.image.spacing
    reach = (tolerance.pixels, (1.0, 1.0)) if spacing is None else (tolerance.mm, spacing)
    encoded = {key: encode_rle(truth) for key, truth in truths.items()}
    return [
        Outcome(
            image_id=sample.image.id,
            annotation_id=prediction.key,
            dataset=sample.dataset,
            case_id=sample.case_id,
            protocol=prediction.protocol,
            iou=iou(prediction.mask, truths[prediction.key]),
            dice=dice(prediction.mask, truths[prediction.key]),
            nsd=surface_dice(prediction.mask, truths[prediction.key], *reach),
            share=float(truths[prediction.key].mean()),
            score=prediction.score,
            truth=encoded[prediction.key],
            predicted=encode_rle(prediction.mask),
        )
        for prediction in predictions
    ]
