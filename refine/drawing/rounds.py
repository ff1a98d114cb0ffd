"""Rounds: which sites of a scale are revealed when. One mechanism for latents, graphs, and whatever comes next.

Codes that are drawn together are independent given what is known, so a scale whose sites depend on one another beyond
their context is revealed in several rounds: the predictor sees the codes of earlier rounds, the rest are masked
(MaskGIT, arXiv 2202.04200, inside one scale). One round is VAR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rounds:
    """The order in which the sites of a scale are revealed.

    Attributes:
        index: (B, N) or (N,) int64, the round of each site, from 0; -1 where a site does not exist, which is never
            revealed.
    """

    index: Tensor

    @property
    def num(self) -> int:
        """How many rounds there are."""
        return int(self.index.max()) + 1 if self.index.numel() else 0

    def known(self, r: int | Tensor) -> Tensor:
        """Bool like ``index``: sites revealed before round ``r``, which may differ by item: (B, 1)."""
        return (self.index >= 0) & (self.index < r)

    def now(self, r: int | Tensor) -> Tensor:
        """Bool like ``index``: sites revealed in round ``r``."""
        return (self.index == r) & (self.index >= 0)

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(r, known, now) of every round in turn."""
        return ((r, self.known(r), self.now(r)) for r in range(self.num))

    def of_a_random_site(self, uniform: Tensor) -> Tensor:
        """(B, 1): for each item the round of one of its sites, all being equally likely.

        Args:
            uniform: (B, N) numbers in [0, 1), independent of the order.
        """
        return self.index.gather(-1, uniform.masked_fill(self.index < 0, -1.0).argmax(-1, keepdim=True))

    @classmethod
    def at_once(cls, *shape: int, device: torch.device | str = "cpu") -> Rounds:
        """Every site in round 0."""
        return cls(torch.zeros(shape, dtype=torch.int64, device=device))

    @classmethod
    def shuffled(cls, uniform: Tensor, num: int, mask: Tensor | None = None) -> Rounds:
        """Every item in an order of its own, in ``num`` rounds that grow as MaskGIT's cosine has it.

        After round t of T, ceil(n (1 - cos(pi t / 2T))) of an item's n sites are known, and at least t; an item with
        fewer sites than rounds takes n rounds. Sites are exchangeable: the order is that of the uniforms alone.

        Args:
            uniform: (B, N) numbers in [0, 1), independent, one for each site.
            num: T, 1 or more.
            mask: (B|1, N) bool, true where a site exists; None when all do.
        """
        exists = torch.ones_like(uniform, dtype=torch.bool) if mask is None else mask.expand_as(uniform)
        place = uniform.masked_fill(~exists, 2.0).argsort(dim=-1, stable=True).argsort(-1)
        sites = exists.sum(-1, keepdim=True)
        turns = sites.clamp(1, num)  # T of each item
        t = torch.arange(1, num + 1, device=uniform.device).expand(len(uniform), -1)
        share = 1 - torch.cos(math.pi / 2 * (t / turns.double()).clamp_max(1))
        known = torch.maximum((sites * share - 1e-9).ceil().long(), t).minimum(sites)  # 1e-9: n cos(pi / 2) is not 0
        index = torch.searchsorted(known.contiguous(), place.contiguous(), right=True)
        return cls(torch.where(exists, index, -1))

    @classmethod
    def one_by_one(cls, group: Tensor, uniform: Tensor) -> Rounds:
        """The sites of each group one after another, in the order of their uniforms; all groups side by side.

        Args:
            group: (N,) int64, the group of each site; negative where a site does not exist.
            uniform: (N,) numbers in [0, 1), independent, one for each site.
        """
        order = uniform.argsort(stable=True)
        order = order[group[order].argsort(stable=True)]
        groups = group[order]
        index = torch.empty_like(group)
        index[order] = torch.arange(len(group), device=group.device) - torch.searchsorted(groups, groups)
        return cls(torch.where(group < 0, -1, index))
