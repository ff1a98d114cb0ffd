"""Conditional Poisson sampling against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import chisquare

from refine.domains.graph.network.subset import draw_subset, subset_log_prob


def subsets(n: int, size: int) -> torch.Tensor:
    rows = list(itertools.combinations(range(n), size))
    chosen = torch.zeros(len(rows), n, dtype=torch.bool)
    for i, row in enumerate(rows):
        chosen[i, list(row)] = True
    return chosen


@pytest.mark.parametrize("size", range(7))
def test_probabilities_of_all_subsets_of_a_size_are_those_of_independent_choices_given_it(size: int) -> None:
    logits = 2 * torch.randn(1, 6, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    chosen = subsets(6, size)
    nats = subset_log_prob(logits.expand(len(chosen), -1), chosen)
    assert float(nats.exp().sum()) == pytest.approx(1.0)
    weights = torch.where(chosen, logits, 0.0).sum(1)
    torch.testing.assert_close(nats, weights - weights.logsumexp(0))


def test_rows_of_different_length_are_independent_of_their_padding_and_have_gradients() -> None:
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    logits[1, 3:] = -torch.inf
    logits.requires_grad_()
    chosen = torch.tensor([[True, False, True, False, False], [False, True, False, False, False]])
    nats = subset_log_prob(logits, chosen)
    torch.testing.assert_close(nats[1], subset_log_prob(logits[1:, :3], chosen[1:, :3])[0])
    nats.sum().backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_draws_have_exactly_the_size_and_the_law() -> None:
    n, size, draws = 5, 2, 20000
    logits = torch.randn(1, n, generator=torch.Generator().manual_seed(3))
    uniform = torch.rand(draws, n, generator=torch.Generator().manual_seed(4))
    drawn = draw_subset(logits.expand(draws, -1), torch.full((draws,), size), uniform)
    assert bool((drawn.sum(1) == size).all())
    every = subsets(n, size)
    weight = 2 ** torch.arange(n)
    names = (drawn * weight).sum(1)
    counts = [int((names == int((row * weight).sum())).sum()) for row in every]
    expected = subset_log_prob(logits.expand(len(every), -1), every).exp().double()
    assert chisquare(counts, (expected / expected.sum() * draws).tolist()).pvalue > 1e-3


def test_nothing_and_everything_are_certain() -> None:
    uniform = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    drawn = draw_subset(torch.zeros(3, 4), torch.tensor([0, 4, 2]), uniform)
    assert drawn.sum(1).tolist() == [0, 4, 2]
