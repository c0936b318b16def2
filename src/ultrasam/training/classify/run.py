"""A run for classification: one model, or a cross-validation by case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from ultrasam.config import ClassifyConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, atomic_write_text, ensure_writable_dir, shown
from ultrasam.evaluation.classification import Classified
from ultrasam.evaluation.classified import DECIMALS, read_classified, write_classified
from ultrasam.models.classifier import Classifier
from ultrasam.training import loop
from ultrasam.training.classify.data import (
    Data,
    PlainSamples,
    Samples,
    Split,
    folds_of,
    load_data,
    plain_loader,
    training_loader,
)
from ultrasam.training.classify.module import ClassifyModule, build_classifier, step_words, validation_words
from ultrasam.training.classify.probe import features_of, fit_probe
from ultrasam.training.encoder import start_encoder
from ultrasam.training.model import without_prefix
from ultrasam.training.saved import DATA, check_same_data, fingerprint_of, torch_place
from ultrasam.training.stepping import SMALLER_STEPS
from ultrasam.zoo.card import WEIGHTS_FILE

Fit = Callable[[Split, int], tuple[Classifier, list[Classified]]]
"""(a split, its fold from 1, 0 for a single run) -> the model, and the scores of what is held out."""

PREDICTIONS = "predictions.csv"
TRAINED = "trained.tsv"
"""Data set, name and path of each image that the weights have seen."""
FEATURES = "features.npz"
FREE = loop.FREE | {"encoder.checkpointing", "only_folds"}
"""Settings that may change when a run is continued."""


def train_classifier(config: ClassifyConfig) -> list[Classified]:
    """Train, and test on what is held out; returns those images with their scores, [] if there are none.

    `config.out` gets config.json, predictions.csv and, unless it is a cross-validation, weights.safetensors
    and trained.tsv.
    A run that was stopped goes on: a cross-validation with the fold it was at. Raises UltrasamError for
    unusable data or weights, for a folder with a run of other settings, and where something is not finite.
    """
    out = ensure_writable_dir(config.out)
    loop.check_same_settings(out / "config.json", config, FREE)
    loop.begin(config)
    data = load_data(config)
    check_same_data(out, _fingerprint(data))
    for remark in data.remarks:
        loop.say(remark)
    counts = [sum(data.images.items[i].label == k for i in data.train) for k in range(len(data.classes))]
    shares = ", ".join(f"{name} {count}" for name, count in zip(data.classes, counts, strict=True))
    loop.say(f"{len(data.train)} images to train on ({shares}), {len(data.validation)} held out")
    if config.folds:
        return _cross_validate(config, data)
    fit = _probe(config, data) if config.encoder.frozen else _fine_tune(config, data)
    model, found = fit(Split(data.train, data.validation), 0)
    path = out / WEIGHTS_FILE
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise UltrasamError(f"the weights are not finite after the last step: {SMALLER_STEPS}")
    if loop.rank_of() == 0:
        loop.write_settings(config, _facts(data))
        atomic_write(path, save({name: value.contiguous() for name, value in model.state_dict().items()}))
        if found:
            write_classified(out / PREDICTIONS, found, data.classes)
        items = (data.images.items[place] for place in data.train)
        lines = (f"{one.dataset}\t{one.name}\t{one.path.resolve()}\n" for one in items)
        atomic_write_text(out / TRAINED, "".join(lines))
        loop.say(f"weights written to {path}")
    return found


def _facts(data: Data) -> dict[str, Any]:
    """For config.json."""
    return {"classes": data.classes, DATA: _fingerprint(data)}


def _fingerprint(data: Data) -> str:
    held = set(data.validation)
    items = enumerate(data.images.items)
    facts = [[place in held, one.dataset, one.name, one.case, one.label] for place, one in items]
    return fingerprint_of([*facts, list(data.classes)])


def _cross_validate(config: ClassifyConfig, data: Data) -> list[Classified]:
    """Each fold's predictions are written when it is done; weights are not kept."""
    out = Path(config.out)
    splits = folds_of(config, data)[: config.only_folds or None]
    fit = _probe(config, data) if config.encoder.frozen else _fine_tune(config, data)
    loop.write_settings(config, _facts(data))
    found: list[Classified] = []
    for number, split in enumerate(splits, 1):
        folder = out / f"fold-{number}"
        own = _finished(folder / PREDICTIONS, data, split)
        if own is None:
            counts = f"{len(split.train)} images to train on, {len(split.test)} to test"
            loop.say(f"fold {number} of {config.folds}: {counts}")
            _, own = fit(split, number)
            if loop.rank_of() == 0:
                write_classified(ensure_writable_dir(folder) / PREDICTIONS, own, data.classes)
                (folder / "last.ckpt").unlink(missing_ok=True)
        found += own
    if loop.rank_of() == 0:
        write_classified(out / PREDICTIONS, found, data.classes)
    return found


