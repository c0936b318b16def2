"""ultrasam-lite: a promptable ultrasound model for a laptop CPU.

Encoder: EfficientNet-Lite and a feature pyramid; one embedding per image, which holds a stride-8 map and
behind it a stride-4 map, its memory read as more channels (moving it would cost a tenth of a click). Decoder:
prompts are drawn as dense maps (clicks as Gaussians, a box as its signed distance and its inscribed ellipse,
the previous mask as it is) and a small convolutional U-Net turns embedding and maps into four masks with
predicted IoU. Drawing prompts gives the decoder their exact place, which a token would have to learn.

It keeps the decoder contract of every model of this package (see `LiteSam.decode`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.models.efficientnet_lite import Conv2d, EfficientNetLite

NUM_MASKS = 4
# Width of the drawn clicks as a share of the image size: the exact place, its neighbourhood, its region.
_CLICK_SIGMAS = (1 / 96, 1 / 32, 1 / 10)
_PROMPT_MAPS = 2 * len(_CLICK_SIGMAS) + 3 + 2


@dataclass(frozen=True)
class LiteConfig:
    """Shape of a lite model. `image_size` is a multiple of 32; widths are channel counts."""

    image_size: int = 320
    backbone: str = "lite0"
    pyramid: int = 128
    fine: int = 32
    widths: tuple[int, int, int, int] = (64, 128, 192, 256)


class LayerNorm2d(nn.GroupNorm):
    """Normalises one object over channels and positions, so that training and inference see the same
    statistics.
    """

    def __init__(self, channels: int):
        super().__init__(1, channels)


class ConvBlock(nn.Module):
    """Residual block: depthwise convolution, normalisation, 1x1 expansion by 2, ReLU, 1x1 projection."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.spatial = Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        # The norm's affine part and the scale go to weights, not to maps: in a file that costs nothing.
        y = F.group_norm(self.spatial(x), 1, eps=self.norm.eps)
        weight, shift = self.expand.weight, self.norm.bias.reshape(-1, 1)
        bias = _bias_of(self.expand) + (weight.flatten(1) @ shift).flatten()
        y = F.relu(F.conv2d(y, weight * self.norm.weight.reshape(1, -1, 1, 1), bias))
        scale = self.scale.reshape(-1, 1, 1, 1)
        return x + F.conv2d(y, self.project.weight * scale, _bias_of(self.project) * scale.flatten())


