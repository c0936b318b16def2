"""The model of a training run: built, started from weights, and given back as plain weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from ultrasam.config import ModelConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.models.checkpoints import SOURCES, config_of, source_of
from ultrasam.models.files import read_tensors
from ultrasam.models.lite import LiteConfig, LiteSam
from ultrasam.models.sam import PRESETS, Sam, SamConfig
from ultrasam.models.vit import MLPBlock
from ultrasam.zoo.card import WEIGHTS_FILE

# The linear layers beside which a lora or ia3 is trained.
_LORA_LAYERS = ["attn.qkv", "attn.proj"]
_IA3_LAYERS, _IA3_FEEDFORWARD = ["attn.qkv", "mlp.lin2"], ["mlp.lin2"]
PREFIX = "model."
"""Of the model's weights in a checkpoint of a run."""


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights among those of a checkpoint, in its own names."""
    return {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}


def build_model(config: ModelConfig) -> LiteSam | Sam:
    """The model of a run, with random weights; of a SAM the parts that `tuning` leaves alone are frozen."""
    if config.architecture == "lite":
        lite = LiteSam(LiteConfig(image_size=config.image_size, backbone=config.backbone))
        lite.encoder.backbone.freeze(config.frozen_blocks)
        return lite
    encoder = replace(PRESETS[config.architecture].encoder, image_size=config.image_size)
    model = Sam(SamConfig(encoder))
    model.image_encoder.checkpointing = config.checkpointing
    for block in model.mask_decoder.transformer.modules():
        if isinstance(block, MLPBlock):
            block.dropout = config.dropout
    return model


def add_tuning(model: LiteSam | Sam, config: ModelConfig) -> None:
    """Freeze the encoder of a SAM and put the layers of `tuning` beside its own; call it with the start
    weights loaded.

    Raises UltrasamError without the package peft.
    """
    if not isinstance(model, Sam) or config.tuning == "full":
        return
    model.image_encoder.requires_grad_(False)
    if config.tuning == "none":
        return
    try:
        from peft import IA3Config, LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise UltrasamError(
            f"model.tuning {config.tuning} needs the package peft: pip install 'ultrasam[train]'"
        ) from error
    settings: Any
    if config.tuning == "lora":
        settings = LoraConfig(r=config.rank, lora_alpha=2 * config.rank, target_modules=_LORA_LAYERS)
    else:
        settings = IA3Config(target_modules=_IA3_LAYERS, feedforward_modules=_IA3_FEEDFORWARD)
    inject_adapter_in_model(settings, model.image_encoder)


def plain_weights(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a run in the names of the model itself, with a lora or ia3 merged into its layers."""
    if config.architecture == "lite" or config.tuning in ("full", "none"):
        return dict(state)
    model = build_model(config)
    add_tuning(model, config)
    model.load_state_dict(state)
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
    return dict(model.state_dict())


def initialise(model: LiteSam | Sam, config: ModelConfig) -> None:
    """Start weights: an earlier run, a checkpoint or an installed model, or ImageNet for a lite's backbone.

    Raises UltrasamError where they are not found or do not fit.
    """
    if config.init:
        path = weights_file(config.init, "model.init")
        _load(model, in_own_names(read_tensors(path), path, isinstance(model, Sam)), path, config)
    elif config.imagenet and isinstance(model, LiteSam):
        path = Path(config.imagenet)
        load_into(model.encoder.backbone.load_imagenet, read_tensors(path), path)


def weights_file(init: str, option: str) -> Path:
    """The weights that `init` means: a path, or the name of a model in the package or the store.

    Raises UltrasamError, naming the `option` that said it, for neither.
    """
    path = Path(init).expanduser()
    if path.is_dir() and (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    if path.exists():
        return path
    from ultrasam.zoo.store import model_folders

    folder = model_folders().get(init)
    if folder is None:
        raise UltrasamError(
            f"{option} {shown(init)} is neither a file nor a model on this machine "
            f"({', '.join(sorted(model_folders()))})"
        )
    if not (folder / WEIGHTS_FILE).is_file():
        raise UltrasamError(
            f"the model {init} has no weights.safetensors to train on: import it again, or name a checkpoint"
        )
    return folder / WEIGHTS_FILE


def architecture_of(state: Mapping[str, Tensor]) -> str:
    """lite, vit-b, vit-l, vit-h, another SAM, or unknown: what weights are of, by their names."""
    if any(name.startswith("encoder.backbone.") for name in state):
        return "lite"
    try:
        found = config_of(state)
    except UltrasamError:
        return "unknown"
    for name, preset in PRESETS.items():
        if replace(preset.encoder, image_size=found.image_size) == found.encoder:
            return name
    return "another SAM"


def in_own_names(state: dict[str, Tensor], path: Path, sam: bool) -> dict[str, Tensor]:
    """The tensors of a file in the names of this package; of a `sam` from any source.

    Raises UltrasamError if they should be a SAM's and are not.
    """
    if any(name.startswith(PREFIX) for name in state):  # a checkpoint of a run
        state = without_prefix(state)
    if sam and architecture_of(state) == "unknown":
        try:
            return SOURCES[source_of(state)](state)
        except UltrasamError as error:
            raise UltrasamError(f"{shown(path)}: {error}") from error
    return state


def _load(model: LiteSam | Sam, state: dict[str, Tensor], path: Path, config: ModelConfig) -> None:
    found = architecture_of(state)
    if found not in (config.architecture, "unknown"):
        raise UltrasamError(
            f"{shown(path)} has the weights of another architecture ({found}), the recipe trains "
            f"{config.architecture}: choose other weights or --model.architecture"
        )
    if isinstance(model, Sam) and found != "unknown":
        size = config_of(state).image_size
        if size != config.image_size:
            raise UltrasamError(
                f"{shown(path)} has weights for images of {size} pixels: set --model.image_size {size}"
            )
    load_into(model.load_state_dict, state, path)


def load_into(load: Any, state: Mapping[str, Tensor], path: Path) -> None:
    """Hand the weights read from `path` to the `load` of a model. Raises UltrasamError where they do not fit
    or are not finite.
    """
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    if not all(
        torch.isfinite(v).all() and (v.is_floating_point() or n in counters) for n, v in state.items()
    ):
        raise UltrasamError(f"{shown(path)} has values that are no numbers: its weights are unusable")
    try:
        load(state)
    except (KeyError, RuntimeError) as error:
        detail = shorten(str(error.args[0]), 200, placeholder=" ...")
        raise UltrasamError(f"{shown(path)}: these weights do not fit the model: {detail}") from error
