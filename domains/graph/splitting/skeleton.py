"""A given graph inside of graphs that are drawn around it: what it asks of every scale.

The forward process takes the given graph apart by itself, which says how its nodes stand together at every scale: its
*skeleton*. In the graph that is drawn each node of the skeleton is *borne* by one node, and the graph on these is that
of the skeleton, from the single node that both begin with to the given graph itself. So codes that speak of pairs of
bearers are known; a bearer may also split into a bearer and a new node. Known codes come before others of their kind,
so that these are drawn knowing them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.splitting.pairing import Scale, build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import Splits, split

NOT, MUST, FREE = 0, 1, 2  # of a child: it does not keep a neighbour, it does, or either


class Skeleton:
    """A graph taken apart, once for each sample.

    Args:
        given: the graph.
        rngs: one for each sample.
        device: where samples are drawn.
        blocks: pairs keep blocks apart.
    """

    def __init__(
        self, given: Graph, rngs: Sequence[np.random.Generator], device: torch.device, blocks: bool = False
    ) -> None:
        pyramid = build_pyramid(Graphs.of([given] * len(rngs)), rngs, blocks=blocks)
        self.given, self.num, self.device = given, len(rngs), device
        self.scales = [Scale(s.coarse.to(device), s.codes.to(device)) for s in pyramid.scales]
        self.order = pyramid.order.to(device) % given.num_nodes
        self._sizes = torch.stack([*(s.coarse.sizes for s in self.scales), pyramid.finest.sizes.to(device)], 1).tolist()

    def node(self, bearer: Tensor) -> Tensor:
        """(N,) which node of the given graph each finest node is, -1 for none."""
        return torch.where(bearer >= 0, self.order[bearer.clamp_min(0)], -1)

    def first(self, graphs: Sequence[Graph], bearer: Tensor) -> list[Graph]:
        """The graphs with the nodes of the given one before the others, in its order."""
        out = []
        for graph, node in zip(graphs, self.node(bearer).cpu().split([g.num_nodes for g in graphs]), strict=True):
            new = node < 0
            others = self.given.num_nodes + torch.arange(int(new.sum()))
            out.append(graph.relabelled(node.masked_scatter(new, others)))
        return out

    def schedule(self, i: int, wanted: Sequence[int]) -> list[int]:
        """The sizes of scales, from 1 on, of sample ``i``: as near to ``wanted`` as leaves room for the skeleton, whose
        nodes that split do so at the same scale."""
        out, own, step = [wanted[-1]], self._sizes[i], 0
        while out[0] > 1:
            here = own[-1 - step] if step < len(own) else 1
            above = own[-2 - step] if step + 1 < len(own) else 1
            half = (out[0] + 1) // 2
            proposed = wanted[-2 - step] if step + 1 < len(wanted) else half
            out.insert(0, min(max(proposed, above, half), out[0] - max(1, here - above)))
            step += 1
        return out

    def scale(self, k: int, depth: int) -> Scale:
        """What the skeleton does in scale ``k`` of ``depth``: nothing in the first ones."""
        early = depth - len(self.scales)
        if k >= early:
            return self.scales[k - early]
        graphs = Graphs.single_nodes(self.num, self.device)
        return Scale(graphs, Splits(torch.zeros_like(graphs.graph), graphs.edges[0]))


class Kept:
    """The skeleton in one scale of drawn graphs.

    Args:
        bearer: (N,) which node of the skeleton each coarse node bears, -1 for none.
        scale: of the skeleton.

    Attributes:
        token: (N,) how nodes split that have to, 0 of all others.
        swapped: (N,) bool, the first child bears what the second of the skeleton is, or nothing; known after its star.
    """

    def __init__(self, bearer: Tensor, scale: Scale) -> None:
        self.bearer, token = bearer, scale.codes.token
        self.token = torch.where(bearer >= 0, token[bearer], 0)
        self.fine, _ = split(scale.coarse, scale.codes)
        count = 1 + (token > 0)
        self._first = (count.cumsum(0) - count)[bearer]  # of the finer skeleton
        self.swapped = torch.zeros_like(bearer, dtype=torch.bool)

    def borne(self, parent: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) first and last node of the finer skeleton that each current node stands for; -1 for none.

        Args:
            parent: (n,) coarse node that each came from, ascending.
            done: (n,) bool, that one has split.
        """
        first, two = self._first[parent], self.token[parent] > 0
        second = torch.zeros_like(done)
        second[1:] = parent[1:] == parent[:-1]
        second ^= self.swapped[parent]
        low = torch.where(done & second, first + 1, first)
        high = torch.where(done, low, first + two.long())
        nothing = (self.bearer[parent] < 0) | (done & second & ~two)
        return low.masked_fill(nothing, -1), high.masked_fill(nothing, -1)

    def needs(self, centre: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(T, 2) of questions of stars: whether the first child of the skeleton keeps the neighbour, and the other one.

        Args:
            centre: (T,) coarse node that splits.
            low, high: (T,) what its neighbour bears (:meth:`borne`).
        """
        first, two = self._first[centre], self.token[centre] > 0
        asked = (self.bearer[centre] >= 0) & (low >= 0)
        out = torch.full((len(centre), 2), FREE, device=centre.device)
        for child, those in ((0, asked), (1, asked & two)):
            u = first[those] + child
            found = self._linked(u, low[those]) | self._linked(u, high[those])
            out[those, child] = torch.where(found, MUST, NOT)
        return out

    def _linked(self, u: Tensor, v: Tensor) -> Tensor:
        return self.fine.edge_ids(torch.minimum(u, v), torch.maximum(u, v))[1]

    def after(self, token: Tensor) -> Tensor:
        """(n,) which node of the finer skeleton each finer node bears, -1 for none."""
        parent = torch.repeat_interleave(1 + (token > 0))
        return self.borne(parent, (token > 0)[parent])[0]


def earlier(uniform: Tensor, which: Tensor) -> Tensor:
    """Numbers in [0, 1), those ``which`` says above all others: what is decided already is told first."""
    return torch.where(which, 1 + uniform, uniform) / 2
