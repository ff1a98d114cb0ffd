"""Figures of every domain, against what they are by definition."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from toy import items_of, tiny_refiner

from refine.codes.quantizer import usage
from refine.models.evaluation import BandVariance, score_codes
from refine.models.refiner import Refiner
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig, SamplerConfig

SHAPES = [[1, 1], [2, 2], [4, 5]]


@pytest.fixture(params=["vq", "bitwise"])
def refiner(request: pytest.FixtureRequest) -> Refiner:
    model = ModelConfig(quantizer=QuantizerConfig(kind=request.param, size=7), predictor=PredictorConfig(16, 1, 2))
    return tiny_refiner(model, shapes=SHAPES, classes=3, base=True, items=22)


def test_scores_are_means_over_all_items_whatever_the_batches(refiner: Refiner) -> None:
    data = refiner.domain.dataset("train")
    x, given = items_of(refiner, 22)
    codes = refiner.tokenizer.encode(x, given.base)
    nats = refiner.log_prob(codes, given).nats
    for batch_size in (22, 8, 1):
        found, _ = score_codes(refiner, data, batch_size)
        assert (found["items"], found["likelihood"]) == (22, "exact")
        assert found["sites_by_scale"] == [1, 4, 20]
        bits = -nats.double().mean(0) / math.log(2) / 40
        assert found["bits_per_dim_by_scale"] == pytest.approx(bits.tolist(), rel=1e-4)
        assert found["bits_per_dim"] == pytest.approx(float(bits.sum()), rel=1e-4)
        assert found["accuracy_by_scale"] == pytest.approx(refiner.accuracy(codes, given).mean(0).tolist())
        for k, size in enumerate(refiner.tokenizer.quantizer.sizes):
            assert (found["usage_by_scale"][k], found["perplexity_by_scale"][k]) == pytest.approx(usage(codes[k], size))


def test_rounds_are_scored_in_the_order_of_each_items_number() -> None:
    refiner = tiny_refiner(ModelConfig(predictor=PredictorConfig(16, 1, 2, rounds=[1, 2, 5])), shapes=SHAPES, items=9)
    x, given = items_of(refiner, 9)
    nats = refiner.log_prob(refiner.tokenizer.encode(x), given).nats
    for batch_size in (9, 4):
        found, _ = score_codes(refiner, refiner.domain.dataset("train"), batch_size)
        assert found["likelihood"] == "lower bound, one order of rounds an item"
        bits = -nats.double().mean(0) / math.log(2) / 40
        assert found["bits_per_dim_by_scale"] == pytest.approx(bits.tolist(), rel=1e-4)


def test_band_variance_is_the_variance_over_items(refiner: Refiner) -> None:
    x, given = items_of(refiner, 22)
    codes = refiner.tokenizer.encode(x, given.base)
    pyramid = refiner.tokenizer.pyramid
    states = [pyramid.latent(s.state, s.k).double() for s in refiner.tokenizer.replay(codes, given.base)]
    assert given.base is not None
    states.insert(0, given.base.double())  # the base is known: it is no band
    bands = [b - a for a, b in itertools.pairwise(states)]
    variance = BandVariance()
    for rows in (slice(0, 9), slice(9, 21), slice(21, 22)):
        variance.add(refiner.tokenizer, [c[rows] for c in codes], given[rows])
    assert variance.count == 22
    assert variance.values() == pytest.approx([float(b.var(0, correction=0).sum()) for b in bands], rel=1e-6)


def test_samples_are_drawn_for_the_conditions_of_the_items(refiner: Refiner) -> None:
    data = refiner.domain.dataset("train")
    _, given = items_of(refiner, 22)
    sampler = SamplerConfig(temperature=0.8)
    num, asked = refiner.asked(data, 1000)
    assert num == 22
    together, parts = (refiner.sample_many(num, asked, 3, sampler, batch_size=n) for n in (22, 5))
    for samples in (together, parts):
        assert samples.condition.label is not None and given.label is not None
        assert torch.equal(samples.condition.label, given.label)
    assert all(torch.equal(a, b) for a, b in zip(together.codes, parts.codes, strict=True))
    alone = refiner.sample(22, given, seed=3, sampler=sampler)
    assert all(torch.equal(a, b) for a, b in zip(together.codes, alone.codes, strict=True))
    few, some = refiner.asked(data, 4)
    assert few == 4 and some.label is not None and torch.equal(some.label, given.label[[0, 7, 14, 21]])


def test_kept_variance_is_that_of_samples_over_that_of_encoded_items(refiner: Refiner) -> None:
    data = refiner.domain.dataset("train")
    samples = refiner.sample_many(*refiner.asked(data, 22), seed=1)
    kept = refiner.score(data, samples, 7)["kept_variance_by_scale"]
    x, given = items_of(refiner, 22)
    drawn, encoded = BandVariance(), BandVariance()
    drawn.add(refiner.tokenizer, samples.codes, samples.condition)
    encoded.add(refiner.tokenizer, refiner.tokenizer.encode(x, given.base), given)
    assert kept == pytest.approx([d / e for d, e in zip(drawn.values(), encoded.values(), strict=True)], rel=1e-6)
    same = replace(samples, codes=refiner.tokenizer.encode(x, given.base))
    assert refiner.score(data, same, 7)["kept_variance_by_scale"] == pytest.approx([1, 1, 1])
