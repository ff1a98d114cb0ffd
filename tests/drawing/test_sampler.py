"""Drawing codes: the law is the softmax's, restricted as asked, and nothing else is ever drawn."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from refine.codes.laws import ScaleSampler, largest
from refine.drawing.sampler import build_sampler
from refine.errors import RefineError
from refine.settings.config import SamplerConfig

V = 12


def logits(seed: int = 0, size: int = V) -> Tensor:
    return 1.5 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def law(logits: Tensor, temperature: float, top_k: int, top_p: float, min_p: float = 0.0) -> Tensor:
    """The distribution that is asked for, one code at a time."""
    p = (logits.double() / temperature).softmax(-1)
    order = p.argsort(descending=True)
    for i in order[1:].tolist():
        if p[i] < min_p:
            p[i] = 0
    p = p / p.sum()
    if top_k:
        p[order[top_k:]] = 0
        p = p / p.sum()
    kept, mass = torch.zeros_like(p), 0.0
    for i in order.tolist():
        if mass >= top_p:
            break
        kept[i], mass = p[i], mass + float(p[i])
    return kept / kept.sum()


def counts(sampler: ScaleSampler, logits: Tensor, draws: int = 20_000) -> Tensor:
    uniform = torch.rand(draws, generator=torch.Generator().manual_seed(1))
    drawn = sampler.draw(logits.expand(draws, -1), uniform)
    return torch.bincount(drawn, minlength=logits.shape[-1])


@pytest.mark.parametrize("min_p", [0.0, 0.05, 0.2, 0.9])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.4])
@pytest.mark.parametrize("top_k", [0, 5, 1])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_frequencies_are_those_of_the_restricted_softmax(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    wanted = law(logits(), temperature, top_k, top_p, min_p)
    sampler = ScaleSampler(temperature, top_k, top_p, min_p=min_p)
    torch.testing.assert_close(sampler.probabilities(logits()).double(), wanted, rtol=1e-5, atol=1e-6)
    found = counts(sampler, logits())
    assert found[wanted == 0].sum() == 0
    expected = wanted * found.sum()
    often = expected >= 5  # the rest counts as one, for chi-square needs some of each
    if often.sum() > 1:
        pairs = [torch.cat([t[often], t[~often].sum()[None]]) for t in (found, expected)]
        observed, expected = (p[: -1 if pairs[1][-1] < 5 else None].double() for p in pairs)
        assert chisquare(observed.numpy(), (expected * observed.sum() / expected.sum()).numpy()).pvalue > 1e-3


def test_the_test_notices_a_wrong_temperature() -> None:
    found, wanted = counts(ScaleSampler(1.1), logits()), law(logits(), 1.0, 0, 1.0)
    assert chisquare(found.numpy(), (wanted * found.sum()).numpy()).pvalue < 1e-6


@pytest.mark.parametrize(("top_k", "top_p"), list(itertools.product([0, 1, 3, V, V + 5], [1e-6, 0.3, 0.7, 1.0])))
def test_a_sweep_of_uniforms_draws_exactly_the_support(top_k: int, top_p: float) -> None:
    support = law(logits(3), 1.0, min(top_k, V), top_p).nonzero().flatten()
    sweep = torch.linspace(0, 1, 200_001)[:-1]
    drawn = ScaleSampler(top_k=top_k, top_p=top_p).draw(logits(3).expand(len(sweep), -1), sweep)
    assert torch.equal(drawn.unique(), support.sort().values)


@pytest.mark.parametrize("u", [0.0, 2.0**-24, 0.5, 1 - 2.0**-24])
@pytest.mark.parametrize("place", ["first", "last", "middle"])
def test_codes_of_no_probability_are_never_drawn(u: float, place: str) -> None:
    row = torch.full((V,), -torch.inf)
    row[{"first": slice(0, 2), "last": slice(V - 2, V), "middle": slice(4, 6)}[place]] = 0.0
    for sampler in (ScaleSampler(), ScaleSampler(top_k=4), ScaleSampler(top_p=0.99), ScaleSampler(top_p=0.1)):
        assert row[sampler.draw(row, torch.tensor(u))] == 0.0


@pytest.mark.parametrize("min_p", [0.0, 0.03, 0.1, 0.3, 0.99])
def test_min_p_keeps_what_is_likely_enough_and_the_likeliest(min_p: float) -> None:
    p = logits(3).softmax(-1)
    support = {int(p.argmax()), *(p >= min_p).nonzero().flatten().tolist()}
    sweep = torch.linspace(0, 1, 200_001)[:-1]
    drawn = ScaleSampler(min_p=min_p).draw(logits(3).expand(len(sweep), -1), sweep)
    assert set(drawn.tolist()) == support
    even = ScaleSampler(min_p=0.9).draw(torch.zeros(4000, V), torch.rand(4000))
    assert len(even.unique()) == V  # all are the likeliest


def test_draws_are_the_same_one_by_one() -> None:
    rows, uniform = torch.randn(4, 5, V), torch.rand(4, 5)
    for sampler in (ScaleSampler(), ScaleSampler(0.7, 4, 0.8), ScaleSampler(greedy=True)):
        together = sampler.draw(rows, uniform)
        assert together.shape == (4, 5)
        for i, j in itertools.product(range(4), range(5)):
            assert sampler.draw(rows[i, j], uniform[i, j]) == together[i, j]


def test_greedy_takes_the_most_likely_code_and_small_temperatures_come_close() -> None:
    rows = torch.randn(100, V)
    best = rows.argmax(-1)
    assert torch.equal(ScaleSampler(greedy=True).draw(rows, torch.rand(100)), best)
    assert torch.equal(ScaleSampler(top_k=1).draw(rows, torch.rand(100)), best)
    assert torch.equal(ScaleSampler(top_p=1e-6).draw(rows, torch.rand(100)), best)
    assert torch.equal(ScaleSampler(temperature=1e-4).draw(rows, torch.rand(100)), best)


def test_probabilities_of_many_rows_are_those_of_each() -> None:
    rows = torch.randn(4, 5, V)
    for sampler in (ScaleSampler(), ScaleSampler(0.7, 4, 0.8), ScaleSampler(min_p=0.1), ScaleSampler(greedy=True)):
        together = sampler.probabilities(rows)
        for i, j in itertools.product(range(4), range(5)):
            torch.testing.assert_close(sampler.probabilities(rows[i, j]), together[i, j])
    greedy = ScaleSampler(0.3, greedy=True).probabilities(rows)
    assert torch.equal(greedy.argmax(-1), rows.argmax(-1)) and torch.equal(greedy.sum(-1), torch.ones(4, 5))


@pytest.mark.parametrize("sampler", [ScaleSampler(), ScaleSampler(0.7, 4, 0.8), ScaleSampler(0.3, greedy=True)])
def test_one_law_serves_the_draw_and_its_probabilities(sampler: ScaleSampler) -> None:
    rows, uniform = torch.randn(4, 5, V), torch.rand(4, 5)
    law = sampler.law(rows)
    assert torch.equal(law.draw(uniform), sampler.draw(rows, uniform))
    p = law.probabilities()
    assert p.shape == rows.shape
    torch.testing.assert_close(p.sum(-1), torch.ones(4, 5))
    assert (p.gather(-1, law.draw(uniform)[..., None]) > 0).all()


@pytest.mark.parametrize("num", [1, 7, 300, 1000])
def test_the_largest_are_those_of_a_sort(num: int) -> None:
    x = torch.randn(3, 4, 1000).masked_fill(torch.rand(3, 4, 1000) < 0.6, -torch.inf)
    values, places = largest(x, num)
    assert torch.equal(values, x.sort(dim=-1, descending=True).values[..., :num])
    assert torch.equal(x.gather(-1, places), values)
    assert all(len(row.unique()) == num for row in places.flatten(0, -2))


@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_mixtures_end_in_draws_of_one_code(top_k: int, power: float) -> None:
    """As the temperature goes to zero: one code has all the weight, and has it as often as p ** power says."""
    draws = 20_000
    law = ScaleSampler(top_k=top_k).law(logits().expand(draws, -1))
    uniform = torch.rand(law.p.shape, generator=torch.Generator().manual_seed(2))
    weights = law.mixture(uniform, power, 1e-4).probabilities()
    assert (weights.amax(-1) > 0.999).double().mean() > 0.999
    wanted = law.probabilities()[0].double() ** power
    found, often = torch.bincount(weights.argmax(-1), minlength=V), wanted / wanted.sum() * draws >= 5
    assert found[law.probabilities()[0] == 0].sum() == 0
    expected = (wanted / wanted[often].sum() * found[often].sum())[often]
    assert chisquare(found[often].numpy(), expected.numpy()).pvalue > 1e-3
    wrong = wanted**1.3
    assert chisquare(found[often].numpy(), (wrong / wrong[often].sum() * found[often].sum())[often]).pvalue < 1e-6


def test_mixtures_are_weights_and_flatten_with_temperature() -> None:
    law = ScaleSampler(top_k=5, top_p=0.9).law(logits().expand(300, -1))
    uniform = torch.rand(law.p.shape, generator=torch.Generator().manual_seed(2))
    uniform[0] = 0.0
    spread = []
    for temperature in (0.01, 0.3, 10.0, 1e4):
        weights = law.mixture(uniform, 1.0, temperature).probabilities()
        torch.testing.assert_close(weights.sum(-1), torch.ones(300))
        assert (weights[law.probabilities() == 0] == 0).all()
        spread.append(float((weights > 0.1).double().sum(-1).mean()))
    assert spread == sorted(spread) and spread[-1] == (law.p[0] > 0).sum()


def test_smoothness_is_that_of_vars_more_smooth() -> None:
    found = [s.smooth for s in build_sampler(SamplerConfig(smooth=True), 10)]
    expected = [(1 + k / 9, max(0.27 * (1 - k / 9 * 0.95), 0.005)) for k in range(10)]
    assert found == [pytest.approx(pair) for pair in expected]
    assert [s.smooth for s in build_sampler(SamplerConfig(), 2)] == [None, None]
    assert build_sampler(SamplerConfig(smooth=True), 1)[0].smooth == (1.0, 0.27)


def test_gain_is_a_number_a_list_or_left_to_the_pyramid() -> None:
    assert [s.gain for s in build_sampler(SamplerConfig(), 2)] == [1.0, 1.0]
    assert [s.gain for s in build_sampler(SamplerConfig(gain=[0, 1.5]), 2)] == [0.0, 1.5]
    assert [s.gain for s in build_sampler(SamplerConfig(gain="auto"), 2)] == [None, None]


def test_values_by_scale() -> None:
    config = SamplerConfig(temperature=[1.0, 0.5, 2], top_k=[0, 1, 2], top_p=[1.0, 0.5, 0.9], guidance=[1, 2, 0])
    config.min_p = [0, 0.1, 0.5]
    for k, s in enumerate(build_sampler(config, 3)):
        for name in ("temperature", "top_k", "top_p", "guidance", "min_p"):
            assert getattr(s, name) == getattr(config, name)[k]
    assert build_sampler(SamplerConfig(temperature=0.7), 4) == [ScaleSampler(temperature=0.7)] * 4


def test_linear_schedule_is_vars_ramp() -> None:
    """VAR: (1 + t) conditional - t unconditional with t = cfg k / (K - 1), so its cfg of 1.5 is guidance 2.5 here."""
    cfg = 1.5
    found = [s.guidance for s in build_sampler(SamplerConfig(guidance=1 + cfg, schedule="linear"), 10)]
    assert found == pytest.approx([1 + cfg * k / 9 for k in range(10)])
    assert [s.guidance for s in build_sampler(SamplerConfig(guidance=2.5), 3)] == [2.5] * 3


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_one_scale_has_no_ramp(guidance: float) -> None:
    (only,) = build_sampler(SamplerConfig(guidance=guidance, schedule="linear"), 1)
    assert only.guidance == 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "hot"},
        {"temperature": None},
        {"temperature": [1.0, 1.0]},
        {"temperature": [1.0, 1.0, 0.0]},
        {"temperature": []},
        {"top_k": -1},
        {"top_k": 2.5},
        {"top_p": 0},
        {"top_p": 1.5},
        {"min_p": 1.0},
        {"min_p": -0.1},
        {"min_p": [0.1, 0.1]},
        {"gain": -1},
        {"gain": "all"},
        {"gain": [1.0, "auto", 1.0]},
        {"guidance": -0.5},
        {"guidance": {"a": 1}},
        {"temperature": True},
        {"schedule": "cosine"},
        {"greedy": "no"},
        {"smooth": 1},
    ],
)
def test_values_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(RefineError, match=rf"{name}=.*(accepted|needs one number)"):
        build_sampler(SamplerConfig(**options), 3)
