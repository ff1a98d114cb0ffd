"""Several rounds in a scale: a law for every order, drawn as it is scored, learned without bias."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from toy import install_tiny, items_of, tiny_refiner

from models.test_refiner import LONG, QUANTIZERS, Rows, all_sequences, label, place
from refine.drawing.rounds import Rounds
from refine.errors import RefineError
from refine.models.refiner import Refiner
from refine.noise import Noise
from refine.settings.config import ModelConfig, PredictorConfig, SamplerConfig
from refine.types import Codes, Condition

TINY = [[1], [3]]


def build(rounds: Any, quantizer: str = "vq", shapes: list[Any] = TINY, **options: Any) -> Refiner:
    predictor = PredictorConfig(width=16, depth=2, heads=2, rounds=rounds)
    config = ModelConfig(quantizer=QUANTIZERS[quantizer], predictor=predictor)
    return tiny_refiner(config, **{"classes": 3, **options, "shapes": shapes})


def index_of(refiner: Refiner, noise: Noise, k: int = 1) -> Tensor:
    """(B, N_k) round of each site."""
    return refiner.order(k, refiner.tokenizer.pyramid.level(k, None), noise).index


def one_order(count: int, seed: int = 0) -> Noise:
    """The same order for all of ``count`` items."""
    return Noise(seed, [0] * count)


def law(refiner: Refiner, codes: Codes, seed: int, condition: Condition) -> Tensor:
    """The probability of every sequence under the order of sample 0 of a seed."""
    with torch.no_grad():
        nats = refiner.site_log_prob(codes, condition, noise=one_order(len(codes[0]), seed))
    return torch.cat(nats, dim=1).sum(1).double().exp()


@pytest.mark.parametrize("quantizer", ["vq", "bits"])
@pytest.mark.parametrize("rounds", [1, 2, 3, 9, [1, 2]])
def test_probabilities_of_all_sequences_sum_to_one_in_every_order(rounds: Any, quantizer: str) -> None:
    refiner = build(rounds, quantizer)
    codes = all_sequences(refiner)
    laws = [law(refiner, codes, seed, label(1, len(codes[0]))) for seed in range(4)]
    for p in laws:
        assert float(p.sum()) == pytest.approx(1, abs=1e-5)
        assert p.log().std() > 0.15
    orders = [index_of(refiner, Noise(seed, [0])) for seed in range(4)]
    for a, b in itertools.combinations(range(4), 2):
        assert torch.allclose(laws[a], laws[b]) == torch.equal(orders[a], orders[b])


def test_one_round_is_the_model_without_rounds() -> None:
    refiner, several = build(1), build([1, 3])
    names = set(refiner.state_dict())
    assert set(several.state_dict()) - names == {"predictor.known.weight", "predictor.known.bias", "predictor.unknown"}
    assert not any("known" in name for name in names)
    codes = all_sequences(refiner)
    score = refiner.log_prob(codes, label(1, len(codes[0])), orders=[3, 4])
    assert score.exact and torch.equal(score.nats, refiner.log_prob(codes, label(1, len(codes[0]))).nats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 2, "attention": "prefix"}, r"rounds=2 needs model\.predictor\.attention=markov"),
        ({"rounds": 0}, r"model\.predictor\.rounds=0 is not accepted; accepted: whole numbers from 1 to 10,000"),
        ({"rounds": 1.5}, "rounds=1.5 is not accepted"),
        ({"rounds": [1, 2, 3]}, "a list needs one number for each of 2 scales"),
    ],
)
def test_rounds_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefineError, match=message):
        tiny_refiner(ModelConfig(predictor=PredictorConfig(16, 1, 2, **options)))


@pytest.mark.parametrize("rounds", [2, 5, 25])
@torch.no_grad()
def test_codes_are_seen_after_their_round_and_not_before(rounds: int) -> None:
    refiner = build(rounds, shapes=LONG)
    x, given = items_of(refiner, 1)
    codes, noise = refiner.tokenizer.encode(x), Noise(2, [0])
    index = index_of(refiner, noise, 3)[0]
    before = refiner.logits(codes, given, noise=noise)[3][0]
    for r in range(rounds):
        moved = codes[3].clone()
        moved[0, index == r] = (moved[0, index == r] + 1) % 3
        after = refiner.logits([*codes[:3], moved], given, noise=noise)[3][0]
        changed = (after - before).abs().amax(1) > 1e-6
        assert torch.equal(changed, index > r)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@torch.no_grad()
def test_teacher_forced_logits_are_those_of_sampling(guidance: float) -> None:
    refiner = build([1, 2, 12, 3], shapes=LONG, field=2, vector=2)
    _, given = items_of(refiner, 4)
    seen: list[Tensor] = []
    hook = refiner.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    samples = refiner.sample(4, given, seed=3, first=5, sampler=SamplerConfig(guidance=guidance))
    hook.remove()
    noise = Noise(3, range(5, 9))
    forced = refiner.logits(samples.codes, given, noise=noise)
    free = refiner.logits(samples.codes, Condition(), noise=noise)
    for k, turns in enumerate([1, 2, 12, 3]):
        rounds = Rounds(index_of(refiner, noise, k))
        assert rounds.num == turns
        for _, _, now in rounds:
            wanted = guidance * forced[k] + (1 - guidance) * free[k]
            torch.testing.assert_close(seen.pop(0)[now], wanted[now], rtol=1e-4, atol=1e-4)
    assert not seen


@pytest.mark.parametrize("quantizer", ["vq", "bits"])
def test_samples_follow_the_law_of_their_order(quantizer: str) -> None:
    refiner, draws = build([1, 2], quantizer, shapes=[[1], [2]]), 8000
    codes, given = all_sequences(refiner), label(2, draws)
    where = place(refiner.sample(draws, given, seed=1).codes, codes)
    index = index_of(refiner, Noise(1, range(draws)))
    laws = {}
    for order in ([0, 1], [1, 0]):
        mine = (index == torch.tensor(order)).all(1)
        assert 0.45 < mine.double().mean() < 0.55
        seed = next(s for s in range(99) if index_of(refiner, Noise(s, [0]))[0].tolist() == order)
        laws[tuple(order)] = law(refiner, codes, seed, label(2, len(codes[0])))
        found = torch.bincount(where[mine], minlength=len(codes[0]))
        assert pvalue(found, laws[tuple(order)]) > 1e-3
        wrong = law(refiner, codes, seed, label(0, len(codes[0])))
        assert pvalue(found, wrong) < 1e-6
    assert not torch.allclose(*laws.values(), rtol=0.05)  # orders are different laws


def pvalue(found: Tensor, law: Tensor) -> float:
    expected = law * found.sum()
    often = expected >= 5
    observed = torch.cat([found[often], found[~often].sum()[None]]).double()
    expected = torch.cat([expected[often], expected[~often].sum()[None]]).clamp_min(1e-9)
    keep = expected > 0.5
    observed, expected = observed[keep], expected[keep]
    return float(chisquare(observed.numpy(), (expected * observed.sum() / expected.sum()).numpy()).pvalue)


def test_a_sample_is_scored_in_the_order_it_was_drawn_in() -> None:
    """Greedy samples are the likeliest code at every site of their own order, and not of another."""
    refiner = build([1, 2, 12, 25], shapes=LONG)
    samples = refiner.sample(4, label(1, 4), seed=7, first=3, sampler=SamplerConfig(greedy=True))
    every = [[torch.full_like(c, v) for c in samples.codes] for v in range(3)]
    assert len(every) == 3
    for seed, same in ((7, True), (8, False)):
        noise = Noise(seed, range(3, 7))
        best = [logits.argmax(-1) for logits in refiner.logits(samples.codes, label(1, 4), noise=noise)]
        assert all(torch.equal(a, b) for a, b in zip(best, samples.codes, strict=True)) == same
        nats = torch.stack([n.sum(1) for n in refiner.site_log_prob(samples.codes, label(1, 4), noise=noise)], 1)
        found = refiner.log_prob(samples.codes, label(1, 4), orders=[seed], first=3)
        torch.testing.assert_close(found.nats, nats)
        assert not found.exact


def test_the_bound_is_the_mean_over_orders() -> None:
    refiner = build([1, 3])
    codes = [c[10:14] for c in all_sequences(refiner)]
    each = torch.stack([refiner.log_prob(codes, label(1, 4), orders=[seed]).nats for seed in range(60)])
    bound = refiner.log_prob(codes, label(1, 4), orders=range(60))
    torch.testing.assert_close(bound.nats, each.mean(0))
    marginal = each.sum(2).logsumexp(0) - math.log(60)  # of the mixture over these orders
    assert (bound.total < marginal).all()
    with pytest.raises(RefineError, match="orders"):
        refiner.log_prob(codes, orders=[])


@pytest.mark.parametrize("rounds", [2, 3])
@torch.no_grad()
def test_loss_is_unbiased_for_the_bound(rounds: int) -> None:
    """The mean over draws of round and order is the mean over all six orders of the exact likelihood."""
    refiner, count = build([1, rounds]), 30_000
    codes = [c[40:41] for c in all_sequences(refiner)]
    seeds: dict[tuple[int, ...], int] = {}
    for seed in range(200):
        order = Noise(seed, [0]).uniform(1, (3,), stream=1)[0].argsort()
        seeds.setdefault(tuple(order.tolist()), seed)
    assert len(seeds) == 6
    nats = [refiner.site_log_prob(codes, label(1, 1), noise=Noise(seed, [0])) for seed in seeds.values()]
    bound = torch.stack([torch.stack([n.sum() for n in order]) for order in nats])
    assert bound[:, 1].std() > 0.02  # orders matter
    many = [c.expand(count, -1) for c in codes]
    torch.manual_seed(0)
    loss, by_scale = refiner.loss(many, label(1, count))
    wanted = -bound.mean(0) / torch.tensor([1, 3])
    torch.testing.assert_close(by_scale, wanted, rtol=0, atol=0.01)
    torch.testing.assert_close(loss, -bound.mean(0).sum() / 4, rtol=0, atol=0.01)


def test_a_sample_is_the_same_in_any_company() -> None:
    refiner = build([1, 2, 5, 4], shapes=LONG, field=1)
    _, given = items_of(refiner, 9)
    sampler = SamplerConfig(guidance=2.0, top_p=0.9)
    together = refiner.sample(9, given, seed=5, first=10, sampler=sampler)
    alone = refiner.sample(1, given[4:5], seed=5, first=14, sampler=sampler)
    for a, b in zip(together.codes, alone.codes, strict=True):
        assert torch.equal(a[4:5], b)


def test_rounds_cost_a_pass_each() -> None:
    refiner = build([1, 2, 3, 4], shapes=LONG)
    rows = Rows(refiner)
    refiner.sample(5, label(1, 5), sampler=SamplerConfig(guidance=[1, 1, 2, 1]))
    assert rows.calls == [5] + [5] * 2 + [10] * 3 + [5] * 4


def test_training_costs_one_pass_whatever_the_rounds() -> None:
    refiner = build([1, 2, 3, 4], shapes=LONG)
    x, given = items_of(refiner, 12)
    rows = Rows(refiner)
    refiner.loss(refiner.tokenizer.encode(x), given)
    assert rows.calls == [12]
    refiner.loss(refiner.tokenizer.encode(x), given, site_budget=6)
    assert sorted(rows.calls[1:]) == [2, 6, 12]


def test_kept_codes_are_known_from_the_first_round() -> None:
    """Under a kept site the other one follows the law that it has when it comes second."""
    refiner, draws = build([1, 2], shapes=[[1], [2]]), 4000
    everything = all_sequences(refiner)
    under = (everything[0][:, 0] == 1) & (everything[1][:, 0] == 2)
    seed = next(s for s in range(99) if index_of(refiner, Noise(s, [0]))[0].tolist() == [0, 1])
    conditional = law(refiner, everything, seed, label(1, len(under)))[under]
    codes = [torch.full((draws, 1), 1), torch.full((draws, 2), 2)]
    masks = [torch.ones(1, 1) > 0, torch.tensor([[True, False]])]
    rows = Rows(refiner)
    out = refiner.inpaint(codes, masks, label(1, draws))
    assert rows.calls == [draws] * 2  # one site is left to draw: one round
    assert (out.codes[1][:, 0] == 2).all()
    found = torch.bincount(out.codes[1][:, 1], minlength=3)
    assert chisquare(found.numpy(), (conditional / conditional.sum() * draws).numpy()).pvalue > 1e-3
    everywhere = refiner.inpaint(codes, [torch.ones(1, n) > 0 for n in (1, 2)], label(1, draws))
    assert all(torch.equal(a, b) for a, b in zip(everywhere.codes, codes, strict=True))
    nothing = refiner.inpaint(codes, [torch.zeros(1, n) > 0 for n in (1, 2)], label(1, draws), seed=4)
    free = refiner.sample(draws, label(1, draws), seed=4)
    assert all(torch.equal(a, b) for a, b in zip(nothing.codes, free.codes, strict=True))


def test_sites_that_do_not_exist_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = build([1, 3, 5, 9], shapes=LONG)
    pyramid = refiner.tokenizer.pyramid
    plain, mask = pyramid.level, torch.arange(25) % 3 > 0
    monkeypatch.setattr(pyramid, "level", lambda k, s: replace(plain(k, s), mask=mask[None, : pyramid.num_sites(k)]))
    pyramid_mask = [mask[: pyramid.num_sites(k)] for k in range(4)]
    pyramid_mask[0][0] = True  # it is one storage: site 0 exists everywhere
    x, given = items_of(refiner, 6)
    codes = refiner.tokenizer.encode(x)
    with torch.no_grad():
        for k, nats in enumerate(refiner.site_log_prob(codes, given)):
            assert bool((nats[:, ~pyramid_mask[k]] == 0).all()) and bool((nats[:, pyramid_mask[k]] < 0).all())
    loss, _ = refiner.loss(codes, given)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in refiner.predictor.parameters() if p.grad is not None)
    assert refiner.sample(6, given).codes[3].shape == (6, 25)


def test_learning_lowers_the_bound_and_uses_what_is_known() -> None:
    """Copies: all codes of the fine scale are equal. One round cannot draw that, as many rounds as sites can."""
    agree = {}
    for rounds in (1, 4):
        refiner = build([1, rounds], shapes=[[1], [4]], classes=0)
        fine = torch.randint(3, (48, 1), generator=torch.Generator().manual_seed(0)).expand(-1, 4)
        codes = [torch.zeros(48, 1, dtype=torch.int64), fine]
        optimizer = torch.optim.Adam([*refiner.predictor.parameters(), *refiner.head.parameters()], 0.01)
        torch.manual_seed(0)
        for _ in range(120):
            loss, _ = refiner.loss(codes, Condition())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        drawn = refiner.sample(400, seed=1, sampler=SamplerConfig(temperature=[0.01, 1.0])).codes[1]
        agree[rounds] = float((drawn == drawn[:, :1]).all(1).double().mean())
        bits = -refiner.log_prob(codes, orders=range(3)).nats[:, 1].mean() / math.log(2)
        assert float(bits) == pytest.approx(math.log2(3) * (4 if rounds == 1 else 1), abs=0.4)
    assert agree[1] < 0.2
    assert agree[4] > 0.9


def test_saved_models_come_back_with_their_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install_tiny(tmp_path / "installed")))
    refiner = build([1, 3])
    refiner.save_pretrained(tmp_path / "model")
    again = Refiner.from_pretrained(tmp_path / "model")
    assert again.predictor.rounds == [1, 3]
    found, wanted = (m.sample(8, label(1, 8)).codes for m in (again, refiner))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
