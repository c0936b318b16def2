"""SAM's mask decoder on a CPU, without gradients: the same numbers with less to multiply and to move.

Between a handful of tokens and thousands of image cells most of an attention is the projection of the cells.
Here the projections of the cells are multiplied into the tokens first: the score of a token t and a cell x is
(W_q t) . (W_k x) = (W_k' W_q t) . x. What all keys share changes no softmax, so the bias of the keys is left
out. The two transposed convolutions have strides as wide as their kernels, so they are matrix products of
each cell alone, and their maps are brought into order at the very end, when there are four values a cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.models.two_way import CrossAttention, TwoWayBlock, TwoWayTransformer
from ultrasam.models.vit import LayerNorm2d

if TYPE_CHECKING:
    from ultrasam.models.mask_decoder import MaskDecoder

# With more tokens their products with the cells cost more than projecting the cells.
MOST_TOKENS = 16


def run_decoder(
    decoder: MaskDecoder, embedding: Tensor, places: Tensor, prompts: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor]:
    """As `MaskDecoder.forward`."""
    c, h, w = embedding.shape[1:]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(prompts), -1, -1)
    image = (embedding + dense).flatten(2).transpose(1, 2).contiguous()
    where = places.flatten(2).transpose(1, 2).contiguous()
    tokens, image = _transform(decoder.transformer, image, where, torch.cat([own, prompts], 1))
    weights = torch.stack(
        [mlp(tokens[:, 1 + number]) for number, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    masks = _upscale(decoder.output_upscaling, image, weights, (h, w))
    return masks, decoder.iou_prediction_head(tokens[:, 0])


def _transform(
    transformer: TwoWayTransformer, image: Tensor, where: Tensor, prompts: Tensor
) -> tuple[Tensor, Tensor]:
    """As `TwoWayTransformer.forward`; an `image` (1, cells, width) is shared for as long as it can be."""
    tokens = prompts
    for layer in transformer.layers:
        assert isinstance(layer, TwoWayBlock)
        keys = image + where
        if layer.is_first:
            tokens = layer.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + prompts
            tokens = tokens + layer.self_attn(q, q, tokens)
        tokens = layer.norm1(tokens)
        tokens = tokens + _look(layer.cross_attn_token_to_image, tokens + prompts, keys, image)
        tokens = layer.norm2(tokens)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        told = _told(layer.cross_attn_image_to_token, keys, tokens + prompts, tokens, image)
        image = layer.norm4(told)
    found = _look(transformer.final_attn_token_to_image, tokens + prompts, image + where, image)
    return transformer.norm_final_attn(tokens + found), image


def _look(attention: CrossAttention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What few `queries` (N, P, width) find in many cells: `keys` and `values` (1 or N, cells, width)."""
    n, p, width = queries.shape
    q = _heads(attention.q_proj(queries), attention.heads)
    d = q.shape[-1]
    of_keys = attention.k_proj.weight.view(attention.heads, d, width)
    of_values = attention.v_proj.weight.view(attention.heads, d, width)
    asked = (q * d**-0.5) @ of_keys  # (N, heads, P, width)
    asked = asked.reshape(len(keys), -1, width)
    scores = torch.bmm(asked, keys.transpose(1, 2))
    torch.softmax(scores, -1, out=scores)
    found = torch.bmm(scores, values).view(n, attention.heads, p, width)
    y = (found @ of_values.transpose(1, 2)).transpose(1, 2).flatten(2) + attention.v_proj.bias
    return attention.out_proj(y)


def _told(attention: CrossAttention, queries: Tensor, keys: Tensor, values: Tensor, image: Tensor) -> Tensor:
    """`image` (1 or N, cells, width) and what its cells, as `queries`, find in few `keys` and `values` (N, P,
    width).
    """
    n, p, width = keys.shape
    heads = attention.heads
    k, v = (_heads(x, heads) for x in (attention.k_proj(keys), attention.v_proj(values)))
    d = k.shape[-1]
    k = k * d**-0.5
    of_queries = attention.q_proj.weight.view(heads, d, width)
    asked = (k @ of_queries).view(n, heads * p, width)
    bias = (k @ attention.q_proj.bias.view(heads, d, 1)).view(n, heads * p, 1)
    scores = torch.baddbmm(bias, asked, queries.expand(n, -1, -1).transpose(1, 2)).view(n, heads, p, -1)
    torch.softmax(scores, 2, out=scores)
    # The shares of a cell sum to 1 in each head, so the bias of the output may come with the values.
    out = attention.out_proj.weight.view(width, heads, d).permute(1, 2, 0)
    told = (v @ out + attention.out_proj.bias / heads).view(n, heads * p, width)
    return torch.baddbmm(image.expand(n, -1, -1), scores.view(n, heads * p, -1).transpose(1, 2), told)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(N, P, inside) -> (N, heads, P, inside / heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _upscale(layers: nn.Sequential, image: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """`image` (N, cells, C) with cells in `shape` (h, w) and `weights` (N, masks, C / 8) -> (N, masks, 4h,
    4w).
    """
    first, norm, _, second, _ = layers
    assert isinstance(norm, LayerNorm2d)
    h, w = shape
    y = _spread(first, image.flatten(0, 1))
    y = F.layer_norm(y, y.shape[-1:], norm.weight, norm.bias, norm.eps)
    y = _spread(second, torch.ops.aten.gelu_(y))
    y = torch.ops.aten.gelu_(y).view(len(image), -1, y.shape[-1])
    # Four parts of each cell, and four of each part: (N, h, w, 2, 2, 2, 2, masks)
    masks = torch.bmm(y, weights.transpose(1, 2)).view(len(image), h, w, 2, 2, 2, 2, -1)
    return masks.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(len(image), -1, 4 * h, 4 * w)


def _spread(layer: nn.Module, y: Tensor) -> Tensor:
    """A transposed convolution of kernel and stride 2 for each cell: (cells, C) -> (4 * cells, channels)."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    channels = weight.shape[1]
    matrix = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)
    return torch.addmm(bias.repeat(4), y, matrix).view(-1, channels)