def _finished(path: Path, data: Data, split: Split) -> list[Classified] | None:
    """The predictions of a fold that an earlier start of the run has finished."""
    if not path.is_file():
        return None
    (path.parent / "last.ckpt").unlink(missing_ok=True)  # of a run that was killed just then
    classes, found = read_classified(path)
    names = sorted(data.images.items[place].name for place in split.test)
    if classes != data.classes or sorted(one.name for one in found) != names:
        raise UltrasamError(
            f"{shown(path)} is of other images or classes: the data have changed, name another folder with "
            "--out DIR"
        )
    return found


def _probe(config: ClassifyConfig, data: Data) -> Fit:
    """The features are computed now, each fold fits a layer to them."""
    model = build_classifier(config, len(data.classes)).eval()
    start_encoder(model.backbone, config.encoder)
    features = features_of(model, data.images, config, Path(config.out) / FEATURES)

    def fit(split: Split, fold: int) -> tuple[Classifier, list[Classified]]:
        weight, bias, decay = fit_probe(features, data, split.train, config)
        loop.say(f"probe fitted, L2 penalty {decay:g}")
        with torch.no_grad():
            model.head.weight.copy_(weight)
            model.head.bias.copy_(bias)
            scores = torch.sigmoid(model.head(torch.from_numpy(features[0, list(split.test)])))
        return model, _classified(data, split.test, scores.tolist(), fold)

    return fit


def _fine_tune(config: ClassifyConfig, data: Data) -> Fit:
    """Each fold trains encoder and layer from the start weights, in a folder of its own."""
    # Weights that do not fit are told before anything is written.
    start_encoder(build_classifier(config, len(data.classes)).backbone, config.encoder)

    def fit(split: Split, fold: int) -> tuple[Classifier, list[Classified]]:
        own = replace(config, out=str(Path(config.out) / f"fold-{fold}")) if fold else config
        model = _trained(own, data, split)
        return model, _classified(data, split.test, _scores(model, data, split.test, config), fold)

    return fit


def _trained(config: ClassifyConfig, data: Data, split: Split) -> Classifier:
    """The averaged weights of the last step, in evaluation mode."""
    classes = len(data.classes)
    state = loop.finished_weights(config, lambda: ClassifyModule(config, classes), FREE)
    loop.begin(config)  # the start of a fold does not depend on the folds before
    module = ClassifyModule(config, classes)
    if state is None:
        start_encoder(module.model.backbone, config.encoder)
        loop.write_settings(config, _facts(data))
        cells = config.encoder.image_size // module.model.backbone.stride
        samples = Samples(data.images, split.train, config, cells)
        plain = PlainSamples(data.images, split.test or split.train[:1], config, cells)
        loop.fit(
            config,
            module,
            lambda first_step, *place: training_loader(samples, config, first_step, *place),
            lambda *place: plain_loader(plain, config, *place),
            loop.ProgressLines(config.log_every, config.optim.steps, step_words, validation_words),
            validates=bool(split.test),
        )
        state = module.state_dict()
    module.model.load_state_dict(without_prefix(state))
    return module.model.cpu().eval()


def _scores(
    model: Classifier, data: Data, places: Sequence[int], config: ClassifyConfig
) -> list[list[float]]:
    cells = config.encoder.image_size // model.backbone.stride
    device = torch_place(None, None)
    model.to(device)
    found: list[list[float]] = []
    for batch in plain_loader(PlainSamples(data.images, places, config, cells), config):
        covered = batch.covered.to(device) if config.pool == "image" else None
        with torch.inference_mode():
            found += torch.sigmoid(model(batch.image.to(device), covered)).cpu().tolist()
    model.cpu()
    return found


def _classified(
    data: Data, places: Sequence[int], scores: Sequence[Sequence[float]], fold: int
) -> list[Classified]:
    items = [data.images.items[place] for place in places]
    return [
        # As precise as the file is: a run that goes on reads what it wrote.
        Classified(
            item.name, item.dataset, item.case, item.label, tuple(round(v, DECIMALS) for v in row), fold
        )
        for item, row in zip(items, scores, strict=True)
    ]
