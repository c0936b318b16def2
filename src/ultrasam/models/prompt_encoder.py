"""SAM's prompt encoder: clicks and box corners as tokens, a previous mask as a dense map.

After Kirillov et al. 2023; parameter names are those of Meta's checkpoints. Coordinates are final model
coordinates: nothing is added here (Meta's code adds 0.5, callers of ours have it).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ultrasam.models.vit import LayerNorm2d, without_gradients

PADDING, NEGATIVE, POSITIVE, FIRST_CORNER, SECOND_CORNER = -1, 0, 1, 2, 3


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of positions (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, positions: Tensor) -> Tensor:
        """`positions` (..., 2) x, y in [0, 1] -> (..., 2 * features)."""
        # A place in bfloat16 would be off by half a pixel of 1024.
        with torch.autocast(positions.device.type, enabled=False):
            angles = 2 * math.pi * ((2 * positions - 1) @ self.positional_encoding_gaussian_matrix)
            return torch.cat([angles.sin(), angles.cos()], -1)

    def grid(self, size: int) -> Tensor:
        """(1, 2 * features, size, size): the middles of the cells of a square grid."""
        matrix = self.positional_encoding_gaussian_matrix
        steps = (torch.arange(size, device=matrix.device, dtype=matrix.dtype) + 0.5) / size
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        encoded: Tensor = self(torch.stack([x, y], -1))
        return encoded.permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Points with labels -> tokens, and a mask -> a dense map."""

    def __init__(self, channels: int, image_size: int, grid: int, mask_channels: int = 16):
        super().__init__()
        self.image_size = image_size
        self.grid = grid
        self.pe_layer = PositionEmbeddingRandom(channels // 2)
        # In the order of the labels: negative, positive, first and second corner of a box.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """`points` (N, P, 2) model coordinates x, y; `labels` (N, P) -1 to 3 -> (N, P, channels)."""
        encoded = self.pe_layer(points / self.image_size)
        is_padding = (labels == PADDING)[..., None]
        kinds = torch.cat([self.not_a_point_embed.weight, *self.point_embeddings.parameters()])
        # Padding has no place, only its kind.
        return torch.where(is_padding, 0.0, encoded) + kinds[(labels + 1).long()]

    def dense(self, mask: Tensor, has_mask: Tensor) -> Tensor:
        """`mask` (N, 1, 4h, 4w) logits of the round before, `has_mask` (N,) 0 or 1 -> (N, channels, h, w), or
        (1, channels, 1, 1) if none counts and nothing is trained.
        """
        without = self.no_mask_embed.weight[:, :, None, None]
        if without_gradients(mask) and not has_mask.any():
            return without
        return torch.where(has_mask[:, None, None, None] > 0, self.mask_downscaling(mask), without)

    def positions(self) -> Tensor:
        """(1, channels, h, w): where the cells of the image embedding are."""
        return self.pe_layer.grid(self.grid)
