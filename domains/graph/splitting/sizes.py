"""How many nodes a graph has, and how many each scale on the way: counted on the training set, kept with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SizeLaw:
    """The empirical law of sizes: p(n), and p(coarse | fine) of one scale.

    Attributes:
        sizes: (n, count) of the training graphs, ascending in n.
        halvings: (fine, coarse, count) of all scales of their pyramids, ascending.
        scales: of the deepest pyramid.
    """

    sizes: Sequence[tuple[int, int]]
    halvings: Sequence[tuple[int, int, int]]
    scales: int

    @classmethod
    def count(cls, schedules: Sequence[Sequence[int]]) -> SizeLaw:
        """Count schedules: sizes of one graph from 1 to n."""
        sizes: Counter[int] = Counter()
        halvings: Counter[tuple[int, int]] = Counter()
        for schedule in schedules:
            sizes[schedule[-1]] += 1
            halvings.update(zip(schedule[1:], schedule[:-1], strict=True))
        return cls(
            [(n, count) for n, count in sorted(sizes.items())],
            [(fine, coarse, count) for (fine, coarse), count in sorted(halvings.items())],
            max(len(s) for s in schedules) - 1,
        )

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> SizeLaw:
        """As :meth:`to_info` wrote it."""
        return cls([tuple(x) for x in info["sizes"]], [tuple(x) for x in info["halvings"]], int(info["scales"]))

    def to_info(self) -> dict[str, Any]:
        """Plain data for the header of a checkpoint."""
        return {
            "sizes": [list(x) for x in self.sizes],
            "halvings": [list(x) for x in self.halvings],
            "scales": self.scales,
        }

    @property
    def largest(self) -> int:
        """Nodes of the largest training graph."""
        return self.sizes[-1][0]

    def draw(self, uniform: float) -> int:
        """A number of nodes, as often as in training, by a number in [0, 1)."""
        numbers, counts = np.array(self.sizes).T
        return int(numbers[choose(counts, uniform)])

    def schedule(self, n: int, uniforms: Iterable[float]) -> list[int]:
        """Sizes from 1 to n, each coarser one drawn given the finer by the next of ``uniforms``.

        A size that training never saw shrinks as the nearest one that it did, in proportion.
        """
        fine, coarse, count = np.array(self.halvings or [(2, 1, 1)]).T
        sizes, numbers = [n], iter(uniforms)
        while sizes[0] > 1:
            distance = abs(fine - sizes[0])
            near = distance == distance.min()
            pick = choose(count[near], next(numbers, 0.5))
            share = coarse[near][pick] / fine[near][pick]
            wanted = round(float(share) * sizes[0])
            sizes.insert(0, min(max(wanted, (sizes[0] + 1) // 2), sizes[0] - 1))
        return sizes


def choose(counts: np.ndarray[Any, Any], uniform: float) -> int:
    """An index, as likely as its count."""
    cumulative = counts.cumsum()
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
