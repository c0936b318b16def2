"""Attention with decomposed relative positions, exact and without an (N, N) bias in memory.

The bias of a query at (i, j) and a key at (k, l) is q . rows[i, k] + q . columns[j, l] (Li et al. 2022).
Several ways compute it; `attend` chooses. Written out it is one matrix of 805 MB for the 4,096 tokens and 12
heads of a global block of ViT-B, and much of the time goes into its memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores of one block of queries, 16 MB: they stay in the cache while they are biased and normalised, and the
# products are large enough. Measured with benchmarks/sam_speed.py.
_SCORES_AT_ONCE = 2**22
# Scores of one operation of an exported graph, 67 MB. With fewer the graph is larger: of ViT-B it then takes
# minutes to export.
_SCORES_IN_A_GRAPH = 2**24


def attend(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`q`, `k`, `v` (B, heads, N, d) with N = H * W; `rows` (H, H, d), `columns` (W, W, d) -> as `q`."""
    if torch.compiler.is_exporting():
        return attend_in_graph(q, k, v, rows, columns)
    if q.device.type != "cpu":
        return attend_folded(q, k, v, rows, columns)
    return attend_in_blocks(q, k, v, rows, columns)


def biases(q: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """What each query adds for each key row, (B, heads, H, W, H), and for each key column, (..., W)."""
    h, w = len(rows), len(columns)
    q = q.reshape(*q.shape[:2], h, w, q.shape[-1])
    of_rows = torch.matmul(q, rows.transpose(1, 2))  # (B, heads, H, W, d) x (H, d, H)
    of_columns = torch.matmul(q.transpose(2, 3), columns.transpose(1, 2)).transpose(2, 3)
    return of_rows, of_columns


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """As the formula says; the reference of the others."""
    b, heads, n, d = q.shape
    h, w = len(rows), len(columns)
    of_rows, of_columns = biases(q, rows, columns)
    scores = (q * d**-0.5) @ k.transpose(-2, -1)
    scores = scores.reshape(b, heads, h, w, h, w) + of_rows[..., None] + of_columns[..., None, :]
    return scores.reshape(b, heads, n, n).softmax(-1) @ v


def _at_once(scores: int, h: int, w: int) -> tuple[int, int]:
    """Rows of queries, and groups (an image's heads), that together have at most so many scores."""
    n = h * w
    tall = max(1, min(h, scores // (w * n)))
    return tall, max(1, scores // (tall * w * n))


def attend_in_graph(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Some heads and rows of queries at a time, written out for runtimes that keep every intermediate."""
    b, heads, n, d = q.shape
    h, w = len(rows), len(columns)
    of_rows, of_columns = biases(q, rows, columns)
    q = (q * d**-0.5).reshape(b, heads, h, w, d)
    k = k.transpose(-2, -1)
    tall, wide = _at_once(_SCORES_IN_A_GRAPH // b, h, w)
    groups = []
    for g in range(0, heads, wide):
        some = slice(g, g + wide)
        parts = []
        for i in range(0, h, tall):
            few = slice(i, i + tall)
            scores = q[:, some, few].flatten(2, 3) @ k[:, some]
            scores = scores.unflatten(3, (h, w)).unflatten(2, (-1, w))
            scores = scores + of_rows[:, some, few, ..., None] + of_columns[:, some, few, :, None]
            parts.append(scores.flatten(4).flatten(2, 3).softmax(-1) @ v[:, some])
        groups.append(torch.cat(parts, 2))
    return torch.cat(groups, 1)


def attend_folded(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The biases as further entries of the queries, which the keys pick: for the fused kernels of a GPU."""
    b, heads, n, d = q.shape
    h, w = len(rows), len(columns)
    of_rows, of_columns = biases(q, rows, columns)
    folded = torch.cat([q * d**-0.5, of_rows.reshape(b, heads, n, h), of_columns.reshape(b, heads, n, w)], -1)
    picks_row = torch.eye(h, dtype=k.dtype, device=k.device).repeat_interleave(w, 0)
    picks_column = torch.eye(w, dtype=k.dtype, device=k.device).repeat(h, 1)
    picks = torch.cat([picks_row, picks_column], -1).expand(b, heads, n, h + w)
    return F.scaled_dot_product_attention(folded, torch.cat([k, picks], -1), v, scale=1.0)


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A few rows of queries at a time, so that their scores stay in the processor's cache."""
    b, heads, n, d = q.shape
    of_rows, of_columns = (bias.flatten(0, 1) for bias in biases(q, rows, columns))
    # One group for each image and head; contiguous, as the matrix products want them.
    q, k, v = (x.reshape(b * heads, n, d) for x in (q * d**-0.5, k, v))
    out: Tensor = _Blocks.apply(q, k, v, of_rows, of_columns)
    return out.reshape(b, heads, n, d)


class _Blocks(torch.autograd.Function):
    """softmax(q k' + bias) v, with the scores computed again in the backward pass instead of kept.

    `q`, scaled, `k` and `v` (G, N, d); `of_rows` (G, H, W, H), `of_columns` (G, H, W, W). Both passes have
    their buffers for scores: made anew for each block they leave holes in the heap, between the small
    results, that take three times the memory.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        out = torch.empty_like(q)
        for groups, queries, bias, (scores,) in _blocks(q, of_rows, of_columns, 1):
            _shares(scores, q[groups, queries], k[groups], *bias)
            torch.bmm(scores, v[groups], out=out[groups, queries])
        ctx.save_for_backward(q, k, v, of_rows, of_columns, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, of_rows, of_columns, out = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        d_rows, d_columns = torch.empty_like(of_rows), torch.empty_like(of_columns)
        inner = (grad * out).sum(-1, keepdim=True)
        for groups, queries, bias, (shares, ds) in _blocks(q, of_rows, of_columns, 2):
            some, of_out = q[groups, queries], grad[groups, queries]
            _shares(shares, some, k[groups], *bias)
            dv[groups].baddbmm_(shares.transpose(1, 2), of_out)
            torch.bmm(of_out, v[groups].transpose(1, 2), out=ds)
            ds.sub_(inner[groups, queries]).mul_(shares)  # the derivative of softmax
            torch.bmm(ds, k[groups], out=dq[groups, queries])
            dk[groups].baddbmm_(ds.transpose(1, 2), some)
            h, w = of_rows.shape[1:3]
            lattice = ds.view(len(ds), -1, w, h, w)
            rows = slice(queries.start // w, queries.stop // w)
            torch.sum(lattice, 4, out=d_rows[groups, rows])
            torch.sum(lattice, 3, out=d_columns[groups, rows])
        return dq, dk, dv, d_rows, d_columns


def _blocks(
    q: Tensor, of_rows: Tensor, of_columns: Tensor, buffers: int
) -> Iterator[tuple[slice, slice, tuple[Tensor, Tensor], list[Tensor]]]:
    """Groups and queries of each block, both biases of these, and so many buffers for their scores."""
    h, w = of_rows.shape[1:3]
    n = h * w
    tall, wide = _at_once(_SCORES_AT_ONCE, h, w)
    wide = min(len(q), wide)
    memory = [q.new_empty(wide * tall * w * n) for _ in range(buffers)]
    for g in range(0, len(q), wide):
        groups = slice(g, min(g + wide, len(q)))
        for i in range(0, h, tall):
            some = slice(i, min(i + tall, h))
            shape = groups.stop - g, (some.stop - i) * w, n
            size = shape[0] * shape[1] * n
            bias = of_rows[groups, some], of_columns[groups, some]
            yield groups, slice(i * w, some.stop * w), bias, [part[:size].view(shape) for part in memory]


def _shares(scores: Tensor, q: Tensor, k: Tensor, of_rows: Tensor, of_columns: Tensor) -> None:
    """What each query takes of each key, into `scores`."""
    lattice = scores.view(*of_rows.shape[:3], of_rows.shape[3], of_columns.shape[3])
    torch.add(of_rows[..., None], of_columns[..., None, :], out=lattice)
    torch.baddbmm(scores, q, k.transpose(1, 2), out=scores)
    torch.softmax(scores, -1, out=scores)
