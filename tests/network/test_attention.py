"""Attention: dense, along edges, masked, and from a cache, all by one softmax."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy import stir

from refine.network.attention import Attention, KVCache, RelationBias, Relations, along_edges, attend
from refine.types import Level

B, H, N, D = 2, 3, 6, 4
R = 5
ALL_PAIRS = torch.cartesian_prod(torch.arange(N), torch.arange(N)).T


def qkv(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, B, H, N, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def attend_edges(q: Tensor, k: Tensor, v: Tensor, edges: Tensor, bias: Tensor | None = None) -> Tensor:
    return attend(q, k, v, along_edges(edges, N, bias))


def by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return (q @ k.mT + bias).softmax(-1) @ v


def test_dense_attention_is_softmax_of_plain_products() -> None:
    q, k, v = qkv()
    bias = torch.randn(1, H, N, N)
    torch.testing.assert_close(attend(q, k, v, Relations()), by_hand(q, k, v))
    torch.testing.assert_close(attend(q, k, v, Relations(bias=bias)), by_hand(q, k, v, bias))


@pytest.mark.parametrize("biased", [False, True])
def test_all_edges_are_dense_attention(biased: bool) -> None:
    q, k, v = qkv()
    bias = torch.randn(H, N, N) if biased else torch.zeros(H, N, N)
    order = torch.randperm(N * N)
    edges = ALL_PAIRS[:, order]
    along = attend_edges(q, k, v, edges, bias.flatten(1)[:, order] if biased else None)
    torch.testing.assert_close(along, by_hand(q, k, v, bias), rtol=1e-5, atol=1e-5)


def test_some_edges_are_attention_with_the_others_masked() -> None:
    q, k, v = qkv(dtype=torch.float64)
    there = torch.rand(N, N, generator=torch.Generator().manual_seed(1)) < 0.4
    there.fill_diagonal_(True)
    bias = torch.where(there, 0.0, -torch.inf)
    along = attend_edges(q, k, v, there.nonzero().T)
    torch.testing.assert_close(along, by_hand(q, k, v, bias), rtol=1e-5, atol=1e-5)


def test_edge_gradients_are_those_of_dense_attention() -> None:
    dense, along = (qkv(dtype=torch.float64).requires_grad_() for _ in range(2))
    weights = torch.randn(B, H, N, D, dtype=torch.float64)
    (by_hand(*dense) * weights).sum().backward()  # type: ignore[no-untyped-call]
    (attend_edges(*along, ALL_PAIRS) * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(dense.grad, along.grad, rtol=1e-5, atol=1e-5)


def test_sites_without_edges_get_zeros() -> None:
    q, k, v = qkv()
    out = attend_edges(q, k, v, ALL_PAIRS[:, ALL_PAIRS[0] != 2])
    assert (out[:, :, 2] == 0).all()
    assert torch.isfinite(out).all()
    assert (out[:, :, 0] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_the_table_are_of_any_length(dtype: torch.dtype) -> None:
    """Site i has i keys: shorter rows are filled up, and what fills them weighs nothing."""
    edges = ALL_PAIRS[:, ALL_PAIRS[1] < ALL_PAIRS[0]]
    q, k, v = qkv().to(dtype)
    table = along_edges(edges, N, None)
    assert table.keys is not None and table.keys.shape == (N, N - 1)
    out = attend(q, k, v, table)
    bias = torch.full((N, N), -torch.inf).triu()
    wanted = by_hand(q.float(), k.float(), v.float(), bias)[:, :, 1:]
    close = 0.02 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(out[:, :, 1:].float(), wanted, rtol=close, atol=close)
    assert (out[:, :, 0] == 0).all()


def test_gradients_of_biases_reach_each_edge_once() -> None:
    q, k, v = qkv(dtype=torch.float64)
    bias = torch.randn(H, N * N, dtype=torch.float64, requires_grad=True)
    dense = bias.detach().unflatten(1, (N, N)).requires_grad_()
    order = torch.randperm(N * N)
    weights = torch.randn(B, H, N, D, dtype=torch.float64)
    (attend_edges(q, k, v, ALL_PAIRS[:, order], bias[:, order]) * weights).sum().backward()  # type: ignore[no-untyped-call]
    (by_hand(q, k, v, dense) * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert bias.grad is not None and dense.grad is not None
    torch.testing.assert_close(bias.grad, dense.grad.flatten(1), rtol=1e-5, atol=1e-6)


def test_samples_of_a_batch_that_is_taken_in_parts_attend_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = qkv()
    table = along_edges(ALL_PAIRS[:, ::2], N, None)
    whole = attend(q, k, v, table)
    monkeypatch.setattr("refine.network.attention.GATHERED", 1)
    torch.testing.assert_close(attend(q, k, v, table), whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(attend(q[1:], k[1:], v[1:], table), whole[1:], rtol=1e-6, atol=1e-6)


def test_large_scores_do_not_overflow_along_edges() -> None:
    q, k, v = qkv() * torch.tensor([300.0, 1.0, 1.0]).view(3, 1, 1, 1, 1)
    torch.testing.assert_close(attend_edges(q, k, v, ALL_PAIRS), by_hand(q, k, v), rtol=1e-4, atol=1e-4)


def relation_bias() -> RelationBias:
    torch.manual_seed(0)
    return RelationBias(R, H)


def test_edge_features_and_pair_features_say_the_same() -> None:
    pair, bias = torch.randn(1, N, N, R), relation_bias()
    dense = bias(Level(torch.zeros(1, N, 0), pair=pair))
    sparse = bias(Level(torch.zeros(1, N, 0), edges=ALL_PAIRS, edge_features=pair.flatten(0, 2)))
    q, k, v = qkv()
    torch.testing.assert_close(attend(q, k, v, dense), attend(q, k, v, sparse), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_masked_keys_are_not_seen(paired: bool, dtype: torch.dtype) -> None:
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[0, 3:] = False
    pair = torch.randn(1, N, N, R, dtype=dtype) if paired else None
    level = Level(torch.zeros(1, N, 0), mask=mask, pair=pair)
    relations = relation_bias().to(dtype)(level)
    q, k, v = qkv().to(dtype)
    out = attend(q, k, v, relations)
    k[0, :, 3:], v[0, :, 3:] = 7.0, 100.0
    assert torch.equal(attend(q, k, v, relations)[0], out[0])
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_sample_without_sites_is_finite(dtype: torch.dtype) -> None:
    """A graph may have no node at a coarse scale; its rows mean nothing, but must not poison the batch."""
    level = Level(torch.zeros(1, N, 0), mask=torch.zeros(1, N, dtype=torch.bool))
    assert torch.isfinite(attend(*qkv().to(dtype), relation_bias()(level))).all()


def attention(prefix: bool) -> Attention:
    torch.manual_seed(0)
    layer = Attention(H * D, H, prefix)
    stir(layer)
    return layer


@torch.no_grad()
def test_markov_scales_attend_each_on_its_own() -> None:
    layer, x = attention(prefix=False), torch.randn(B, 10, H * D)
    together = layer(x, [1, 3, 6], [Relations()] * 3)
    alone = [layer(part, [part.shape[1]], [Relations()]) for part in x.split([1, 3, 6], dim=1)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


@torch.no_grad()
def test_prefix_attention_is_block_causal() -> None:
    """Against one dense softmax under VAR's mask: a query sees every key of its own and of coarser scales."""
    layer, x, lengths = attention(prefix=True), torch.randn(B, 10, H * D), [1, 3, 6]
    scale = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    out = layer(x, lengths, [Relations()] * 3)
    mask = torch.where(scale[:, None] >= scale, 0.0, -torch.inf)
    plain = attention(prefix=False)
    torch.testing.assert_close(out, plain(x, [10], [Relations(bias=mask[None, None])]))


