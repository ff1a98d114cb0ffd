"""Graphs: nodes split in two until the graph is whole, coarse to fine."""

from refine.domains.graph.config import GraphConfig, GraphModelConfig
from refine.domains.graph.domain import GraphDomain
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.model import GraphModel

__all__ = ["Graph", "GraphConfig", "GraphDomain", "GraphModel", "GraphModelConfig"]
