"""What the predictor is trained on: one round of every scale of a pyramid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.config import GraphModelConfig
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.network.labels import Labels, label_rounds, view_labels
from refine.domains.graph.network.network import View
from refine.domains.graph.network.star import Seats, along_links, relative
from refine.domains.graph.network.view import (
    join,
    partial,
    star_laws,
    star_pairs,
    view_answers,
    view_coarse,
    view_finished,
    view_partial,
)
from refine.domains.graph.splitting.colour import colour
from refine.domains.graph.splitting.pairing import GraphPyramid, Scale, build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import Splits


@dataclass(frozen=True)
class Examples:
    """One pass of the network and the questions that it is scored on.

    Attributes:
        view: graphs whose node tokens are asked first, then those whose stars are.
        nodes: (n,) nodes of the view that are asked for their token, and
        tokens: (n,) the truth.
        centre, other, edge: (T,) of each star question (:class:`refine.domains.graph.splitting.splits.Stars`), in the
            view.
        codes: (T,) the truth, of :mod:`refine.domains.graph.network.star`.
        possible: (T, 3) bool, which answers could be (:mod:`refine.domains.graph.network.laws`).
        seats: of the questions.
        pairs: (3, P) question, question, edge of linked neighbours.
        labelled: (2, L) which node or edge of the view is asked for its kind (the other is -1), and
        label: (L,) the truth.
    """

    view: View
    nodes: Tensor
    tokens: Tensor
    centre: Tensor
    other: Tensor
    edge: Tensor
    codes: Tensor
    possible: Tensor
    seats: Seats
    pairs: Tensor
    labelled: Tensor
    label: Tensor

    def to(self, device: Any, **options: Any) -> Examples:
        """Move to ``device``."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device)
            if isinstance(value, Seats):
                return Seats(move(value.star), move(value.rank), value.shape)
            if isinstance(value, View):
                return replace(value, **{f.name: move(getattr(value, f.name)) for f in fields(value)})
            return value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})

    @property
    def owners(self) -> tuple[Tensor, Tensor, Tensor]:
        """The graph, among those of the view, of every node token, star answer and kind that is asked."""
        graph, (node, edge) = self.view.graph, self.labelled
        ends = graph[self.view.edges[0]]
        label = torch.where(node >= 0, graph[node.clamp_min(0)], ends[edge.clamp_min(0)]) if len(self.label) else node
        return graph[self.nodes], graph[self.centre], label


@dataclass(frozen=True)
class Scales:
    """Growing scales of some pyramids side by side, and their finished graphs.

    Attributes:
        coarse: B graphs, of any scales.
        codes: their codes.
        goal: (B, 2) nodes that each has after its scale, and that its pyramid ends with.
        owner: (B,) the pyramid that each is of.
        finished: the graphs that the pyramids end with, and
        labels: their kinds.
    """

    coarse: Graphs
    codes: Splits
    goal: Tensor
    owner: Tensor
    finished: Graphs
    labels: Labels

    @classmethod
    def of(cls, graphs: Sequence[Graph], rngs: Sequence[np.random.Generator], counts: bool = False) -> Scales:
        """Take graphs apart, and leave out scales that are one node before and after.

        With ``counts``, the graphs that are asked for kinds are the coarse ones, for the counts of their edges.
        """
        pyramid = build_pyramid(Graphs.of(graphs), rngs, counts)
        none = torch.zeros(0, dtype=torch.int64)
        nothing = Scale(Graphs.single_nodes(len(graphs)), Splits(torch.zeros(len(graphs)).long(), none))
        scales = pyramid.scales or [nothing]  # where every graph is one node
        coarse = Graphs.side_by_side([s.coarse for s in scales])
        told = [s.codes.count for s in scales if s.codes.count is not None]
        codes = Splits(
            torch.cat([s.codes.token for s in scales]),
            torch.cat([s.codes.pattern for s in scales]),
            torch.cat(told) if told else None,
        )
        new = torch.bincount(coarse.graph[codes.token > 0], minlength=coarse.num)
        kept, nodes, edges = coarse.take(new > 0)
        place = torch.arange(coarse.num)[new > 0]
        labels = Labels(*ordered_labels(graphs, pyramid))
        owner = place % len(graphs)
        goal = torch.stack([kept.sizes + new[new > 0], pyramid.finest.sizes[owner]], 1)
        codes = codes[nodes, edges]
        if codes.count is not None:
            return cls(kept, codes, goal, owner, kept, Labels(None, codes.count))
        return cls(kept, codes, goal, owner, pyramid.finest, labels)


def ordered_labels(graphs: Sequence[Graph], pyramid: GraphPyramid) -> tuple[Tensor | None, Tensor | None]:
    """Kinds of the nodes and edges of the graphs, in the order that the pyramid's finest graphs have."""
    node = edge = None
    if graphs[0].node_label is not None:
        node = torch.cat([g.node_label for g in graphs if g.node_label is not None])[pyramid.order]
    if graphs[0].edge_label is not None:
        given = torch.cat([g.edge_label for g in graphs if g.edge_label is not None])
        low, high = pyramid.order[pyramid.finest.edges].sort(dim=0).values
        place, _ = Graphs.of(graphs).edge_ids(low, high)
        edge = given[place]
    return node, edge


