"""The exact language of one scale: how a coarse graph becomes the finer one.

A coarse node is one node or a pair (section "pairing pyramid" of docs/graph.md), a coarse edge the OR of the 2x2 block
between the children of its ends. What the OR forgot are the codes of the scale:

    token of a node      0 one child | 1 two, linked | 2 two, not linked
    pattern of an edge   the 2x2 block as four bits, bit 2a + b for child a of the smaller end and child b of the
                         larger; never empty: 15 values where both ends split, 3 where one does, 1 where none does
    light of a node      where nodes have masses (``model.masses``): the mass of the lighter child, which is the second

:func:`encode` and :func:`split` are inverse to each other, whatever the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.graph.splitting.sparse import Graphs, at, joined

ONE, LINKED, UNLINKED = 0, 1, 2
FULL = 15


@dataclass(frozen=True)
class Splits:
    """The codes of one scale of a batch.

    Attributes:
        token: (N,) int64 of each coarse node.
        pattern: (E,) int64 of each coarse edge; while a scale is being revealed, the bits that are still possible.
        count: (E,) int64 of each coarse edge, told before all others (:mod:`refine.domains.graph.splitting.counts`);
            or None.
        inside: (N,) int64 of each coarse node, told with these; or None.
        light: (N,) int64 mass of the lighter child, 0 of a node with one child; or None.
    """

    token: Tensor
    pattern: Tensor
    count: Tensor | None = None
    inside: Tensor | None = None
    light: Tensor | None = None

    def __getitem__(self, rows: tuple[Tensor, Tensor]) -> Splits:
        nodes, edges = rows
        told = at(self.count, edges), at(self.inside, nodes), at(self.light, nodes)
        return Splits(self.token[nodes], self.pattern[edges], *told)

    def to(self, device: torch.device) -> Splits:
        """Move to ``device``."""
        parts = self.token, self.pattern, self.count, self.inside, self.light
        return Splits(*(None if x is None else x.to(device) for x in parts))  # type: ignore[arg-type]

    @classmethod
    def side_by_side(cls, parts: Sequence[Splits]) -> Splits:
        """Those of batches as one."""
        told = (joined([getattr(p, name) for p in parts]) for name in ("count", "inside", "light"))
        return cls(torch.cat([p.token for p in parts]), torch.cat([p.pattern for p in parts]), *told)


def encode(fine: Graphs, parent: Tensor, coarse: Graphs) -> Splits:
    """The codes that turn ``coarse`` into ``fine``, where node u of it came from ``parent[u]`` (ascending)."""
    n = coarse.num_nodes
    count = torch.bincount(parent, minlength=n)
    slot = torch.arange(len(parent), device=parent.device) - (count.cumsum(0) - count)[parent]
    u, v = fine.edges
    pu, pv = parent[u], parent[v]
    inside = pu == pv
    token = torch.where(count == 2, UNLINKED, ONE)
    token[pu[inside]] = LINKED
    a, b, cross = slot[u], slot[v], ~inside
    place, _ = coarse.edge_ids(pu[cross], pv[cross])
    pattern = torch.zeros(coarse.edges.shape[1], dtype=torch.int64, device=parent.device)
    pattern.index_add_(0, place, 1 << (2 * a[cross] + b[cross]))
    light = None
    if fine.mass is not None:
        light = torch.zeros_like(token)
        light[parent[slot == 1]] = fine.mass[slot == 1]
    return Splits(token, pattern, light=light)


def split(coarse: Graphs, codes: Splits, done: Tensor | None = None) -> tuple[Graphs, Tensor]:
    """The finer graph that ``codes`` make of ``coarse``, or the graph in between where only ``done`` nodes split.

    A node that has not split yet stands for both of its children: its edges are the OR of theirs.

    Returns:
        the graph and (n,) the coarse node that each of its nodes came from. Children are numbered in the order of
        their parents.
    """
    two = codes.token > 0 if done is None else (codes.token > 0) & done
    count = 1 + two.long()
    base = count.cumsum(0) - count
    parent = torch.repeat_interleave(count)
    u, v = coarse.edges
    bit = torch.arange(4, device=u.device)
    present = (codes.pattern[:, None] >> bit & 1).bool()
    cu = base[u][:, None] + (bit >> 1) * two[u][:, None]
    cv = base[v][:, None] + (bit & 1) * two[v][:, None]
    pairs = base[two & (codes.token == LINKED)]
    n = len(parent)
    keys = torch.unique(torch.cat([(cu * n + cv)[present], pairs * n + pairs + 1]))
    mass = at(coarse.mass, parent)
    if mass is not None and codes.light is not None:
        mass = mass.clone()
        first, light = base[two], codes.light[two]
        mass[first] -= light
        mass[first + 1] = light
    edges = torch.stack([keys // n, keys % n])
    fine = Graphs(coarse.graph[parent], edges, coarse.num, None, mass, at(coarse.inside, parent), coarse.item)
    return (fine if coarse.count is None else replace(fine, count=inherited(coarse, fine, parent))), parent


def inherited(coarse: Graphs, fine: Graphs, parent: Tensor) -> Tensor:
    """(E,) the count of the coarse edge that each edge came from, -1 between siblings."""
    assert coarse.count is not None
    place, found = coarse.edge_ids(*parent[fine.edges])
    padded = F.pad(coarse.count, (0, 1), value=-1)
    return torch.where(found, padded[place], -1)


def unknown(coarse: Graphs, token: Tensor) -> Splits:
    """Codes of a scale of which only the node tokens are known: every pattern is possible."""
    u, v = coarse.edges
    two = token > 0
    rows = torch.where(two[u], FULL, 0b0011)
    columns = torch.where(two[v], FULL, 0b0101)
    return Splits(token, rows & columns)


@dataclass(frozen=True)
class Stars:
    """The questions of one round: each node that splits asks, for each neighbour it has now, which child keeps it.

    Attributes:
        centre: (T,) node of the current graph that splits.
        other: (T,) its neighbour there.
        edge: (T,) place of that edge in the current graph.
        row: (T,) place of the edge in the coarse graph.
        bits: (T, 2) the bits of the pattern that speak of child 0 and of child 1 of the centre.
    """

    centre: Tensor
    other: Tensor
    edge: Tensor
    row: Tensor
    bits: Tensor

    def answers(self, codes: Splits) -> Tensor:
        """(T,) 1 child 0, 2 child 1, 3 both: what the codes answer."""
        kept = (codes.pattern[self.row][:, None] & self.bits) > 0
        return kept[:, 0] + 2 * kept[:, 1]

    def put(self, codes: Splits, answer: Tensor) -> Splits:
        """The codes after the answers (T,) were given: what was not kept is not possible any more."""
        lost = self.bits * torch.stack([answer & 1 == 0, answer & 2 == 0], dim=1)
        pattern = codes.pattern.clone()
        removed = torch.zeros_like(pattern).index_add_(0, self.row, lost.sum(1))  # answers speak of different bits
        return replace(codes, pattern=pattern & ~removed)


def stars(coarse: Graphs, codes: Splits, current: Graphs, parent: Tensor, done: Tensor, now: Tensor) -> Stars:
    """The stars of the coarse nodes ``now``, no two of which are neighbours, after those of ``done`` have split.

    Args:
        coarse: the graph of the scale.
        codes: what is known of its codes.
        current: ``split(coarse, codes, done)``, and
        parent: where its nodes came from.
        done: (N,) bool, coarse nodes that have split (or will not).
        now: (N,) bool, coarse nodes that split now.
    """
    device = parent.device
    first = torch.full((coarse.num_nodes,), len(parent), device=device)
    first = first.scatter_reduce(0, parent, torch.arange(len(parent), device=device), "amin")
    asked = []
    for end in (0, 1):  # the centre is the smaller, or the larger end of the coarse edge
        rows = now[coarse.edges[end]].nonzero()[:, 0]
        v, w = coarse.edges[end][rows], coarse.edges[1 - end][rows]
        apart = done[w] & (codes.token[w] > 0)  # the neighbour has split: its two children are asked about one by one
        for child in (0, 1):
            own, across = (2, 1) if end == 0 else (1, 2)  # weight of the centre's and the neighbour's slot in a bit
            here = [1 << (own * a + across * child) for a in (0, 1)]
            merged = [(1 << (own * a)) | (1 << (own * a + across)) for a in (0, 1)]
            bits = torch.where(apart[:, None], torch.tensor(here, device=device), torch.tensor(merged, device=device))
            there = (codes.pattern[rows][:, None] & bits).sum(1) > 0
            there &= apart if child else torch.ones_like(apart)
            asked.append(torch.cat([torch.stack([first[v], first[w] + child * apart, rows], 1), bits], 1)[there])
    table = torch.cat(asked)
    centre, other, row = table[:, 0], table[:, 1], table[:, 2]
    edge, _ = current.edge_ids(torch.minimum(centre, other), torch.maximum(centre, other))
    return Stars(centre, other, edge, row, table[:, 3:])
