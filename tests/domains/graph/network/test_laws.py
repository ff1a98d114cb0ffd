"""What the forward process never makes is neither drawn nor given a probability, and all that it makes is."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from graph_toys import tiny_model

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.laws import StarLaws, must_link
from refine.domains.graph.network.star import BOTH, OTHER, SAME, Seats
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import LINKED, UNLINKED, split
from refine.types import Condition


@pytest.fixture(scope="module", params=["star", "rounds"])
def model(request: pytest.FixtureRequest) -> GraphModel:
    """Untrained, and far from indifferent."""
    torch.manual_seed(3)
    made = tiny_model(head=request.param)
    for p in made.predictor.parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=0.3)
    return made


def many(seed: int) -> list[Graph]:
    """Graphs of many kinds, connected and in pieces."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 14))
    made = [
        nx.gnp_random_graph(n, float(rng.uniform(0.05, 0.6)), seed=seed),
        nx.random_labeled_tree(n, seed=seed),
        nx.star_graph(n),
        nx.complete_bipartite_graph(2, n),
        nx.disjoint_union(nx.star_graph(3), nx.empty_graph(n)),
    ]
    return [Graph.from_networkx(g) for g in made]


def test_of_two_neighbours_one_at_least_is_a_linked_pair() -> None:
    for seed in range(40):
        graphs = many(seed)
        pyramid = build_pyramid(Graphs.of(graphs), [np.random.default_rng([seed, i]) for i in range(len(graphs))])
        for scale in pyramid.scales:
            token, (u, v) = scale.codes.token, scale.coarse.edges
            assert bool(((token[u] == LINKED) | (token[v] == LINKED)).all())


def test_every_pyramid_has_a_probability(model: GraphModel) -> None:
    for seed in range(12):
        nats = model.log_prob(many(seed), seed)
        assert bool(nats.isfinite().all()), seed


KINDS_OF_MODELS: list[dict[str, Any]] = [
    {},
    {"pairing": "blocks"},
    {"masses": True},
    {"masses": True, "counts": True},
    {"masses": True, "counts": True, "pairing": "blocks"},
]


@pytest.mark.parametrize("config", KINDS_OF_MODELS)
def test_every_small_graph_has_one(config: dict[str, Any]) -> None:
    """All graphs of up to five nodes in several pyramids each, first the connected ones under the law of those."""
    torch.manual_seed(0)
    model = tiny_model(**config)
    small = [g for g in nx.graph_atlas_g() if 0 < len(g) <= 5]
    assert len(small) == 1 + 2 + 4 + 11 + 34
    for connected in (True, False):
        model.info["connected"] = connected
        graphs = [Graph.from_networkx(g) for g in small if nx.is_connected(g) or not connected]
        for seed in range(2):
            assert bool(model.log_prob(graphs, seed).isfinite().all())


@pytest.mark.parametrize("config", KINDS_OF_MODELS[1:])
def test_so_has_every_pyramid_of_larger_ones(config: dict[str, Any]) -> None:
    model = tiny_model(**config)
    blocks = [Graph.from_networkx(nx.planted_partition_graph(3, 6, 0.7, 0.05, seed=seed)) for seed in range(4)]
    for seed in range(3):
        assert bool(model.log_prob(many(seed) + blocks, seed).isfinite().all()), seed


def test_pairs_that_keep_blocks_apart_may_leave_two_neighbours_over() -> None:
    """So the laws of maximum matchings do not hold of them, and are not applied; siblings without a link still share a
    neighbour."""
    two = nx.disjoint_union(nx.complete_graph(6), nx.complete_graph(6))
    two.add_edges_from((i, i + 6) for i in range(6))  # between pairs, fewer than the two that chance would have
    graphs = [Graph.from_networkx(two)] * 20
    pyramid = build_pyramid(Graphs.of(graphs), [np.random.default_rng(i) for i in range(20)], blocks=True)
    both_left = 0
    for scale in pyramid.scales:
        token, (u, v) = scale.codes.token, scale.coarse.edges
        both_left += int(((token[u] != LINKED) & (token[v] != LINKED)).sum())
        fine, parent = split(scale.coarse, scale.codes)
        twins = (token[parent[:-1]] == UNLINKED) & (parent[:-1] == parent[1:])
        for first in twins.nonzero()[:, 0].tolist():
            near = [set(fine.edges[:, (fine.edges == node).any(0)].flatten().tolist()) for node in (first, first + 1)]
            assert near[0] & near[1] or not (near[0] | near[1])
    assert both_left > 0


def test_stars_of_siblings_without_a_link_have_a_common_neighbour() -> None:
    """By hand: two stars of three questions, the first of a pair that is not linked."""
    seats = Seats(torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2]), (2, 3))
    apart, none = torch.tensor([True] * 3 + [False] * 3), torch.zeros(6, dtype=torch.bool)
    codes = torch.tensor([SAME, OTHER, BOTH, SAME, OTHER, SAME])
    possible = StarLaws(seats, apart, none).along(seats, codes)
    assert possible[0].tolist() == [True, False, True] == possible[3].tolist()  # no child is named yet
    assert possible[1].all() and possible[4].all() and possible[5].all()
    assert possible[2].tolist() == [code == BOTH for code in (SAME, OTHER, BOTH)]
    shared = StarLaws(seats, apart, none).along(seats, torch.tensor([BOTH, SAME, OTHER, SAME, OTHER, SAME]))
    assert shared[2].all()


def test_what_was_left_over_is_on_one_side_of_linked_siblings() -> None:
    seats = Seats(torch.zeros(3).long(), torch.arange(3), (1, 3))
    linked, left = torch.zeros(3, dtype=torch.bool), torch.tensor([True, False, True])
    possible = StarLaws(seats, linked, left).along(seats, torch.tensor([SAME, OTHER, SAME]))
    assert possible.tolist() == [[True, False, False], [True, True, True], [True, False, False]]
    alone = StarLaws(seats, linked, torch.tensor([True, False, False])).along(seats, torch.tensor([BOTH, SAME, SAME]))
    assert alone[0, BOTH] and alone[2].all()


def test_nodes_beside_single_ones_are_linked_pairs() -> None:
    path = torch.tensor([[0, 1], [1, 2]])
    two = torch.tensor([True, True, False, True])  # the last has no neighbour
    assert must_link(path, two, connected=False).tolist() == [False, True, False, False]
    assert must_link(path, two, connected=True)[3]


def test_graphs_fall_apart_only_where_training_graphs_did(model: GraphModel) -> None:
    pieces = {}
    for connected in (False, True):
        model.info["connected"] = connected
        drawn = [
            g for seed in range(4) for g in model.sample(40, Condition(size=torch.full((40,), 9)), seed=seed).items
        ]
        pieces[connected] = sum(not nx.is_connected(g.to_networkx()) for g in drawn)
    assert pieces[True] == 0 < pieces[False]


def test_whether_graphs_are_connected_is_counted() -> None:
    path, apart = nx.path_graph(4), nx.empty_graph(3)
    assert PackedGraphs.of([Graph.from_networkx(g) for g in (path, path)]).all_connected
    assert not PackedGraphs.of([Graph.from_networkx(g) for g in (path, apart, path)]).all_connected
