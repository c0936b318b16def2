"""The image encoder of SAM: a ViT with windowed and global attention and decomposed relative positions.

After Kirillov et al. 2023 (Segment Anything) and Li et al. 2022 (ViTDet). Parameter names are those of Meta's
checkpoints, so that a state dict loads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultrasam.models.attention import attend
from ultrasam.models.vit_inference import distances, run_blocks


@dataclass(frozen=True)
class ViTConfig:
    """Shape of an encoder. `image_size` and `window` in pixels and patches; 0 in `window` for none."""

    image_size: int = 1024
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    channels: int = 256

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch


class LayerNorm2d(nn.Module):
    """Normalises over the channels of (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, (last.shape[-1],), self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them; in training with `dropout` after both."""

    def __init__(self, width: int, hidden: int, act: type[nn.Module] = nn.GELU):
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = act()
        self.dropout = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.lin1(x)
        if self.training and self.dropout:
            y = F.dropout(self.act(y), self.dropout)
            return F.dropout(self.lin2(y), self.dropout)
        if not torch.is_grad_enabled() and isinstance(self.act, nn.GELU):
            torch.ops.aten.gelu_(y)  # in place: a new map of 50 MB costs as much as the activation itself
        else:
            y = self.act(y)
        z: Tensor = self.lin2(y)
        return z


class PatchEmbed(nn.Module):
    """(B, 3, S, S) -> (B, S / patch, S / patch, width)."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.proj(image)
        return y.permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head self-attention over (B, H, W, C) with a learned bias for each row and column distance."""

    def __init__(self, width: int, heads: int, size: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        rows, columns = relative(self.rel_pos_h, h), relative(self.rel_pos_w, w)
        y = attend(q, k, v, rows, columns)
        y = self.proj(y.transpose(1, 2).reshape(b, h, w, c))
        return y


def relative(table: Tensor, size: int) -> Tensor:
    """(2 s - 1, d), a vector for each distance -> (size, size, d), one for each query and key position."""
    positions = torch.arange(size, device=table.device)
    return distances(table, size)[positions[:, None] - positions[None, :] + size - 1]


class Block(nn.Module):
    """Attention and MLP, each on the normalised input and added to it."""

    def __init__(self, config: ViTConfig, window: int):
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.heads, window or config.grid)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.window:
            b, h, w, _ = y.shape
            y = from_windows(self.attn(to_windows(y, self.window)), self.window, (b, h, w))
        else:
            y = self.attn(y)
        x = x + y
        z: Tensor = x + self.mlp(self.norm2(x))
        return z


def to_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, side, side, C), padded with 0 on the right and at the bottom."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    x = x.reshape(b, x.shape[1] // side, side, x.shape[2] // side, side, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, c)


def from_windows(x: Tensor, side: int, shape: tuple[int, int, int]) -> Tensor:
    """The way back of `to_windows` to `shape` (B, H, W)."""
    b, h, w = shape
    rows, columns = -(-h // side), -(-w // side)
    x = x.reshape(b, rows, columns, side, side, -1).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, rows * side, columns * side, -1)[:, :h, :w]


def without_gradients(x: Tensor) -> bool:
    """Whether this is inference in float32 on a CPU, for which there are quicker ways than the modules."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and not (torch.is_grad_enabled() or torch.compiler.is_compiling())


class ImageEncoderViT(nn.Module):
    """Normalised image (B, 3, S, S) -> embedding (B, channels, S / patch, S / patch)."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        self.checkpointing = False
        """Whether training recomputes each block instead of keeping its activations."""
        self.patch_embed = PatchEmbed(config.patch, config.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.width))
        self.blocks = nn.ModuleList(
            Block(config, 0 if number in config.global_blocks else config.window)
            for number in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, config.channels, 1, bias=False),
            LayerNorm2d(config.channels),
            nn.Conv2d(config.channels, config.channels, 3, padding=1, bias=False),
            LayerNorm2d(config.channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.neck(self.features(image)[-1].permute(0, 3, 1, 2))
        return embedding

    def features(self, image: Tensor, after: tuple[int, ...] = ()) -> list[Tensor]:
        """Tokens (B, H, W, width) after the blocks of these numbers and, last, after all of them."""
        x = self.patch_embed(image) + self.pos_embed
        kept = []
        if without_gradients(x):
            x = x.contiguous()
            blocks = [block for block in self.blocks if isinstance(block, Block)]
            for number, _ in enumerate(run_blocks(blocks, x)):
                if number in after:
                    kept.append(x.clone())
            return [*kept, x]
        for number, block in enumerate(self.blocks):
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
            if number in after:
                kept.append(x)
        return [*kept, x]
