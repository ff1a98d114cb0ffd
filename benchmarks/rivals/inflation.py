"""How much larger errors of new days are than what a rival draws: as the codes have it, from the validation split."""

from __future__ import annotations

import torch
from torch import Tensor

from refine.domains.weather.forecaster.errors import successive_errors
from refine.domains.weather.forecaster.new_days import NewDays
from refine.learning.data import derive_seed
from refine.noise import Noise
from rivals.known import Days
from rivals.rollout import Control

ITEMS = 384  # errors of the validation split, about
PARTS = ("drawn", "new_days")
DAYS, ROWS = 96, 16  # of it, on which errors are drawn, at most; in a batch


@torch.no_grad()
def inflation(control: Control) -> dict[str, Tensor]:
    """Size of drawn errors and of the mean's on days of the validation split, by channel, degree and latitude, and the
    memory of the latter: the state of ``control.drawn`` and ``control.new_days``."""
    model = control.model
    control.new_days.fit(model.codec, *successive_errors(model, "val", ITEMS))
    days, found = Days(model, "val"), []
    for rows in torch.linspace(0, len(days) - 1, min(DAYS, len(days))).long().split(ROWS):
        told, _ = days.batch(rows)
        drawn = control.draw(told, days.times[rows], Noise(derive_seed("inflation"), rows.tolist()))
        assert drawn is not None
        found.append(drawn)
    control.drawn.fit(model.codec, torch.cat(found), torch.empty(0, 2, dtype=torch.int64))
    return {f"{part}.{name}": t for part in PARTS for name, t in getattr(control, part).state_dict().items()}


def inflate(control: Control, tensors: dict[str, Tensor]) -> None:
    """Give a control what :func:`inflation` found."""
    for part in PARTS:
        module: NewDays = getattr(control, part)
        module.load_state_dict({name: tensors[f"{part}.{name}"] for name in module.state_dict()})
