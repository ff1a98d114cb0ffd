"""GraphML, GEXF and GML as packed graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refine.domains.graph.graphs.formats.content import suffix_of
from refine.domains.graph.graphs.formats.gml import read_gml
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.formats.xml_graphs import read_gexf, read_graphml
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.kinds import Kinds
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.graphs.told import with_columns
from refine.errors import require, shown

if TYPE_CHECKING:
    import networkx as nx

NETWORKS = (".graphml", ".gexf", ".gml")
USUAL = "label"  # the attribute that is read where it is there; any other has to be there


def read_networks(path: Path, reading: Reading | None = None) -> PackedGraphs:
    """The graphs of a file of :data:`NETWORKS`, with the attributes of ``reading`` as kinds.

    Raises:
        RefineError: it cannot be read, nodes or edges have no such attribute, or a graph is directed, weighted, empty,
            a multigraph or has a self-loop.
    """
    reading = reading or Reading()
    suffix = suffix_of(path)
    if suffix == ".gml":
        found = read_gml(path)
    else:
        found = (read_graphml if suffix == ".graphml" else read_gexf)(path, reading.undirected)
    require(bool(found), f"{path} has no graphs")
    _require_attributes(found, path, reading)
    nodes, edges, graphs = Kinds(), Kinds(), []
    for i, g in enumerate(found):
        name = str(path) if len(found) == 1 else f"{path}, graph {i}"
        attributes = reading.node_attribute, reading.edge_attribute
        graphs.append(Graph.from_networkx(g, *attributes, nodes, edges, name, reading.undirected, reading.weights))
    packed = PackedGraphs.of(graphs, nodes.names, edges.names, origin=str(path))
    there = [name for name in reading.columns if any(name in g.graph for g in found)]
    return with_columns(packed, {name: [g.graph.get(name) for g in found] for name in there})


def _require_attributes(graphs: list[nx.Graph], path: Path, reading: Reading) -> None:
    parts = {
        "node": (reading.node_attribute, [data for g in graphs for _, data in g.nodes(data=True)]),
        "edge": (reading.edge_attribute, [data for g in graphs for *_, data in g.edges(data=True)]),
    }
    for what, (wanted, items) in parts.items():
        if wanted in (None, USUAL) or not items or any(wanted in data for data in items):
            continue
        there = sorted({str(name) for data in items for name in data})[:10]
        message = f"domain.{what}_attribute={shown(wanted)}: no {what} of {path} has it"
        require(False, f"{message}; they have: {', '.join(map(shown, there)) or 'nothing'}")
