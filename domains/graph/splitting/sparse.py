"""Batches of graphs as one block-diagonal sparse graph, and what can be counted on it without looking at labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph


@dataclass(frozen=True)
class Graphs:
    """B graphs side by side; nodes of a graph are consecutive.

    Attributes:
        graph: (N,) int64, ascending: which graph each node is of.
        edges: (2, E) int64, smaller node first, columns in lexicographic order.
        num: B.
        count: (E,) int64 about how many edges of the finest graph each stands for
            (:mod:`refine.domains.graph.splitting.counts`), or None where a model does not look at it.
        mass: (N,) int64 how many nodes of the finest graph each stands for, or None likewise.
        inside: (N,) int64 about how many edges of the finest graph lie inside each, or None likewise.
        item: (B,) int64 the place of each in the batch whose conditions it has, or None where there are none.
    """

    graph: Tensor
    edges: Tensor
    num: int
    count: Tensor | None = None
    mass: Tensor | None = None
    inside: Tensor | None = None
    item: Tensor | None = None

    def to(self, device: torch.device) -> Graphs:
        """Move to ``device``."""
        told = (None if x is None else x.to(device) for x in (self.count, self.mass, self.inside, self.item))
        return Graphs(self.graph.to(device), self.edges.to(device), self.num, *told)

    @property
    def num_nodes(self) -> int:
        """N, of all graphs together."""
        return len(self.graph)

    @property
    def sizes(self) -> Tensor:
        """(B,) nodes of each graph."""
        return torch.bincount(self.graph, minlength=self.num)

    @property
    def keys(self) -> Tensor:
        """(E,) one ascending number for each edge."""
        return self.edges[0] * self.num_nodes + self.edges[1]

    @property
    def degree(self) -> Tensor:
        """(N,) neighbours of each node."""
        return torch.bincount(self.edges.flatten(), minlength=self.num_nodes)

    def edge_ids(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The place in ``edges`` of each pair u < v, and whether it is an edge (else the place means nothing)."""
        keys, wanted = self.keys, u * self.num_nodes + v
        place = torch.searchsorted(keys, wanted).clamp_max(max(0, len(keys) - 1))
        return place, (keys[place] == wanted) if len(keys) else torch.zeros_like(wanted, dtype=torch.bool)

    @classmethod
    def of(cls, graphs: Sequence[Graph]) -> Graphs:
        """Put graphs side by side."""
        sizes = torch.tensor([g.num_nodes for g in graphs])
        starts = (sizes.cumsum(0) - sizes).tolist()
        edges = torch.cat([g.edges + s for g, s in zip(graphs, starts, strict=True)], dim=1)
        return cls(torch.repeat_interleave(sizes), edges, len(graphs))

    @classmethod
    def single_nodes(cls, num: int, device: torch.device | str = "cpu") -> Graphs:
        """``num`` graphs of one node: where every pyramid begins."""
        return cls(torch.arange(num, device=device), torch.empty(2, 0, dtype=torch.int64, device=device), num)

    @classmethod
    def side_by_side(cls, batches: Sequence[Graphs]) -> Graphs:
        """Batches as one."""
        nodes, graphs = [0], [0]
        for batch in batches:
            nodes.append(nodes[-1] + batch.num_nodes)
            graphs.append(graphs[-1] + batch.num)
        owner = torch.cat([b.graph + g for b, g in zip(batches, graphs, strict=False)])
        edges = torch.cat([b.edges + n for b, n in zip(batches, nodes, strict=False)], dim=1)
        told = (joined([getattr(b, name) for b in batches]) for name in ("count", "mass", "inside", "item"))
        return cls(owner, edges, graphs[-1], *told)

    def take(self, keep: Tensor) -> tuple[Graphs, Tensor, Tensor]:
        """The graphs that ``keep`` (B,) bool says, and which nodes and edges, (N,) and (E,) bool, these are."""
        nodes = keep[self.graph]
        edges = nodes[self.edges[0]]
        place, number = nodes.cumsum(0) - 1, keep.cumsum(0) - 1
        told = at(self.count, edges), at(self.mass, nodes), at(self.inside, nodes), at(self.item, keep)
        kept = Graphs(number[self.graph[nodes]], place[self.edges[:, edges]], int(keep.sum()), *told)
        return kept, nodes, edges

    def to_graphs(self) -> list[Graph]:
        """One by one."""
        sizes, owner = self.sizes.tolist(), self.graph[self.edges[0]]
        counts = torch.bincount(owner, minlength=self.num).tolist()
        starts = torch.tensor(sizes).cumsum(0).tolist()
        parts = self.edges.cpu().split(counts, dim=1)
        return [Graph(n, e - (s - n)) for n, e, s in zip(sizes, parts, starts, strict=True)]


