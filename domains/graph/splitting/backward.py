"""The backward process on graphs: what the scale loop does between two scales, and the graphs that it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import Splits, split


class Splitting:
    """The backward process on graphs as the scale loop sees it: states are graphs, codes are splits (eq. 18, 19).

    Args:
        sizes: (B, K + 1) nodes of each graph, from 1 on, after every scale.
    """

    def __init__(self, sizes: Tensor) -> None:
        self.sizes, self.num_levels = sizes, sizes.shape[1] - 1

    @classmethod
    def to(cls, schedules: Sequence[Sequence[int]], device: torch.device) -> Splitting:
        """Towards given sizes; graphs with fewer scales stay one node in the first of them."""
        most = max(len(s) for s in schedules)
        return cls(torch.tensor([[1] * (most - len(s)) + list(s) for s in schedules], device=device))

    @classmethod
    def along(cls, codes: Sequence[Splits], batch: int, device: torch.device) -> Splitting:
        """To the sizes that given codes lead to."""
        graph = torch.arange(batch, device=device)
        sizes = [torch.ones_like(graph)]
        for scale in codes:
            graph = graph.repeat_interleave(1 + (scale.token > 0))
            sizes.append(torch.bincount(graph, minlength=batch))
        return cls(torch.stack(sizes, 1))

    def level(self, k: int, state: Graphs) -> Graphs:
        """The coarse graph."""
        return state

    def context(self, state: Graphs, k: int) -> Tensor:
        """(B, 2) nodes that the scale ends with, and the last one."""
        return self.sizes[:, [k + 1, self.num_levels]]

    def embed(self, codes: Splits, k: int) -> Splits:
        """Codes are exact: nothing was quantised."""
        return codes

    def refine(self, state: Graphs, context: Tensor, values: Splits, k: int) -> Graphs:
        """The finer graph."""
        return split(replace(state, count=values.count, inside=values.inside), values)[0]


class Sharing(Splitting):
    """As :class:`Splitting`, where masses say how many nodes there will be: until all of them are 1."""

    def __init__(self, last: Sequence[int], device: torch.device) -> None:
        sizes = torch.tensor(last, device=device)
        super().__init__(sizes[:, None].expand(-1, int(sizes.max())))  # no pyramid is deeper

    def context(self, state: Graphs, k: int) -> Tensor:
        """(B, 2) nodes that there are, and the last number."""
        return torch.stack([state.sizes, self.sizes[:, -1]], 1)


def descend(graphs: Graphs, parent: Tensor) -> list[Graph]:
    """The graphs one by one, where ``parent`` (N,) numbers the nodes of all coarser ones in a row."""
    parts = graphs.to_graphs()
    local = parent.cpu().split([g.num_nodes for g in parts])
    return [replace(g, parent=p - p[0]) for g, p in zip(parts, local, strict=True)]
