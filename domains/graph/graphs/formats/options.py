"""What the user decides about reading files of graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from refine.errors import not_accepted

WEIGHTS = ("refuse", "drop")


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


@dataclass(frozen=True)
class Reading:
    """How files of graphs are read.

    Attributes:
        node_attribute: the attribute that holds the kind of a node; None: nodes have no kinds.
        edge_attribute: the same of edges.
        undirected: directed edges are accepted, as undirected ones.
        weights: ``refuse`` edges that differ in weight, or ``drop`` the weights.
    """

    node_attribute: str | None = "label"
    edge_attribute: str | None = "label"
    undirected: bool = False
    weights: str = "refuse"

    @classmethod
    def of(cls, options: ReadingOptions) -> Reading:
        """Those of the domain.

        Raises:
            RefineError: ``weights`` is none of ``WEIGHTS``.
        """
        if options.weights not in WEIGHTS:
            raise not_accepted("domain.weights", options.weights, WEIGHTS)
        return cls(options.node_attribute, options.edge_attribute, options.undirected, options.weights)
