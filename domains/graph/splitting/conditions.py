"""Labels and vectors of whole graphs as a model of them has them: standardised, with the sizes that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.types import Condition

KEPT = 1000  # training graphs whose sizes are kept


@dataclass(frozen=True)
class Standard:
    """What the training graphs say of conditions; part of the checkpoint.

    Attributes:
        mean: (F,) of their vectors, and
        std: (F,), 1 where they do not differ.
        sizes: (n,) nodes of some of them,
        labels: (n,) their classes, or None, and
        vectors: (n, F) in the data's units, or None.
    """

    mean: Sequence[float]
    std: Sequence[float]
    sizes: Sequence[int]
    labels: Sequence[int] | None
    vectors: Sequence[Sequence[float]] | None

    @classmethod
    def of(cls, graphs: PackedGraphs) -> Standard:
        """Of training graphs."""
        chosen = np.linspace(0, len(graphs) - 1, min(KEPT, len(graphs))).astype(int)
        labels = None if graphs.label is None else graphs.label[chosen].tolist()
        if graphs.vector is None:
            return cls([], [], graphs.num_nodes[chosen].tolist(), labels, None)
        table = graphs.vector.astype(np.float64)
        std = table.std(axis=0)
        std = np.where(std > 1e-6 * abs(table).max(axis=0), std, 1.0)
        vectors = graphs.vector[chosen].tolist()
        return cls(table.mean(axis=0).tolist(), std.tolist(), graphs.num_nodes[chosen].tolist(), labels, vectors)

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> Standard:
        """As :meth:`to_info` wrote it."""
        return cls(*(info[name] for name in ("mean", "std", "sizes", "labels", "vectors")))

    def to_info(self) -> dict[str, Any]:
        """Plain data for the header of a checkpoint."""
        return dict(vars(self))

    def __call__(self, condition: Condition) -> Condition:
        """``condition`` as the network reads it: vectors of mean 0 and variance 1."""
        if condition.vector is None:
            return condition
        mean, std = (condition.vector.new_tensor(x, dtype=torch.float64) for x in (self.mean, self.std))
        return replace(condition, vector=((condition.vector.double() - mean) / std).float())

    def draw_size(self, condition: Condition, i: int, uniform: float) -> int:
        """Nodes of sample ``i``: as often as among training graphs that are like what is asked for.

        These are those of its class and, of n such, the sqrt(n) whose vectors are the nearest. ``uniform`` is a number
        in [0, 1).
        """
        sizes: Array = np.array(self.sizes)
        like: Array = np.arange(len(sizes))
        if condition.label is not None and self.labels is not None:
            same = like[np.array(self.labels) == int(condition.label[i])]
            like = same if len(same) else like
        if condition.vector is not None and self.vectors is not None:
            distance = (np.array(self.vectors)[like] - condition.vector[i].double().cpu().numpy()) / np.array(self.std)
            order = np.argsort((distance**2).sum(axis=1), kind="stable")
            like = like[order[: int(np.ceil(len(like) ** 0.5))]]
        return int(np.sort(sizes[like])[int(uniform * len(like))])


def told_of(graphs: Sequence[Graph]) -> Condition:
    """What all of these graphs say of themselves."""
    return Condition.from_batch(PackedGraphs.collate(graphs))


def withheld(condition: Condition, kinds: set[str]) -> Condition:
    """``condition`` without some kinds of condition."""
    none: dict[str, Tensor | None] = dict.fromkeys(kinds)
    return replace(condition, **none)
