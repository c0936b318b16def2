"""A run of instance segmentation from start, or from where it was stopped, to `weights.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from ultrasam.config import InstancesConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, shown
from ultrasam.models.files import read_tensors
from ultrasam.models.mask2former import InstanceModel, load_decoder
from ultrasam.training import loop
from ultrasam.training.encoder import start_encoder
from ultrasam.training.instances.data import (
    Objects,
    ValidationItems,
    ViewSamples,
    load_objects,
    readable,
    training_loader,
    validation_loader,
)
from ultrasam.training.instances.infer import settings_of_run
from ultrasam.training.instances.module import InstancesModule
from ultrasam.training.model import without_prefix
from ultrasam.training.saved import DATA, check_same_data, fingerprint_of
from ultrasam.training.stepping import SMALLER_STEPS
from ultrasam.zoo.card import WEIGHTS_FILE

FREE = loop.FREE | {"validate_images", "encoder.checkpointing"}
"""Settings that may change when a run is continued."""


def train_instances(config: InstancesConfig) -> Path:
    """Train, resuming from `last.ckpt` in `config.out` where it exists; returns the path of the final
    weights.

    A run that was killed and resumed ends with the weights of one that was not. Raises UltrasamError for
    unusable data, weights or folders, for a folder with a run of other settings or classes, and where the
    loss or the weights are no longer finite.
    """
    out = Path(config.out)
    state = loop.finished_weights(config, lambda: InstancesModule(config, settings_of_run(out)[1]), FREE)
    if state is not None:
        check_same_data(out, _fingerprint(load_objects(config.data)))
    weights = _fit(config) if state is None else without_prefix(state)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise UltrasamError(f"the weights are not finite after the last step: {SMALLER_STEPS}")
    path = out / WEIGHTS_FILE
    if loop.rank_of():
        return path
    atomic_write(path, save({key: value.detach().contiguous() for key, value in weights.items()}))
    loop.say(f"weights written to {path}")
    return path


def _fit(config: InstancesConfig) -> dict[str, torch.Tensor]:
    """The weights of the last step."""
    loop.begin(config)
    data = load_objects(config.data)
    fingerprint = _fingerprint(data)
    check_same_data(Path(config.out), fingerprint)
    data, problems = readable(data, config.threads)
    for problem in problems:
        loop.say(f"left out: {problem}")
    _tell(data)
    module = InstancesModule(config, data.classes)
    if config.last_checkpoint.exists():
        _check_classes(config, data.classes)
    else:
        start_encoder(module.model.backbone, config.encoder)
        _start_decoder(module.model, config)
    samples = ViewSamples(data.train, config)
    validation = ValidationItems(data.validation or data.train, config)
    loop.write_settings(config, {"classes": list(data.classes), DATA: fingerprint})
    loop.fit(
        config,
        module,
        lambda first_step, *place: training_loader(samples, config, first_step, *place),
        lambda *place: validation_loader(validation, config, *place),
        loop.ProgressLines(config.log_every, config.optim.steps, step_words, validation_words),
        # Images of the training tell nothing.
        validates=bool(data.validation),
    )
    return dict(module.model.state_dict())


def _fingerprint(data: Objects) -> str:
    facts = [
        [part, one.sample.dataset, one.sample.image.file_name, one.sample.case_id, one.labels, areas]
        for part, images in (("train", data.train), ("validation", data.validation))
        for one in images
        for areas in [[annotation.area for annotation in one.sample.annotations]]
    ]
    return fingerprint_of(facts)


def _tell(data: Objects) -> None:
    loop.say(
        f"{len(data.train)} images to train on, {len(data.validation)} held out for validation; "
        f"classes: {', '.join(data.classes)}"
    )
    if data.without:
        loop.say(f"{data.without} images without an object of these classes are left out")


def _check_classes(config: InstancesConfig, classes: tuple[str, ...]) -> None:
    before = settings_of_run(Path(config.out))[1]
    if before != classes:
        raise UltrasamError(
            f"the run in {shown(config.out)} has the classes {', '.join(before)}, and the data now has "
            f"{', '.join(classes)}: name another folder with --out DIR"
        )


def _start_decoder(model: InstanceModel, config: InstancesConfig) -> None:
    """Weights for the decoder, where the settings name some."""
    if not config.decoder.init:
        return
    path = Path(config.decoder.init).expanduser()
    if (path / WEIGHTS_FILE).is_file():  # the folder of a run
        path = path / WEIGHTS_FILE
    if not path.exists():
        raise UltrasamError(
            f"decoder.init {shown(path)} does not exist: name the file or folder of a Mask2Former or of a run"
        )
    try:
        taken, left = load_decoder(model, read_tensors(path))
    except UltrasamError as error:
        text = str(error)
        raise UltrasamError(text if shown(path) in text else f"{shown(path)}: {text}") from error
    loop.say(f"decoder: {taken} tensors of {shown(path)}, {left} at random, as is the class head")


def step_words(values: Mapping[str, float]) -> str:
    """The total over all layers, and the terms of the last."""
    return (
        f"loss {values['loss/total']:.3f}  class {values['loss/class']:.3f}"
        f"  mask {values['loss/mask']:.3f}  dice {values['loss/dice']:.3f}"
    )


def validation_words(values: Mapping[str, float]) -> str:
    if "validation/mask" not in values:
        return ""
    return (
        f"mask mAP {values['validation/mask']:.3f} mAP50 {values['validation/mask50']:.3f}"
        f"  box mAP {values['validation/box']:.3f} mAP50 {values['validation/box50']:.3f}"
    )
