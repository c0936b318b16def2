"""SAM's mask decoder: tokens and image embedding -> four masks and their predicted IoU.

After Kirillov et al. 2023; parameter names are those of Meta's checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.models.decoder_inference import MOST_TOKENS, run_decoder
from ultrasam.models.two_way import TwoWayTransformer
from ultrasam.models.vit import LayerNorm2d, without_gradients

NUM_MASKS = 4


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, width: int, hidden: int, out: int, depth: int):
        super().__init__()
        widths = [width, *[hidden] * (depth - 1), out]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(widths, widths[1:], strict=False))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        y: Tensor = self.layers[-1](x)
        return y


class MaskDecoder(nn.Module):
    """Mask 0 answers several prompts; masks 1 to 3 are the alternatives for an ambiguous one."""

    def __init__(self, channels: int = 256, iou_hidden: int = 256):
        super().__init__()
        self.transformer = TwoWayTransformer(channels)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(NUM_MASKS, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, 3) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = MLP(channels, iou_hidden, NUM_MASKS, 3)

    def forward(
        self, embedding: Tensor, places: Tensor, prompts: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`embedding` and `dense` (1 or N, C, h, w), `places` (1, C, h, w), `prompts` (N, P, C) -> logits (N,
        4, 4h, 4w) and predicted IoU (N, 4).
        """
        if prompts.shape[1] + NUM_MASKS + 1 <= MOST_TOKENS and without_gradients(prompts):
            return run_decoder(self, embedding, places, prompts, dense)
        n, (_, c, h, w) = prompts.shape[0], embedding.shape  # `len` would fix it in an export
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(n, -1, -1)
        image = (embedding + dense).flatten(2).transpose(1, 2)
        places = places.flatten(2).transpose(1, 2)
        tokens, image = self.transformer(image, places, torch.cat([own, prompts], 1))
        upscaled = self.output_upscaling(image.transpose(1, 2).reshape(-1, c, h, w))
        weights = torch.stack(
            [mlp(tokens[:, 1 + number]) for number, mlp in enumerate(self.output_hypernetworks_mlps)], 1
        )
        masks = (weights @ upscaled.flatten(2)).reshape(n, NUM_MASKS, 4 * h, 4 * w)
        return masks, self.iou_prediction_head(tokens[:, 0])
