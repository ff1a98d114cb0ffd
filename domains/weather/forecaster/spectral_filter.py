"""What a forecast of a step is worth at each wavelength: a linear filter, learned on days that were not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from refine.domains.weather.sphere.harmonics import FieldTransform

if TYPE_CHECKING:
    from refine.domains.weather.sphere.grids import Grid

LARGEST = 63  # degree that is filtered; what lies beyond passes as it is
NOTHING = 1e-9  # of the largest power of a channel; harmonics with less are left alone


class SpectralFilter(nn.Module):
    """The best linear estimate of a change from the change that is predicted and the state, harmonic by harmonic:

        change = a * predicted + b * state + c,   a and b functions of degree l and |m|.

    A network that learned fine structure of its training days predicts such structure on others as well, where it is
    noise: roll-outs then gather power that nothing takes away. Least squares gives a < 1 there and b < 0, which forgets
    it, and leaves an error that is uncorrelated with the forecast, so that the power of both adds up to the truth's.

    Attributes:
        predicted, state: (D, C) a and b.
        constant: (D, C) c.
        fitted: whether they are there; it does nothing until then.
    """

    predicted: Tensor
    state: Tensor
    constant: Tensor
    fitted: Tensor

    def __init__(self, channels: int, winds: list[tuple[int, int]], grid: Grid) -> None:
        super().__init__()
        height, width = grid.shape
        self.transform = FieldTransform(channels, winds, grid, min(height - 1, (width - 1) // 2, LARGEST))
        shape = self.transform.num_coefficients, channels
        self.register_buffer("predicted", torch.ones(shape))
        self.register_buffer("state", torch.zeros(shape))
        self.register_buffer("constant", torch.zeros(shape))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def forward(self, change: Tensor, state: Tensor) -> Tensor:
        """(B, C, H, W) the estimate from a predicted change and the state before it, both in the same units."""
        if not self.fitted:
            return change
        with torch.autocast(change.device.type, enabled=False):
            x, now = self.transform.analyse(change), self.transform.analyse(state)
            return change + self.transform.synthesise((self.predicted - 1) * x + self.state * now + self.constant)

    @torch.no_grad()
    def fit(self, days: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Least squares over batches of predicted changes, states and true changes, (B, C, H, W) each."""
        mean = self.predicted.new_zeros(3, *self.predicted.shape, dtype=torch.float64)
        both, count = mean.new_zeros(3, *mean.shape), 0
        for batch in days:
            x = torch.stack([self.transform.analyse(fields) for fields in batch]).double()  # (3, B, D, C)
            both += torch.einsum("ibdc,jbdc->ijdc", x, x)
            mean, count = mean + x.sum(1), count + x.shape[1]
        mean = mean / count
        cov = [[self.transform.smooth(both[i, j] / count - mean[i] * mean[j]) for j in range(3)] for i in range(2)]
        (pp, ps, pt), (_, ss, st) = cov
        det = pp * ss - ps * ps
        some = det > NOTHING * (pp * ss).amax(0)
        self.predicted.copy_(torch.where(some, (pt * ss - st * ps) / det, 1.0))
        self.state.copy_(torch.where(some, (st * pp - pt * ps) / det, 0.0))
        constant = mean[2] - self.predicted * mean[0] - self.state * mean[1]
        self.constant.copy_(torch.where(some, constant, 0.0))
        self.fitted.fill_(True)
