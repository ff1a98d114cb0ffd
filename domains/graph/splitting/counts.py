"""How many edges of the finest graph a coarse edge stands for: an optional channel (``model.counts``).

The OR of a dense block says little: near the top, stochastic block models are complete graphs. Then it helps to know
whether a coarse edge stands for one edge or for a hundred. Counts are told in powers of two, as one more code of each
coarse edge, before the scale splits; a new edge starts from the count of the one that it came from. Where nodes have
masses (``model.masses``), the edges that lie inside of each are told in the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refine.domains.graph.splitting.sparse import Graphs

BINS = 8  # of models without masses: 1, 2-3, 4-7, ..., 128 and more
MASS_BINS = 16  # of models with masses


def num_bins(masses: bool) -> int:
    """How many bins counts have."""
    return MASS_BINS if masses else BINS


def kinds(bins: int) -> int:
    """Rows of the predictor's table: nothing said, not known, known, inherited."""
    return 2 + 2 * bins


def bin_counts(count: Tensor, bins: int = BINS) -> Tensor:
    """Counts 1, 2, ... as floor(log2), at most ``bins - 1``."""
    return torch.log2(count.double()).floor().long().clamp_max(bins - 1)


def bin_inside(inside: Tensor, bins: int = MASS_BINS) -> Tensor:
    """Counts 0, 1, 2, ... as 0 for none, else 1 + floor(log2), at most ``bins - 1``."""
    return torch.where(inside > 0, 1 + bin_counts(inside.clamp_min(1), bins), 0).clamp_max(bins - 1)


def shown(count: Tensor, own: bool, bins: int = BINS) -> Tensor:
    """What the predictor sees: bins that are an edge's or a node's own, or those that it inherited; 0 for -1."""
    return torch.where(count < 0, 0, count + (2 if own else 2 + bins))


def most_counts(graphs: Graphs) -> tuple[Tensor, Tensor]:
    """(N,) and (E,) the largest bins that are possible of the edges inside nodes with masses, and of edges: no more
    than there are pairs of finest nodes, nor than there are in what they came from."""
    assert graphs.mass is not None and graphs.inside is not None and graphs.count is not None
    u, v = graphs.edges
    within = bin_inside(graphs.mass * (graphs.mass - 1) // 2)
    across = bin_counts(graphs.mass[u] * graphs.mass[v], MASS_BINS)
    return (
        torch.where(graphs.inside < 0, within, torch.minimum(within, graphs.inside)),
        torch.where(graphs.count < 0, across, torch.minimum(across, graphs.count)),
    )