Uniform = Callable[[Tensor], Tensor]
"""A number in [0, 1) for each site, where (n,) says which graph it is of."""


Shown = Callable[[Seats], Tensor]
"""(T,) bool: the answers of stars that are known already; the first of each star's order."""


def examples(
    coarse: Graphs,
    codes: Splits,
    goal: Tensor,
    colours: Tensor,
    turn: Tensor,
    uniform: Uniform,
    shown: Shown | None = None,
) -> Examples:
    """The questions of chosen rounds of splitting.

    Args:
        coarse: graphs, of any scales.
        codes: their codes.
        goal: (B, 2) nodes that each has after its scale, and that its pyramid ends with.
        colours: (N,) of their nodes.
        turn: (B,) the round of each: -1 for its node tokens, else the colour whose stars are asked.
        uniform: decides the order inside stars; graphs are numbered as those of ``turn >= 0``.
        shown: answers that the view shows; then the next one of each star is asked. None: it shows none, and all are.
    """
    coarse = replace(coarse, count=codes.count)
    first, nodes, _ = coarse.take(turn < 0)
    graphs, rows, edges = coarse.take(turn >= 0)
    state = partial(graphs, codes[rows, edges], colours[rows], turn[turn >= 0])
    view = view_partial(state, goal[turn >= 0])
    stars = state.stars
    pairs = torch.stack(star_pairs(state, view))
    order = along_links(stars.centre, (pairs[0], pairs[1]), uniform(graphs.graph[state.parent[stars.centre]]))
    seats = Seats.of(stars.centre, order.index)
    answers = relative(stars.answers(state.codes), seats)
    possible = star_laws(state, seats).along(seats, answers)
    asked = torch.ones_like(answers, dtype=torch.bool)
    if shown is not None:
        known = shown(seats)
        view = view_answers(view, state, torch.where(known, answers, -1))
        count = torch.bincount(seats.star[known], minlength=seats.shape[0])
        asked = seats.rank == count[seats.star]
    before = view_coarse(first, goal[turn < 0])
    n, e = len(before.graph), before.edges.shape[1]
    pairs[2] += e
    none = torch.zeros(2, 0, dtype=torch.int64)
    return Examples(
        view=join([before, view]),
        nodes=torch.arange(n),
        tokens=codes.token[nodes],
        centre=stars.centre[asked] + n,
        other=stars.other[asked] + n,
        edge=stars.edge[asked] + e,
        codes=answers[asked],
        possible=possible[asked],
        seats=seats,
        pairs=pairs,
        labelled=none,
        label=none[0],
    )


def nothing(device: torch.device) -> Examples:
    """No question at all."""
    none = torch.zeros(0, dtype=torch.int64, device=device)
    edges = none.view(2, 0)
    return examples(
        Graphs(none, edges, 0), Splits(none, none), none.view(0, 2), none, none, lambda owner: owner.float()
    )


def with_labels(x: Examples, graphs: Graphs, labels: Labels, known: Tensor, asked: Tensor) -> Examples:
    """``x`` and the questions ``asked`` about kinds, when those ``known`` are (both: a bool for each code)."""
    view = view_labels(view_finished(graphs), graphs, labels, known)
    n, e = len(x.view.graph), x.view.edges.shape[1]
    (nodes, edges), none = labels.parts(graphs, asked), torch.tensor(-1)
    node, edge = nodes.nonzero()[:, 0] + n, edges.nonzero()[:, 0] + e
    places = torch.stack([torch.cat([node, none.expand(len(edge))]), torch.cat([none.expand(len(node)), edge])])
    truth = torch.cat([c for c in (labels.node, labels.edge) if c is not None])
    return replace(x, view=join([x.view, view]), labelled=places, label=truth[asked])


def random_examples(scales: Scales, config: GraphModelConfig, generator: torch.Generator) -> Examples:
    """One round of every scale of every pyramid, each as likely as the others of its scale."""
    coarse = scales.coarse
    colours = colour(coarse, scales.codes.token > 0, torch.rand(coarse.num_nodes, generator=generator))
    last = torch.full((coarse.num,), -1).scatter_reduce(0, coarse.graph, colours, "amax")
    turn = (torch.rand(coarse.num, generator=generator) * (last + 2)).long() - 1

    def number(owner: Tensor) -> Tensor:
        return torch.rand(len(owner), generator=generator)

    def some(seats: Seats) -> Tensor:
        length = torch.bincount(seats.star, minlength=seats.shape[0])
        return seats.rank < (number(length) * length).long()[seats.star]

    shown = some if config.head == "rounds" else None
    x = examples(coarse, scales.codes, scales.goal, colours, turn, number, shown)
    owner = scales.labels.owner(scales.finished)
    if not len(owner):
        return x
    rounds = label_rounds(owner, torch.rand(len(owner), generator=generator), config.label_rounds)
    most = torch.zeros(scales.finished.num, dtype=torch.int64).scatter_reduce(0, owner, rounds.index + 1, "amax")
    turn = (torch.rand(scales.finished.num, generator=generator) * most).long()[owner]
    known = rounds.known(turn)
    return with_labels(
        x, scales.finished, scales.labels, known, ~known
    )  # all that is unknown is asked: any order may follow
