"""What all rivals are told, and the errors that they learn from: those of the trained mean of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refine.domains.weather.forecaster.model import Forecaster
from refine.items import in_batches


@dataclass
class Known:
    """What a forecaster knows of a state, at the grid's own resolution.

    Attributes:
        change: (B, C, H, W) the mean's change of one step, in units of ``mean.change``.
        fields: (B, I, H, W) all that the mean is given.
        features: (B, F, H / 2, W / 2) of the mean network.
    """

    change: Tensor
    fields: Tensor
    features: Tensor

    def repeat(self, count: int) -> Known:
        """Every state ``count`` times in a row."""
        return Known(*(t.repeat_interleave(count, 0) for t in (self.change, self.fields, self.features)))


@torch.no_grad()
def known(model: Forecaster, before: Tensor, now: Tensor, forcing: Tensor) -> Known:
    """One pass of the mean network."""
    fields = model.mean.inputs(before, now, forcing)
    change, features = model.mean(fields)
    return Known(change, fields, features)


class Days:
    """All days of a split with the error of the mean, computed once.

    Attributes:
        error: (N, C, H, W) in units of ``mean.change``.
        times: (N,) of the states that the forecasts start from.
    """

    def __init__(self, model: Forecaster, split: str) -> None:
        self.model, self.pairs = model, model.domain.dataset(split)
        self.times: Any = self.pairs.times
        parts: list[tuple[Tensor, Tensor]] = []
        for batch in in_batches(self.pairs, 32):
            with torch.autocast(model.device.type, torch.bfloat16):
                told = known(model, batch["before"], batch["now"], batch["forcing"])
            error = (batch["after"] - batch["now"]) / model.mean.change - told.change
            parts.append((error, told.features.bfloat16()))
        self.error, self.features = (torch.cat(part) for part in zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self.error)

    def batch(self, rows: Tensor) -> tuple[Known, Tensor]:
        """What is known of some days, and the errors of their forecasts."""
        items = self.pairs.__getitems__(rows.tolist())
        before, now, after, forcing = (
            torch.stack([item[name] for item in items]) for name in ("before", "now", "after", "forcing")
        )
        error = self.error[rows]
        change = (after - now) / self.model.mean.change - error
        fields = self.model.mean.inputs(before, now, forcing)
        return Known(change, fields, self.features[rows].float()), error
