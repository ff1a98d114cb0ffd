"""The paper's pyramid: the state lives at the scale that was reached last (section 3.2, eq. 12-19)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refine.errors import not_accepted, require
from refine.scales.pyramid import Pyramid, take
from refine.scales.resample import Resampler
from refine.settings.config import PyramidConfig
from refine.types import Level

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

    @classmethod
    def build(cls, options: PyramidConfig, resampler: Resampler, channels: int) -> Pyramid:
        return cls(resampler, channels, options.loop)

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

    def take(self, state: LaplacianState, index: Tensor) -> LaplacianState:
        return LaplacianState(take(state.value, index), len(index), take(state.base_bands, index))

    def gain(self, k: int) -> float:
        degrees = self.resampler.new_degrees(k) if self.loop == "projected" else self.resampler.degrees(k)
        return float((self.num_sites(k) / degrees) ** 0.5)

    def latent(self, state: LaplacianState, k: int) -> Tensor:
        require(state.value is not None, "the pyramid has not been walked yet")
        assert state.value is not None
        return self.resampler.up(state.value, k, self.num_levels - 1)

    @property
    def field_sites(self) -> int | None:
        return self.resampler.field_sites

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
