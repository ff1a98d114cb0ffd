"""Graphs made by the published recipes look like the published graphs, and never change."""

from __future__ import annotations

import hashlib

import networkx as nx
import numpy as np
import pytest

from refine.domains.graph.graphs.benchmarks import read_benchmark
from refine.domains.graph.graphs.generators import RECIPES, generate
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError


def connected(graphs: PackedGraphs) -> float:
    return float(np.mean([nx.is_connected(g.to_networkx()) for g in graphs]))


def test_planar_are_triangulations_of_64_points() -> None:
    graphs = generate("planar", 60, "train")
    assert graphs.sizes() == {64: 38} and connected(graphs) == 1
    assert all(nx.check_planarity(g.to_networkx())[0] for g in graphs)
    official = read_benchmark("planar", "train").num_edges
    assert abs(graphs.num_edges.mean() - official.mean()) < 1 and graphs.num_edges.max() <= 3 * 64 - 6
    # 3n - 3 - hull edges, every bounded face is a triangle
    g = graphs[0].to_networkx()
    assert sum(nx.triangles(g).values()) // 3 >= g.number_of_edges() - 64


def test_sbm_has_blocks_of_the_published_sizes_and_densities() -> None:
    graphs = generate("sbm", 250, "train")
    assert graphs.num_nodes.min() >= 40 and graphs.num_nodes.max() <= 200 and connected(graphs) > 0.9
    blocks = [b for g in graphs for b in [len(nx.community.louvain_communities(g.to_networkx(), seed=0))]]
    shares = np.bincount(blocks, minlength=6)[2:6] / len(blocks)
    assert shares.sum() > 0.95 and shares.min() > 0.1
    official = read_benchmark("sbm", "train")
    for key in ("num_nodes", "num_edges"):
        ours, theirs = getattr(graphs, key), getattr(official, key)
        error = np.hypot(ours.std() / len(ours) ** 0.5, theirs.std() / len(theirs) ** 0.5)
        assert abs(ours.mean() - theirs.mean()) < 4 * error


def test_trees_are_uniform() -> None:
    graphs = generate("tree", 200, "train")
    assert all(nx.is_tree(g.to_networkx()) for g in graphs) and graphs.sizes() == {64: 128}
    leaves = [(np.bincount(g.edges.flatten(), minlength=64) == 1).mean() for g in graphs]
    assert abs(np.mean(leaves) - (1 - 1 / 64) ** 62) < 0.01  # what uniform labelled trees have


def test_community_small_has_the_communities_of_the_official_graphs() -> None:
    for graphs in (generate("community_small", 100, "train"), read_benchmark("community_small", "train")):
        links = []
        for g in graphs:
            size = g.num_nodes // 2
            inside = nx.disjoint_union(*(nx.gnp_random_graph(size, 0.7, seed=seed) for seed in (0, 1)))
            found = {(u, v) for u, v in g.edges.T.tolist()}
            across = {(u, v) for u, v in found if (u < size) != (v < size)}
            assert found - across == set(inside.edges)
            links.append(len(across))
        assert (
            set(graphs.sizes()) == {12, 14, 16, 18, 20} and min(links) == 1 and 0.7 < links.count(1) / len(links) < 0.95
        )


def test_grids_are_grids() -> None:
    for g in generate("grid", 10, "train"):
        shapes = [(m, n) for m in range(10, 20) for n in range(10, 20) if m * n == g.num_nodes]
        assert any(set(map(tuple, g.edges.T.tolist())) == grid_edges(*shape) for shape in shapes)


def grid_edges(rows: int, columns: int) -> set[tuple[int, int]]:
    g = nx.grid_2d_graph(rows, columns)
    return {tuple(sorted((u[0] * columns + u[1], v[0] * columns + v[1]))) for u, v in g.edges}


@pytest.mark.parametrize("name", RECIPES)
def test_graphs_and_their_splits_never_change(name: str) -> None:
    few, many = ([e for s in ("train", "val", "test") for e in edges(generate(name, num, s), s)] for num in (10, 50))
    assert set(few) <= set(many) and len(few) == 10 and len(many) == 50
    assert [len(generate(name, 50, s)) for s in ("train", "val", "test")] == [32, 8, 10]
    assert [len(generate(name, 5, s)) for s in ("train", "val", "test")] == [3, 1, 1]
    assert edges(generate(name, 10, "test"), "") == edges(generate(name, 50, "test"), "")[:2]
    if name != "grid":  # of which there are 55, and of community_small not many more
        assert name == "community_small" or len({e for _, e in many}) == 50


def edges(graphs: PackedGraphs, split: str) -> list[tuple[str, str]]:
    return [(split, hashlib.sha256(g.edges.numpy().tobytes()).hexdigest()) for g in graphs]


def test_what_cannot_be_generated() -> None:
    with pytest.raises(RefineError, match=r"'enzymes' is not accepted; accepted: planar, sbm, tree"):
        generate("enzymes", 10, "train")
    with pytest.raises(RefineError, match=r"domain.generate=4 is too few for three splits"):
        generate("planar", 4, "train")
