"""Our image encoders, and ResNet-50, as the start of a head: one map of tokens, or four levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ultrasam.core.errors import UltrasamError
from ultrasam.models.efficientnet_lite import EfficientNetLite
from ultrasam.models.lite import LiteConfig, LiteEncoder
from ultrasam.models.sam import PRESETS
from ultrasam.models.vit import ImageEncoderViT

RESNET = "resnet50"
State = dict[str, Tensor]


class Backbone(nn.Module):
    """An image encoder.

    `neck` says whether it has what stands before a prompt decoder: the neck of a SAM, the pyramid of a lite.
    `width` is the number of channels of its tokens and `stride` their stride in pixels; `channels` and
    `strides` are those of the four `levels`.
    """

    width: int
    stride: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, image_size: int, neck: bool):
        super().__init__()
        self.image_size, self.neck = image_size, neck

    def tokens(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, S, S) -> (B, width, h, w): behind the neck, or the last block or stage."""
        raise NotImplementedError

    def levels(self, image: Tensor) -> list[Tensor]:
        """Normalised image (B, 3, S, S) -> four maps (B, channels[i], S / strides[i], S / strides[i])."""
        raise NotImplementedError

    def load(self, state: State) -> None:
        """Take the encoder's part of the weights of a whole model, in the names of this package.

        Raises KeyError or RuntimeError where names or shapes do not fit.
        """
        raise NotImplementedError


class LiteBackbone(Backbone):
    """EfficientNet-Lite0, with `neck` the feature pyramid of ultrasam-lite on it."""

    strides = (4, 8, 16, 32)

    def __init__(self, image_size: int, neck: bool):
        super().__init__(image_size, neck)
        config = LiteConfig(image_size)
        self.encoder: LiteEncoder | EfficientNetLite = LiteEncoder(config) if neck else EfficientNetLite()
        trunk = self._trunk()
        self.channels = trunk.channels
        self.width = config.pyramid + 4 * config.fine if neck else trunk.channels[-1]
        self.stride = 8 if neck else 32

    def _trunk(self) -> EfficientNetLite:
        return self.encoder.backbone if isinstance(self.encoder, LiteEncoder) else self.encoder

    def tokens(self, image: Tensor) -> Tensor:
        found: Tensor = self.encoder(image) if self.neck else self.levels(image)[-1]
        return found

    def levels(self, image: Tensor) -> list[Tensor]:
        return self._trunk()(image)  # type: ignore[no-any-return]

    def load(self, state: State) -> None:
        if "_conv_stem.weight" in state:  # converted ImageNet weights
            if self.neck:
                raise KeyError("ImageNet weights have no feature pyramid: set --tokens last")
            self._trunk().load_imagenet(state)
        else:
            self.encoder.load_state_dict(_part(state, "encoder." if self.neck else "encoder.backbone."))


class VitBackbone(Backbone):
    """The image encoder of a SAM. Its four levels are the tokens after four blocks, all with one stride."""

    def __init__(self, architecture: str, image_size: int, neck: bool, checkpointing: bool = False):
        super().__init__(image_size, neck)
        config = replace(PRESETS[architecture].encoder, image_size=image_size)
        self.encoder = ImageEncoderViT(config)
        self.encoder.checkpointing = checkpointing
        if not neck:
            self.encoder.neck = nn.Identity()  # type: ignore[assignment]
        # Four blocks evenly spread: in a ViT-B 2, 5, 8 and 11.
        self.blocks = tuple(config.depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
        self.channels, self.strides = (config.width,) * 4, (config.patch,) * 4
        self.width, self.stride = config.channels if neck else config.width, config.patch

    def tokens(self, image: Tensor) -> Tensor:
        if self.neck:
            embedding: Tensor = self.encoder(image)
            return embedding
        return self.encoder.features(image)[-1].permute(0, 3, 1, 2)

    def levels(self, image: Tensor) -> list[Tensor]:
        return [level.permute(0, 3, 1, 2) for level in self.encoder.features(image, self.blocks)[:4]]

    def load(self, state: State) -> None:
        part = _part(state, "image_encoder.")
        if not self.neck:
            part = {name: value for name, value in part.items() if not name.startswith("neck.")}
        self.encoder.load_state_dict({name: value.float() for name, value in part.items()})


class ResNetBackbone(Backbone):
    """ResNet-50 of transformers (v1.5: its strides are in the 3 x 3 convolutions)."""

    stride, strides = 32, (4, 8, 16, 32)

    def __init__(self, image_size: int):
        super().__init__(image_size, neck=False)
        transformers = import_transformers()
        config = transformers.ResNetConfig()
        self.encoder = transformers.ResNetModel(config)
        self.channels = tuple(config.hidden_sizes)
        self.width = self.channels[-1]

    def tokens(self, image: Tensor) -> Tensor:
        return self.levels(image)[-1]

    def levels(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(image, output_hidden_states=True).hidden_states[1:])

    def load(self, state: State) -> None:
        names = {name.removeprefix("resnet."): value for name, value in state.items()}
        self.encoder.load_state_dict({n: v for n, v in names.items() if not n.startswith("classifier.")})


def build_backbone(architecture: str, image_size: int, neck: bool, checkpointing: bool = False) -> Backbone:
    """An encoder with random weights. ValueError for an unknown architecture."""
    if architecture == "lite":
        return LiteBackbone(image_size, neck)
    if architecture == RESNET:
        return ResNetBackbone(image_size)
    if architecture not in PRESETS:
        raise ValueError(f"unknown architecture {architecture!r}")
    return VitBackbone(architecture, image_size, neck, checkpointing)


def imagenet_resnet() -> State:
    """The weights of microsoft/resnet-50, fetched once by transformers. UltrasamError without network."""
    transformers = import_transformers()
    try:
        model = transformers.ResNetModel.from_pretrained("microsoft/resnet-50")
    except (OSError, ValueError) as error:
        raise UltrasamError(
            "microsoft/resnet-50 cannot be fetched: download its folder on a machine with a network and name "
            "it with --encoder.init DIR"
        ) from error
    return dict(model.state_dict())


def import_transformers() -> Any:
    """The package; ModuleNotFoundError where it is missing."""
    import transformers

    return transformers


def pool(tokens: Tensor, covered: Tensor | None = None) -> Tensor:
    """The mean (B, C) of tokens (B, C, h, w); weighted by the share (B, h, w) of each cell that an image
    covers, if it is given.
    """
    if covered is None:
        return tokens.mean((2, 3))
    weights = covered / covered.sum((1, 2), keepdim=True)
    return torch.einsum("bchw,bhw->bc", tokens, weights.to(tokens.dtype))


def _part(state: State, prefix: str) -> State:
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise KeyError(f"no weights of {prefix.rstrip('.')}")
    return found
