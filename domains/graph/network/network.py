"""The scale-step predictor on graphs: a Transformer on nodes and edges that knows no order.

Edges are undirected, so one state serves both directions, and every operation is a sum over neighbours, over triangles
or over the graph: relabelling nodes permutes the output. Cost is linear in edges and triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REACH = 4  # random-walk powers that are computed; twice as many are seen
NODE_FEATURES, EDGE_FEATURES, GRAPH_FEATURES = 2 * REACH, 2 * REACH + 1, 4


@dataclass(frozen=True)
class View:
    """What the predictor sees of a batch of graphs that are being refined.

    Attributes:
        graph: (N,) int64 which graph each node is of, of ``num``.
        edges: (2, E) int64 along which messages pass, each once.
        triangles: (3, T) int64 places of the sides in ``edges``.
        node: (N, NODE_FEATURES) and
        edge: (E, EDGE_FEATURES) invariants.
        node_kind: (N, a) and
        edge_kind: (E, b) int64 what is known of each, one column for each table of kinds.
        size: (num, GRAPH_FEATURES) its sizes before the scale, after it, at last, and now.
        num: how many graphs.
        mass: (N, F) what is known of masses (:mod:`refine.domains.graph.network.masses`), or None.
        item: (num,) the place of each graph in the batch whose conditions it has, or None.
    """

    graph: Tensor
    edges: Tensor
    triangles: Tensor
    node: Tensor
    edge: Tensor
    node_kind: Tensor
    edge_kind: Tensor
    size: Tensor
    num: int
    mass: Tensor | None = None
    item: Tensor | None = None


def scatter_sum(index: Tensor, values: Tensor, size: int) -> Tensor:
    """(size, D): row i is the sum of the rows of ``values`` whose ``index`` is i."""
    return values.new_zeros(size, values.shape[1]).index_add_(0, index, values)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class GraphBlock(nn.Module):
    """Edges look at their ends and triangles, nodes at their gated neighbours and the whole graph."""

    def __init__(self, width: int, triangle: int, ratio: float, dropout: float, told: bool = False) -> None:
        super().__init__()
        hidden = int(ratio * width)
        self.node_norm, self.edge_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ends = nn.Linear(width, hidden, bias=False)
        self.sides = nn.Linear(width, 2 * triangle, bias=False)
        self.edge_in = nn.Linear(width + triangle, hidden)
        self.edge_out = nn.Linear(hidden, width)
        self.gate = nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False)
        self.node_mlp = mlp(3 * width, hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.told = nn.Linear(width, 4 * width) if told else None
        if self.told is not None:
            nn.init.zeros_(self.told.weight)
            nn.init.zeros_(self.told.bias)

    def forward(
        self, h: Tensor, e: Tensor, view: View, share: Tensor, told: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(N, D) and (E, D) states, refined; ``share`` (N, 1) is one over the size of each node's graph, ``told``
        (num, D) what is known of the conditions of each graph, which modulates both (adaptive LayerNorm)."""
        u, v = view.edges
        hn, en = self.node_norm(h), self.edge_norm(e)
        if told is not None and self.told is not None:
            node_scale, node_shift, edge_scale, edge_shift = self.told(told).chunk(4, dim=1)
            whole, of = view.graph, view.graph[u]
            hn = torch.addcmul(hn + node_shift[whole], hn, node_scale[whole])
            en = torch.addcmul(en + edge_shift[of], en, edge_scale[of])
        ends = self.ends(hn)
        x = self.edge_in(torch.cat([en, self.triangle(en, view.triangles)], 1)) + ends[u] + ends[v]
        e = e + self.dropout(self.edge_out(F.silu(x)))
        gate, value = torch.sigmoid(self.gate(e)), self.value(hn)
        near = scatter_sum(torch.cat([u, v]), torch.cat([gate * value[v], gate * value[u]]), len(h))
        whole = scatter_sum(view.graph, hn * share, view.num)[view.graph]
        return h + self.dropout(self.node_mlp(torch.cat([hn, near, whole], 1))), e

    def triangle(self, e: Tensor, sides: Tensor) -> Tensor:
        """(E, t): for every edge, the sum over its triangles of products of the other two sides."""
        a, b = self.sides(e).chunk(2, dim=1)
        one, two, three = sides
        a1, a2, a3, b1, b2, b3 = a[one], a[two], a[three], b[one], b[two], b[three]
        products = torch.cat([a2 * b3 + a3 * b2, a1 * b3 + a3 * b1, a1 * b2 + a2 * b1])
        return scatter_sum(sides.flatten(), products, len(e))


class GraphNetwork(nn.Module):
    """(N, D) and (E, D) states of a :class:`View`.

    Args:
        width: D.
        depth: blocks.
        triangle: channels of the triangle update.
        node_kinds: sizes of the tables of what is known of a node, and
        edge_kinds: of an edge. In all but the first table, kind 0 is "nothing is said", which a view may leave out.
        ratio: hidden width of the MLPs, in widths.
        dropout: of both branches of a block.
        masses: features of masses, 0 for none.
        told: whether graphs have conditions.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        triangle: int,
        node_kinds: list[int],
        edge_kinds: list[int],
        ratio: float = 2.0,
        dropout: float = 0.0,
        masses: int = 0,
        told: bool = False,
    ) -> None:
        super().__init__()
        self.node_in = nn.Linear(NODE_FEATURES + GRAPH_FEATURES, width)
        self.edge_in = nn.Linear(EDGE_FEATURES, width)
        self.node_kinds, self.edge_kinds = (
            nn.ModuleList(nn.Embedding(n, width, padding_idx=0 if i else None) for i, n in enumerate(sizes))
            for sizes in (node_kinds, edge_kinds)
        )
        self.blocks = nn.ModuleList(GraphBlock(width, triangle, ratio, dropout, told) for _ in range(depth))
        self.node_norm, self.edge_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mass_in = nn.Linear(masses, width, bias=False) if masses else None
        with torch.no_grad():
            for block in self.blocks:
                assert isinstance(block, GraphBlock)
                for last in (block.edge_out, block.node_mlp[-1]):
                    last.weight /= (2 * depth) ** 0.5

    def forward(self, view: View, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States of nodes and edges; ``told`` (B, D) are the conditions of the batch."""
        if told is not None and view.item is not None:
            told = told[view.item]
        h = self.node_in(torch.cat([view.node, view.size[view.graph]], 1))
        if self.mass_in is not None:
            h = h + self.mass_in(view.mass)
        e = self.edge_in(view.edge)
        for table, kind in zip(self.node_kinds, view.node_kind.T, strict=False):
            h = h + table(kind)
        for table, kind in zip(self.edge_kinds, view.edge_kind.T, strict=False):
            e = e + table(kind)
        share = (1 / torch.bincount(view.graph, minlength=view.num).clamp_min(1).to(h.dtype))[view.graph, None]
        for block in self.blocks:
            h, e = block(h, e, view, share, told)
        return self.node_norm(h), self.edge_norm(e)
