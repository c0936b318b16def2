"""SAM's two-way transformer between prompt tokens and image cells.

After Kirillov et al. 2023; parameter names are those of Meta's checkpoints.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.models.vit import MLPBlock


class CrossAttention(nn.Module):
    """Attention of (N, Q, width) to (N, K, width), with fewer channels inside."""

    def __init__(self, width: int, heads: int, shrink: int = 1):
        super().__init__()
        inside = width // shrink
        self.heads = heads
        self.q_proj = nn.Linear(width, inside)
        self.k_proj = nn.Linear(width, inside)
        self.v_proj = nn.Linear(width, inside)
        self.out_proj = nn.Linear(inside, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._split(x) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        y = F.scaled_dot_product_attention(q, k, v)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        return y

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Tokens to themselves, tokens to image, MLP, image to tokens; each added and normalised after it."""

    def __init__(self, width: int, heads: int, hidden: int, shrink: int, is_first: bool):
        super().__init__()
        self.self_attn = CrossAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = CrossAttention(width, heads, shrink)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, hidden, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = CrossAttention(width, heads, shrink)
        # In the first layer the tokens are their own positions.
        self.is_first = is_first

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`tokens`, `prompts` (N, P, width); `image` (1 or N, cells, width), `places` (1, cells, width)."""
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + prompts
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        tokens = tokens + self.cross_attn_token_to_image(tokens + prompts, image + places, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        q = tokens + prompts
        image = self.norm4(image + self.cross_attn_image_to_token(image + places, q, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two blocks, and at the end the tokens look at the image once more."""

    def __init__(self, width: int = 256, depth: int = 2, heads: int = 8, hidden: int = 2048, shrink: int = 2):
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, heads, hidden, shrink, is_first=number == 0) for number in range(depth)
        )
        self.final_attn_token_to_image = CrossAttention(width, heads, shrink)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor, places: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """`image` (1 or N, cells, width), `places` (1, cells, width), `prompts` (N, P, width) -> tokens (N,
        P, width) and image (N, cells, width).
        """
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, places)
        tokens = tokens + self.final_attn_token_to_image(tokens + prompts, image + places, image)
        return self.norm_final_attn(tokens), image
