"""Attention among the sites of a scale (Markov), or of a scale and all coarser ones (prefix)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.errors import require
from refine.linear import Linear, linear
from refine.types import Level

GATHERED = 2**21  # numbers gathered along edges at a time, so that they stay in a CPU's cache whatever the batch


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
        bias: added to scores: (B|1, heads|1, N, N) learned from pair features, -inf where a key is masked; or, along
            edges, (heads|1, N, M) with a large negative number where a site has fewer than M keys. None for nothing.
        keys: (N, M) the keys of each site along the edges, or None for dense attention.
        alone: (N,) bool, true where a site has no key at all.
    """

    bias: Tensor | None = None
    keys: Tensor | None = None
    alone: Tensor | None = None


class RelationBias(nn.Module):
    """Turns pair and edge features into one bias per head."""

    def __init__(self, pair_features: int, heads: int) -> None:
        super().__init__()
        self.linear = Linear(pair_features, heads, bias=False) if pair_features else None

    def forward(self, level: Level) -> Relations:
        if level.edges is not None:
            require(level.mask is None, "attention along edges takes no mask of sites; levels with a mask are dense")
            bias = self._by_head(level.edge_features)
            return along_edges(level.edges, level.num_sites, None if bias is None else bias.T)
        pairs = self._by_head(level.pair)
        dense = None if pairs is None else pairs.permute(0, 3, 1, 2)
        if level.mask is not None:
            # masked keys get a large finite bias: a row with no keys at all must not become NaN
            masked = torch.zeros(level.mask.shape, device=level.mask.device).masked_fill(~level.mask, -1e9)
            dense = masked[:, None, None, :] + (0 if dense is None else dense)
            dense = dense.expand(-1, -1, level.num_sites, -1)
        return Relations(bias=dense)

    def _by_head(self, features: Tensor | None) -> Tensor | None:
        if features is None or self.linear is None:
            return None
        out: Tensor = self.linear(features.to(self.linear.weight.dtype))
        return out


def along_edges(edges: Tensor, sites: int, bias: Tensor | None) -> Relations:
    """A table of the keys of each query from ``edges`` (2, E), and (heads, E) biases in its form."""
    order = edges[0].argsort(stable=True)
    query, key = edges[:, order]
    counts = torch.bincount(query, minlength=sites)
    place = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    keys = torch.zeros(sites, max(1, int(counts.max())), dtype=torch.int64, device=query.device)
    keys[query, place] = key
    values = query.new_zeros(1, len(query), dtype=torch.float32) if bias is None else bias[:, order]
    dtype = torch.promote_types(values.dtype, torch.float32)
    table = values.new_full((len(values), *keys.shape), -1e9, dtype=dtype)  # finite: a site without keys is no NaN
    table[:, query, place] = values.to(dtype)
    return Relations(table, keys, counts == 0)


class Attention(nn.Module):
    """Multi-head attention with VAR's arithmetic: unit queries and keys, a learned temperature per head.

    The scales of a sequence attend separately, one call each, so neither mode needs a mask: in Markov mode a scale
    sees itself, in prefix mode it sees the sequence up to its own end.
    """

    def __init__(self, width: int, heads: int, prefix: bool) -> None:
        super().__init__()
        self.heads, self.prefix = heads, prefix
        self.qkv = Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))  # a bias on keys would cancel in the softmax
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(4.0)))
        self.proj = Linear(width, width)

    def constants(self) -> tuple[Tensor, Tensor]:
        """What depends on the weights alone: the bias of queries, keys and values (3D,); the norm that queries and
        keys are given, by head (2, H, 1)."""
        norm = self.log_scale.clamp_max(math.log(100.0)).exp().squeeze(-1)
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return bias, torch.stack([norm, torch.ones_like(norm)])

    def forward(
        self,
        x_BLD: Tensor,
        lengths: list[int],
        relations: list[Relations],
        cache: KVCache | None = None,
        block: int = 0,
        constants: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """(B, L, D) to (B, L, D), L = sum of ``lengths``, the sites of each scale in the sequence.

        ``constants`` are :meth:`constants`, where they were computed before.
        """
        bias, norms = constants or self.constants()
        qk, v = linear(x_BLD, self.qkv.weight, bias).unflatten(2, (3, self.heads, -1)).split([2, 1], dim=2)
        qk = qk * (norms / torch.linalg.vector_norm(qk, dim=-1, keepdim=True).clamp_min(1e-12))
        q, k, v = (part.transpose(1, 2) for part in (qk[:, :, 0], qk[:, :, 1], v[:, :, 0]))
        k, v = (k.contiguous(), v.contiguous()) if cache is None else cache.extend(block, k, v)
        q = q.contiguous()  # attention is a third faster than on strided numbers, on CPUs
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
    if relations.keys is not None:
        return attend_edges(q, k, v, relations)
    bias = None if relations.bias is None else relations.bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)


def attend_edges(q: Tensor, k: Tensor, v: Tensor, relations: Relations) -> Tensor:
    """Attention along edges only: cost O(E), not O(N^2). A site with no edge gets zeros."""
    assert relations.keys is not None
    each = relations.keys.numel() * q.shape[1] * q.shape[3]
    some = max(1, GATHERED // each if q.device.type == "cpu" else len(q))
    parts = [_along(*part, relations) for part in zip(q.split(some), k.split(some), v.split(some), strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _along(q: Tensor, k: Tensor, v: Tensor, relations: Relations) -> Tensor:
    assert relations.keys is not None and relations.bias is not None and relations.alone is not None
    (batch, heads, sites, width), most = q.shape, relations.keys.shape[1]
    near_k = k.flatten(0, 1).index_select(1, relations.keys.flatten()).view(-1, most, width)  # (B H N, M, d)
    scores = torch.bmm(q.reshape(-1, 1, width), near_k.mT).view(batch, heads, sites, most).float() + relations.bias
    # along the last dimension a softmax over few keys is several times slower, on CPUs
    weights = scores.mT.contiguous().softmax(-2).mT.reshape(-1, most).to(v.dtype)
    first = sites * torch.arange(batch * heads, device=q.device)[:, None, None]
    out = F.embedding_bag(
        (first + relations.keys).view(-1, most), v.reshape(-1, width), per_sample_weights=weights, mode="sum"
    )
    return out.view(batch, heads, sites, width).masked_fill(relations.alone[:, None], 0.0)
