"""The dressed mean: errors of training days of the same season, each member and step its own day."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.scores.climatology import YEAR
from refine.noise import Noise
from rivals.known import Days, Known
from rivals.rollout import Control

WINDOW = 30  # days of the year, on either side


class Dressed(Control):
    """Args:
    error: (N, C, H, W) errors in units of ``mean.change``.
    day: (N,) days of the year that they are of.
    """

    def __init__(self, model: Forecaster, error: Tensor, day: Tensor) -> None:
        super().__init__(model)
        self.error, self.day = error, day.numpy()

    @staticmethod
    def fit(model: Forecaster) -> dict[str, Tensor]:
        """``error`` (half precision) and ``day`` of all training days."""
        days = Days(model, "train")
        return {"error": days.error.half(), "day": torch.from_numpy(day_of_year(days.times))}

    def draw(self, told: Known, times: Any, noise: Noise) -> Tensor:
        uniform = noise.uniform(0, (1,))[:, 0].double().numpy()
        rows = []
        for day, u in zip(day_of_year(times), uniform, strict=True):
            apart = np.abs(self.day - day)
            near = np.flatnonzero(np.minimum(apart, YEAR - apart) <= WINDOW)
            rows.append(near[int(u * len(near))])
        return self.error[rows].float().to(told.change)


def day_of_year(times: Any) -> np.ndarray:
    """(N,) of datetime64 or cftime."""
    return np.asarray(xr.DataArray(np.asarray(times), dims="time").dt.dayofyear.values)