@torch.no_grad()
def test_cache_holds_what_was_seen() -> None:
    layer, x, lengths = attention(prefix=True), torch.randn(B, 10, H * D), [1, 3, 6]
    cache = KVCache(1, (B, H, 10, D), x)
    steps = []
    for part in x.split(lengths, dim=1):
        steps.append(layer(part, [part.shape[1]], [Relations()], cache, 0))
        cache.length += part.shape[1]
    whole = layer(x, lengths, [Relations()] * 3)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_several_scales_may_follow_a_cache() -> None:
    layer, x = attention(prefix=True), torch.randn(B, 10, H * D)
    cache = KVCache(1, (B, H, 10, D), x)
    first = layer(x[:, :1], [1], [Relations()], cache, 0)
    cache.length = 1
    rest = layer(x[:, 1:], [3, 6], [Relations()] * 2, cache, 0)
    whole = layer(x, [1, 3, 6], [Relations()] * 3)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_queries_and_keys_have_unit_length() -> None:
    """VAR's arithmetic: scores are bounded by the learned temperature, whatever the size of the input's weights."""
    layer, x = attention(prefix=False), torch.randn(B, 5, H * D)
    out = layer(x, [5], [Relations()])
    layer.qkv.weight[: 2 * H * D] *= 50
    layer.q_bias *= 50
    torch.testing.assert_close(layer(x, [5], [Relations()]), out, rtol=1e-4, atol=1e-5)
    layer.log_scale.fill_(50.0)
    assert torch.isfinite(layer(x, [5], [Relations()])).all()
