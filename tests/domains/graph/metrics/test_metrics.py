from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import networkx as nx
import pytest
import torch

from refine.domains.graph.graphs.archive import read_npz
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.metrics import graph_metrics
from refine.domains.graph.metrics.mmd import SIGMAS

from ..made_up import graph, graphs_folder


def community(seeds: Sequence[int], p: float = 0.6) -> list[Graph]:
    return [graph(nx.stochastic_block_model([7, 7], [[p, 0.05], [0.05, p]], seed=s)) for s in seeds]


def with_kinds(graphs: list[Graph], node: int, edge: int) -> list[Graph]:
    """The first node and edge of each graph are of kind 0, all others of the given ones."""
    out = []
    for g in graphs:
        nodes, edges = torch.full((g.num_nodes,), node), torch.full((g.num_edges,), edge)
        nodes[0] = edges[0] = 0
        out.append(replace(g, node_label=nodes, edge_label=edges))
    return out


def test_training_graphs_as_samples() -> None:
    train, test = community(range(12)), community(range(12, 20))
    found = graph_metrics(train, test, train, "community")
    for name in SIGMAS:
        assert found[f"mmd_{name}"] == found[f"floor_{name}"]
        assert found[f"mmd_{name}_unbiased"] == found[f"floor_{name}_unbiased"] < found[f"mmd_{name}"]
        assert found[f"ratio_{name}"] == pytest.approx(1, abs=1e-4)
    assert found["ratio_average"] == pytest.approx(1, abs=1e-4)
    assert (found["unique"], found["novel"]) == (1.0, 0.0)
    assert "valid" not in found and "tv_node_kinds" not in found
    assert (found["num_samples"], found["num_reference"], found["num_train"]) == (12, 8, 12)
    assert json.loads(json.dumps(found)) == found


def test_other_graphs_are_further_away() -> None:
    train, test = community(range(12)), community(range(12, 20))
    near, far = (graph_metrics(community(range(20, 30), p), test, train, "community") for p in (0.6, 0.9))
    assert all(far[f"mmd_{name}_unbiased"] > near[f"mmd_{name}_unbiased"] for name in SIGMAS)


def test_trees_have_no_average() -> None:
    trees = [graph(nx.random_labeled_tree(20, seed=s)) for s in range(15)]
    found = graph_metrics(trees[:5], trees[5:10], trees[10:], "tree")
    assert {key for key in found if key.startswith("ratio")} == {
        "ratio_degree",
        "ratio_spectral",
        "ratio_wavelet",
        "ratio_note",
    }
    assert found["floor_clustering"] == 0 and found["vun"] == 1.0


def test_kinds_are_compared_where_all_have_them() -> None:
    plain = community(range(6))
    samples, test, train = with_kinds(plain[:2], 1, 2), with_kinds(plain[2:4], 3, 1), with_kinds(plain[4:], 3, 1)
    found = graph_metrics(samples, test, train, "other")
    assert found["tv_node_kinds"] == pytest.approx(13 / 14)  # all nodes but the first
    assert found["floor_node_kinds"] == 0
    edges = [2 / sum(g.num_edges for g in graphs) for graphs in (samples, test, train)]  # shares of kind 0
    assert found["tv_edge_kinds"] == pytest.approx(1 - min(edges[:2]))
    assert found["floor_edge_kinds"] == pytest.approx(abs(edges[2] - edges[1]))
    mixed = graph_metrics(samples, test, plain[4:], "other")
    assert "tv_node_kinds" not in mixed and "tv_edge_kinds" not in mixed


@pytest.mark.parametrize("sizes", [(1, 3, 3), (3, 1, 3), (1, 1, 1)])
def test_sets_of_one_graph_have_all_figures_but_discrepancies(sizes: tuple[int, int, int]) -> None:
    graphs = with_kinds(community(range(3)), 1, 1)
    samples, reference, train = (graphs[:size] for size in sizes)
    found = graph_metrics(samples, reference, train, "planar")
    assert (found["unique"], found["novel"]) == (1.0, 0.0) and "vun" in found and "tv_node_kinds" in found
    assert found["mmd_missing"].startswith("a discrepancy needs 2 graphs or more of each set; 1 is there of: ")
    assert not any(key.startswith(("mmd_degree", "floor_degree", "ratio")) for key in found)


def test_one_training_graph_has_no_floor() -> None:
    graphs = community(range(6))
    found = graph_metrics(graphs[:3], graphs[3:], graphs[:1], "other")
    assert found["mmd_degree"] == graph_metrics(graphs[:3], graphs[3:], graphs[:3], "other")["mmd_degree"]
    assert found["floor_missing"].endswith("1 is there of: train") and "ratio_average" not in found


@pytest.mark.parametrize(
    ("method", "ratios", "average"),
    [("digress", (3.20, 1.82, 18.13, 1.63, 1.96), 5.35), ("grum", (2.47, 1.14, 1.66, 1.61, 1.39), 1.65)],
)
def test_rows_of_the_official_planar_samples(method: str, ratios: tuple[float, ...], average: float) -> None:
    samples, _ = read_npz(graphs_folder() / f"generated_{method}_planar.npz")
    real, split = read_npz(graphs_folder() / "planar.npz")
    assert split is not None
    found = graph_metrics(samples, real.select(split == 2), real.select(split == 0), "planar")
    assert [round(found[f"ratio_{name}"], 2) for name in SIGMAS] == list(ratios)
    assert round(found["ratio_average"], 2) == average
    assert found["vun"] == {"digress": 0.85, "grum": 0.9}[method]
