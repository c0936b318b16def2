"""The encoder below a head: built, and started from the weights that `encoder.init` means."""

from __future__ import annotations

from torch import Tensor

from ultrasam.config import EncoderConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.models.backbone import RESNET, Backbone, build_backbone, imagenet_resnet
from ultrasam.models.checkpoints import config_of
from ultrasam.models.files import read_tensors
from ultrasam.training.model import architecture_of, in_own_names, load_into, weights_file

IMAGENET = "imagenet"


def build_encoder(config: EncoderConfig, neck: bool) -> Backbone:
    """With random weights; nothing in it is trained if it is `frozen`."""
    backbone = build_backbone(config.architecture, config.image_size, neck, config.checkpointing)
    if config.frozen:
        backbone.requires_grad_(False)
    return backbone


def start_encoder(backbone: Backbone, config: EncoderConfig) -> None:
    """Load the start weights; without `init` they stay random.

    Raises UltrasamError where they are not found or are of another architecture or image size.
    """
    if not config.init:
        return
    if config.architecture == RESNET and config.init == IMAGENET:
        backbone.load(imagenet_resnet())
        return
    path = weights_file(config.init, "encoder.init")
    sam = config.architecture not in ("lite", RESNET)
    state = read_tensors(path)
    own = {n.removeprefix("backbone."): v for n, v in state.items() if n.startswith("backbone.encoder.")}
    if own:  # a run of a head, whose encoder has these names
        load_into(backbone.load_state_dict, own, path)
        return
    if _architecture_of(state) not in ("lite", RESNET):
        state = in_own_names(state, path, sam)
    found = _architecture_of(state)
    if found not in (config.architecture, "unknown"):
        raise UltrasamError(
            f"{shown(path)} has the weights of another architecture ({found}), the encoder is "
            f"{config.architecture}: choose other weights or --encoder.architecture"
        )
    if sam and found != "unknown":
        size = config_of(state).image_size
        if size != config.image_size:
            raise UltrasamError(
                f"{shown(path)} has weights for images of {size} pixels: set --encoder.image_size {size}"
            )
    load_into(backbone.load, state, path)


def _architecture_of(state: dict[str, Tensor]) -> str:
    names = {name.removeprefix("resnet.") for name in state}
    if "_conv_stem.weight" in names:
        return "lite"
    if "embedder.embedder.convolution.weight" in names:
        return RESNET
    return architecture_of(state)