def _bias_of(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions of a small map (B, C, H, W), residual."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm2d(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        # (B, heads, N, d): the exporter and the fast kernels want four dimensions.
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(3, 4)
        q, k, v = qkv.unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.project(y.transpose(2, 3).reshape(b, c, h, w))


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class LiteEncoder(nn.Module):
    """Normalised image (B, 3, S, S) -> embedding (B, pyramid + 4 * fine, S/8, S/8)."""

    def __init__(self, config: LiteConfig):
        super().__init__()
        self.backbone = EfficientNetLite(config.backbone)
        c4, c8, c16, c32 = self.backbone.channels
        self.lateral4 = nn.Conv2d(c4, config.fine, 1)
        self.lateral8 = nn.Conv2d(c8, config.pyramid, 1)
        self.lateral16 = nn.Conv2d(c16, config.pyramid, 1)
        self.lateral32 = nn.Conv2d(c32, config.pyramid, 1)
        self.smooth32 = _separable(config.pyramid)
        self.smooth16 = _separable(config.pyramid)
        self.smooth8 = _separable(config.pyramid)
        self.down4 = nn.Conv2d(config.pyramid, config.fine, 1)
        self.smooth4 = _separable(config.fine)
        self.norm = LayerNorm2d(config.pyramid)

    def forward(self, image: Tensor) -> Tensor:
        x4, x8, x16, x32 = self.backbone(image)
        p32 = self.smooth32(self.lateral32(x32))
        p16 = self.smooth16(self.lateral16(x16) + _double(p32))
        p8 = self.smooth8(self.lateral8(x8) + _double(p16))
        p4 = self.smooth4(self.lateral4(x4) + _double(self.down4(p8)))
        return torch.cat([self.norm(p8), p4.reshape(len(p4), -1, *p8.shape[2:])], dim=1)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def draw_prompts(points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor, size: int) -> Tensor:
    """Prompts as dense maps on the mask grid.

    `points` (N, P, 2) model coordinates, `labels` (N, P), `mask` (N, 1, m, m) logits, `has_mask` (N,), `size`
    the image size -> (N, 11, m, m): positive and negative clicks at three widths, box presence, signed
    distance to the box in units of 1/16 of the image clipped to [-1, 1], inscribed ellipse in [-1, 1],
    squashed previous mask, mask presence.
    """
    m = mask.shape[-1]
    steps = (torch.arange(m, device=points.device, dtype=points.dtype) + 0.5) * (size / m)
    dx = steps - points[:, :, 0:1]  # (N, P, m)
    dy = steps - points[:, :, 1:2]
    maps = []
    for sign in (1, 0):
        chosen = (labels == sign).to(points.dtype)[:, :, None]
        for sigma in _CLICK_SIGMAS:
            # A Gaussian is separable: two vectors a click instead of a map.
            gx = torch.exp(-0.5 * (dx / (sigma * size)) ** 2) * chosen
            gy = torch.exp(-0.5 * (dy / (sigma * size)) ** 2)
            maps.append((gy[:, :, :, None] * gx[:, :, None, :]).amax(1))
    corner0 = (labels == 2).to(points.dtype)
    corner1 = (labels == 3).to(points.dtype)
    has_box = corner0.amax(1)[:, None, None]
    x0, y0 = (points * corner0[:, :, None]).sum(1)[:, :, None].unbind(1)  # (N, 1)
    x1, y1 = (points * corner1[:, :, None]).sum(1)[:, :, None].unbind(1)
    left, right = steps - x0, x1 - steps  # (N, m)
    top, bottom = steps - y0, y1 - steps
    inside = torch.minimum(torch.minimum(left, right)[:, None, :], torch.minimum(top, bottom)[:, :, None])
    ex = (2 * steps - x0 - x1) / (x1 - x0).clamp_min(1.0)
    ey = (2 * steps - y0 - y1) / (y1 - y0).clamp_min(1.0)
    ellipse = 1 - (ex**2)[:, None, :] - (ey**2)[:, :, None]
    maps += [
        has_box.expand(-1, m, m),
        (inside * (16 / size)).clamp(-1, 1) * has_box,
        ellipse.clamp(-1, 1) * has_box,
    ]
    has = has_mask.to(points.dtype)[:, None, None]
    maps += [torch.tanh(mask[:, 0] / 4) * has, has.expand(-1, m, m)]
    return torch.stack(maps, dim=1)


class LiteDecoder(nn.Module):
    """Embedding and prompts -> four masks and their predicted IoU; see `LiteSam.decode`."""

    def __init__(self, config: LiteConfig):
        super().__init__()
        self.size = config.image_size
        self.coarse = config.pyramid
        w4, w8, w16, w32 = config.widths
        stem = w4 // 2
        self.stem4 = nn.Sequential(nn.Conv2d(4 * _PROMPT_MAPS, stem, 3, padding=1), nn.ReLU())
        self.stem8 = nn.Sequential(
            nn.Conv2d(stem, w8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(w8, w8, 1)
        )
        self.image8 = nn.Conv2d(config.pyramid, w8, 1)
        self.image4 = nn.Conv2d(config.fine + stem, w4, 1)
        self.down8 = nn.Sequential(ConvBlock(w8, 3), ConvBlock(w8, 3))
        self.to16 = nn.Conv2d(w8, w16, 2, stride=2)
        self.down16 = nn.Sequential(ConvBlock(w16, 5), ConvBlock(w16, 5))
        self.to32 = nn.Conv2d(w16, w32, 2, stride=2)
        self.bottom = nn.Sequential(ConvBlock(w32, 5), SelfAttention(w32), ConvBlock(w32, 5))
        self.from32 = nn.Conv2d(w32, w16, 1)
        self.up16 = ConvBlock(w16, 5)
        self.from16 = nn.Conv2d(w16, w8, 1)
        self.up8 = ConvBlock(w8, 3)
        self.from8 = nn.Conv2d(w8, w4, 1)
        self.up4 = ConvBlock(w4, 3)
        self.mask_head = nn.Sequential(nn.ReLU(), nn.Conv2d(w4, 4 * NUM_MASKS, 3, padding=1))
        self.iou_head = nn.Sequential(nn.Linear(w32 + w4 + 4, 128), nn.ReLU(), nn.Linear(128, NUM_MASKS))

    def forward(
        self, embedding: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Drawing is exact geometry: keep it in float32 under autocast.
        with torch.autocast(points.device.type, enabled=False):
            maps = draw_prompts(points.float(), labels, mask.float(), has_mask, self.size)
        prompt4 = self._stem(maps)
        n, _, height, width = prompt4.shape
        image8, fine = embedding[:, : self.coarse], embedding[:, self.coarse :]
        image4 = fine.reshape(len(fine), -1, height, width).expand(n, -1, -1, -1)
        x8 = self.down8(self.image8(image8) + self.stem8(prompt4))
        x16 = self.down16(self.to16(x8))
        x32 = self.bottom(self.to32(x16))
        x16 = self.up16(x16 + _double(self.from32(x32)))
        x8 = self.up8(x8 + _double(self.from16(x16)))
        x4 = self.up4(self.image4(torch.cat([image4, prompt4], dim=1)) + _double(self.from8(x8)))
        masks = F.pixel_shuffle(self.mask_head(x4), 2).float()
        return masks, self._predict_iou(masks, x4, x32)

    def _stem(self, maps: Tensor) -> Tensor:
        """`stem4` on the maps with 2 x 2 pixels folded into channels, as one convolution of 6 x 6 and stride
        2 on the maps themselves: the same sums, without moving memory.
        """
        conv = self.stem4[0]
        assert isinstance(conv, nn.Conv2d)
        weight = conv.weight.reshape(-1, _PROMPT_MAPS, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
        return F.relu(F.conv2d(maps, weight.reshape(-1, _PROMPT_MAPS, 6, 6), conv.bias, stride=2, padding=2))

    def _predict_iou(self, masks: Tensor, x4: Tensor, x32: Tensor) -> Tensor:
        """Each mask is judged by what the features say inside it and by its own certainty."""
        n = masks.shape[0]
        p = torch.sigmoid(masks.detach())
        hard = (p > 0.5).to(p.dtype)
        area, hard_area = p.mean((2, 3)), hard.mean((2, 3))
        overlap = (p * hard).mean((2, 3))
        # What the IoU would be if the probabilities were calibrated: E[intersection] / E[union].
        expected = overlap / (area + hard_area - overlap).clamp_min(1e-6)
        doubt = (p * (1 - p)).mean((2, 3)) / area.clamp_min(1e-6)
        certainty = torch.stack([expected, doubt, area.sqrt(), hard_area.sqrt()], dim=2)  # (N, 4, 4)
        p4 = F.avg_pool2d(p, 2)
        pooled = (p4.flatten(2) @ x4.float().flatten(2).transpose(1, 2)) / p4.sum((2, 3))[
            :, :, None
        ].clamp_min(1.0)
        whole = x32.float().mean((2, 3))[:, None, :].expand(-1, NUM_MASKS, -1)
        scores = self.iou_head(torch.cat([whole, pooled, certainty], dim=2))  # (N, mask, head)
        # Every mask has a head of its own: the diagonal.
        return torch.sigmoid(
            (scores * torch.eye(NUM_MASKS, device=scores.device, dtype=scores.dtype)).sum(2)
        ).reshape(n, NUM_MASKS)


class LiteSam(nn.Module):
    """The whole lite model: `encode` once per image, `decode` once per prompt."""

    def __init__(self, config: LiteConfig | None = None):
        super().__init__()
        self.config = config or LiteConfig()
        self.encoder = LiteEncoder(self.config)
        self.decoder = LiteDecoder(self.config)

    def encode(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, S, S) float32 -> embedding (B, C, S/8, S/8)."""
        embedding: Tensor = self.encoder(image)
        return embedding

    def decode(
        self, embedding: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The decoder contract.

        `embedding` (1 or N, C, h, w); `points` (N, P, 2) model coordinates x, y; `labels` (N, P): -1 padding,
        0 negative, 1 positive, 2 and 3 box corners; `mask` (N, 1, 4h, 4w) logits of the previous pass;
        `has_mask` (N,) 0 or 1. Returns masks (N, 4, 4h, 4w) float32 logits and predicted IoU (N, 4) in [0,
        1]. Mask 0 is the single-mask answer, masks 1 to 3 are the alternatives for an ambiguous prompt.
        """
        masks, iou = self.decoder(embedding, points, labels, mask, has_mask)
        return masks, iou
