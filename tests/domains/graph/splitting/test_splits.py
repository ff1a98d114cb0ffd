"""Splitting by the codes gives the graph back, whatever the graph."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from graph_toys import generators, zoo

from refine.domains.graph.splitting.pairing import build_pyramid, renumber
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import split

ZOO = zoo()


def rebuild(batch: Graphs, seed: int = 0) -> tuple[Graphs, torch.Tensor]:
    pyramid = build_pyramid(batch, generators(batch.num, seed))
    graphs = Graphs.single_nodes(batch.num)
    for scale in pyramid.scales:
        assert torch.equal(graphs.edges, scale.coarse.edges)
        graphs, _ = split(graphs, scale.codes)
    return graphs, pyramid.order


@pytest.mark.parametrize("name", ZOO)
def test_splitting_by_the_codes_gives_the_graph_back(name: str) -> None:
    for seed in range(5):
        graph = ZOO[name]
        built, order = rebuild(Graphs.of([graph]), seed)
        expected = renumber(Graphs.of([graph]), order)
        assert torch.equal(built.edges, expected.edges)
        assert order.sort().values.tolist() == list(range(graph.num_nodes))


def test_graphs_of_different_sizes_are_taken_apart_side_by_side() -> None:
    built, _ = rebuild(Graphs.of(list(ZOO.values())))
    for mine, graph in zip(built.to_graphs(), ZOO.values(), strict=True):
        assert nx.faster_could_be_isomorphic(mine.to_networkx(), graph.to_networkx())
        assert nx.is_isomorphic(mine.to_networkx(), graph.to_networkx())


def test_half_way_a_node_that_has_not_split_stands_for_both_children() -> None:
    pyramid = build_pyramid(Graphs.of([ZOO["grid"]]), generators(1))
    scale = pyramid.scales[-1]
    fine, parent = split(scale.coarse, scale.codes)
    done = torch.arange(scale.coarse.num_nodes) % 2 == 0
    between, origin = split(scale.coarse, scale.codes, done)
    merged = torch.where(done[parent], torch.arange(len(parent)), -1 - parent)  # children, or what they merge to
    names = [merged[(parent == p).nonzero()[:, 0]] for p in range(scale.coarse.num_nodes)]
    numbers = {
        int(m): i for i, m in enumerate(torch.cat([n.unique() if not done[p] else n for p, n in enumerate(names)]))
    }
    expected = {tuple(sorted((numbers[int(merged[u])], numbers[int(merged[v])]))) for u, v in fine.edges.T}
    expected -= {(i, i) for i in range(len(numbers))}
    assert {tuple(e) for e in between.edges.T.tolist()} == expected
    assert len(origin) == len(numbers)
