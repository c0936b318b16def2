"""A training run from start, or from where it was stopped, to `weights.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ultrasam.config import TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, check_file
from ultrasam.models.lite import LiteSam
from ultrasam.training import loop
from ultrasam.training.data import (
    TrainingSamples,
    ValidationSamples,
    load_split,
    training_loader,
    validation_loader,
)
from ultrasam.training.model import add_tuning, initialise, plain_weights, without_prefix
from ultrasam.training.promptable import PromptableModule
from ultrasam.training.stepping import SMALLER_STEPS
from ultrasam.zoo.card import WEIGHTS_FILE

FREE = loop.FREE | {"data.cache", "validate_images", "model.checkpointing"}
"""Settings that may change when a run is continued."""


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Model weights from `weights.safetensors` or from a checkpoint of a run (its averaged weights).

    Raises UltrasamError where the file is missing or is neither.
    """
    if path.suffix != ".safetensors":
        return model_weights(loop.read_checkpoint(path), path)
    try:
        return load_file(check_file(path))
    except SafetensorError as error:
        raise loop.no_weights(path) from error


def model_weights(checkpoint: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The model's weights in the checkpoint read from `path`: its averaged ones, or plain weights as they
    are.
    """
    state = checkpoint.get("state_dict")
    if state is None:
        return checkpoint
    if not isinstance(state, dict):
        raise loop.no_weights(path)
    return without_prefix(state)


def train(config: TrainConfig) -> Path:
    """Train, resuming from `last.ckpt` in `config.out` where it exists; returns the path of the final
    weights.

    Every random draw is a function of (seed, step, slot), so a run that was killed and resumed ends with the
    weights of one that was not. Raises UltrasamError for unusable data, weights or folders, for a folder with
    a run of other settings, and where the loss or the weights are no longer finite.
    """
    state = loop.finished_weights(config, lambda: _module(config), FREE)
    weights = _fit(config) if state is None else without_prefix(state)
    weights = plain_weights(weights, config.model)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise UltrasamError(f"the weights are not finite after the last step: {SMALLER_STEPS}")
    path = Path(config.out) / WEIGHTS_FILE
    if loop.rank_of():
        return path
    atomic_write(path, save({key: value.detach().contiguous() for key, value in weights.items()}))
    loop.say(f"weights written to {path}")
    return path


def _module(config: TrainConfig) -> PromptableModule:
    module = PromptableModule(config)
    add_tuning(module.model, config.model)
    return module


def _fit(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The averaged weights of the last step."""
    loop.begin(config)
    source, train_images, validation_images = load_split(config)
    loop.say(f"{len(train_images)} images to train on, {len(validation_images)} held out for validation")
    if left_out := sorted({i.dataset for i in source.index} - {i.dataset for i in train_images}):
        loop.say(f"data sets left out: {', '.join(left_out)}")
    module = PromptableModule(config)
    initialise(module.model, config.model)
    add_tuning(module.model, config.model)
    samples = TrainingSamples(source, train_images, config)
    validation = ValidationSamples(source, validation_images or train_images, config)
    loop.write_settings(config)
    if isinstance(module.model, LiteSam):
        module.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop.fit(
        config,
        module,
        lambda first_step, *place: training_loader(samples, config, first_step, *place),
        lambda *place: validation_loader(validation, config, *place),
        loop.ProgressLines(config.log_every, config.optim.steps, step_words, validation_words),
        # Images of the training tell nothing.
        validates=bool(validation_images),
    )
    return dict(module.model.state_dict())


def step_words(values: Mapping[str, float]) -> str:
    """Loss, true IoU and score error of both passes."""
    return (
        f"loss {values['pass1/total']:.3f} {values['pass2/total']:.3f}"
        f"  IoU {values['pass1/true_iou']:.3f} {values['pass2/true_iou']:.3f}"
        f"  score error {values['pass1/iou']:.3f} {values['pass2/iou']:.3f}"
    )


def validation_words(values: Mapping[str, float]) -> str:
    if "validation/iou1" not in values:
        return ""
    return f"IoU {values['validation/iou1']:.3f} {values['validation/iou2']:.3f}"
