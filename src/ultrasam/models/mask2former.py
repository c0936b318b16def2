"""Instance segmentation: a feature pyramid and the decoder of Mask2Former on one of our encoders.

The modules of the decoder are those of transformers, with their names for the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from ultrasam.core.errors import UltrasamError
from ultrasam.models.backbone import Backbone
from ultrasam.models.vit import LayerNorm2d

STRIDES = (4, 8, 16, 32)
CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT = 2.0, 5.0, 5.0
"""Of the terms of the loss, and of the costs by which objects find their queries."""

Prediction = tuple[Tensor, Tensor]
"""Logits of the classes (B, Q, C + 1), "no object" last, and of the masks (B, Q, S / 4, S / 4)."""

# What the parts are called here and in a checkpoint of transformers.
_PARTS = {
    "head.pixel_decoder.": "model.pixel_level_module.decoder.",
    "head.transformer.": "model.transformer_module.",
}


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the decoder: classes, `queries` (objects of an image, at most), `hidden` width, layers of the
    pixel decoder and of the transformer decoder; and of the loss: weight of "no object", points of a mask.
    """

    classes: int
    queries: int = 100
    hidden: int = 256
    pixel_layers: int = 6
    layers: int = 9
    no_object: float = 0.1
    points: int = 12544


class Pyramid(nn.Module):
    """The levels of a `Backbone` -> four maps with the strides 4, 8, 16, 32 and `channels`.

    Those of a lite or ResNet have these strides. Those of a ViT all have 16 and become, with the widths of
    ViTDet (Li et al. 2022, arXiv:2203.16527), the four by two transposed convolutions, by one, as they are,
    and by a maximum over 2 x 2.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.channels = tuple(backbone.channels)
        self.ways: nn.ModuleList | None = None
        if tuple(backbone.strides) == STRIDES:
            return
        if tuple(backbone.strides) != (16,) * 4:
            raise ValueError(f"no pyramid from levels with strides {backbone.strides}")
        width = self.channels[0]
        half, quarter = width // 2, width // 4
        self.channels = (quarter, half, width, width)
        self.ways = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, half, 2, 2),
                    LayerNorm2d(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, 2),
                ),
                nn.ConvTranspose2d(width, half, 2, 2),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        if self.ways is not None:
            levels = [way(level) for way, level in zip(self.ways, levels, strict=True)]
        # The positions are computed in the precision of these maps: bfloat16 would hardly tell neighbours.
        return [level.float() for level in levels]


class Mask2FormerHead(Mask2FormerPreTrainedModel):
    """Pixel decoder and transformer decoder (Cheng et al. 2022, arXiv:2112.01527), at random."""

    def __init__(self, shape: DecoderShape, channels: tuple[int, ...]):
        config = decoder_config(shape)
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, channels)
        self.transformer = Mask2FormerTransformerModule(shape.hidden, config)
        self.class_predictor = nn.Linear(shape.hidden, shape.classes + 1)
        self.post_init()

    def forward(self, features: list[Tensor]) -> list[Prediction]:
        """What the queries say before the first layer and after each, the last one last."""
        pixels = self.pixel_decoder(features, output_hidden_states=False, return_dict=True)
        found = self.transformer(
            multi_scale_features=pixels.multi_scale_features,
            mask_features=pixels.mask_features,
            output_hidden_states=False,
            output_attentions=False,
        )
        states, masks = found.intermediate_hidden_states, found.masks_queries_logits
        return [
            (self.class_predictor(state.transpose(0, 1)), mask)
            for state, mask in zip(states, masks, strict=True)
        ]


class InstanceModel(nn.Module):
    """Normalised image (B, 3, S, S) -> classes and masks of its queries.

    Where the encoder starts from weights (`keep_statistics`), its batch normalisation keeps their statistics,
    as is the custom for detectors: those of small batches of images that are mostly padding would be worse,
    and would depend on how a step is divided.
    """

    def __init__(self, backbone: Backbone, shape: DecoderShape, keep_statistics: bool = True):
        super().__init__()
        self.backbone, self.keep_statistics = backbone, keep_statistics
        self.pyramid = Pyramid(backbone)
        self.head = Mask2FormerHead(shape, self.pyramid.channels)
        self.train()  # a trainer takes the modes as they are

    def train(self, mode: bool = True) -> InstanceModel:
        super().train(mode)
        if self.keep_statistics:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, image: Tensor) -> list[Prediction]:
        """The predictions before the first layer and after each."""
        frozen = not any(parameter.requires_grad for parameter in self.backbone.parameters())
        context: AbstractContextManager[Any] = torch.no_grad() if frozen else nullcontext()
        with context:
            levels = self.backbone.levels(image)
        predictions: list[Prediction] = self.head(self.pyramid(levels))
        return predictions

    def predict(self, image: Tensor) -> Prediction:
        """The last prediction, in float32."""
        classes, masks = self(image)[-1]
        return classes.float(), masks.float()


class _Criterion(Mask2FormerLoss):
    """Normalised by the masks of the call alone."""

    def get_num_masks(self, class_labels: Any, device: torch.device) -> Tensor:
        # That of transformers asks the package accelerate, if somebody has started it.
        return torch.as_tensor(max(1, sum(map(len, class_labels))), dtype=torch.float, device=device)


class InstanceLoss(nn.Module):
    """The loss of transformers for each prediction, in float32."""

    def __init__(self, shape: DecoderShape):
        super().__init__()
        self.weights = {
            "class": ("loss_cross_entropy", CLASS_WEIGHT),
            "mask": ("loss_mask", MASK_WEIGHT),
            "dice": ("loss_dice", DICE_WEIGHT),
        }
        self.criterion = _Criterion(
            decoder_config(shape), {key: weight for key, weight in self.weights.values()}
        )

    def forward(
        self, predictions: list[Prediction], masks: list[Tensor], labels: list[Tensor]
    ) -> list[dict[str, Tensor]]:
        """The weighted terms "class", "mask" and "dice" of each prediction.

        `masks` (n, S, S) 0 or 1 and `labels` (n,) of each image. Mask and dice are means over all objects,
        the class is a mean over all queries with their weights (`class_weight_of`). The points at which
        masks are compared are drawn by torch.
        """
        found = []
        for classes, logits in predictions:
            # The assignment is numpy, which has no bfloat16.
            terms = self.criterion(logits.float(), classes.float(), masks, labels)
            found.append({name: weight * terms[key] for name, (key, weight) in self.weights.items()})
        return found


def class_weight_of(objects: list[int], shape: DecoderShape) -> float:
    """The sum of the weights of the class term over the queries of images with so many objects."""
    matched = [min(count, shape.queries) for count in objects]
    return sum(count + shape.no_object * (shape.queries - count) for count in matched)


def decoder_config(shape: DecoderShape) -> Mask2FormerConfig:
    """In the words of transformers, which counts the prediction before the first layer as a layer."""
    settings: dict[str, Any] = {
        "feature_size": shape.hidden,
        "mask_feature_size": shape.hidden,
        "hidden_dim": shape.hidden,
        "encoder_feedforward_dim": 4 * shape.hidden,
        "dim_feedforward": 8 * shape.hidden,
        "encoder_layers": shape.pixel_layers,
        "decoder_layers": shape.layers + 1,
        "num_queries": shape.queries,
        "num_labels": shape.classes,
        "no_object_weight": shape.no_object,
        "class_weight": CLASS_WEIGHT,
        "mask_weight": MASK_WEIGHT,
        "dice_weight": DICE_WEIGHT,
        "train_num_points": shape.points,
        "feature_strides": list(STRIDES),
    }
    return Mask2FormerConfig(**settings)


def load_decoder(model: InstanceModel, state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Take of `state` what fits pixel decoder and transformer decoder by name and shape.

    `state` are weights or a checkpoint of a run, or the weights of a Mask2Former of transformers. The class
    head stays. Returns how many tensors were taken and how many stay at random. Raises UltrasamError if none
    fits, or if one holds values that are no numbers.
    """
    there = dict(_in_own_names(state))
    own = {name: value for name, value in model.state_dict().items() if name.startswith(tuple(_PARTS))}
    fitting = {
        name: there[name].to(value.dtype)
        for name, value in own.items()
        if name in there and there[name].shape == value.shape
    }
    if not fitting:
        what = "of other sizes" if there else "none of a Mask2Former"
        raise UltrasamError(
            f"no weight fits the decoder, they are {what}: choose other weights or other sizes of the decoder"
        )
    if not all(torch.isfinite(value).all() for value in fitting.values()):
        raise UltrasamError("the decoder has values that are no numbers: its weights are unusable")
    model.load_state_dict(fitting, strict=False)
    return len(fitting), len(own) - len(fitting)


def _in_own_names(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        for own, other in _PARTS.items():
            # A checkpoint of a run, weights of a run, a checkpoint of transformers.
            for prefix in (f"model.{own}", own, other):
                if name.startswith(prefix):
                    yield own + name.removeprefix(prefix), value
