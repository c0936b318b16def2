"""The blocks of SAM's image encoder on a CPU, without gradients: the same numbers in less time and memory.

Written out as modules a block spends much of its time on new memory and on copies between layouts. Here large
buffers are made once for all blocks, and queries, keys and values are copied once, straight into the layout
of the matrix products.

Two biases move. One that all keys share changes no softmax, so keys have none. One that all values share
comes out of the attention as it is, so it joins the bias of the projection. A padded token has no input: its
key and value are these biases and nothing else, so they stay 0 here and are never computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ultrasam.models.vit import Attention, Block

# Scores that are computed together, 16 MB: they stay in the cache while they are biased and normalised, and
# the products are large enough. Measured with benchmarks/sam_speed.py.
_SCORES_AT_ONCE = 2**22
# Tokens that go through a layer together, for the same reason; and since their maps, being small, come again
# and again from the same memory.
_TOKENS_AT_ONCE = 1024
# The operator is what torch.compile makes of linear layers on x86.
_HAS_ONEDNN = (
    torch.backends.mkl.is_available()
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


@dataclass(frozen=True, eq=False)
class _Heads:
    """Queries, keys and values of some heads in windows of `side` tokens: (B, rows, columns, heads, side,
    side, ...). Only some, so that they stay in the cache.

    In small windows queries and keys end with the biases: `rows` and `columns` entries that say how much a
    query adds for each row and column of keys, and that pick them.

    `products` has room for all queries of some groups times the tables of relative positions.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    products: Tensor
    folded: bool

    @property
    def side(self) -> int:
        return self.v.shape[4]

    @property
    def groups(self) -> list[Tensor]:
        """`q`, `k`, `v` and `out` as (groups, tokens, ...) with one group for each window and head."""
        return [x.view(-1, self.side**2, x.shape[-1]) for x in (self.q, self.k, self.v, self.out)]