def at(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Rows of what may be None."""
    return None if values is None else values[rows]


def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """What may be None, one below the other."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def triangles(graphs: Graphs) -> Tensor:
    """(3, T) the places in ``edges`` of the three sides of every triangle, each triangle once.

    Wedges are looked for from the end of lower degree, which keeps them few where there are hubs.
    """
    n = graphs.num_nodes
    rank = torch.argsort(torch.argsort(graphs.degree * n + torch.arange(n, device=graphs.graph.device)))
    low, high = rank[graphs.edges].sort(dim=0).values
    keys, place = (low * n + high).sort()
    low, high = keys // n, keys % n
    out = torch.bincount(low, minlength=n)
    # edges that come after this one from its low end
    later = out.cumsum(0)[low] - 1 - torch.arange(len(keys), device=keys.device)
    first = torch.repeat_interleave(later)
    step = torch.arange(len(first), device=keys.device) - (later.cumsum(0) - later)[first]
    second = first + 1 + step
    wanted = high[first] * n + high[second]
    third = torch.searchsorted(keys, wanted).clamp_max(max(0, len(keys) - 1))
    closed = keys[third] == wanted if len(keys) else wanted.bool()
    sides: Tensor = place[torch.stack([first[closed], second[closed], third[closed]])]
    return sides


def walk_features(graphs: Graphs, reach: int = 4) -> tuple[Tensor, Tensor]:
    """How likely random walks return to a node, and cross an edge: invariant under relabelling.

    Powers 2 to 2r of S = D^-1/2 A D^-1/2, from its first r powers: S^(a+b)_uv = S^a_u . S^b_v. Each is multiplied by
    the size of the graph, so that graphs of different sizes look alike, and taken as log(1 + x).

    Returns:
        (N, 2r - 1) on nodes and (E, 2r) on edges (the first power too).
    """
    n, (u, v), device = graphs.num_nodes, graphs.edges, graphs.graph.device
    sizes = graphs.sizes
    local = torch.arange(n, device=device) - (sizes.cumsum(0) - sizes)[graphs.graph]
    inverse = graphs.degree.clamp_min(1).rsqrt()
    weight = (inverse[u] * inverse[v])[:, None]
    power = torch.zeros(n, int(sizes.max()) if n else 0, device=device)
    power[torch.arange(n, device=device), local] = 1.0
    powers = []
    for _ in range(reach):
        step = torch.zeros_like(power)
        step.index_add_(0, u, weight * power[v]).index_add_(0, v, weight * power[u])
        powers.append(power := step)
    scale = sizes[graphs.graph].to(power.dtype)
    nodes, edges = [], [weight[:, 0] * scale[u]]
    for total in range(2, 2 * reach + 1):
        a, b = powers[(total - 1) // 2], powers[total - 1 - (total - 1) // 2 - 1]
        nodes.append((a * b).sum(1) * scale)
        edges.append((a[u] * b[v]).sum(1) * scale[u])
    return torch.stack(nodes, 1).log1p(), torch.stack(edges, 1).log1p()
