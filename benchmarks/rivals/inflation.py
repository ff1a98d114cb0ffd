"""How much larger errors of new days are than what a rival draws: as the codes have it, from the validation split."""

from __future__ import annotations

import torch
from torch import Tensor

from refine.noise import Noise
from refine.training.data import derive_seed
from rivals.known import Days
from rivals.rollout import Control

DAYS, ROWS = 96, 16  # of the validation split, at most; in a batch


@torch.no_grad()
def inflation(control: Control) -> Tensor:
    """(C, H, 1) the size of the mean's errors over that of drawn ones on the same days, by channel and latitude.

    A mean that was trained for long fits its own days better than others, so what is learned from them is too small
    (:func:`refine.domains.weather.calibration.inflation`).
    """
    model = control.model
    days = Days(model, "val")
    power = torch.zeros(2, len(model.channels), model.grid.shape[0])
    for rows in torch.linspace(0, len(days) - 1, min(DAYS, len(days))).long().split(ROWS):
        told, error = days.batch(rows)
        drawn = control.draw(told, days.times[rows], Noise(derive_seed("inflation"), rows.tolist()))
        assert drawn is not None
        power += torch.stack([x.square().mean(3).sum(0) for x in (error, drawn)])
    of_errors, of_draws = (model.tokenizer.codec.profile_of(p) for p in power)
    out: Tensor = of_errors / of_draws
    return out
