"""Diffusion of the mean's error: EDM (Karras et al. 2022, arXiv 2206.00364), the role of GenCast and ArchesWeatherGen.

Preconditioning, weights and log-normal noise levels are EDM's with unit standard deviation of the data; sampling is
Heun's method over 20 levels with rho = 7 between GenCast's bounds, 39 passes, as diffusers has it.
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
from rivals.spherical import normal

LEVELS, SIGMA_MIN, SIGMA_MAX = 20, 0.03, 80.0
P_MEAN, P_STD = 0.0, 1.2  # of log sigma in training; EDM's mean, -1.2, is for images, of deviation 1/2
WAVES = 16  # frequencies of the features of a noise level


class EDM(Control):
    """Errors by denoising."""

    passes = 1 + 2 * LEVELS - 1
    rows = 16  # training days in a batch

    def __init__(self, model: Forecaster) -> None:
        super().__init__(model)
        self.network = ErrorNetwork(model, len(model.channels), 2 * WAVES)

    def denoised(self, told: Known, x: Tensor, sigma_B: Tensor) -> Tensor:
        """D(x; sigma), the expected error; all in units of ``network.size``."""
        skip, out = 1 / (1 + sigma_B**2), sigma_B / (1 + sigma_B**2).sqrt()
        return _wide(skip) * x + _wide(out) * self._raw(told, x, sigma_B)

    def _raw(self, told: Known, x: Tensor, sigma_B: Tensor) -> Tensor:
        phase = sigma_B.log()[:, None] / 4 * torch.logspace(-1, 1, WAVES)
        out: Tensor = self.network(told, x / _wide(1 + sigma_B**2).sqrt(), torch.cat([phase.sin(), phase.cos()], 1))
        return out

    def loss(self, told: Known, error: Tensor, area: Tensor, rng: torch.Generator) -> Tensor:
        """EDM's, a mean square in units of the network's own target."""
        batch, clean = len(error), error / self.network.size
        # one level in each part of the law, so that batches are alike
        uniform = (torch.randperm(batch, generator=rng) + torch.rand(batch, generator=rng)) / batch
        sigma = (P_MEAN + P_STD * torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).float()).exp()
        x = clean + _wide(sigma) * torch.randn(clean.shape, generator=rng)
        skip, out = 1 / (1 + sigma**2), sigma / (1 + sigma**2).sqrt()
        target = (clean - _wide(skip) * x) / _wide(out)
        return ((self._raw(told, x, sigma) - target).square() * area).mean()

    def draw(self, told: Known, times: Any, noise: Noise) -> Tensor:
        scheduler = heun()
        x = normal(noise, tuple(told.change.shape[1:])) * SIGMA_MAX
        for sigma, timestep in zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True):
            clean = self.denoised(told, x, sigma.expand(len(x)))
            x = scheduler.step((x - clean) / sigma, timestep, x).prev_sample
        out: Tensor = x * self.network.size
        return out


def heun() -> Any:
    """Heun's method in diffusers, over EDM's levels."""
    from diffusers import HeunDiscreteScheduler

    scheduler = HeunDiscreteScheduler(use_karras_sigmas=True)
    scheduler.register_to_config(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)
    scheduler.set_timesteps(LEVELS)
    scheduler.set_begin_index(0)  # levels are too close for it to find its place by time
    return scheduler


def _wide(x_B: Tensor) -> Tensor:
    return x_B[:, None, None, None]
