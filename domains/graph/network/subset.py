"""Which m of n: the law of independent yes-or-no choices, given how many are yes (conditional Poisson sampling).

    p(S) = prod_{i in S} w_i / e_m(w),    e_m the elementary symmetric polynomial,

so that the number of nodes is exact and the likelihood is, too. e_m comes from its recurrence over items, in logs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _tables(logits: Tensor, most: int) -> list[Tensor]:
    """n + 1 tensors (B, most + 1): log e_j of the first i weights."""
    row = logits.new_full((len(logits), most + 1), -torch.inf)
    row[:, 0] = 0.0
    rows = [row]
    for weight in logits.T:
        with_it = torch.cat([row.new_full((len(row), 1), -torch.inf), row[:, :-1] + weight[:, None]], 1)
        # -inf + -inf has no gradient: keep such cells away from logaddexp
        dead = (row == -torch.inf) & (with_it == -torch.inf)
        row = torch.logaddexp(row.masked_fill(dead, 0.0), with_it.masked_fill(dead, 0.0)).masked_fill(dead, -torch.inf)
        rows.append(row)
    return rows


def subset_log_prob(logits: Tensor, chosen: Tensor) -> Tensor:
    """(B,) nats of the subset ``chosen`` (B, n) bool among all of its size.

    Args:
        logits: (B, n) log w_i; -inf where there is no item.
        chosen: the subset.
    """
    size = chosen.sum(1)
    exists = logits > -torch.inf
    total = torch.where(chosen, logits, 0.0).sum(1)
    free = (size > 0) & (size < exists.sum(1))  # else there is but one subset
    if not bool(free.any()):
        return torch.zeros_like(total)
    rows = _tables(logits[free], int(size[free].max()))
    norm = rows[-1].gather(1, size[free][:, None])[:, 0]
    return torch.zeros_like(total).masked_scatter(free, total[free] - norm)


def draw_subset(logits: Tensor, size: Tensor, uniform: Tensor) -> Tensor:
    """(B, n) bool: ``size`` (B,) items of each row, drawn with :func:`subset_log_prob`'s law by ``uniform`` (B, n)."""
    rows = _tables(logits.double(), int(size.max()))
    left = size.clone()
    chosen = torch.zeros_like(logits, dtype=torch.bool)
    for i in range(logits.shape[1] - 1, -1, -1):
        # P(i in S | the later ones) = w_i e_{m-1}(w_<i) / e_m(w_<=i)
        with_it = rows[i].gather(1, (left - 1).clamp_min(0)[:, None])[:, 0] + logits[:, i].double()
        log_p = with_it - rows[i + 1].gather(1, left[:, None])[:, 0]
        take = (left > 0) & (uniform[:, i] < log_p.exp())
        chosen[:, i] = take
        left = left - take.long()
    return chosen
