"""What the user decides about reading files of graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from refine.domains.graph.graphs.told import columns_of


class ReadingOptions(Protocol):
    """The options of the domain that say how graphs are read; :class:`Reading` tells what they are."""

    @property
    def node_attribute(self) -> str | None: ...
    @property
    def edge_attribute(self) -> str | None: ...
    @property
    def undirected(self) -> bool: ...
    @property
    def weights(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def vector(self) -> list[str] | None: ...


@dataclass(frozen=True)
class Reading:
    """How files of graphs are read.

    Attributes:
        node_attribute: the attribute that holds the kind of a node; None: nodes have no kinds.
        edge_attribute: the same of edges.
        undirected: directed edges are accepted, as undirected ones.
        weights: ``refuse`` edges that differ in weight, or ``drop`` the weights.
        columns: names of what files have to say of whole graphs.
    """

    node_attribute: str | None = "label"
    edge_attribute: str | None = "label"
    undirected: bool = False
    weights: str = "refuse"
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: ReadingOptions) -> Reading:
        """Those of the domain."""
        attributes = options.node_attribute, options.edge_attribute
        return cls(*attributes, options.undirected, options.weights, columns_of(options.label, options.vector))
