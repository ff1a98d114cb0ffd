from __future__ import annotations

import torch
from scipy.stats import kstest

from refine.studies.contest.stratified import stratified


def test_every_part_has_one_number_of_each_item() -> None:
    drawn = stratified(5, 3)
    assert drawn.shape == (3, 5)
    cells = (drawn * 15).long()
    assert cells.flatten().sort().values.tolist() == list(range(15))
    assert (cells // 5).unique(dim=1).flatten().tolist() == [0, 1, 2]


def test_each_number_is_uniform() -> None:
    torch.manual_seed(0)
    drawn = torch.stack([stratified(4)[0] for _ in range(1000)])
    for item in drawn.T:
        assert kstest(item.numpy(), "uniform").pvalue > 1e-3
