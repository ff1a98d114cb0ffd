"""Batches of graphs, and what is counted on them, against networkx and dense matrices."""

from __future__ import annotations

import networkx as nx
import torch
from graph_toys import zoo

from refine.domains.graph.graphs.graphs import Graph
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


def test_graph_of_batches_come_back_one_by_one() -> None:
    for mine, graph in zip(Graphs.of(GRAPHS).to_graphs(), GRAPHS, strict=True):
        assert mine.num_nodes == graph.num_nodes and torch.equal(mine.edges, graph.edges)
    keep = torch.tensor([i % 3 == 0 for i in range(len(GRAPHS))])
    kept, _, _ = Graphs.of(GRAPHS).take(keep)
    for mine, graph in zip(kept.to_graphs(), GRAPHS[::3], strict=True):
        assert isinstance(mine, Graph) and torch.equal(mine.edges, graph.edges)
