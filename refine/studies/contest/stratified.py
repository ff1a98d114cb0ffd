"""Random numbers that share out an interval among themselves, so that a mean over them varies less."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(batch: int, parts: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """(parts, B) numbers in [0, 1), each uniform, from torch's generator.

    Row i has the i-th of ``parts`` equal parts of the interval to itself, and in it every item of the batch, in random
    order, an equal part of its own.
    """
    order = torch.rand(parts, batch, device=device).argsort(1)
    within = (order + torch.rand(parts, batch, device=device)) / batch
    return ((torch.arange(parts, device=device)[:, None] + within) / parts).clamp_max(1 - 2**-24)
