"""One pass of a noise-injected network trained on almost fair CRPS: the role of AIFS-CRPS and FGN.

Noise comes in as fields, smooth ones in bands of harmonics and others that are independent in each cell (AIFS-CRPS,
arXiv 2412.15832), and as a vector that modulates every block (FGN, arXiv 2506.10772).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refine.domains.weather.forecaster.model import Forecaster
from refine.noise import Noise
from rivals.known import Known
from rivals.network import ErrorNetwork
from rivals.rollout import Control
from rivals.spherical import Bands, normal

MEMBERS, ALPHA = 2, 0.95  # of a training day; share of fair CRPS in the loss, the rest is CRPS
SMOOTH, CELLS, VECTOR = 8, 2, 32  # fields of noise in bands, and in cells; length of the vector


class OnePass(Control):
    """Errors in one pass."""

    passes = 1 + 1
    rows = 8  # training days in a batch

    def __init__(self, model: Forecaster) -> None:
        super().__init__(model)
        self.bands = Bands(model)
        self.shapes = [(SMOOTH, self.bands.coefficients), (CELLS, *model.grid.shape), (VECTOR,)]
        self.network = ErrorNetwork(model, SMOOTH + CELLS, VECTOR)

    def loss(self, told: Known, error: Tensor, area: Tensor, rng: torch.Generator) -> Tensor:
        """Almost fair CRPS of the members, in units of ``network.size``."""
        batch = MEMBERS * len(error)
        drawn = self._errors(told.repeat(MEMBERS), *(torch.randn(batch, *s, generator=rng) for s in self.shapes))
        return almost_fair_crps(drawn.unflatten(0, (-1, MEMBERS)), error / self.network.size, area)

    def draw(self, told: Known, times: Any, noise: Noise) -> Tensor:
        return self._errors(told, *(normal(noise, s, i) for i, s in enumerate(self.shapes))) * self.network.size

    def _errors(self, told: Known, smooth: Tensor, cells: Tensor, vector: Tensor) -> Tensor:
        out: Tensor = self.network(told, torch.cat([self.bands.fields(smooth), cells], 1), vector)
        return out


def almost_fair_crps(members: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """ALPHA of the fair CRPS and 1 - ALPHA of that of the members as they are; mean over all cells by area.

    Args:
        members: (B, M, C, H, W).
        truth: (B, C, H, W).
        area: (H, W) of mean 1.
    """
    count = members.shape[1]
    error = (members - truth[:, None]).abs().mean(1)
    apart = (members[:, :, None] - members[:, None]).abs().sum((1, 2)) / (2 * count)
    return ((error - apart * (ALPHA / (count - 1) + (1 - ALPHA) / count)) * area).mean()
