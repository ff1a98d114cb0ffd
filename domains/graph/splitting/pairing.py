"""The forward process on graphs: pairs of nodes merge until one is left, and what each merger forgets is kept as codes.

Pairs are a maximum-cardinality matching with random weights that favour edges inside tight neighbourhoods; nodes left
over pair with others at distance two ("twins": the leaves of a hub), isolated ones with each other, the rest stay
single. Coarse edges are the OR of what they stand for. Every graph, connected or not, ends as one node. With
``model.pairing=blocks`` the same is done on the edges that stand for more than their ends let expect, while there are
some; so blocks merge within themselves first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.splitting.counts import bin_counts, bin_inside, num_bins
from refine.domains.graph.splitting.sparse import Graphs, at, triangles
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
        levels: the graphs of all scales as they came about, finest first, with exact counts and masses.
    """

    scales: list[Scale]
    finest: Graphs
    order: Tensor
    levels: list[Graphs]


def build_pyramid(
    graphs: Graphs,
    rngs: Sequence[np.random.Generator],
    counts: bool = False,
    masses: bool = False,
    blocks: bool = False,
) -> GraphPyramid:
    """Take graphs apart; every graph has its own random numbers.

    Lossless: splitting by the codes from one node each gives ``finest``, which is ``graphs`` with nodes renumbered.

    Args:
        graphs: of any scale; without masses they are taken for finest ones.
        rngs: one for each.
        counts: codes say how many edges each coarse edge stands for; the graphs of scales have what they inherit.
        masses: codes say how masses are shared, and with counts also how many edges lie inside each node.
        blocks: pairs keep blocks apart (:func:`merge`).
    """
    levels, parents = [exact(graphs)], []
    while levels[-1].num_nodes > graphs.num:
        parent, coarse = merge(levels[-1], rngs, blocks)
        levels.append(coarse)
        parents.append(parent)
    # renumber from the top, so that children stand in the order of their parents, the heavier first
    scales: list[Scale] = []
    coarse, order = levels[-1], torch.arange(graphs.num)
    state = replace(coarse, inside=torch.full_like(order, -1))  # which inherits nothing
    bins = num_bins(masses)
    for level, parent in zip(reversed(levels[:-1]), reversed(parents), strict=True):
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        above, order = ranked(place[parent], level, masses)
        fine = renumber(level, order)
        codes = encode(fine, above, coarse)
        assert coarse.count is not None and coarse.inside is not None
        count = bin_counts(coarse.count, bins) if counts else None
        inside = bin_inside(coarse.inside, bins) if counts and masses else None
        codes = replace(codes, count=count, inside=inside, light=codes.light if masses else None)
        told = replace(
            state,
            count=state.count if counts else None,
            inside=state.inside if counts and masses else None,
            mass=coarse.mass if masses else None,
        )
        scales.append(Scale(told, codes))
        state = split(replace(told, count=count, inside=inside), codes)[0]
        coarse = fine
    finest = replace(coarse, count=None, inside=None, mass=coarse.mass if masses else None)
    return GraphPyramid(scales, finest, order, levels)


def exact(graphs: Graphs) -> Graphs:
    """The same graphs, with what their nodes and edges stand for: of finest ones, for themselves."""
    if graphs.mass is not None:
        return graphs
    ones = torch.ones_like(graphs.graph)
    return replace(graphs, count=torch.ones_like(graphs.edges[0]), mass=ones, inside=torch.zeros_like(ones))


def ranked(parent: Tensor, level: Graphs, masses: bool) -> tuple[Tensor, Tensor]:
    """Parents (N,) in ascending order, and the order of nodes in which they are; with ``masses`` siblings stand in that
    of their masses."""
    if not masses:
        return parent.sort(stable=True)
    assert level.mass is not None
    heaviest = level.mass.argsort(descending=True, stable=True)
    above, order = parent[heaviest].sort(stable=True)
    return above, heaviest[order]


