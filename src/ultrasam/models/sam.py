"""SAM ViT-B, -L and -H (Kirillov et al. 2023), with the decoder contract of this package."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ultrasam.models.mask_decoder import MaskDecoder
from ultrasam.models.prompt_encoder import PromptEncoder
from ultrasam.models.vit import ImageEncoderViT, ViTConfig, without_gradients

# Objects whose maps of 8 MB each stay in the processor's cache. Measured with benchmarks/sam_speed.py.
_OBJECTS_AT_ONCE = 2
# The mean and standard deviation of ImageNet on the 0-255 scale.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SamConfig:
    """Shape of a model; the prompt encoder and the decoder are the same in all of them."""

    encoder: ViTConfig = field(default_factory=ViTConfig)

    @property
    def image_size(self) -> int:
        return self.encoder.image_size


PRESETS = {
    "vit-b": SamConfig(),
    "vit-l": SamConfig(ViTConfig(width=1024, depth=24, heads=16, hidden=4096, global_blocks=(5, 11, 17, 23))),
    "vit-h": SamConfig(ViTConfig(width=1280, depth=32, heads=16, hidden=5120, global_blocks=(7, 15, 23, 31))),
    # For tests: every part, in seconds.
    "tiny": SamConfig(
        ViTConfig(image_size=128, width=32, depth=4, heads=2, hidden=64, window=3, global_blocks=(1, 3))
    ),
}


class Sam(nn.Module):
    """`encode` once per image, `decode` once per prompt."""

    def __init__(self, config: SamConfig):
        super().__init__()
        self.config = config
        encoder = config.encoder
        self.image_encoder = ImageEncoderViT(encoder)
        self.prompt_encoder = PromptEncoder(encoder.channels, encoder.image_size, encoder.grid)
        self.mask_decoder = MaskDecoder(encoder.channels)

    def encode(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, S, S) -> embedding (B, C, S / 16, S / 16)."""
        embedding: Tensor = self.image_encoder(image)
        return embedding

    def decode(
        self, embedding: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The decoder contract.

        `embedding` (1 or N, C, h, w); `points` (N, P, 2) model coordinates x, y; `labels` (N, P): -1 padding,
        0 negative, 1 positive, 2 and 3 box corners; `mask` (N, 1, 4h, 4w) logits of the previous pass;
        `has_mask` (N,) 0 or 1. Returns masks (N, 4, 4h, 4w) float32 logits and predicted IoU (N, 4).
        """
        tokens = self.prompt_encoder.tokens(points, labels)
        places = self.prompt_encoder.positions()
        if not without_gradients(embedding):
            dense = self.prompt_encoder.dense(mask, has_mask)
            masks, iou = self.mask_decoder(embedding, places, tokens, dense)
            return masks.float(), iou.float()
        found = []
        for start in range(0, len(tokens), _OBJECTS_AT_ONCE):
            some = slice(start, start + _OBJECTS_AT_ONCE)
            of_them = embedding if len(embedding) == 1 else embedding[some]
            dense = self.prompt_encoder.dense(mask[some], has_mask[some])
            found.append(self.mask_decoder(of_them, places, tokens[some], dense))
        masks, iou = (torch.cat(part) for part in zip(*found, strict=True))
        return masks, iou


def random_sam(config: SamConfig, seed: int = 0) -> Sam:
    """A model with random weights in which no part is silent; for tests and benchmarks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Sam(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
            else:
                fan = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * min(0.5, fan**-0.5))
    return model
