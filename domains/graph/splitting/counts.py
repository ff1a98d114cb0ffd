"""How many edges of the finest graph a coarse edge stands for: an optional channel (``model.counts``).

The OR of a dense block says little: near the top, stochastic block models are complete graphs. Then it helps to know
whether a coarse edge stands for one edge or for a hundred. Counts are told in powers of two, as one more code of each
coarse edge, before the scale splits; a new edge starts from the count of the one that it came from.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 8  # 1, 2-3, 4-7, ..., 128 and more
KINDS = 2 + 2 * BINS  # of the predictor's table: nothing said, not known, known, inherited


def bin_counts(count: Tensor) -> Tensor:
    """Counts 1, 2, ... as floor(log2), at most ``BINS - 1``."""
    return torch.log2(count.double()).floor().long().clamp_max(BINS - 1)


def shown(count: Tensor, own: bool) -> Tensor:
    """(E,) what the predictor sees: bins that are the edges' own, or those that they inherited; 0 for -1."""
    return torch.where(count < 0, 0, count + (2 if own else 2 + BINS))
