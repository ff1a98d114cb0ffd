"""Kinds of nodes and edges (atoms, bonds, counts of edges): codes of a graph that stands, revealed in rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.network.network import View
from refine.domains.graph.network.view import with_kinds
from refine.domains.graph.splitting.counts import num_bins, shown
from refine.domains.graph.splitting.sparse import Graphs
from refine.drawing.rounds import Rounds

UNSEEN = 1  # "not known yet" in a column of kinds; 0 is "nothing is said", kind c is c + 2


@dataclass(frozen=True)
class Labels:
    """Kinds as codes: those of nodes first, then those of edges; where there are neither, it is empty.

    Attributes:
        node: (N,) int64 or None.
        edge: (E,) int64 or None.
    """

    node: Tensor | None
    edge: Tensor | None

    def to(self, device: torch.device) -> Labels:
        """Move to ``device``."""
        return Labels(*(None if codes is None else codes.to(device) for codes in (self.node, self.edge)))

    def columns(self, graphs: Graphs, known: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1) and (E, 1) kinds as the predictor sees them: ``known`` says for each code whether it is.

        Counts that are not known yet show what they inherited.
        """
        node, edge = (torch.zeros_like(x) for x in (graphs.graph, graphs.edges[0]))
        seen, seen_edge = self.parts(graphs, known)
        bins = num_bins(graphs.mass is not None)
        if self.node is not None:
            hidden = node + UNSEEN if graphs.inside is None else shown(graphs.inside, False, bins)
            node = torch.where(seen, self.node + 2, hidden)
        if self.edge is not None:
            hidden = edge + UNSEEN if graphs.count is None else shown(graphs.count, False, bins)
            edge = torch.where(seen_edge, self.edge + 2, hidden)
        return node[:, None], edge[:, None]

    def parts(self, graphs: Graphs, values: Tensor) -> tuple[Tensor, Tensor]:
        """One value for each code as those of nodes and those of edges."""
        split = 0 if self.node is None else graphs.num_nodes
        return values[:split], values[split:]

    def put(self, graphs: Graphs) -> list[Graph]:
        """The graphs one by one, with their kinds."""
        plain, none = graphs.to_graphs(), [None] * graphs.num
        node = none if self.node is None else self.node.cpu().split([g.num_nodes for g in plain])
        edge = none if self.edge is None else self.edge.cpu().split([g.num_edges for g in plain])
        return [replace(g, node_label=n, edge_label=e) for g, n, e in zip(plain, node, edge, strict=True)]

    def owner(self, graphs: Graphs) -> Tensor:
        """The graph of each code."""
        nodes = graphs.graph[:0] if self.node is None else graphs.graph
        edges = graphs.graph[:0] if self.edge is None else graphs.graph[graphs.edges[0]]
        return torch.cat([nodes, edges])


@dataclass(frozen=True)
class GivenLabels:
    """Kinds that are known before any is drawn.

    Attributes:
        labels: of all nodes and edges, whatever where they are not known.
        known: (codes,) bool.
    """

    labels: Labels
    known: Tensor

    @classmethod
    def of(cls, graphs: Graphs, node: Tensor, given: Graph) -> GivenLabels:
        """Those of ``given`` in ``graphs``, where each node is its node ``node`` (N,), -1 for none of them."""
        here, (u, v) = node >= 0, node[graphs.edges]
        nodes = edges = None
        known = []
        if given.node_label is not None:
            nodes = torch.where(here, given.node_label.to(node.device)[node.clamp_min(0)], 0)
            known.append(here)
        if given.edge_label is not None:
            keys = given.edges[0] * given.num_nodes + given.edges[1]
            wanted = torch.minimum(u, v) * given.num_nodes + torch.maximum(u, v)
            both = (u >= 0) & (v >= 0)
            edges = torch.zeros_like(u)
            place = torch.searchsorted(keys.to(node.device), wanted[both])
            edges[both] = given.edge_label.to(node.device)[place]
            known.append(both)
        return cls(Labels(nodes, edges), torch.cat(known))


def label_rounds(owner: Tensor, uniform: Tensor, most: int) -> Rounds:
    """The codes of each graph in an order of its own, one after another or, where there are more than ``most``, in that
    many equal rounds."""
    rank = Rounds.one_by_one(owner, uniform).index
    count = torch.bincount(owner)[owner] if len(owner) else owner
    return Rounds(rank * count.clamp_max(most) // count.clamp_min(1))


def view_labels(view: View, graphs: Graphs, labels: Labels, known: Tensor) -> View:
    """``view`` of finished graphs, with what is known of their kinds."""
    return with_kinds(view, *labels.columns(graphs, known))
