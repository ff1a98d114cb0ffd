"""From the state of a refinement to what the predictor may see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.graph.network.laws import StarLaws
from refine.domains.graph.network.masses import mass_features
from refine.domains.graph.network.network import REACH, View
from refine.domains.graph.network.star import Seats
from refine.domains.graph.splitting.counts import num_bins, shown
from refine.domains.graph.splitting.sparse import Graphs, joined, triangles, walk_features
from refine.domains.graph.splitting.splits import UNLINKED, Splits, Stars, split, stars

UNDECIDED, SINGLE, DONE, PENDING, NOW, FINISHED = 0, 1, 2, 4, 6, 8  # DONE, PENDING and NOW: + 1 if unlinked
NODE_KINDS = 9
PLAIN, SIBLINGS, STRANGERS, ASKED = 0, 1, 2, 3  # ASKED: + 1 + answer where it is known already
EDGE_KINDS = 7


@dataclass(frozen=True)
class Partial:
    """A scale half-way: the nodes of earlier colours have split, those of one colour are about to.

    Attributes:
        coarse: the graph of the scale.
        codes: what is known of its codes (while training: all).
        current: the graph in between.
        parent: (n,) coarse node of each of its nodes.
        now: (N,) bool, the coarse nodes that are about to split.
        kind: (n,) int64 of each current node.
        stars: what is asked.
        light: (n,) masses of the lighter child of current nodes that have yet to split, else 0; or None.
    """

    coarse: Graphs
    codes: Splits
    current: Graphs
    parent: Tensor
    now: Tensor
    kind: Tensor
    stars: Stars
    light: Tensor | None = None

    @property
    def told(self) -> Tensor | None:
        """(T,) bool, questions about nodes whose children differ in mass."""
        if self.light is None or self.current.mass is None:
            return None
        centre = self.stars.centre
        return self.current.mass[centre] != 2 * self.light[centre]


def partial(coarse: Graphs, codes: Splits, colours: Tensor, turn: Tensor) -> Partial:
    """The state before colour ``turn`` (B,) of each graph splits; ``colours`` (N,) are -1 for nodes that do not."""
    turn = turn[coarse.graph]
    done, now = colours < turn, colours == turn
    current, parent = split(coarse, codes, done)
    unlinked = (codes.token == UNLINKED).long()
    kind = torch.where(done, DONE, torch.where(now, NOW, PENDING)) + unlinked
    kind = torch.where(codes.token == 0, SINGLE, kind)[parent]
    asked = stars(coarse, codes, current, parent, done, now)
    light = None if codes.light is None else codes.light.masked_fill(done, 0)[parent]
    return Partial(coarse, codes, current, parent, now, kind, asked, light)


def view_partial(state: Partial, goal: Tensor) -> View:
    """What the predictor sees before a colour splits; ``goal`` (B, 2): nodes after the scale, and at last."""
    current, parent = state.current, state.parent
    edge_kind = torch.zeros(current.edges.shape[1], dtype=torch.int64, device=parent.device)
    edge_kind[parent[current.edges[0]] == parent[current.edges[1]]] = SIBLINGS
    edge_kind[state.stars.edge] = ASKED
    # siblings that are not linked are told about each other by an edge that is none
    first = (state.kind[:-1] == DONE + 1) & (parent[:-1] == parent[1:])
    strangers = first.nonzero()[:, 0]
    view = make_view(current, state.kind, edge_kind, state.coarse.sizes, goal, strangers, state.light)
    return view_counts(view, current, own=False)


def view_answers(view: View, state: Partial, codes: Tensor) -> View:
    """``view`` of a colour that splits, with the answers (T,) of its stars that are known; -1 for the others."""
    kind = view.edge_kind.clone()
    kind[state.stars.edge, 0] = ASKED + 1 + codes
    return replace(view, edge_kind=kind)


def view_coarse(coarse: Graphs, goal: Tensor) -> View:
    """What the predictor sees before it decides which nodes split. Where masses decide how many do, it does not see
    how many there will be."""
    if coarse.mass is not None:
        goal = torch.stack([coarse.sizes, goal[:, 1]], 1)
    kind = torch.full_like(coarse.graph, UNDECIDED)
    view = make_view(coarse, kind, torch.zeros_like(coarse.edges[0]), coarse.sizes, goal)
    return view_counts(view, coarse, own=True)


def make_view(
    graphs: Graphs,
    node_kind: Tensor,
    edge_kind: Tensor,
    coarse: Tensor,
    goal: Tensor,
    strangers: Tensor | None = None,
    light: Tensor | None = None,
) -> View:
    """Features of a graph on its way from ``coarse`` (B,) nodes to ``goal`` (B, 2): after this scale, and at last.

    ``strangers`` are nodes u whose sibling u + 1 is not a neighbour; ``light`` (N,) are masses that children will have.
    """
    sides = triangles(graphs)
    node, edge = walk_features(graphs, REACH)
    degree = graphs.degree.to(node.dtype).log1p()[:, None]
    common = torch.bincount(sides.flatten(), minlength=graphs.edges.shape[1]).to(node.dtype).log1p()[:, None]
    sizes = torch.cat([coarse[:, None], goal, graphs.sizes[:, None]], 1).to(node.dtype).log2() / 8
    edges, edge = graphs.edges, torch.cat([edge, common], 1)
    if strangers is not None and len(strangers):
        edges = torch.cat([edges, torch.stack([strangers, strangers + 1])], 1)
        edge = torch.cat([edge, edge.new_zeros(len(strangers), edge.shape[1])])
        edge_kind = torch.cat([edge_kind, torch.full_like(strangers, STRANGERS)])
    node = torch.cat([node, degree], 1)
    mass = None
    if graphs.mass is not None:
        light = torch.zeros_like(graphs.mass) if light is None else light
        mass = mass_features(graphs.mass, light, graphs.graph, graphs.num)
    kinds = node_kind[:, None], edge_kind[:, None]
    return View(graphs.graph, edges, sides, node, edge, *kinds, sizes, graphs.num, mass, graphs.item)


def join(views: Sequence[View]) -> View:
    """Batches side by side; a column of kinds that one lacks is 0 there, "nothing is said"."""
    nodes = [0, *torch.tensor([len(v.graph) for v in views]).cumsum(0).tolist()]
    edges = [0, *torch.tensor([v.edges.shape[1] for v in views]).cumsum(0).tolist()]
    graphs = [0, *torch.tensor([v.num for v in views]).cumsum(0).tolist()]
    cat = torch.cat
    return View(
        cat([v.graph + o for v, o in zip(views, graphs, strict=False)]),
        cat([v.edges + o for v, o in zip(views, nodes, strict=False)], 1),
        cat([v.triangles + o for v, o in zip(views, edges, strict=False)], 1),
        cat([v.node for v in views]),
        cat([v.edge for v in views]),
        widen([v.node_kind for v in views]),
        widen([v.edge_kind for v in views]),
        cat([v.size for v in views]),
        graphs[-1],
        joined([v.mass for v in views]),
        joined([v.item for v in views]),
    )


def widen(kinds: Sequence[Tensor]) -> Tensor:
    """Tables of kinds below each other, as many columns as the widest has."""
    most = max(k.shape[1] for k in kinds)
    return torch.cat([F.pad(k, (0, most - k.shape[1])) for k in kinds])


def with_kinds(view: View, node: Tensor, edge: Tensor) -> View:
    """The view with further columns of kinds: (N, a) and (E, b)."""
    return replace(view, node_kind=torch.cat([view.node_kind, node], 1), edge_kind=torch.cat([view.edge_kind, edge], 1))


def view_counts(view: View, graphs: Graphs, own: bool) -> View:
    """``view`` with the counts of edges where there are some: the edges' own, or what they inherited."""
    if graphs.count is None:
        return view
    bins = num_bins(graphs.mass is not None)
    column = F.pad(shown(graphs.count, own, bins), (0, view.edges.shape[1] - graphs.edges.shape[1]))
    node = torch.zeros_like(graphs.graph) if graphs.inside is None else shown(graphs.inside, own, bins)
    return with_kinds(view, node[:, None], column[:, None])


