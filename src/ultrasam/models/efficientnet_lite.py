"""EfficientNet-Lite image backbones (no squeeze-excite, ReLU6), as a four-level feature extractor.

The layer names and the asymmetric "same" padding follow the TensorFlow release
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache-2.0), so that its
converted ImageNet weights load and give the features they were trained for.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# kernel, stride, expansion, output channels, repeats (depth multiplier 1)
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# name -> (width multiplier, depth multiplier)
VARIANTS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
# The stages whose outputs have strides 4, 8, 16 and 32.
_LEVELS = (1, 2, 4, 6)


def _round_channels(channels: int, width: float) -> int:
    if width == 1.0:
        return channels
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


class Conv2d(nn.Conv2d):
    """A convolution that computes depthwise in float32 on a CPU, also under autocast.

    The CPU kernels for the gradient of a depthwise bfloat16 convolution are two to six times slower than
    float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1 or x.dtype != torch.bfloat16 or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class SameConv2d(Conv2d):
    """Convolution with TensorFlow's "same" padding: for stride 2 the odd pixel is added right and bottom."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=(kernel - 1) // 2 if stride == 1 else 0,
            groups=groups,
            bias=False,
        )
        before = (kernel - 2) // 2
        self._pad = (before, kernel - 2 - before) * 2 if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self._pad is None else F.pad(x, self._pad))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; residual where the shape allows."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv2d(in_channels, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv2d(hidden, out_channels, 1)
        self._bn2 = _norm(out_channels)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """Image (B, 3, H, W), H and W multiples of 32 -> features at strides 4, 8, 16 and 32.

    `channels` holds the four channel counts. Raises ValueError for an unknown variant.
    """

    def __init__(self, variant: str = "lite0"):
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"unknown EfficientNet-Lite variant {variant!r}: choose from {sorted(VARIANTS)}")
        width, depth = VARIANTS[variant]
        self._conv_stem = SameConv2d(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        level_ends: list[int] = []
        channels: list[int] = []
        previous = 32
        for index, (kernel, stride, expansion, out, repeats) in enumerate(_STAGES):
            out = _round_channels(out, width)
            # The first and the last stage are not repeated in the Lite family.
            count = repeats if index in (0, len(_STAGES) - 1) else math.ceil(repeats * depth)
            for i in range(count):
                blocks.append(InvertedResidual(previous, out, kernel, stride if i == 0 else 1, expansion))
                previous = out
            if index in _LEVELS:
                level_ends.append(len(blocks) - 1)
                channels.append(out)
        self._blocks = nn.ModuleList(blocks)
        self.level_ends = tuple(level_ends)
        self.channels = tuple(channels)
        self.frozen = 0

    def freeze(self, blocks: int) -> None:
        """Train neither the stem nor the first `blocks` blocks; their statistics stay too. 0 freezes
        nothing.

        They work on the largest maps: without them a step costs much less.
        """
        self.frozen = blocks
        for module in self._fixed():
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite:
        super().train(mode)
        for module in self._fixed():
            module.eval()
        return self

    def _fixed(self) -> list[nn.Module]:
        return [self._conv_stem, self._bn0, *self._blocks[: self.frozen]] if self.frozen else []

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(image)))
        levels = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.level_ends:
                levels.append(x)
        return levels

    def load_imagenet(self, state_dict: dict[str, Tensor]) -> None:
        """Load converted ImageNet weights; the classification head is dropped, anything else must match.

        Raises KeyError that names every missing or unexpected key.
        """
        kept = {k: v for k, v in state_dict.items() if not k.startswith(("_conv_head", "_bn1", "_fc"))}
        missing, unexpected = self.load_state_dict(kept, strict=False)
        if missing or unexpected:
            raise KeyError(f"ImageNet weights do not fit: missing {missing}, unexpected {unexpected}")
