"""Graphs for tests, and when two are the same."""

from __future__ import annotations

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
