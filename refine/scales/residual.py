"""VAR's pyramid: the state lives at the finest scale, and every scale adds its upsampled values to it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from refine.errors import require
from refine.scales.pyramid import Pyramid
from refine.scales.resample import Resampler
from refine.settings.config import PyramidConfig
from refine.types import Level


class Phi(nn.Module):
    """VAR's phi: a residual 3x3 convolution after upsampling, phi(h) = (1 - r) h + r conv(h), on a grid."""

    def __init__(self, channels: int, shape: tuple[int, ...], ratio: float = 0.5) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(shape)]
        self.conv: nn.Module = conv(channels, channels, 3, padding=1)
        self.shape, self.ratio = shape, ratio

    def forward(self, h_BNC: Tensor) -> Tensor:
        grid = h_BNC.transpose(1, 2).unflatten(2, self.shape)
        with torch.autocast(h_BNC.device.type, enabled=False):  # states add up over scales
            out = self.conv(grid).flatten(2).transpose(1, 2)
        return torch.lerp(h_BNC, out, self.ratio)


def phi_index(k: int, num_levels: int, num_phi: int) -> int:
    """Which of ``num_phi`` convolutions scale k uses: the nearest of evenly spaced ticks, VAR's rule."""
    inset = 1 / (3 * num_phi) if num_phi == 4 else 1 / (2 * num_phi)
    ticks = np.linspace(inset, 1 - inset, num_phi)  # where two are as near, as at k=2 of 10, rounding decides: VAR's
    return int(np.abs(ticks - k / max(1, num_levels - 1)).argmin())


class ResidualPyramid(Pyramid):
    """VAR's pyramid: the state lives at the finest scale; every scale adds its upsampled values to it.

    The residual of scale k is what is left at the finest scale, downsampled. ``num_phi`` convolutions are shared over
    the scales: 1 is VAR's "shared", 4 of 10 "partially shared", K "one each", 0 none.
    """

    def __init__(self, resampler: Resampler, channels: int, num_phi: int = 4) -> None:
        super().__init__()
        self.resampler, self.channels = resampler, channels
        self.num_levels = resampler.num_levels
        shapes = getattr(resampler, "shapes", None)
        require(num_phi == 0 or shapes is not None, f"model.pyramid.phi={num_phi} needs a grid; accepted here: 0")
        require(num_phi >= 0, f"model.pyramid.phi={num_phi} is not accepted; accepted: 0, 1, 2, ...")
        self.phis = nn.ModuleList(Phi(channels, shapes[-1]) for _ in range(num_phi) if shapes)

    @classmethod
    def build(cls, options: PyramidConfig, resampler: Resampler, channels: int) -> Pyramid:
        return cls(resampler, channels, options.phi)

    def num_sites(self, k: int) -> int:
        return self.resampler.num_sites(k)

    def start(self, batch: int, base: Tensor | None = None) -> Tensor:
        if base is not None:
            return base
        like = self.resampler.level(0).pos
        return like.new_zeros(batch, self.num_sites(self.num_levels - 1), self.channels)

    def level(self, k: int, state: Tensor) -> Level:
        return self.resampler.level(k)

    def context(self, state: Tensor, k: int) -> Tensor:
        return self.resampler.down(state, self.num_levels - 1, k)

    def target(self, latent: Tensor, base: Tensor | None = None) -> Tensor:
        return latent

    def residual(self, target: Tensor, state: Tensor, context: Tensor, k: int) -> Tensor:
        return self.resampler.down(target - state, self.num_levels - 1, k)

    def refine(self, state: Tensor, context: Tensor, values: Tensor, k: int) -> Tensor:
        h = self.resampler.up(values, k, self.num_levels - 1)
        if len(self.phis):
            h = self.phis[phi_index(k, self.num_levels, len(self.phis))](h)
        return state + h

    def latent(self, state: Tensor, k: int) -> Tensor:
        return state

    @property
    def field_sites(self) -> int | None:
        return self.resampler.field_sites

    def field(self, field: Tensor, k: int) -> Tensor:
        return self.resampler.field(field, k)
