"""Attention among the sites of a scale (Markov), or of a scale and all coarser ones (prefix)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.types import Level


class KVCache:
    """Keys and values of the scales seen so far, allocated once; for prefix sampling.

    Args:
        depth: blocks.
        shape: (B, heads, tokens of all scales, head width).
    """

    def __init__(self, depth: int, shape: tuple[int, int, int, int], like: Tensor) -> None:
        self.keys = [like.new_empty(shape) for _ in range(depth)]
        self.values = [like.new_empty(shape) for _ in range(depth)]
        self.length = 0

    def keep(self, batch: int) -> None:
        """Go on with the first ``batch`` samples only."""
        self.keys = [k[:batch] for k in self.keys]
        self.values = [v[:batch] for v in self.values]

    def extend(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, H, N, d) behind what is there and return all of it; the caller advances ``length`` at the end."""
        stop = self.length + k.shape[2]
        self.keys[block][:, :, self.length : stop] = k
        self.values[block][:, :, self.length : stop] = v
        return self.keys[block][:, :, :stop], self.values[block][:, :, :stop]


@dataclass(frozen=True)
class Relations:
    """The relations of one scale as attention needs them, made once for all blocks.

    Attributes:
        bias: (B|1, heads|1, N, N) added to scores (learned from pair features; -inf where a key is masked), or None.
        edges: (2, E) rows (query, key), or None for dense attention.
        edge_bias: (heads, E) or None.
    """

    bias: Tensor | None = None
    edges: Tensor | None = None
    edge_bias: Tensor | None = None


class RelationBias(nn.Module):
    """Turns pair and edge features into one bias per head."""

    def __init__(self, pair_features: int, heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(pair_features, heads, bias=False) if pair_features else None

    def forward(self, level: Level) -> Relations:
        if level.edges is not None:
            bias = None if level.edge_features is None or self.linear is None else self.linear(level.edge_features).T
            return Relations(edges=level.edges, edge_bias=bias)
        dense = None if level.pair is None or self.linear is None else self.linear(level.pair).permute(0, 3, 1, 2)
        if level.mask is not None:
            # masked keys get a large finite bias: a row with no keys at all must not become NaN
            masked = torch.zeros(level.mask.shape, device=level.mask.device).masked_fill(~level.mask, -1e9)
            dense = masked[:, None, None, :] + (0 if dense is None else dense)
            dense = dense.expand(-1, -1, level.num_sites, -1)
        return Relations(bias=dense)


class Attention(nn.Module):
    """Multi-head attention with VAR's arithmetic: unit queries and keys, a learned temperature per head.

    The scales of a sequence attend separately, one call each, so neither mode needs a mask: in Markov mode a scale
    sees itself, in prefix mode it sees the sequence up to its own end.
    """

    def __init__(self, width: int, heads: int, prefix: bool) -> None:
        super().__init__()
        self.heads, self.prefix = heads, prefix
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))  # a bias on keys would cancel in the softmax
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(4.0)))
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x_BLD: Tensor,
        lengths: list[int],
        relations: list[Relations],
        cache: KVCache | None = None,
        block: int = 0,
    ) -> Tensor:
        """(B, L, D) to (B, L, D), L = sum of ``lengths``, the sites of each scale in the sequence."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x_BLD, self.qkv.weight, bias).unflatten(2, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2).contiguous() for part in qkv.unbind(2))  # a third faster than strided, on CPUs
        q = F.normalize(q, dim=-1) * self.log_scale.clamp_max(math.log(100.0)).exp()
        k = F.normalize(k, dim=-1)
        if cache is not None:
            k, v = cache.extend(block, k, v)
        seen = k.shape[2] - q.shape[2]  # keys of earlier calls
        outputs, start = [], 0
        for length, relation in zip(lengths, relations, strict=True):
            stop = start + length
            keys = slice(0 if self.prefix else seen + start, seen + stop)
            outputs.append(attend(q[:, :, start:stop], k[:, :, keys], v[:, :, keys], relation))
            start = stop
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        return self.proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def attend(q: Tensor, k: Tensor, v: Tensor, relations: Relations) -> Tensor:
    """(B, H, N, d) queries over (B, H, M, d) keys and values, dense or along edges; scores are not rescaled."""
    if relations.edges is not None:
        return attend_edges(q, k, v, relations.edges, relations.edge_bias)
    bias = None if relations.bias is None else relations.bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)


def attend_edges(q: Tensor, k: Tensor, v: Tensor, edges: Tensor, bias: Tensor | None) -> Tensor:
    """Attention along ``edges`` (2, E) only: cost O(E), not O(N^2). A site with no edge gets zeros."""
    query, key = edges
    scores = (q[:, :, query] * k[:, :, key]).sum(-1).float()  # (B, H, E)
    if bias is not None:
        scores = scores + bias
    index = query.expand_as(scores)
    top = scores.new_full(q.shape[:3], -torch.inf).scatter_reduce(2, index, scores, "amax")
    weights = (scores - top.gather(2, index)).exp()
    total = scores.new_zeros(q.shape[:3]).scatter_add(2, index, weights)
    out = torch.zeros_like(q).index_add(2, query, (weights[..., None] * v[:, :, key]).to(q.dtype))
    return out / total.clamp_min(1e-30)[..., None].to(q.dtype)
