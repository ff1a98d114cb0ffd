"""The forward process: a latent as a pyramid of residuals (section 3.2 of the paper), over any resampler.

A pyramid says what is known before each scale (the context), what is missing (the residual), and how adding values
changes the state. It holds no loop; :func:`refine.scales.walk.walk` is the only one.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from refine.errors import not_accepted, require
from refine.scales.resample import Resampler
from refine.settings.config import PyramidConfig
from refine.types import Level


class Pyramid(nn.Module, abc.ABC):
    """Interface between the scale loop and a kind of pyramid. States are opaque to everybody else.

    Attributes:
        num_levels: K.
        channels: C of contexts and values.
    """

    num_levels: int
    channels: int

    @abc.abstractmethod
    def num_sites(self, k: int) -> int:
        """N_k."""

    @abc.abstractmethod
    def start(self, batch: int, base: Tensor | None = None) -> Any:
        """The state before the coarsest scale: nothing, or a ``base`` (B, N_{K-1}, C) known from the condition."""

    @abc.abstractmethod
    def level(self, k: int, state: Any) -> Level:
        """The geometry of scale k."""

    @abc.abstractmethod
    def context(self, state: Any, k: int) -> Tensor:
        """(B, N_k, C): what is known so far, seen at scale k; C(k) of eq. 18."""

    @abc.abstractmethod
    def target(self, latent: Tensor, base: Tensor | None = None) -> Any:
        """What :meth:`residual` needs to know of a latent (B, N_{K-1}, C), computed once."""

    @abc.abstractmethod
    def residual(self, target: Any, state: Any, context: Tensor, k: int) -> Tensor:
        """(B, N_k, C): what the state lacks at scale k; R(k) of eq. 14."""

    @abc.abstractmethod
    def refine(self, state: Any, context: Tensor, values: Tensor, k: int) -> Any:
        """The state after ``values`` (B, N_k, C) were added at scale k; eq. 19."""

    @abc.abstractmethod
    def latent(self, state: Any, k: int) -> Tensor:
        """(B, N_{K-1}, C): the latent as scales 0 to k have it."""

    @abc.abstractmethod
    def field(self, field: Tensor, k: int) -> Tensor:
        """A condition field (B, N_{K-1}, F) seen at scale k: (B, N_k, F)."""

    def gain(self, k: int) -> float:
        """sqrt(N / d) of values on N sites that can change the latent in d independent ways only: what restores the
        variance of independent draws."""
        return 1.0


LOOPS = ("closed", "open", "projected")


class GaussianTarget(NamedTuple):
    """The Gaussian pyramid L(k) of a latent (eq. 13), and its residual bands (eq. 14) where the loop is open."""

    levels: list[Tensor]
    bands: list[Tensor]


class LaplacianState(NamedTuple):
    """The latent at the scale reached, and the bands of the base that are still to come."""

    value: Tensor | None
    batch: int
    base_bands: list[Tensor]


class LaplacianPyramid(Pyramid):
    """The paper's pyramid: the state lives at the current scale and telescopes up (eq. 12-19).

    With ``loop="open"`` the residual of scale k is taken against the upsampled *exact* coarser level, as eq. 14 is
    written; quantisation errors of coarse scales then stay in the result. With ``loop="closed"`` it is taken against
    what the quantised coarser scales give, so that finer scales repair them. ``loop="projected"`` is open, and of the
    values of a scale only that is added which the coarser scale cannot say, R - U(S(R)) (Do & Vetterli 2003, Framing
    pyramids): noise of fine scales, of quantisation and of sampling, then stays in their own band.

    With a base b, level k starts from b's own band at k, so that only what the base does not know is coded.
    """

    def __init__(self, resampler: Resampler, channels: int, loop: str = "closed") -> None:
        super().__init__()
        if loop not in LOOPS:
            raise not_accepted("model.pyramid.loop", loop, LOOPS)
        require(
            loop != "projected" or all(_projects(resampler, k) for k in range(1, resampler.num_levels)),
            "model.pyramid.loop=projected needs a way down that undoes the way up, as down=area does of up=nearest "
            "on grids of which each divides the next; accepted here: closed, open",
        )
        self.resampler, self.channels, self.loop = resampler, channels, loop
        self.num_levels = resampler.num_levels

    def num_sites(self, k: int) -> int:
        return self.resampler.num_sites(k)

    def gaussian(self, latent: Tensor) -> list[Tensor]:
        """L(k) = S_k(L(k+1)) for all k, coarsest first (eq. 13 in our index)."""
        levels = [latent]
        for k in range(self.num_levels - 1, 0, -1):
            levels.insert(0, self.resampler.down(levels[0], k, k - 1))
        return levels

    def bands(self, levels: list[Tensor]) -> list[Tensor]:
        """R(k) = L(k) - U_k(L(k-1)), and L(0) itself at the coarsest scale (eq. 8, 14)."""
        up = self.resampler.up
        return [x if k == 0 else x - up(levels[k - 1], k - 1, k) for k, x in enumerate(levels)]

    def start(self, batch: int, base: Tensor | None = None) -> LaplacianState:
        return LaplacianState(None, batch, [] if base is None else self.bands(self.gaussian(base)))

    def level(self, k: int, state: LaplacianState) -> Level:
        return self.resampler.level(k)

    def context(self, state: LaplacianState, k: int) -> Tensor:
        if state.value is not None:
            context = self.resampler.up(state.value, k - 1, k)  # C = U(L), eq. 18
        else:
            like = self.resampler.level(k).pos
            context = like.new_zeros(state.batch, self.num_sites(k), self.channels)
        return context + state.base_bands[k] if state.base_bands else context

    def target(self, latent: Tensor, base: Tensor | None = None) -> GaussianTarget:
        levels = self.gaussian(latent)
        if self.loop == "closed":
            return GaussianTarget(levels, [])
        bands = self.bands(levels)
        if base is not None:
            bands = [r - b for r, b in zip(bands, self.bands(self.gaussian(base)), strict=True)]
        return GaussianTarget(levels, bands)

    def residual(self, target: GaussianTarget, state: LaplacianState, context: Tensor, k: int) -> Tensor:
        return target.bands[k] if target.bands else target.levels[k] - context

    def refine(self, state: LaplacianState, context: Tensor, values: Tensor, k: int) -> LaplacianState:
        if self.loop == "projected" and k:
            values = values - self.resampler.up(self.resampler.down(values, k, k - 1), k - 1, k)
        return state._replace(value=context + values)  # eq. 19

    def gain(self, k: int) -> float:
        degrees = self.resampler.new_degrees(k) if self.loop == "projected" else self.resampler.degrees(k)
        return float((self.num_sites(k) / degrees) ** 0.5)

    def latent(self, state: LaplacianState, k: int) -> Tensor:
        require(state.value is not None, "the pyramid has not been walked yet")
        assert state.value is not None
        return self.resampler.up(state.value, k, self.num_levels - 1)

    def field(self, field: Tensor, k: int) -> Tensor:
        return self.resampler.field(field, k)


def _projects(resampler: Resampler, k: int) -> bool:
    """Whether going down from scale k and up again changes nothing the second time."""
    like = resampler.level(0).pos
    generator = torch.Generator().manual_seed(k)
    x = torch.randn(1, resampler.num_sites(k), 1, generator=generator).to(like.device, like.dtype)
    once = resampler.up(resampler.down(x, k, k - 1), k - 1, k)
    twice = resampler.up(resampler.down(once, k, k - 1), k - 1, k)
    return bool((twice - once).abs().max() < 1e-3)


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

    def field(self, field: Tensor, k: int) -> Tensor:
        return self.resampler.field(field, k)


def build_pyramid(config: PyramidConfig, resampler: Resampler, channels: int) -> Pyramid:
    """The pyramid that a configuration asks for."""
    if config.kind == "laplacian":
        return LaplacianPyramid(resampler, channels, config.loop)
    if config.kind == "residual":
        return ResidualPyramid(resampler, channels, config.phi)
    raise not_accepted("model.pyramid.kind", config.kind, ("laplacian", "residual"))
