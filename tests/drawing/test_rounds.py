"""Rounds: every site once, in the order of its uniform, and nothing else decides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refine.drawing.rounds import Rounds


def uniforms(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num", [1, 2, 3, 7, 20, 50])
@pytest.mark.parametrize("sites", [1, 2, 5, 20, 64])
def test_shuffled_reveals_every_site_once_on_the_cosine_schedule(sites: int, num: int) -> None:
    rounds = Rounds.shuffled(uniforms(6, sites), num)
    turns = min(num, sites)
    assert rounds.num == turns
    revealed = torch.zeros(6, sites, dtype=torch.int64)
    for r, known, now in rounds:
        assert torch.equal(known, revealed > 0)
        assert bool((now.sum(1) >= 1).all())  # no round is idle
        revealed += now
        due = max(r + 1, math.ceil(round(sites * (1 - math.cos(math.pi * (r + 1) / (2 * turns))), 6)))
        assert revealed.sum(1).tolist() == [due] * 6
    assert bool((revealed == 1).all())


def test_shuffled_follows_the_uniforms_alone() -> None:
    u = uniforms(5, 17)
    rounds = Rounds.shuffled(u, 4)
    later = rounds.index[:, :, None] > rounds.index[:, None, :]
    assert bool((u[:, :, None] > u[:, None, :])[later].all())
    p = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Rounds.shuffled(u[:, p], 4).index, rounds.index[:, p])


def test_sites_that_do_not_exist_are_never_revealed_and_change_nothing() -> None:
    u, mask = uniforms(4, 9), torch.ones(4, 9, dtype=torch.bool)
    mask[0, [2, 5]], mask[1, 1:], mask[2] = False, False, False
    rounds = Rounds.shuffled(u, 3, mask)
    assert torch.equal(rounds.index < 0, ~mask)
    assert torch.equal(rounds.index[0, mask[0]], Rounds.shuffled(u[:1, mask[0]], 3).index[0])
    assert rounds.index[1, 0] == 0  # one site is one round
    seen = torch.stack([now for _, _, now in rounds])
    assert torch.equal(seen.sum(0), mask.long())
    assert not bool(rounds.known(3)[~mask].any())
    assert not bool(rounds.now(-1).any())


def test_every_order_is_equally_likely() -> None:
    index = Rounds.shuffled(uniforms(24_000, 4), 4).index
    orders, counts = index.unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 50  # chi-square with 23 degrees of freedom, p < 1e-3


def test_one_by_one_ranks_each_group_by_its_uniforms() -> None:
    g = torch.Generator().manual_seed(3)
    group, u = torch.randint(-1, 12, (200,), generator=g), uniforms(200)
    rounds = Rounds.one_by_one(group, u)
    for name in range(12):
        sites = (group == name).nonzero().flatten()
        assert rounds.index[sites[u[sites].argsort()]].tolist() == list(range(len(sites)))
    assert torch.equal(rounds.index < 0, group < 0)
    p = torch.randperm(200, generator=g)
    assert torch.equal(Rounds.one_by_one(group[p], u[p]).index, rounds.index[p])
    for _, _, now in rounds:
        assert len(group[now].unique()) == int(now.sum())  # one site of a group at a time


def test_at_once_and_nothing_at_all() -> None:
    ((r, known, now),) = Rounds.at_once(2, 3)
    assert r == 0 and not bool(known.any()) and bool(now.all())
    none = torch.zeros(0)
    assert list(Rounds.one_by_one(none.long(), none)) == []


def test_rounds_may_differ_by_item() -> None:
    rounds, r = Rounds.shuffled(uniforms(3, 6), 6), torch.tensor([[0], [2], [6]])
    assert rounds.known(r).sum(1).tolist() == [0, 2, 6]
    assert rounds.now(r).sum(1).tolist() == [1, 1, 0]
