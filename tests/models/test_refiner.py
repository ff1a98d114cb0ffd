"""The model as a distribution over codes: what is scored is what is drawn, and both are what was asked for."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from toy import install_tiny, items_of, tiny_refiner

from refine.errors import RefineError
from refine.models.refiner import Refiner
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig, SamplerConfig
from refine.types import Codes, Condition, Samples

QUANTIZERS = {
    "vq": QuantizerConfig(size=3),
    "vq shared": QuantizerConfig(size=3, shared=True),
    "fsq": QuantizerConfig(kind="fsq", levels=[3, 2]),
    "bits": QuantizerConfig(kind="bitwise"),
}
PYRAMIDS = {"laplacian": PyramidConfig(), "open": PyramidConfig(loop="open"), "residual": PyramidConfig("residual")}


def build(attention: str = "markov", quantizer: str = "vq", pyramid: str = "laplacian", **options: Any) -> Refiner:
    predictor = PredictorConfig(width=16, depth=2, heads=2, attention=attention)
    model = ModelConfig(PYRAMIDS[pyramid], QUANTIZERS[quantizer], predictor)
    return tiny_refiner(model, **{"classes": 3, **options})


both = pytest.mark.parametrize("attention", ["markov", "prefix"])
quantizers = pytest.mark.parametrize("quantizer", QUANTIZERS)
pyramids = pytest.mark.parametrize("pyramid", PYRAMIDS)


def all_sequences(refiner: Refiner) -> Codes:
    """Every sequence of codes that there is, as one batch."""
    sites = [refiner.tokenizer.pyramid.num_sites(k) for k in range(refiner.num_levels)]
    ranges = [range(v) for v, n in zip(refiner.tokenizer.quantizer.sizes, sites, strict=True) for _ in range(n)]
    table = torch.tensor(list(itertools.product(*ranges)))
    return list(table.split(sites, dim=1))


def place(codes: Codes, among: Codes) -> Tensor:
    """Which of the sequences ``among`` each row of ``codes`` is."""
    rows, table = torch.cat(codes, dim=1), torch.cat(among, dim=1)
    return (rows[:, None] == table).all(-1).int().argmax(1)


def label(value: int, count: int) -> Condition:
    return Condition(label=torch.full((count,), value))


@both
@quantizers
@pyramids
def test_probabilities_of_all_sequences_sum_to_one(attention: str, quantizer: str, pyramid: str) -> None:
    refiner = build(attention, quantizer, pyramid)
    codes = all_sequences(refiner)
    laws = [refiner.log_prob(codes, c).total for c in (label(1, len(codes[0])), Condition())]
    for nats in laws:
        assert float(nats.double().exp().sum()) == pytest.approx(1, abs=1e-5)
        assert nats.std() > 0.15  # a uniform law would prove little
    assert not torch.allclose(laws[0], laws[1], atol=1e-2)


@both
@pytest.mark.parametrize("quantizer", ["vq", "bits"])
def test_samples_follow_the_law_they_are_scored_by(attention: str, quantizer: str) -> None:
    refiner, draws = build(attention, quantizer), 6000
    codes = all_sequences(refiner)
    law = refiner.log_prob(codes, label(2, len(codes[0]))).total.double().exp()
    found = torch.bincount(place(refiner.sample(draws, label(2, draws)).codes, codes), minlength=len(law))
    often = law * draws >= 5
    observed = torch.cat([found[often], found[~often].sum()[None]]).double()
    expected = torch.cat([law[often], law[~often].sum()[None]]) * draws
    keep = expected > 0.5
    observed, expected = observed[keep], expected[keep]
    assert chisquare(observed.numpy(), (expected * observed.sum() / expected.sum()).numpy()).pvalue > 1e-3
    other = refiner.log_prob(codes, label(0, len(codes[0]))).total.double().exp()  # and the test has teeth
    wrong = torch.cat([other[often], other[~often].sum()[None]])[keep] * draws
    assert chisquare(observed.numpy(), (wrong * observed.sum() / wrong.sum()).numpy()).pvalue < 1e-6


LONG = [[1, 1], [2, 2], [3, 4], [5, 5]]


@both
@quantizers
def test_a_sample_is_the_same_in_any_company(attention: str, quantizer: str) -> None:
    refiner = build(attention, quantizer, shapes=LONG, field=1)
    _, given = items_of(refiner, 9)
    sampler = SamplerConfig(guidance=2.0, top_p=0.9)
    together = refiner.sample(9, given, seed=5, first=10, sampler=sampler)
    alone = refiner.sample(1, given[4:5], seed=5, first=14, sampler=sampler)
    some = refiner.sample(3, given[3:6], seed=5, first=13, sampler=sampler)
    for a, b, c in zip(together.codes, alone.codes, some.codes, strict=True):
        assert torch.equal(a[4:5], b)
        assert torch.equal(a[3:6], c)
    torch.testing.assert_close(together.items[4:5], alone.items)
    other = refiner.sample(1, given[4:5], seed=6, first=14, sampler=sampler)
    assert not all(torch.equal(a, b) for a, b in zip(alone.codes, other.codes, strict=True))


@both
def test_a_model_in_training_mode_samples_and_scores_as_in_evaluation(attention: str) -> None:
    """Dropout is for learning; the promise that sample i depends on seed and i holds at any time."""
    refiner = build(attention, shapes=LONG)
    refiner.predictor.config.condition_dropout = 0.5
    for block in refiner.predictor.blocks:
        block.dropout.p = 0.3  # type: ignore[union-attr]
    x, given = items_of(refiner, 6)
    codes = refiner.tokenizer.encode(x)
    calm = refiner.sample(6, given), refiner.log_prob(codes, given).nats, refiner.accuracy(codes, given)
    refiner.train()
    busy = refiner.sample(6, given), refiner.log_prob(codes, given).nats, refiner.accuracy(codes, given)
    assert refiner.training and refiner.predictor.blocks[0].training
    assert all(torch.equal(a, b) for a, b in zip(calm[0].codes, busy[0].codes, strict=True))
    assert torch.equal(calm[1], busy[1])
    assert torch.equal(calm[2], busy[2])


@both
@pyramids
@torch.no_grad()
def test_teacher_forced_logits_are_those_of_sampling(attention: str, pyramid: str) -> None:
    refiner = build(attention, pyramid=pyramid, shapes=LONG, field=2, vector=2)
    _, given = items_of(refiner, 4)
    seen: list[Tensor] = []
    hook = refiner.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    samples = refiner.sample(4, given)
    hook.remove()
    for stepwise, forced in zip(seen, refiner.logits(samples.codes, given), strict=True):
        torch.testing.assert_close(stepwise, forced, rtol=0, atol=1e-5)


class Rows:
    """Counts what passes through the predictor: batch rows of every call."""

    def __init__(self, refiner: Refiner) -> None:
        self.calls: list[int] = []
        hook = lambda module, args, output: self.calls.append(len(args[0][0]))  # noqa: E731
        self.handle = refiner.predictor.register_forward_hook(hook)


@both
def test_without_a_condition_there_is_nothing_to_guide(attention: str) -> None:
    refiner = build(attention, shapes=LONG)
    rows = Rows(refiner)
    guided = refiner.sample(5, sampler=SamplerConfig(guidance=3.0))
    assert rows.calls == [5, 5, 5, 5]
    plain = refiner.sample(5)
    assert all(torch.equal(a, b) for a, b in zip(guided.codes, plain.codes, strict=True))


@both
@pytest.mark.parametrize(
    ("guidance", "schedule", "markov", "prefix"),
    [
        (1.0, "constant", [5, 5, 5, 5], [5, 5, 5, 5]),
        (2.0, "constant", [10, 10, 10, 10], [10, 10, 10, 10]),
        (0.0, "constant", [10, 10, 10, 10], [10, 10, 10, 10]),
        (3.0, "linear", [5, 10, 10, 10], [10, 10, 10, 10]),
        ([1, 1, 2, 1], "constant", [5, 5, 10, 5], [10, 10, 10, 5]),
    ],
)
def test_guidance_costs_what_it_must(
    attention: str, guidance: Any, schedule: str, markov: list[int], prefix: list[int]
) -> None:
    """One pass a scale, of B rows, or 2B where guided; with a cache the unconditional rows run along while needed."""
    refiner = build(attention, shapes=LONG)
    rows = Rows(refiner)
    refiner.sample(5, label(1, 5), sampler=SamplerConfig(guidance=guidance, schedule=schedule))
    assert rows.calls == (markov if attention == "markov" else prefix)


@both
@torch.no_grad()
def test_guided_logits_are_the_mixture(attention: str) -> None:
    """g times the conditional and 1 - g times the unconditional logits, by two separate passes."""
    refiner, g = build(attention, shapes=LONG), [1.0, 2.0, 0.5, 4.0]
    seen: list[Tensor] = []
    refiner.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    samples = refiner.sample(4, label(1, 4), sampler=SamplerConfig(guidance=g))
    guided = list(seen)
    given, none = refiner.logits(samples.codes, label(1, 4)), refiner.logits(samples.codes, Condition())
    for k in range(4):
        torch.testing.assert_close(guided[k], g[k] * given[k] + (1 - g[k]) * none[k], rtol=1e-4, atol=1e-4)


def test_guidance_zero_is_unconditional_and_one_is_none() -> None:
    refiner = build(shapes=LONG)
    zero = refiner.sample(6, label(1, 6), sampler=SamplerConfig(guidance=0.0))
    free = refiner.sample(6)
    assert all(torch.equal(a, b) for a, b in zip(zero.codes, free.codes, strict=True))


@both
@quantizers
def test_accuracy_is_the_share_of_hits(attention: str, quantizer: str) -> None:
    refiner = build(attention, quantizer, shapes=LONG)
    x, given = items_of(refiner, 5)
    codes = refiner.tokenizer.encode(x)
    found = refiner.accuracy(codes, given)
    assert found.shape == (5, 4)
    assert ((found >= 0) & (found <= 1)).all()
    for k, logits in enumerate(refiner.logits(codes, given)):
        every = torch.arange(refiner.tokenizer.quantizer.sizes[k])[:, None, None]
        nats = torch.stack([refiner.head.log_prob(logits, c.expand(5, codes[k].shape[1])) for c in every])
        torch.testing.assert_close(found[:, k], (nats.argmax(0) == codes[k]).double().mean(1))
    sharp = refiner.inpaint(codes, [torch.zeros(1, n) > 0 for n in (1, 4, 12, 25)], given, sampler=GREEDY)
    assert (refiner.accuracy(sharp.codes, given) == 1).all()


GREEDY = SamplerConfig(greedy=True)


@both
def test_loss_is_the_mean_over_all_sites(attention: str) -> None:
    refiner = build(attention, shapes=LONG)
    x, given = items_of(refiner, 5)
    codes = refiner.tokenizer.encode(x)
    loss, by_scale = refiner.loss(codes, given)
    nats = refiner.site_log_prob(codes, given)
    torch.testing.assert_close(loss, -torch.cat(nats, dim=1).mean())
    torch.testing.assert_close(by_scale, torch.stack([-n.mean() for n in nats]))
    assert loss.requires_grad
    log_prob = refiner.log_prob(codes, given)
    torch.testing.assert_close(log_prob.total, torch.cat(nats, dim=1).sum(1))
    bits = -log_prob.total / torch.log(torch.tensor(2.0)) / 50
    torch.testing.assert_close(log_prob.bits_per_dim.sum(1), bits)
    assert refiner.dimensions == 50


@pytest.mark.parametrize("budget", [1, 5, 12, 100])
def test_site_budget_is_unbiased(budget: int) -> None:
    """The mean over all orders of the batch is the full loss: every item is as likely to be scored as any other."""
    refiner = build(shapes=LONG)
    x, given = items_of(refiner, 4)
    codes = refiner.tokenizer.encode(x)
    full, full_by_scale = refiner.loss(codes, given)
    losses = []
    for order in itertools.permutations(range(4)):
        p = torch.tensor(order)
        losses.append(refiner.loss([c[p] for c in codes], given[p], budget))
    torch.testing.assert_close(torch.stack([a for a, _ in losses]).mean(), full)
    torch.testing.assert_close(torch.stack([b for _, b in losses]).mean(0), full_by_scale)


def test_site_budget_saves_what_it_says() -> None:
    refiner = build(shapes=LONG)
    x, given = items_of(refiner, 12)
    codes = refiner.tokenizer.encode(x)
    rows = Rows(refiner)
    refiner.loss(codes, given, 6)
    assert sorted(rows.calls) == [2, 6, 12]  # 25 sites: 2 items, 12 sites: 6, fewer: all 12
    with pytest.raises(RefineError, match="site_budget"):
        build("prefix", shapes=LONG).loss(codes, given, 6)


def test_training_lowers_the_loss_of_both_heads() -> None:
    for quantizer in ("vq", "bits"):
        refiner = build(quantizer=quantizer, shapes=LONG)
        x, given = items_of(refiner, 32)
        codes = refiner.tokenizer.encode(x)
        optimizer = torch.optim.Adam([*refiner.predictor.parameters(), *refiner.head.parameters()], 0.01)
        losses = []
        for _ in range(25):
            loss, _ = refiner.loss(codes, given)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]


@both
def test_the_trail_ends_in_the_items(attention: str) -> None:
    refiner = build(attention, shapes=LONG)
    samples = refiner.sample(3, label(0, 3), trail=True)
    assert [t.shape for t in samples.trail] == [samples.items.shape] * 4
    assert torch.equal(samples.trail[-1], samples.items)
    assert torch.equal(refiner.tokenizer.decode(samples.codes), samples.items)
    for k, step in enumerate(refiner.tokenizer.replay(samples.codes)):
        assert torch.equal(samples.trail[k], refiner.tokenizer.decode_state(step))
    assert refiner.sample(3, label(0, 3)).trail == []
    joined = Samples.join([samples, refiner.sample(2, label(1, 2), trail=True)])
    assert joined.items.shape[0] == 5
    assert joined.condition.label is not None and joined.condition.label.tolist() == [0, 0, 0, 1, 1]


@both
@pyramids
def test_a_base_is_carried_through(attention: str, pyramid: str) -> None:
    """Where all residuals are zero the base itself comes out; and it matters to the likelihood."""
    refiner = build(attention, pyramid=pyramid, shapes=LONG, base=True)
    x, given = items_of(refiner, 4)
    assert given.base is not None
    codes = refiner.tokenizer.encode(x, given.base)
    decoded = refiner.tokenizer.decode(codes, given.base)
    assert (decoded - x).square().mean() < (given.base - x).square().mean()
    moved = Condition(label=given.label, base=given.base + 1)
    assert not torch.allclose(refiner.log_prob(codes, given).nats, refiner.log_prob(codes, moved).nats)
    samples = refiner.sample(4, given)
    torch.testing.assert_close(samples.items, refiner.tokenizer.decode(samples.codes, given.base))


@pytest.mark.parametrize("attention", ["markov", "prefix"])
@quantizers
@pyramids
def test_saved_models_come_back_bit_for_bit(
    attention: str, quantizer: str, pyramid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(install_tiny(tmp_path / "installed")))
    refiner = build(attention, quantizer, pyramid)
    refiner.info = {"predictor": {"steps": 7}}
    refiner.save_pretrained(tmp_path / "model")
    again = Refiner.from_pretrained(tmp_path / "model")
    x, given = items_of(refiner, 8)
    codes = refiner.tokenizer.encode(x)
    assert not again.training
    assert again.info == refiner.info
    assert all(torch.equal(a, b) for a, b in zip(again.tokenizer.encode(x), codes, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(again.logits(codes, given), refiner.logits(codes, given), strict=True))
    assert torch.equal(again.sample(8, given).items, refiner.sample(8, given).items)
    refiner.save_pretrained(tmp_path / "half", dtype=torch.float16)
    half = Refiner.from_pretrained(tmp_path / "half")
    for a, b in zip(half.logits(codes, given), refiner.logits(codes, given), strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


def test_conditions_that_do_not_fit_are_refused() -> None:
    refiner = build(shapes=LONG)
    for bad in (3, -1):
        with pytest.raises(RefineError, match=r"label.*0 to 2"):
            refiner.sample(2, label(bad, 2))
    with pytest.raises(RefineError, match=r"label has 3 rows.*num=2"):
        refiner.sample(2, label(0, 3))
    with pytest.raises(RefineError, match=r"num=0"):
        refiner.sample(0)
