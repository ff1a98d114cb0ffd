"""How long a pyramid of pairs takes: rustworkx's matching, as refine uses it, against networkx's, graph for graph.

    python benchmarks/pairing.py

Whole pyramids of the 128 official planar training graphs (64 nodes), one thread; only the matching differs.
Writes ``results/pairing.json``.
"""

from __future__ import annotations

from unittest import mock

import networkx as nx
import numpy as np
import torch
from common import compare, report

from refine.domains.graph import GraphConfig, GraphDomain
from refine.domains.graph.splitting import pairing
from refine.domains.graph.splitting.sparse import Graphs

NUM = 32


def networkx_match(edges: pairing.Array, weights: pairing.Array) -> pairing.Array:
    """As :func:`refine.domains.graph.splitting.pairing.match`, by networkx."""
    graph = nx.Graph()
    graph.add_weighted_edges_from(zip(*edges.tolist(), (1 + (1e4 * weights).astype(int)).tolist(), strict=True))
    pairs = nx.max_weight_matching(graph, maxcardinality=True)
    return np.array(sorted(tuple(sorted(p)) for p in pairs), dtype=np.int64).reshape(-1, 2).T


def main() -> None:
    torch.set_num_threads(1)
    graphs = GraphDomain(GraphConfig(data="planar")).dataset("train")
    batch = Graphs.of([graphs[i] for i in range(NUM)])

    def build() -> None:
        pairing.build_pyramid(batch, [np.random.default_rng(i) for i in range(NUM)])

    def build_by_networkx() -> None:
        with mock.patch.object(pairing, "match", networkx_match):
            build()

    report("pairing", compare({"networkx": build_by_networkx, "refine": build}, 5), "networkx", {"graphs": NUM})


if __name__ == "__main__":
    main()