def renumber(graphs: Graphs, order: Tensor) -> Graphs:
    """The same graphs with node ``order[i]`` called i."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    low, high = place[graphs.edges].sort(dim=0).values
    keys, moved = (low * len(order) + high).sort()
    told = at(graphs.count, moved), at(graphs.mass, order), at(graphs.inside, order)
    return Graphs(graphs.graph[order], torch.stack([keys // len(order), keys % len(order)]), graphs.num, *told)


def merge(graphs: Graphs, rngs: Sequence[np.random.Generator], blocks: bool = False) -> tuple[Tensor, Graphs]:
    """One step down: (N,) the coarse node of each node, and the coarse graphs.

    With ``blocks``, pairs are looked for among the :func:`close_edges` of each graph, where it has some, and those that
    are :func:`alike` are preferred.
    """
    graphs = exact(graphs)
    n, sizes = graphs.num_nodes, graphs.sizes.tolist()
    assert graphs.count is not None and graphs.mass is not None and graphs.inside is not None
    u, v = graphs.edges
    sides = triangles(graphs)
    common = torch.bincount(sides.flatten(), minlength=len(u))
    tight = ((common + 1) / (graphs.degree[u] * graphs.degree[v]).sqrt()).numpy()
    near = None
    if blocks:
        tight, near = 2 * alike(graphs, sides).numpy(), close_edges(graphs).numpy()
    edges = graphs.edges.numpy()
    ends = np.searchsorted(edges[0], np.cumsum(sizes)) if len(u) else np.zeros(len(sizes), dtype=np.int64)
    parent, start, first, number = np.empty(n, dtype=np.int64), 0, 0, 0
    for size, end, rng in zip(sizes, ends.tolist(), rngs, strict=True):
        own_near = None if near is None else near[first:end]
        pairs = pair(size, edges[:, first:end] - start, tight[first:end], rng, own_near)
        own = np.full(size, -1, dtype=np.int64)
        own[pairs[0]] = own[pairs[1]] = np.arange(pairs.shape[1])
        single = own < 0
        own[single] = pairs.shape[1] + np.arange(int(single.sum()))
        parent[start : start + size] = number + own
        number, start, first = number + size - pairs.shape[1], start + size, end
    above = torch.from_numpy(parent)
    low, high = above[graphs.edges].sort(dim=0).values
    across = low != high
    keys, place = torch.unique((low * number + high)[across], return_inverse=True)
    count = torch.zeros_like(keys).index_add_(0, place, graphs.count[across])
    none = torch.zeros(number, dtype=torch.int64)
    mass = none.index_add(0, above, graphs.mass)
    inside = none.index_add(0, above, graphs.inside).index_add_(0, low[~across], graphs.count[~across])
    owner = torch.empty(number, dtype=torch.int64)
    owner[above] = graphs.graph
    return above, Graphs(owner, torch.stack([keys // number, keys % number]), graphs.num, count, mass, inside)


def alike(graphs: Graphs, sides: Tensor) -> Tensor:
    """(E,) the cosine between the rows of the ends of each edge in the matrix of counts, whose diagonal counts edges
    inside twice and each finest node once; ``sides`` are the triangles."""
    assert graphs.count is not None and graphs.mass is not None and graphs.inside is not None
    (u, v), count = graphs.edges, graphs.count.double()
    own = (2 * graphs.inside + graphs.mass).double()
    a, b, c = count[sides]
    product = count * (own[u] + own[v])
    product = product.index_add(0, sides.flatten(), torch.cat([b * c, a * c, a * b]))
    length = (own * own).index_add(0, u, count * count).index_add(0, v, count * count).sqrt()
    return product / (length[u] * length[v])


def close_edges(graphs: Graphs) -> Tensor:
    """(E,) bool: edges that stand for more than the degrees of their ends let expect, d_u d_v / 2m (Newman's
    modularity); degrees and m are those of the finest graph."""
    assert graphs.count is not None and graphs.inside is not None
    u, v = graphs.edges
    ends = 2 * graphs.inside
    ends = ends.index_add(0, u, graphs.count).index_add(0, v, graphs.count)
    total = torch.zeros(graphs.num, dtype=torch.int64).index_add_(0, graphs.graph, ends)
    return graphs.count * total[graphs.graph[u]] > ends[u] * ends[v]


def pair(n: int, edges: Array, tight: Array, rng: np.random.Generator, near: Array | None = None) -> Array:
    """(2, M) the pairs of nodes of one graph that merge.

    Args:
        n: its nodes.
        edges: (2, E).
        tight: (E,) how much each edge would like to be merged.
        rng: adds half a uniform number to that.
        near: (E,) bool, the edges that count; None, or none of them: all do.
    """
    if n < 2:
        return np.empty((2, 0), dtype=np.int64)
    weights, linked = tight + 0.5 * rng.random(edges.shape[1]), np.zeros(n, dtype=bool)
    linked[edges] = True
    if near is not None and near.any():
        edges, weights = edges[:, near], weights[near]
    found = [match(edges, weights)]
    free = np.ones(n, dtype=bool)
    free[found[0]] = False
    left = np.flatnonzero(free)
    if len(left) > 1:
        place = np.full(n, -1)
        place[left] = np.arange(len(left))
        # a maximum matching leaves no two neighbours over, so who shares a neighbour is at distance two
        reach = np.zeros((len(left), n), dtype=np.float32)
        for here, there in (edges, edges[::-1]):
            own = place[here] >= 0
            reach[place[here[own]], there[own]] = 1
        twins = np.stack(np.nonzero(np.triu(reach @ reach.T, 1)))
        found.append(left[match(twins, rng.random(twins.shape[1]))])
        alone = rng.permutation(left[~linked[left]])
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
