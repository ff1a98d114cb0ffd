"""Pairs of nodes: which ones merge, and what the coarser graph is."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from graph_toys import generators, of, zoo

from refine.domains.graph.splitting.pairing import alike, build_pyramid, close_edges, exact, match, merge, renumber
from refine.domains.graph.splitting.sparse import Graphs, triangles
from refine.domains.graph.splitting.splits import FULL, LINKED, encode

ZOO = zoo()


def test_a_pyramid_depends_on_its_own_random_numbers_alone() -> None:
    graphs = list(ZOO.values())
    together = build_pyramid(Graphs.of(graphs), generators(len(graphs)))
    for i, graph in enumerate(graphs[:6]):
        alone = build_pyramid(Graphs.of([graph]), [np.random.default_rng([0, i])])
        skipped = len(together.scales) - len(alone.scales)
        for scale, other in zip(alone.scales, together.scales[skipped:], strict=True):
            mine = other.coarse.graph == i
            assert torch.equal(scale.codes.token, other.codes.token[mine])
    once, again = (build_pyramid(Graphs.of(graphs), generators(len(graphs), seed)) for seed in (1, 1))
    assert torch.equal(once.order, again.order)
    other = build_pyramid(Graphs.of(graphs), generators(len(graphs), 2))
    assert not torch.equal(once.order, other.order)


def test_coarse_edges_are_the_or_of_what_they_stand_for() -> None:
    fine = Graphs.of([ZOO["dense"]])
    parent, coarse = merge(fine, generators(1))
    stands = {tuple(sorted((int(parent[u]), int(parent[v])))) for u, v in fine.edges.T} - {
        (int(p), int(p)) for p in parent
    }
    assert {tuple(e) for e in coarse.edges.T.tolist()} == stands
    above, order = parent.sort(stable=True)
    codes = encode(renumber(fine, order), above, coarse)
    assert bool((codes.pattern > 0).all()) and bool((codes.pattern <= FULL).all())


@pytest.mark.parametrize("name", ["sparse", "tree", "grid", "dense", "complete"])
def test_pairs_are_a_matching_that_cannot_be_larger(name: str) -> None:
    graph = ZOO[name]
    pairs = match(graph.edges.numpy(), np.random.default_rng(3).random(graph.num_edges))
    assert len(np.unique(pairs)) == pairs.size
    assert pairs.shape[1] == len(nx.max_weight_matching(graph.to_networkx(), maxcardinality=True))
    assert all(graph.to_networkx().has_edge(u, v) for u, v in pairs.T.tolist())


def test_edges_within_blocks_are_close_and_merge_first() -> None:
    """Two complete graphs of 6 with one edge between them: by hand, m = 31, and 1 > 6 * 6 / 62 only within."""
    two = nx.disjoint_union(nx.complete_graph(6), nx.complete_graph(6))
    two.add_edge(0, 6)
    graphs = exact(Graphs.of([of(two)]))
    near = close_edges(graphs)
    assert near.sum() == 31  # also the bridge, as long as nothing has merged
    for seed in range(10):
        parent, coarse = merge(graphs, generators(1, seed), blocks=True)
        while coarse.num_nodes > 2:
            above, coarse = merge(coarse, generators(1, seed), blocks=True)
            parent = above[parent]
        if bool((parent[:6] == parent[0]).all()):
            break
    assert len(parent[:6].unique()) == 1 == len(parent[6:].unique())
    assert coarse.mass is not None and coarse.mass.tolist() == [6, 6]
    assert coarse.inside is not None and coarse.inside.tolist() == [15, 15] and coarse.count.tolist() == [1]  # type: ignore[union-attr]


def test_alike_is_the_cosine_of_rows_of_counts() -> None:
    graphs = exact(Graphs.of([ZOO["dense"], ZOO["tree"]]))
    _, coarse = merge(graphs, generators(2))
    u, v = coarse.edges
    assert coarse.count is not None and coarse.mass is not None and coarse.inside is not None
    rows = torch.diag((2 * coarse.inside + coarse.mass).double())
    rows[u, v] = rows[v, u] = coarse.count.double()
    expected = torch.nn.functional.cosine_similarity(rows[u], rows[v], dim=1)
    assert torch.allclose(alike(coarse, triangles(coarse)), expected)


def test_twins_halve_a_hub_in_as_many_scales_as_a_path() -> None:
    star = of(nx.star_graph(63))
    pyramid = build_pyramid(Graphs.of([star]), generators(1))
    assert [s.coarse.num_nodes for s in pyramid.scales] == [1, 2, 4, 8, 16, 32]
    assert int((pyramid.scales[-1].codes.token == LINKED).sum()) == 1  # the hub and a leaf; the others are twins
