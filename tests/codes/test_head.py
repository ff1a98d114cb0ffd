"""Heads: distributions over codes that sum to one, are drawn from as they are scored, and are linear."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from toy import stir

from refine.codes.composite_vq import CompositeVQ
from refine.codes.head import BitwiseHead, CategoricalHead, FactorisedHead, Head
from refine.codes.laws import ScaleSampler
from refine.codes.packing import unpack_digits
from refine.codes.scaled import FSQ, Bitwise
from refine.codes.vq import VQ
from refine.errors import RefineError

WIDTH, SIZES = 6, [5, 8]
BITS = 3
PARTS = [4, 3]  # codes of each of two codebooks, by scale


def build(kind: str) -> tuple[Head, list[int]]:
    torch.manual_seed(0)
    composite = CompositeVQ(2, 4, PARTS, stages=1, groups=[[0, 1], [2, 3]])
    heads: dict[str, tuple[Head, list[int]]] = {
        "categorical": (CategoricalHead(WIDTH, SIZES, shared=False), SIZES),
        "bitwise": (BitwiseHead(WIDTH, BITS, 2), [2**BITS] * 2),
        "factorised": (FactorisedHead(WIDTH, PARTS, composite.num_parts, shared=False), composite.sizes),
    }
    head, sizes = heads[kind]
    stir(head, 1.0)
    return head, sizes


every = pytest.mark.parametrize("kind", ["categorical", "bitwise", "factorised"])


def all_codes(hidden: Tensor, size: int) -> Tensor:
    """(V, N): every site has each code once."""
    return torch.arange(size)[:, None].expand(size, hidden.shape[1])


@every
@pytest.mark.parametrize("k", [0, 1])
@torch.no_grad()
def test_probabilities_sum_to_one(kind: str, k: int) -> None:
    head, sizes = build(kind)
    hidden = torch.randn(1, 7, WIDTH)
    logits = head(hidden, k)
    nats = head.log_prob(logits.expand(sizes[k], -1, -1), all_codes(hidden, sizes[k]))
    torch.testing.assert_close(nats.exp().sum(0), torch.ones(7))


@every
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@torch.no_grad()
def test_codes_are_drawn_as_they_are_scored(kind: str, temperature: float) -> None:
    head, sizes = build(kind)
    logits = head(torch.randn(1, 1, WIDTH), 1)
    uniform = torch.rand(10_000, 1, head.draws, generator=torch.Generator().manual_seed(0))
    drawn = head.sample(logits.expand(10_000, -1, -1), uniform, ScaleSampler(temperature))
    assert drawn.dtype == torch.int64
    nats = head.log_prob(logits.expand(sizes[1], -1, -1) / temperature, torch.arange(sizes[1])[:, None])[:, 0]
    found = torch.bincount(drawn[:, 0], minlength=sizes[1])
    assert chisquare(found.numpy(), (nats.double().softmax(0) * 10_000).numpy()).pvalue > 1e-3


@every
@torch.no_grad()
def test_greedy_takes_the_most_likely_code(kind: str) -> None:
    head, sizes = build(kind)
    hidden = torch.randn(1, 7, WIDTH)
    logits = head(hidden, 1)
    nats = head.log_prob(logits.expand(sizes[1], -1, -1), all_codes(hidden, sizes[1]))
    assert torch.equal(head.sample(logits, torch.rand(1, 7, head.draws), ScaleSampler(greedy=True))[0], nats.argmax(0))


@every
@torch.no_grad()
def test_mixing_before_the_head_is_mixing_logits(kind: str) -> None:
    """Guidance mixes hidden states: weights that sum to one pass through a linear map and its bias."""
    head, _ = build(kind)
    conditional, unconditional = torch.randn(2, 3, 7, WIDTH)
    for g in (0.0, 1.0, 2.5, 7.0):
        before = head(torch.lerp(unconditional, conditional, g), 0)
        after = g * head(conditional, 0) + (1 - g) * head(unconditional, 0)
        torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


@every
def test_logits_are_float32_whatever_the_precision(kind: str) -> None:
    head, _ = build(kind)
    assert head.bfloat16()(torch.randn(2, 3, WIDTH).bfloat16(), 0).dtype == torch.float32


def test_heads_belong_to_quantizers() -> None:
    vq, shared = VQ(2, 4, SIZES), VQ(2, 4, [8, 8], shared=True)
    assert [linear.weight.shape[0] for linear in vq.head(WIDTH).linears] == SIZES
    assert [linear.weight.shape[0] for linear in shared.head(WIDTH).linears] == [8]
    assert [linear.weight.shape[0] for linear in FSQ(2, [3, 4]).head(WIDTH).linears] == [12, 12]
    composite = CompositeVQ(2, 4, [5, 8], 3, [[0, 1], [2, 3]]).head(WIDTH)
    assert isinstance(composite, FactorisedHead)
    assert composite.draws == 6
    assert [linear.weight.shape[0] for linear in composite.linears] == [6 * 5, 6 * 8]  # not 5^6, not 8^6
    shared_parts = CompositeVQ(2, 4, [8, 8], 3, [[0, 1, 2, 3]], shared=True).head(WIDTH)
    assert [linear.weight.shape[0] for linear in shared_parts.linears] == [24]
    bits = Bitwise(2, 20).head(WIDTH)
    assert isinstance(bits, BitwiseHead)
    assert bits.draws == 20
    assert [linear.weight.shape[0] for linear in bits.linears] == [20, 20]


@torch.no_grad()
def test_a_shared_head_serves_all_scales() -> None:
    head = VQ(3, 4, [8] * 3, shared=True).head(WIDTH)
    hidden = torch.randn(1, 2, WIDTH)
    assert torch.equal(head(hidden, 0), head(hidden, 2))


@pytest.mark.parametrize("kind", ["categorical", "factorised"])
@pytest.mark.parametrize("sampler", [ScaleSampler(), ScaleSampler(0.7, top_k=2), ScaleSampler(greedy=True)])
@torch.no_grad()
def test_probabilities_of_parts_are_those_of_drawn_parts(kind: str, sampler: ScaleSampler) -> None:
    head, sizes = build(kind)
    logits = head(torch.randn(1, 3, WIDTH), 0)
    p, draws = head.probabilities(logits, sampler), 20_000
    assert p.shape == (1, 3, head.draws, PARTS[0] if kind == "factorised" else sizes[0])
    torch.testing.assert_close(p.sum(-1), torch.ones(1, 3, head.draws))
    uniform = torch.rand(draws, 3, head.draws, generator=torch.Generator().manual_seed(0))
    drawn = head.sample(logits.expand(draws, -1, -1), uniform, sampler)
    parts = unpack_digits(drawn, p.shape[-1], head.draws)
    found = torch.nn.functional.one_hot(parts, p.shape[-1]).double().mean(0)
    torch.testing.assert_close(found, p[0].double(), rtol=0, atol=0.02)
    assert (found[p[0] == 0] == 0).all()


def test_parts_of_a_code_are_independent() -> None:
    head, (size, _) = build("factorised")
    logits = head(torch.randn(1, 1, WIDTH), 0).detach()
    nats = head.log_prob(logits.expand(size, -1, -1), torch.arange(size)[:, None])[:, 0]
    joint = nats.exp().view(PARTS[0], PARTS[0])
    torch.testing.assert_close(joint, joint.sum(1, keepdim=True) * joint.sum(0))


def test_bits_have_no_parts_to_expect() -> None:
    head, _ = build("bitwise")
    with pytest.raises(RefineError, match=r"needs codebooks: model\.quantizer\.kind=vq"):
        head.probabilities(torch.zeros(1, 1, BITS), ScaleSampler())
