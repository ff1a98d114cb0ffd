"""Graphs and models that tests of the graph domain are made of."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import torch
from toy import stir

from refine.domains.graph.config import GraphConfig, GraphModelConfig
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.predictor import GraphPredictor


def of(g: nx.Graph) -> Graph:
    """A networkx graph on 0 .. n - 1."""
    return Graph.of(g.number_of_nodes(), list(g.edges()))


def zoo() -> dict[str, Graph]:
    """Graphs of every shape that could trip a pyramid."""
    rng = np.random.default_rng(0)
    return {
        "one node": of(nx.empty_graph(1)),
        "no edges": of(nx.empty_graph(7)),
        "an edge": of(nx.path_graph(2)),
        "star": of(nx.star_graph(12)),
        "path": of(nx.path_graph(9)),
        "cycle": of(nx.cycle_graph(11)),
        "complete": of(nx.complete_graph(9)),
        "bipartite": of(nx.complete_bipartite_graph(2, 11)),
        "grid": of(nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 5))),
        "pieces": of(nx.disjoint_union_all([nx.cycle_graph(5), nx.star_graph(4), nx.empty_graph(3)])),
        "sparse": of(nx.gnp_random_graph(40, 0.04, seed=1)),
        "dense": of(nx.gnp_random_graph(25, 0.6, seed=2)),
        "tree": of(nx.random_labeled_tree(33, seed=int(rng.integers(100)))),
    }


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    """One for each graph."""
    return [np.random.default_rng([seed, i]) for i in range(count)]


def tiny_predictor(kind: type[GraphPredictor], **config: Any) -> GraphPredictor:
    """With random weights, in evaluation mode."""
    torch.manual_seed(0)
    predictor = kind(GraphModelConfig(**{"width": 16, "depth": 2, **config})).eval()
    stir(predictor, 0.3)
    return predictor


def tiny_model(labels: tuple[int, int] = (0, 0), seed: int = 0, **config: Any) -> GraphModel:
    """A small model with random weights over the shipped community graphs, ready to be sampled."""
    from refine.domains.graph.domain import GraphDomain

    nodes, edges = ([str(i) for i in range(n)] for n in labels)
    domain = GraphDomain(GraphConfig(data="community_small", node_labels=nodes, edge_labels=edges))
    torch.manual_seed(seed)
    model = GraphModel(domain, GraphModelConfig(**{"width": 16, "depth": 2, **config})).eval()
    stir(model, 0.4, seed)
    return model
