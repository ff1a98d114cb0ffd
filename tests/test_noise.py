"""Noise streams: uniform, one for each sample and scale, and the same in any company."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from refine.errors import RefineError
from refine.noise import Noise


def test_numbers_are_uniform() -> None:
    for k in range(3):
        drawn = Noise(5, range(50)).uniform(k, (400,))
        assert drawn.dtype == torch.float32
        assert drawn.shape == (50, 400)
        assert drawn.min() >= 0
        assert drawn.max() < 1
        assert kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_and_finite() -> None:
    noise = Noise(5, range(50))
    drawn = noise.normal(1, (400,))
    assert drawn.isfinite().all()
    assert kstest(drawn.flatten().numpy(), "norm").pvalue > 1e-3
    assert torch.equal(drawn.flatten().argsort(), noise.uniform(1, (400,)).flatten().argsort())


def test_first_numbers_of_streams_are_uniform_too() -> None:
    """Neighbouring samples and seeds are unrelated, not shifted copies."""
    by_sample = Noise(0, range(4000)).uniform(0, (1,)).flatten().numpy()
    by_seed = np.array([Noise(s, [0]).uniform(0, (1,)).item() for s in range(2000)])
    for drawn in (by_sample, by_seed):
        assert kstest(drawn, "uniform").pvalue > 1e-3
        pairs = np.histogram2d(drawn[:-1:2], drawn[1::2], bins=4, range=[[0, 1], [0, 1]])[0]
        assert chisquare(pairs.flatten()).pvalue > 1e-3


def test_a_sample_is_the_same_in_any_company() -> None:
    together = Noise(3, [4, 7, 9]).uniform(2, (5, 6))
    assert torch.equal(Noise(3, [7]).uniform(2, (5, 6))[0], together[1])
    assert torch.equal(Noise(3, range(7, 10)).uniform(2, (5, 6))[2], together[2])


def test_longer_draws_begin_alike() -> None:
    assert torch.equal(Noise(1, [0]).uniform(0, (10,))[:, :4], Noise(1, [0]).uniform(0, (4,)))


def test_streams_differ_by_seed_sample_and_scale() -> None:
    keys = itertools.product((0, 1, 2**63, 2**64 - 1), (0, 1, 10**9), (0, 1, 15))
    drawn = torch.cat([Noise(seed, [index]).uniform(k, (8,)) for seed, index, k in keys])
    assert len(drawn.unique(dim=0)) == len(drawn)
    for a, b in itertools.combinations(drawn, 2):
        assert not np.intersect1d(a.numpy(), b.numpy()).size  # no overlap of streams either


def test_streams_of_one_scale_are_apart() -> None:
    first, *others = (Noise(3, [4, 7]).uniform(2, (50,), stream=s) for s in (0, 1, 2, 1000))
    assert torch.equal(first, Noise(3, [4, 7]).uniform(2, (50,)))
    for other in others:
        assert not np.intersect1d(first.numpy(), other.numpy()).size


def test_ragged_draws_are_those_of_each_item_alone() -> None:
    noise, sizes = Noise(3, [4, 7, 9]), [5, 0, 3]
    drawn = noise.ragged(1, sizes, stream=2)
    assert torch.equal(drawn, noise.ragged(1, torch.tensor(sizes), stream=2))
    for i, (index, part) in enumerate(zip(noise.index, drawn.split(sizes), strict=True)):
        assert torch.equal(part, Noise(3, [index]).ragged(1, [sizes[i]], stream=2))
        assert torch.equal(part, Noise(3, [index]).uniform(1, (sizes[i],), stream=2)[0])


def test_numbers_are_those_of_philox() -> None:
    """The same numbers on every machine and in every version: what was drawn once stays."""
    recorded = [0.2561447024345398, 0.8148338198661804, 0.9633634090423584]
    assert Noise(7, [11]).uniform(2, (3,))[0].tolist() == recorded


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(RefineError, match=f"seed={seed}"):
        Noise(seed, [0])


def test_samples_are_numbered_from_zero() -> None:
    with pytest.raises(RefineError, match="sample number -2"):
        Noise(0, range(-2, 2))
