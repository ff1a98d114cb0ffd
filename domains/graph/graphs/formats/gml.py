"""GML, as networkx reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refine.domains.graph.graphs.formats.content import MOST_ITEMS, read_text, reason
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import networkx as nx


def read_gml(path: Path) -> list[nx.Graph]:
    """The graph of a GML file. Nodes go by their ``id``; ``label``, which is their name in GML, is left out, and
    ``value`` of an edge is its weight, as in Newman's files.

    Raises:
        RefineError: it is no GML, too large, has two nodes of one id, or an edge to a node that is not there.
    """
    import networkx as nx

    text = read_text(path)
    items = text.count("[")
    require(items <= MOST_ITEMS, f"{path} has {items} lists; accepted: {MOST_ITEMS} at most, more as .npz")
    try:
        graph = nx.parse_gml(text.splitlines(), label="id")
    except (nx.NetworkXException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefineError(f"{path} cannot be read ({reason(error)}); expected GML") from error
    for _, attributes in graph.nodes(data=True):
        attributes.pop("label", None)
    for *_, attributes in graph.edges(data=True):
        if "value" in attributes:
            attributes.setdefault("weight", attributes["value"])
    return [graph]
