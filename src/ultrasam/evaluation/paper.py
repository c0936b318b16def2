"""Models under the protocol of the UltraSam paper, beside its published numbers (its Table 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ultrasam.core.geometry import PAD
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.evaluation.evaluate import Asked, Progress, Tolerance, evaluate
from ultrasam.evaluation.metrics import Outcome, average_precision
from ultrasam.evaluation.published import BOX, POINT, Published, published
from ultrasam.evaluation.samples import Sample
from ultrasam.predict.model import Model, prepare
from ultrasam.zoo.card import Card
from ultrasam.zoo.store import Weights

PROMPTS = (POINT, BOX)
# How an image comes into a model: as its card says, where that is the paper's way or the model has no other;
# else both as the card says and in the paper's way.
AS_CARD, NATIVE, PIPELINE = "card", "native", "paper-pipeline"
# Of ImageNet, as in the card of the paper's model.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Entrant:
    """A model that is measured, and the row of `published.ROWS` it is set beside, if any.

    `tests` are the data sets it is measured on, None for all.
    """

    weights: Weights
    row: str | None = None
    tests: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Runner:
    """What runs the models; see `ultrasam.load`. `postprocess` "original" is for models that pad images."""

    threads: int | None = None
    engine: str = "onnx"
    device: str = "cpu"
    postprocess: str = "logits"

    def model(self, weights: Weights) -> Model:
        """The model as its card says. Raises UltrasamError if it cannot be loaded."""
        return prepare(
            weights,
            threads=self.threads,
            engine=self.engine,
            device=self.device,
            postprocess=self.postprocess if weights.card.fit == PAD else "logits",
        )

    def variants(self, weights: Weights) -> Iterator[tuple[str, Model]]:
        """(pipeline, model) for each way in that is reported; the paper does not say which one its baselines
        had.
        """
        model = self.model(weights)
        ways = pipelines(weights.card)
        for name, card in ways.items():
            cache = EmbeddingCache(shape=(1, *card.embedding))
            postprocess = self.postprocess if card.fit == PAD else "logits"
            yield name, replace(model, card=card, cache=cache, postprocess=postprocess)


@dataclass(frozen=True, eq=False)
class Turn:
    """A model that is about to be asked for `samples`."""

    entrant: Entrant
    pipeline: str
    model: Model
    samples: list[Sample]

    @property
    def name(self) -> str:
        return title(self.model.card.id, self.pipeline)


@dataclass(frozen=True)
class Score:
    """One cell of the table: a model on a data set by one prompt; all figures in percent, as in the paper.

    `pipeline` is "card", or "native" and "paper-pipeline" of a model with a way of its own. `map`, `map50`:
    COCO's average precision of masks without classes; `iou`, `nsd`: means over objects. `row` and `published`
    are those of the paper.
    """

    model: str
    pipeline: str
    postprocess: str
    dataset: str
    prompt: str
    objects: int
    images: int
    map: float
    map50: float
    iou: float
    nsd: float
    row: str | None = None
    published: Published | None = None

    @property
    def difference(self) -> tuple[float, float] | None:
        """Ours less the paper's `map` and `map50`, in points; None where the paper has none."""
        if self.published is None:
            return None
        return self.map - self.published.map, self.map50 - self.published.map50


@dataclass(frozen=True, eq=False)
class Measured:
    """The outcomes of one model with one pipeline, and what they come to."""

    scores: tuple[Score, ...]
    outcomes: tuple[Outcome, ...]


def pipelines(card: Card) -> dict[str, Card]:
    """The card by the name of each pipeline; a model that stretches its images, as MedSAM, has two."""
    if card.fit == PAD and card.normalise == "mean-std":
        return {AS_CARD: card}
    return {
        NATIVE: card,
        PIPELINE: replace(card, fit=PAD, normalise="mean-std", mean=_MEAN, std=_STD, resize="cv2"),
    }


def measure(
    entrants: Iterable[Entrant],
    samples: Sequence[Sample],
    runner: Runner,
    progress: Callable[[str], Progress | None] = lambda name: None,
    tolerance: Tolerance | None = None,
) -> list[Measured]:
    """Every model on its data sets among `samples`; one is in memory at a time.

    `progress` is asked for what hears of the images of a model, by its name. A model without samples has no
    result. Raises UltrasamError if a model or an image cannot be used.
    """
    found = []
    for turn in turns(entrants, samples, runner):
        asked = Asked(paper=True)
        outcomes = evaluate(turn.model, turn.samples, asked, progress(turn.name), tolerance)
        scores = tuple(_scores(turn.model, turn.pipeline, turn.entrant.row, outcomes))
        found.append(Measured(scores, tuple(outcomes)))
    return found


def turns(entrants: Iterable[Entrant], samples: Sequence[Sample], runner: Runner) -> Iterator[Turn]:
    """Every model with each of its pipelines, and which of the samples it is asked for, if any."""
    for entrant in entrants:
        own = [one for one in samples if entrant.tests is None or one.dataset in entrant.tests]
        if own:
            for pipeline, model in runner.variants(entrant.weights):
                yield Turn(entrant, pipeline, model, own)


def title(model: str, pipeline: str) -> str:
    """What a model is called in the table."""
    return model if pipeline == AS_CARD else f"{model}, {pipeline}"


def _scores(model: Model, pipeline: str, row: str | None, outcomes: Sequence[Outcome]) -> Iterator[Score]:
    for dataset in dict.fromkeys(outcome.dataset for outcome in outcomes):
        for prompt in PROMPTS:
            own = [o for o in outcomes if (o.dataset, o.protocol) == (dataset, prompt)]
            precision = average_precision(own)
            yield Score(
                model=model.card.id,
                pipeline=pipeline,
                postprocess=model.postprocess,
                dataset=dataset,
                prompt=prompt,
                objects=len(own),
                images=len({outcome.image_id for outcome in own}),
                map=100 * float(precision.mean()),
                map50=100 * float(precision[0]),
                iou=100 * float(np.mean([outcome.iou for outcome in own])),
                nsd=100 * float(np.mean([outcome.nsd for outcome in own])),
                row=row,
                published=published(model.card, row, dataset, prompt),
            )