def run_blocks(blocks: Sequence[Block], x: Tensor) -> Iterator[Tensor]:
    """The tokens (B, H, W, C) after each block, always in the memory of `x`, which must be contiguous."""
    b, h, w, c = x.shape
    flat = x.view(-1, c)
    count = len(flat)
    parts = [slice(start, start + _TOKENS_AT_ONCE) for start in range(0, count, _TOKENS_AT_ONCE)]
    qkv, y = x.new_empty(count, 3 * c), torch.empty_like(flat)
    scores = x.new_empty(_SCORES_AT_ONCE)
    heads: dict[int, _Heads] = {}
    for block in blocks:
        side = block.window or max(h, w)
        if side not in heads:
            heads[side] = _new_heads(x, block.attn.heads, side)
        attention, mlp = block.attn, block.mlp
        for some in parts:
            qkv[some] = _linear(block.norm1(flat[some]), attention.qkv.weight, None)
        of_heads = qkv.view(b, h, w, 3, attention.heads, -1), y.view(b, h, w, attention.heads, -1)
        _attend(heads[side], *of_heads, attention, scores)
        shared = attention.proj.bias + attention.proj.weight @ attention.qkv.bias[2 * c :]
        for some in parts:
            flat[some] += _linear(y[some], attention.proj.weight, shared)
            hidden = _linear(block.norm2(flat[some]), mlp.lin1.weight, mlp.lin1.bias)
            flat[some] += _linear(torch.ops.aten.gelu_(hidden), mlp.lin2.weight, mlp.lin2.bias)
        yield x


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` of (N, in), by oneDNN where it is there. Measured with benchmarks/sam_speed.py on an AMD
    EPYC: a tenth faster than MKL, which `F.linear` takes.
    """
    if _HAS_ONEDNN:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _new_heads(x: Tensor, count: int, side: int) -> _Heads:
    b, h, w, c = x.shape
    d = c // count
    windows = b * -(-h // side) * -(-w // side)
    most = max(1, _SCORES_AT_ONCE // (windows * side**4))
    some = max(number for number in range(1, count + 1) if count % number == 0 and number <= most)
    shape = (b, -(-h // side), -(-w // side), some, side, side)
    # Further entries cost products: few beside d in a window, many in a whole image.
    folded = 2 * side < d
    extra = 2 * side if folded else 0
    q, k = x.new_zeros(*shape, d + extra), x.new_zeros(*shape, d + extra)
    if folded:
        picks = torch.eye(side, dtype=x.dtype)
        k[..., d : d + side] = picks[:, None]
        k[..., d + side :] = picks
    groups = min(max(1, _SCORES_AT_ONCE // side**4), windows * some) if folded else 1
    products = x.new_empty(groups * side * side, 2 * (2 * side - 1))
    return _Heads(q, k, x.new_zeros(*shape, d), x.new_empty(*shape, d), products, folded)


def _pieces(heads: _Heads, tokens: Tensor, *windows: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Views of `tokens` (B, H, W, ..., heads, d) and of each of `windows` that show the same tokens: whole
    windows, then those cut by the border.
    """
    side = heads.side
    for top, rows, tall in _cuts(tokens.shape[1], side):
        for left, columns, wide in _cuts(tokens.shape[2], side):
            part = tokens[:, top * side :, left * side :][:, : rows * tall, : columns * wide]
            part = part.unflatten(2, (columns, wide)).unflatten(1, (rows, tall))
            of_windows = slice(top, top + rows), slice(left, left + columns)
            yield part, [window[:, of_windows[0], of_windows[1], :, :tall, :wide] for window in windows]


def _cuts(size: int, side: int) -> list[tuple[int, int, int]]:
    """(first window, windows, tokens in each) along a side: the whole windows and what is left."""
    whole, rest = divmod(size, side)
    return ([(0, whole, side)] if whole else []) + ([(whole, 1, rest)] if rest else [])


def _fill(heads: _Heads, qkv: Tensor, bias: Tensor) -> None:
    """`qkv` (B, H, W, 3, heads, d), without biases, into windows; `bias` (heads, 1, 1, d) is the queries'."""
    d = qkv.shape[-1]
    for part, (of_q, of_k, of_v) in _pieces(heads, qkv, heads.q[..., :d], heads.k[..., :d], heads.v):
        # (B, rows, tall, columns, wide, 3, heads, d) -> 3 x (B, rows, columns, heads, tall, wide, d)
        q, k, v = part.permute(5, 0, 1, 3, 6, 2, 4, 7)
        torch.add(q, bias, out=of_q)
        of_k.copy_(k)
        of_v.copy_(v)


def _gather(heads: _Heads, y: Tensor) -> None:
    """The answers of all windows into `y` (B, H, W, heads, d)."""
    for part, (out,) in _pieces(heads, y, heads.out):
        part.copy_(out.permute(0, 1, 4, 2, 5, 3, 6))


def _attend(heads: _Heads, qkv: Tensor, y: Tensor, attention: Attention, scores: Tensor) -> None:
    """`qkv` (B, H, W, 3, heads, d), without biases -> `y` (B, H, W, heads, d)."""
    d = heads.v.shape[-1]
    relative = attention.rel_pos_h, attention.rel_pos_w
    tables = torch.cat([distances(table, heads.side).flip(0) for table in relative])
    bias = attention.qkv.bias.view(3, attention.heads, 1, 1, d)[0]
    for first in range(0, attention.heads, heads.v.shape[3]):
        some = slice(first, first + heads.v.shape[3])
        _fill(heads, qkv[..., some, :], bias[some])
        if heads.folded:
            _attend_windows(heads, tables, scores)
        else:
            _attend_whole(heads, tables, scores)
        _gather(heads, y[..., some, :])


def distances(table: Tensor, size: int) -> Tensor:
    """A table (2 s - 1, d) with a vector for each distance, for `size` positions: interpolated linearly if it
    was made for another size, as SAM does for other image sizes.
    """
    if table.shape[0] == 2 * size - 1:
        return table
    stretched = F.interpolate(table.float().t()[None], size=2 * size - 1, mode="linear")
    return stretched[0].t().to(table.dtype)


def _skewed(products: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """What each query adds for each row and each column of keys, (..., side, side, side) both.

    `products` (n * side * side, 2 * (2 * side - 1)): every query times every vector of both tables, the
    distances from the largest to the smallest. One step of the query is one step back in the table, so the
    wanted entries are a view.
    """
    t = products.shape[1]
    n = products.shape[0] // (side * side)
    shape = (n, side, side, side)
    steps = side * side * t, side * t, t
    start = products.storage_offset() + side - 1
    rows = products.as_strided(shape, (steps[0], steps[1] - 1, steps[2], 1), start)
    columns = products.as_strided(shape, (steps[0], steps[1], steps[2] - 1, 1), start + 2 * side - 1)
    return rows, columns


def _attend_windows(heads: _Heads, tables: Tensor, scores: Tensor) -> None:
    """Many small groups."""
    q, k, v, out = heads.groups
    n, d = v.shape[1:]
    side = heads.side
    tables = tables * d**0.5  # which the scale of the products undoes
    at_once = len(heads.products) // n
    if n * n > scores.numel():
        scores = scores.new_empty(n * n)
    for g in range(0, len(q), at_once):
        groups = slice(g, g + at_once)
        some, count = q[groups], len(q[groups])
        of_group = heads.products[: count * n]
        torch.mm(some[..., :d].flatten(0, 1), tables.t(), out=of_group)
        rows, columns = _skewed(of_group, side)
        bias = some[..., d:].view(count, side, side, 2 * side)
        bias[..., :side] = rows
        bias[..., side:] = columns
        part = scores[: count * n * n].view(count, n, n)
        torch.baddbmm(part, some, k[groups].transpose(1, 2), beta=0, alpha=d**-0.5, out=part)
        torch.softmax(part, -1, out=part)
        torch.bmm(part, v[groups], out=out[groups])


def _attend_whole(heads: _Heads, tables: Tensor, scores: Tensor) -> None:
    """Few large groups, some rows of queries at a time."""
    q, k, v, out = heads.groups
    side, n = heads.side, v.shape[1]
    tall = max(1, min(side, scores.numel() // (side * n)))
    if side * n > scores.numel():
        scores = scores.new_empty(side * n)
    for group in range(len(q)):
        products = torch.mm(q[group], tables.t(), out=heads.products)
        rows, columns = (bias[0] for bias in _skewed(products, side))
        for i in range(0, side, tall):
            bias_h, bias_w = rows[i : i + tall, ..., None], columns[i : i + tall, :, None, :]
            queries = slice(i * side, i * side + len(bias_h) * side)
            part = scores[: len(bias_h) * side * n].view(-1, n)
            torch.add(bias_h, bias_w, out=part.view(-1, side, side, side))
            torch.addmm(part, q[group, queries], k[group].t(), alpha=q.shape[-1] ** -0.5, out=part)
            torch.softmax(part, -1, out=part)
            torch.mm(part, v[group], out=out[group, queries])
