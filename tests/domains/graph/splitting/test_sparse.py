"""What is counted on batches of graphs, against networkx and dense matrices."""

from __future__ import annotations

import networkx as nx
import torch
from graph_toys import zoo

from refine.domains.graph.splitting.colour import colour
from refine.domains.graph.splitting.sparse import Graphs, triangles, walk_features

GRAPHS = list(zoo().values())


def test_every_triangle_is_found_once() -> None:
    batch = Graphs.of(GRAPHS)
    found = triangles(batch)
    owner = torch.bincount(batch.graph[batch.edges[0]][found[0]], minlength=batch.num)
    expected = [sum(nx.triangles(g.to_networkx()).values()) // 3 for g in GRAPHS]
    assert owner.tolist() == expected
    assert len({tuple(sorted(t)) for t in found.T.tolist()}) == found.shape[1]
    for sides in found.T:
        assert len(batch.edges[:, sides].unique()) == 3


def test_walk_features_are_powers_of_the_normalised_adjacency() -> None:
    batch = Graphs.of(GRAPHS)
    nodes, edges = walk_features(batch, reach=3)
    dense = torch.zeros(batch.num_nodes, batch.num_nodes, dtype=torch.float64)
    u, v = batch.edges
    dense[u, v] = dense[v, u] = 1
    scale = dense.sum(1).clamp_min(1).rsqrt()
    step, size = scale[:, None] * dense * scale, batch.sizes[batch.graph]
    for power in range(1, 7):
        expected = torch.matrix_power(step, power)
        torch.testing.assert_close(edges[:, power - 1].double(), (expected[u, v] * size[u]).log1p(), atol=1e-5, rtol=0)
        if power > 1:
            torch.testing.assert_close(
                nodes[:, power - 2].double(), (expected.diag() * size).log1p(), atol=1e-5, rtol=0
            )


def test_colours_are_proper_few_and_follow_the_nodes() -> None:
    batch = Graphs.of(GRAPHS)
    uniform = torch.rand(batch.num_nodes, generator=torch.Generator().manual_seed(0))
    splits = torch.rand(batch.num_nodes, generator=torch.Generator().manual_seed(1)) < 0.8
    colours = colour(batch, splits, uniform)
    assert torch.equal(colours >= 0, splits)
    u, v = batch.edges
    both = splits[u] & splits[v]
    assert bool((colours[u] != colours[v])[both].all())
    for number, graph in enumerate(GRAPHS):
        assert int(colours[batch.graph == number].max()) <= max(dict(graph.to_networkx().degree()).values())
    graph = GRAPHS[-2]
    p = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(2))
    numbers, some = torch.rand(graph.num_nodes), torch.rand(graph.num_nodes) < 0.7
    here = colour(Graphs.of([graph]), some, numbers)
    there = colour(Graphs.of([graph.relabelled(p)]), some[p.argsort()], numbers[p.argsort()])
    assert torch.equal(there[p], here)
