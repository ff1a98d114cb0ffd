"""The pyramid of pairs: lossless for every graph, with the promises that validity rests on."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from graph_toys import generators, of, zoo

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.splitting.pairing import build_pyramid, match, merge, renumber
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import FULL, LINKED, encode, split

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


def test_twins_halve_a_hub_in_as_many_scales_as_a_path() -> None:
    star = of(nx.star_graph(63))
    pyramid = build_pyramid(Graphs.of([star]), generators(1))
    assert [s.coarse.num_nodes for s in pyramid.scales] == [1, 2, 4, 8, 16, 32]
    assert int((pyramid.scales[-1].codes.token == LINKED).sum()) == 1  # the hub and a leaf; the others are twins


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


def test_graph_of_batches_come_back_one_by_one() -> None:
    graphs = list(ZOO.values())
    for mine, graph in zip(Graphs.of(graphs).to_graphs(), graphs, strict=True):
        assert mine.num_nodes == graph.num_nodes and torch.equal(mine.edges, graph.edges)
    keep = torch.tensor([i % 3 == 0 for i in range(len(graphs))])
    kept, _, _ = Graphs.of(graphs).take(keep)
    for mine, graph in zip(kept.to_graphs(), graphs[::3], strict=True):
        assert isinstance(mine, Graph) and torch.equal(mine.edges, graph.edges)
