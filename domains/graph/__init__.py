"""Graphs: nodes split in two until the graph is whole, coarse to fine.

The files and rooms from the lowest to the highest; each imports only what stands above it in this drawing::

    config       options of the domain and of the model
      graphs     files and published sets -> graphs
      splitting  graphs <-> pyramids of merged pairs, and their codes
      network    a graph in the middle of a split -> probabilities of the next codes
      metrics    drawn graphs -> figures
      pictures   drawn graphs -> pictures and files
    model        the loop over the scales: training, likelihood, sampling
    domain       all of it as one domain of refine
"""

from refine.domains.graph.config import GraphConfig, GraphModelConfig
from refine.domains.graph.domain import GraphDomain
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.model import GraphModel

__all__ = ["Graph", "GraphConfig", "GraphDomain", "GraphModel", "GraphModelConfig"]
