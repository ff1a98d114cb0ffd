"""Graphs from and to other libraries, and what is refused on the way."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.kinds import Kinds
from refine.errors import RefineError

from ..made_up import labelled, same


@pytest.mark.parametrize("seed", range(5))
def test_there_and_back(seed: int) -> None:
    graph = labelled(seed)
    bare = Graph(graph.num_nodes, graph.edges)
    for g in (graph, bare):
        assert same(Graph.from_networkx(g.to_networkx()), g)
        assert same(Graph.from_data(g.to_data()), g)
    names = ("a", "b", "c"), ("w", "x", "y", "z")
    assert same(Graph.from_networkx(graph.to_networkx(*names), node_kinds=names[0], edge_kinds=names[1]), graph)


def test_any_name_of_a_node_and_any_attribute() -> None:
    g = nx.Graph()
    g.add_node("Ada", job="poet")
    g.add_node((1, 2), job="clerk")
    g.add_node(None.__class__, job="poet", label="not read")
    g.add_edge("Ada", (1, 2), tie="friend", weight=1)
    g.add_edge((1, 2), None.__class__, tie="foe", weight=1.0)
    graph = Graph.from_networkx(g, "job", "tie", ["clerk", "poet"], ["foe", "friend"])
    expected = Graph.of(3, [(0, 1), (1, 2)], [1, 0, 1], [1, 0])
    assert same(graph, expected)
    assert same(Graph.from_networkx(g, "tie", "job"), Graph.of(3, [(0, 1), (1, 2)]))  # no one has these attributes
    growing = Kinds()
    assert Graph.from_networkx(g, "job", "tie", growing, Kinds()).node_label.tolist() == [0, 1, 0]
    assert growing.names == ("poet", "clerk") and growing.sort().tolist() == [1, 0]
    assert growing.names == ("clerk", "poet")


def test_edges_in_any_order_and_direction_and_one_node() -> None:
    graph = Graph.of(4, [(3, 1), (0, 2), (1, 3), (2, 0)], edge_label=[5, 6, 5, 6])
    assert graph.edges.T.tolist() == [[0, 2], [1, 3]] and graph.edge_label.tolist() == [6, 5]
    assert same(Graph.from_networkx(nx.empty_graph(1)), Graph.of(1, []))
    assert same(Graph.from_data(Data(num_nodes=1)), Graph.of(1, []))


def test_relabelling_there_and_back() -> None:
    graph, p = labelled(7), torch.randperm(12)
    assert same(graph.relabelled(p).relabelled(p.argsort()), graph)
    assert not torch.equal(graph.relabelled(p).edges, graph.edges)


def nodes_with(**attributes: Any) -> nx.Graph:
    g = nx.path_graph(3)
    nx.set_node_attributes(g, attributes.pop("label", {}), "label")
    nx.set_edge_attributes(g, attributes.pop("weight", {}), "weight")
    nx.set_edge_attributes(g, attributes.pop("edge", {}), "label")
    return g


@pytest.mark.parametrize(
    ("g", "words"),
    [
        (nx.DiGraph([(0, 1)]), "friends is directed; only undirected graphs are accepted"),
        (nx.MultiGraph([(0, 1), (0, 1)]), "friends is a multigraph; only simple graphs"),
        (nx.Graph([(0, 0)]), "friends has a self-loop at node"),
        (nx.Graph(), "friends has no nodes"),
        (nodes_with(weight={(0, 1): 1.0, (1, 2): 2.0}), "friends has edges of different weight"),
        (nodes_with(weight={(0, 1): 1.0}), "friends has edges of different weight"),
        (nodes_with(label={0: 1, 1: 0}), r"node \[2\] of friends has no kind, but others have"),
        (nodes_with(label={0: 1, 1: 0, 2: "x"}), "the kind of node 2 of friends is 'x'; accepted: 0, 1"),
        (nodes_with(label={0: 1, 1: 0, 2: -1}), "the kind of node 2 of friends is -1"),
        (nodes_with(label={0: 1, 1: 0, 2: True}), "the kind of node 2 of friends is True"),
        (nodes_with(edge={(1, 2): 0}), r"edge \[\(0, 1\)\] of friends has no kind"),
    ],
)
def test_networkx_graphs_that_are_refused(g: nx.Graph, words: str) -> None:
    with pytest.raises(RefineError, match=words):
        Graph.from_networkx(g, name="friends")


def test_kinds_that_are_refused() -> None:
    g = nodes_with(label={0: "oxigen", 1: "carbon", 2: "carbon"})
    with pytest.raises(RefineError, match=r"node 0 of the graph='oxigen' is not accepted; .*Did you mean 'oxygen'"):
        Graph.from_networkx(g, node_kinds=["carbon", "oxygen"])
    with pytest.raises(RefineError, match=r"node 1 of the graph is 0\.5; accepted: a name or a whole number"):
        Graph.from_networkx(nodes_with(label={0: 1, 1: 0.5, 2: 1}), node_kinds=Kinds())


PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Data(edge_index=PATH[:, [0, 1, 2]], num_nodes=3), "pyg is directed: 1 edges have no reverse"),
        (Data(edge_index=PATH[:, [0, 1, 0, 1]], num_nodes=3), "pyg has 2 edges more than once"),
        (Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 1]]), num_nodes=2), "pyg has a self-loop"),
        (Data(edge_index=PATH, num_nodes=2), "pyg has an edge to a node that is not there; its nodes are 0 to 1"),
        (Data(edge_index=PATH[:, :0], num_nodes=0), "pyg has no nodes"),
        (Data(x=torch.rand(3, 4), edge_index=PATH), "x of pyg is neither one integer nor one-hot"),
        (Data(edge_attr=torch.rand(4), edge_index=PATH, num_nodes=3), "edge_attr of pyg is neither"),
        (Data(edge_attr=torch.tensor([1, 0, 0, 0]), edge_index=PATH, num_nodes=3), "given twice with different kinds"),
        (Data(edge_weight=torch.tensor([1.0, 1, 2, 2]), edge_index=PATH, num_nodes=3), "edges of different weight"),
    ],
)
def test_data_that_is_refused(data: Data, words: str) -> None:
    with pytest.raises(RefineError, match=words):
        Graph.from_data(data, "pyg")


def test_features_that_are_labels() -> None:
    expected = Graph.of(3, [(0, 1), (1, 2)], [2, 0, 1], [1, 0])
    one_hot = torch.eye(3)[[2, 0, 1]]
    for x in (one_hot, one_hot.bool(), torch.tensor([2, 0, 1]), torch.tensor([[2.0], [0.0], [1.0]])):
        for edge_attr in (torch.tensor([1, 1, 0, 0]), torch.eye(2)[[1, 1, 0, 0]]):
            assert same(Graph.from_data(Data(x=x, edge_index=PATH, edge_attr=edge_attr)), expected)
    weights = torch.full((4,), 0.5)
    assert same(Graph.from_data(Data(edge_index=PATH, num_nodes=3, edge_weight=weights)), Graph.of(3, [(0, 1), (1, 2)]))


def test_directions_and_weights_of_data_may_go() -> None:
    data = Data(edge_index=torch.tensor([[0, 2, 1], [1, 1, 0]]), num_nodes=3, edge_weight=torch.tensor([1.0, 2, 3]))
    with pytest.raises(RefineError, match=r"is directed: 1 edges have no reverse; .* domain.undirected=true"):
        Graph.from_data(data, weights="drop")
    assert same(Graph.from_data(data, undirected=True, weights="drop"), Graph.of(3, [(0, 1), (1, 2)]))


def test_directions_that_differ_in_kind_do_not_become_one() -> None:
    g = nx.DiGraph()
    g.add_edge(0, 1, label="x")
    g.add_edge(1, 0, label="y")
    with pytest.raises(RefineError, match=r"an edge given twice with different kinds"):
        Graph.from_networkx(g, edge_kinds=["x", "y"], undirected=True)
