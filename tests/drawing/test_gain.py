"""The gain: independent draws on redundant scales lose variance, and get back what they lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from toy import TinyConfig, TinyDomain, items_of, stir

from refine.codes.composite_vq import CompositeVQ
from refine.errors import RefineError
from refine.models.refiner import Refiner
from refine.scales.resample import GridResampler
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig, SamplerConfig

SHAPES = [[2, 2], [4, 4], [4, 8]]
SITES = [4, 16, 32]


@dataclass
class BlockConfig(TinyConfig):
    """The options of the made-up domain."""


class BlockDomain(TinyDomain):
    """Grids of which each divides the next, with copies on the way up: the way down undoes it."""

    def resampler(self) -> GridResampler:
        return GridResampler(self.config.shapes, up="nearest")


def build(loop: str = "projected", rounds: Any = 1, quantizer: QuantizerConfig | None = None) -> Refiner:
    torch.manual_seed(0)
    quantizer = quantizer or QuantizerConfig(size=4, stages=2, groups=[[0], [1]])
    predictor = PredictorConfig(width=16, depth=1, heads=2, rounds=rounds)
    domain = BlockDomain(BlockConfig(shapes=SHAPES))
    refiner = Refiner(domain, ModelConfig(PyramidConfig(loop=loop), quantizer, predictor)).eval()
    stir(refiner.predictor)
    with torch.no_grad():
        refiner.tokenizer.fit(domain.dataset("train").tensors["x"])
    return refiner


def without_context(refiner: Refiner) -> Refiner:
    """Every site draws by the same law, whatever is known, values of about the same size at every scale."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for book in refiner.tokenizer.quantizer.parameters():
            book.copy_(torch.randn(book.shape, generator=generator))
        for linear in refiner.head.linears:
            linear.weight.zero_()  # type: ignore[union-attr, operator]
            linear.bias.copy_(torch.linspace(-1, 1, linear.bias.numel()))  # type: ignore[union-attr, arg-type]
    return refiner


def variances(refiner: Refiner) -> torch.Tensor:
    """(K, C) of what is drawn at one site, by that law."""
    quantizer = refiner.tokenizer.quantizer
    assert isinstance(quantizer, CompositeVQ)
    out = []
    for k, size in enumerate(quantizer.sizes):
        codes = torch.arange(size)
        logits = refiner.head(torch.zeros(1, 1, 16), k)
        p = refiner.head.log_prob(logits.expand(size, -1, -1), codes[:, None])[:, 0].exp()
        values = quantizer.embed(codes, k)
        out.append(p @ values.square() - (p @ values).square())
    return torch.stack(out)


@pytest.mark.parametrize("rounds", [1, [1, 2, 3]])
@torch.no_grad()
def test_drawn_latents_have_the_variance_that_is_drawn_at_their_sites(rounds: Any) -> None:
    refiner = without_context(build(rounds=rounds))
    var, share = variances(refiner), torch.tensor([[4 / 4], [12 / 16], [16 / 32]])
    for gain, wanted in [("auto", var.sum(0)), (1.0, (var * share).sum(0)), (0.0, 0 * var.sum(0))]:
        items = refiner.sample(800, sampler=SamplerConfig(gain=gain)).items
        torch.testing.assert_close(items.var(0).mean(0), wanted, rtol=0.06, atol=1e-9)
    assert (var.sum(0) > 1.15 * (var * share).sum(0)).all()  # so the two are told apart
    only_last = refiner.sample(800, sampler=SamplerConfig(gain=[0.0, 0.0, 2.0])).items
    torch.testing.assert_close(only_last.var(0).mean(0), 4 * var[2] / 2, rtol=0.05, atol=0)


@torch.no_grad()
def test_temperature_and_truncation_are_part_of_what_is_expected() -> None:
    """A greedy draw deviates from nothing; the deviations of others are about the mean of what they draw from."""
    refiner = build()
    greedy = [refiner.sample(4, sampler=SamplerConfig(greedy=True, gain=g)).items for g in (1.0, 7.0)]
    torch.testing.assert_close(*greedy)
    refiner = without_context(refiner)
    for knobs in ({"temperature": 0.6}, {"top_k": 2}, {"top_p": 0.6}):
        means = [refiner.sample(800, sampler=SamplerConfig(gain=g, **knobs)).items.mean((0, 1)) for g in (1.0, 3.0)]
        torch.testing.assert_close(*means, rtol=0, atol=0.08)


@torch.no_grad()
def test_codes_stay_what_they_were_at_the_coarsest_scale_and_samples_keep_their_streams() -> None:
    refiner = build()
    plain, gained = (refiner.sample(6, seed=3, sampler=SamplerConfig(gain=g)) for g in (1.0, "auto"))
    assert torch.equal(plain.codes[0], gained.codes[0])
    assert not torch.equal(plain.items, gained.items)
    alone = refiner.sample(1, seed=3, first=4, sampler=SamplerConfig(gain="auto"))
    torch.testing.assert_close(alone.items[0], gained.items[4])


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_where_nothing_is_redundant_auto_is_one(loop: str) -> None:
    refiner = build(loop)
    one, auto = (refiner.sample(5, sampler=SamplerConfig(gain=g)) for g in (1.0, "auto"))
    assert torch.equal(one.items, auto.items)


@pytest.mark.parametrize("rounds", [1, [1, 2, 3]])
def test_codes_that_are_given_keep_their_values(rounds: Any) -> None:
    refiner, strong = build(rounds=rounds), SamplerConfig(gain=[3.0, 3.0, 3.0])
    x, given = items_of(refiner, 5)
    codes = refiner.tokenizer.encode(x)
    everything = refiner.inpaint(codes, torch.ones(1, SITES[-1], dtype=torch.bool), given, sampler=strong)
    torch.testing.assert_close(everything.items, refiner.tokenizer.decode(codes))
    nothing = refiner.inpaint(codes, torch.zeros(1, SITES[-1], dtype=torch.bool), given, sampler=strong)
    torch.testing.assert_close(nothing.items, refiner.sample(5, given, sampler=strong).items)
    half = torch.arange(SITES[-1])[None] < SITES[-1] // 2
    some = refiner.inpaint(codes, [half[:, :: SITES[-1] // n] for n in SITES], given, sampler=strong)
    assert torch.isfinite(some.items).all()
    assert not torch.equal(some.items, everything.items) and not torch.equal(some.items, nothing.items)


@pytest.mark.parametrize("quantizer", [QuantizerConfig(kind="fsq", levels=[3, 3]), QuantizerConfig(kind="bitwise")])
def test_without_codebooks_a_gain_is_refused(quantizer: QuantizerConfig) -> None:
    refiner = build(quantizer=quantizer)
    assert torch.isfinite(refiner.sample(2).items).all()
    with pytest.raises(RefineError, match=r"sampler\.gain needs codebooks: model\.quantizer\.kind=vq"):
        refiner.sample(2, sampler=SamplerConfig(gain="auto"))