def view_finished(graphs: Graphs) -> View:
    """What the predictor sees of graphs whose nodes and edges all stand, for now or for good."""
    kind, sizes = torch.full_like(graphs.graph, FINISHED), graphs.sizes
    last = sizes if graphs.mass is None else torch.zeros_like(sizes).index_add_(0, graphs.graph, graphs.mass)
    return make_view(graphs, kind, torch.zeros_like(graphs.edges[0]), sizes, torch.stack([sizes, last], 1))


def star_laws(state: Partial, seats: Seats, maximum: bool = True) -> StarLaws:
    """What the questions of a state may be answered; ``maximum``: pairs were as many as there can be."""
    kind = state.kind[state.stars.other]
    left_over = (kind == SINGLE) | (kind == DONE + 1) | (kind == PENDING + 1)
    if not maximum:
        left_over = torch.zeros_like(left_over)
    return StarLaws(seats, state.kind[state.stars.centre] == NOW + 1, left_over, state.told)


def star_pairs(state: Partial, view: View) -> tuple[Tensor, Tensor, Tensor]:
    """(P,) question, question and edge: two neighbours of a star that are linked. They are its triangles."""
    asked = state.stars
    question = torch.full((state.current.edges.shape[1],), -1, device=asked.edge.device)
    question[asked.edge] = torch.arange(len(asked.edge), device=asked.edge.device)
    sides = view.triangles
    both = (question[sides] >= 0).sum(0) == 2  # two sides are asked, the third links the neighbours
    sides = sides[:, both]
    order = (question[sides] < 0).int().argsort(dim=0, stable=True)  # the asked sides first
    i, j, third = sides.gather(0, order)
    return question[i], question[j], third
