"""A pyramid of items that have only some of the sites: sequences of several lengths, padded to one shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from refine.errors import require
from refine.scales.pyramid import Pyramid
from refine.types import Level


class Masked:
    """What :func:`refine.scales.walk.walk` needs of a pyramid, of items whose sites are given by a mask.

    A site of scale k exists where the mask, seen at that scale, is not zero: where any of the finest sites that it
    stands for exists. Other sites have no values, no codes that count, and nothing attends to them.

    Where nothing is quantised, a closed loop and a residual pyramid without phi give back what exists. An open loop
    does if interpolation reads no site that does not exist (``up=nearest``); a projected one if all sites exist.

    Args:
        pyramid: of all sites.
        mask: (B, N_{K-1}) bool, true where a site of the finest scale exists.

    Raises:
        RefineError: a scale that does not see the sites of an item, as one may that is interpolated and not averaged.
    """

    def __init__(self, pyramid: Pyramid, mask: Tensor) -> None:
        self.pyramid = pyramid
        seen = [pyramid.field(mask[..., None].float(), k)[..., 0] for k in range(pyramid.num_levels)]
        self.masks = [m.abs() > 1e-6 for m in seen]  # interpolation leaves rounding errors where there is nothing
        lost = ~torch.stack([m.any(1) for m in self.masks])
        k, item = lost.nonzero()[0].tolist() if bool(lost.any()) else (0, -1)
        require(item < 0, f"condition.mask of item {item} cannot be seen at scale {k}; masks need down=area, or blur")

    @property
    def num_levels(self) -> int:
        """K."""
        return self.pyramid.num_levels

    def level(self, k: int, state: Any) -> Level:
        """The geometry of scale k, with its mask."""
        level = self.pyramid.level(k, state)
        return replace(level, mask=self.masks[k] if level.mask is None else self.masks[k] & level.mask)

    def context(self, state: Any, k: int) -> Tensor:
        """What is known so far, seen at scale k."""
        return self.pyramid.context(state, k)

    def refine(self, state: Any, context: Tensor, values: Tensor, k: int) -> Any:
        """The state after the values of the sites that exist were added."""
        return self.pyramid.refine(state, context, values * self.masks[k][..., None], k)


def choose_existing(choose: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same choice, with code 0 at every site that does not exist."""

    def existing(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        codes = choose(k, level, context, state)
        if level.mask is None:
            return codes
        mask = level.mask.reshape(*level.mask.shape, *[1] * (codes.dim() - level.mask.dim()))
        return torch.where(mask, codes, torch.zeros_like(codes))

    return existing
