"""The forward process on graphs: pairs of nodes merge until one is left, and what each merger forgets is kept as codes.

Pairs are a maximum-cardinality matching with random weights that favour edges inside tight neighbourhoods; nodes left
over pair with others at distance two ("twins": the leaves of a hub), isolated ones with each other, the rest stay
single. Coarse edges are the OR of what they stand for. Every graph, connected or not, ends as one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.splitting.counts import bin_counts
from refine.domains.graph.splitting.sparse import Graphs, triangles
from refine.domains.graph.splitting.splits import Splits, encode, split

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scale:
    """One step up the pyramid of a batch: ``split(coarse, codes)`` is the graph of the next scale."""

    coarse: Graphs
    codes: Splits


@dataclass(frozen=True)
class GraphPyramid:
    """A batch of graphs taken apart.

    Attributes:
        scales: coarsest first. Graphs that need fewer scales than others stay one node in the first of them.
        finest: the graphs themselves, as the scales build them, and
        order: (N,) the node of the given batch that each node of ``finest`` is.
    """

    scales: list[Scale]
    finest: Graphs
    order: Tensor


def build_pyramid(graphs: Graphs, rngs: Sequence[np.random.Generator], counts: bool = False) -> GraphPyramid:
    """Take graphs apart; every graph has its own random numbers.

    Lossless: splitting by the codes from one node each gives ``finest``, which is ``graphs`` with nodes renumbered.
    With ``counts``, codes say how many edges each coarse edge stands for; the graphs of scales have what they inherit.
    """
    levels, parents = [replace(graphs, count=torch.ones_like(graphs.edges[0])) if counts else graphs], []
    while levels[-1].num_nodes > graphs.num:
        parent, coarse = merge(levels[-1], rngs)
        levels.append(coarse)
        parents.append(parent)
    # renumber from the top, so that children stand in the order of their parents
    scales: list[Scale] = []
    coarse, order = levels[-1], torch.arange(graphs.num)
    inherits = coarse.count
    for level, parent in zip(reversed(levels[:-1]), reversed(parents), strict=True):
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        above, order = place[parent].sort(stable=True)
        fine = renumber(level, order)
        codes = encode(fine, above, coarse)
        if coarse.count is not None:
            codes = replace(codes, count=bin_counts(coarse.count))
        scales.append(Scale(replace(coarse, count=inherits), codes))
        inherits = split(replace(coarse, count=codes.count), codes)[0].count
        coarse = fine
    return GraphPyramid(scales, replace(coarse, count=None), order)


def renumber(graphs: Graphs, order: Tensor) -> Graphs:
    """The same graphs with node ``order[i]`` called i."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    low, high = place[graphs.edges].sort(dim=0).values
    keys, moved = (low * len(order) + high).sort()
    count = None if graphs.count is None else graphs.count[moved]
    return Graphs(graphs.graph[order], torch.stack([keys // len(order), keys % len(order)]), graphs.num, count)


def merge(graphs: Graphs, rngs: Sequence[np.random.Generator]) -> tuple[Tensor, Graphs]:
    """One step down: (N,) the coarse node of each node, and the coarse graphs."""
    n, sizes = graphs.num_nodes, graphs.sizes.tolist()
    u, v = graphs.edges
    common = torch.bincount(triangles(graphs).flatten(), minlength=len(u))
    tight = ((common + 1) / (graphs.degree[u] * graphs.degree[v]).sqrt()).numpy()
    edges = graphs.edges.numpy()
    ends = np.searchsorted(edges[0], np.cumsum(sizes)) if len(u) else np.zeros(len(sizes), dtype=np.int64)
    parent, start, first, number = np.empty(n, dtype=np.int64), 0, 0, 0
    for size, end, rng in zip(sizes, ends.tolist(), rngs, strict=True):
        pairs = pair(size, edges[:, first:end] - start, tight[first:end], rng)
        own = np.full(size, -1, dtype=np.int64)
        own[pairs[0]] = own[pairs[1]] = np.arange(pairs.shape[1])
        single = own < 0
        own[single] = pairs.shape[1] + np.arange(int(single.sum()))
        parent[start : start + size] = number + own
        number, start, first = number + size - pairs.shape[1], start + size, end
    above = torch.from_numpy(parent)
    low, high = above[graphs.edges].sort(dim=0).values
    keys, place = torch.unique((low * number + high)[low != high], return_inverse=True)
    count = None
    if graphs.count is not None:
        count = torch.zeros_like(keys).index_add_(0, place, graphs.count[low != high])
    owner = torch.empty(number, dtype=torch.int64)
    owner[above] = graphs.graph
    return above, Graphs(owner, torch.stack([keys // number, keys % number]), graphs.num, count)


def pair(n: int, edges: Array, tight: Array, rng: np.random.Generator) -> Array:
    """(2, M) the pairs of nodes of one graph that merge.

    Args:
        n: its nodes.
        edges: (2, E).
        tight: (E,) how much each edge would like to be merged.
        rng: adds half a uniform number to that.
    """
    if n < 2:
        return np.empty((2, 0), dtype=np.int64)
    found = [match(edges, tight + 0.5 * rng.random(edges.shape[1]))]
    free = np.ones(n, dtype=bool)
    free[found[0]] = False
    left = np.flatnonzero(free)
    if len(left) > 1:
        place = np.full(n, -1)
        place[left] = np.arange(len(left))
        # a maximum matching leaves no two neighbours over, so who shares a neighbour is at distance two
        reach = np.zeros((len(left), n), dtype=np.float32)
        for near, far in (edges, edges[::-1]):
            own = place[near] >= 0
            reach[place[near[own]], far[own]] = 1
        twins = np.stack(np.nonzero(np.triu(reach @ reach.T, 1)))
        found.append(left[match(twins, rng.random(twins.shape[1]))])
        alone = rng.permutation(left[reach.sum(1) == 0])
        found.append(alone[: len(alone) // 2 * 2].reshape(2, -1))
    return np.concatenate(found, axis=1)


def match(edges: Array, weights: Array) -> Array:
    """(2, M) a heaviest one among the matchings of ``edges`` (2, E) that have the most pairs."""
    import rustworkx

    if not edges.size:
        return np.empty((2, 0), dtype=np.int64)
    graph = rustworkx.PyGraph(multigraph=False)
    graph.extend_from_weighted_edge_list(
        list(zip(*edges.tolist(), (1 + (1e4 * weights).astype(int)).tolist(), strict=True))
    )
    pairs = rustworkx.max_weight_matching(graph, max_cardinality=True, weight_fn=int)
    return np.array(sorted(tuple(sorted(p)) for p in pairs), dtype=np.int64).reshape(-1, 2).T


def pyramid_of(graph: Graph, rng: np.random.Generator) -> GraphPyramid:
    """One graph taken apart."""
    return build_pyramid(Graphs.of([graph]), [rng])
