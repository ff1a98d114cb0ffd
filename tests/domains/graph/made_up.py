"""Graphs for tests, and when two are the same."""

from __future__ import annotations

import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.utils import erdos_renyi_graph

from refine.domains.graph.graphs.graphs import Graph


def same(a: Graph, b: Graph) -> bool:
    tensors = [(a.edges, b.edges), (a.node_label, b.node_label), (a.edge_label, b.edge_label)]
    equal = [x is y is None or (x is not None and y is not None and torch.equal(x, y)) for x, y in tensors]
    return a.num_nodes == b.num_nodes and all(equal)


def labelled(seed: int, n: int = 12) -> Graph:
    """A random graph with isolated nodes and with kinds."""
    torch.manual_seed(seed)
    edges = erdos_renyi_graph(n, 0.2)
    edges = edges[:, edges[0] < edges[1]]
    return Graph.of(n, edges, torch.randint(3, (n,)), torch.randint(4, (edges.shape[1],)))


MIXED = [labelled(3), Graph.of(1, [], [2], []), labelled(4, 40), Graph.of(5, [], [0, 1, 0, 1, 0])]


def graph(g: nx.Graph, seed: int | None = None) -> Graph:
    """As a :class:`Graph`; with a seed, nodes renamed at random."""
    out = Graph.of(len(g), list(nx.convert_node_labels_to_integers(g).edges))
    return out if seed is None else shuffled(out, seed)


def shuffled(g: Graph, seed: int) -> Graph:
    return g.relabelled(torch.randperm(g.num_nodes, generator=torch.Generator().manual_seed(seed)))


def graphs_folder() -> Path:
    """The graphs in REFINE_DATA; the test is skipped where there are none."""
    folder = Path(os.environ.get("REFINE_DATA", "")) / "graphs"
    if "REFINE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("no graphs/ in REFINE_DATA")
    return folder


def delaunay(n: int, seed: int) -> nx.Graph:
    from scipy.spatial import Delaunay

    triangles = Delaunay(np.random.default_rng(seed).uniform(size=(n, 2))).simplices
    return nx.Graph([(int(t[i]), int(t[i - 1])) for t in triangles for i in range(3)])


ODD = {  # to draw
    "one node": nx.empty_graph(1),
    "one edge": nx.path_graph(2),
    "no edges": nx.empty_graph(7),
    "parts": nx.disjoint_union_all([nx.cycle_graph(9), nx.star_graph(5), nx.path_graph(2), nx.empty_graph(3)]),
    "complete": nx.complete_graph(12),
    "large": nx.gnp_random_graph(120, 0.1, seed=0),
    "large tree": nx.random_labeled_tree(400, seed=0),
}
