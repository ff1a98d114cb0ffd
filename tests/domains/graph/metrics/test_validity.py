from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest
import torch

from refine.domains.graph.graphs.archive import read_npz
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics import validity
from refine.domains.graph.metrics.validity import MissingError, are_planar, are_sbm, are_trees, unique_and_novel
from refine.domains.graph.metrics.validity import valid_unique_novel as vun

from ..made_up import graph, graphs_folder, shuffled


@pytest.mark.parametrize(
    "g",
    [nx.cycle_graph(12), nx.random_labeled_tree(40, seed=0), nx.grid_2d_graph(7, 9), nx.petersen_graph()],
    ids=["cycle", "tree", "grid", "petersen"],
)
def test_renamed_graphs_are_neither_unique_nor_novel(g: nx.Graph) -> None:
    unique, novel = unique_and_novel([graph(g), graph(g, 1), graph(g, 2)], [graph(g, 3)])
    assert unique == [True, False, False] and novel == [False, False, False]


def test_graphs_that_colours_do_not_tell_apart() -> None:
    """Regular graphs of one degree have one Weisfeiler-Lehman hash."""
    hexagon, triangles = graph(nx.cycle_graph(6)), graph(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)))
    unique, novel = unique_and_novel([hexagon, triangles], [hexagon])
    assert unique == [True, True] and novel == [False, True]


def test_kinds_count() -> None:
    ring = Graph.of(4, [(0, 1), (1, 2), (2, 3), (3, 0)], [0, 1, 0, 1], [0, 0, 1, 1])
    other_nodes = replace(ring, node_label=torch.tensor([0, 0, 1, 1]))
    other_edges = replace(ring, edge_label=torch.tensor([0, 1, 1, 0]))
    plain = replace(ring, node_label=None, edge_label=None)
    samples = [ring, shuffled(ring, 1), other_nodes, other_edges, shuffled(other_edges, 2), plain]
    unique, novel = unique_and_novel(samples, [shuffled(other_nodes, 3)])
    assert unique == [True, False, True, True, False, True]
    assert novel == [True, True, False, True, True, True]


def test_planar_and_trees() -> None:
    path, k33 = nx.path_graph(4), nx.complete_bipartite_graph(3, 3)
    two = nx.disjoint_union(path, path)
    given = [graph(g) for g in (path, nx.empty_graph(1), nx.cycle_graph(4), two, k33, nx.complete_graph(5))]
    assert are_planar(given) == [True, True, True, False, False, False]
    assert are_trees(given) == [True, True, False, False, False, False]


def test_vun_needs_all_three_of_one_graph() -> None:
    a, b, c, d = (graph(nx.path_graph(n)) for n in (3, 4, 5, 6))
    ring = graph(nx.cycle_graph(5))
    found = vun([a, b, b, ring], train=[a, d], reference=[c, ring], kind="tree")
    assert found == {
        "valid": 0.75,
        "unique": 0.75,
        "novel": 0.75,
        "vun": 0.25,
        "valid_of_reference": 0.5,
        "validity": "a tree",
    }


def test_other_kinds_have_no_validity() -> None:
    found = vun([graph(nx.path_graph(3))], [], [], kind="grid")
    assert found.pop("validity") == "not defined for graphs of kind grid; unique and novel only"
    assert found == {"unique": 1.0, "novel": 1.0}


@pytest.mark.parametrize(("method", "expected"), [("digress", 0.85), ("grum", 0.9)])
def test_official_planar_samples(method: str, expected: float) -> None:
    samples, _ = read_npz(graphs_folder() / f"generated_{method}_planar.npz")
    real, split = read_npz(graphs_folder() / "planar.npz")
    assert split is not None
    found = vun(samples, real.select(split == 0), real.select(split == 2), "planar")
    assert (found["valid"], found["unique"], found["novel"], found["vun"]) == (expected, 1.0, 1.0, expected)
    assert found["valid_of_reference"] == 1.0


def test_without_graph_tool_sbm_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    found = vun([graph(nx.path_graph(3))], [], [], "sbm")
    assert found.keys() == {"unique", "novel", "validity"}
    assert "valid and vun are missing: graph_tool is not on this machine" in found["validity"]
    assert "apt-get install python3-graph-tool" in found["validity"]


def test_a_check_that_breaks_down_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text("raise SystemExit('numpy is another one')")
    monkeypatch.setattr(validity, "SBM_CHECK", script)
    monkeypatch.setattr(validity, "_python_with_graph_tool", lambda: sys.executable)
    with pytest.raises(MissingError, match="numpy is another one"):
        are_sbm([graph(nx.path_graph(3))])


def test_sbm() -> None:
    """Two blocks of the benchmark's recipe pass; one block, and blocks that are too small, do not.

    The search for blocks is random, and its draws differ between machines for one seed: it misses about one graph of
    thirty, so most of the good ones have to pass.
    """
    try:
        validity._python_with_graph_tool()
    except MissingError as error:
        pytest.skip(str(error))

    def blocks(seed: int, *sizes: int) -> Graph:
        p = [[0.3 if i == j else 0.005 for j in range(len(sizes))] for i in range(len(sizes))]
        return graph(nx.stochastic_block_model(sizes, p, seed=seed))

    assert sum(are_sbm([blocks(seed, 30, 35) for seed in range(1, 9)])) >= 6
    assert not any(are_sbm([blocks(1, 30), blocks(1, 12, 30)]))
