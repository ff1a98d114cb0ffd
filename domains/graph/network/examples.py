"""What the predictor is trained on: one round of every scale of a pyramid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.graph.config import GraphModelConfig
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.network.labels import Labels, label_rounds, view_labels
from refine.domains.graph.network.masses import Masses
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
from refine.domains.graph.splitting.counts import most_counts
from refine.domains.graph.splitting.pairing import GraphPyramid, Scale, build_pyramid, renumber
from refine.domains.graph.splitting.sparse import Graphs, at
from refine.domains.graph.splitting.splits import Splits

COARSE = 32  # nodes of graphs that are cheap to train on


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
        asked: masses of the nodes that are asked for their token, or None, and
        light: (n,) the truth.
        most: (L,) the largest kind that is possible, or None.
        scale: (view.num,) of the graphs of the view, the number of the scale that each is asked about, where it counts.
        rounds: (view.num,) how many rounds that scale has, or kinds where these are asked.
        pyramids: of how many graphs the scales are.
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
    asked: Masses | None = None
    light: Tensor | None = None
    most: Tensor | None = None
    scale: Tensor | None = None
    rounds: Tensor | None = None
    pyramids: int = 0

    def to(self, device: Any, **options: Any) -> Examples:
        """Move to ``device``."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device)
            if isinstance(value, Seats):
                return Seats(move(value.star), move(value.rank), value.shape)
            if isinstance(value, View | Masses):
                return replace(value, **{f.name: move(getattr(value, f.name)) for f in fields(value)})
            return value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})

    @property
    def owners(self) -> tuple[Tensor, Tensor, Tensor]:
        """The graph, among those of the view, of every node token, star answer and kind that is asked."""
        graph, (node, edge) = self.view.graph, self.labelled
        ends = F.pad(graph[self.view.edges[0]], (0, 1))
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
        rest: (B,) how many scales of it are still to come, with this one.
        finished: the graphs that the pyramids end with, and
        labels: their kinds.
        num: how many graphs were taken apart.
    """

    coarse: Graphs
    codes: Splits
    goal: Tensor
    owner: Tensor
    rest: Tensor
    finished: Graphs
    labels: Labels
    num: int

    @classmethod
    def of(
        cls, graphs: Sequence[Graph], rngs: Sequence[np.random.Generator], config: GraphModelConfig, again: int = 0
    ) -> Scales:
        """Take graphs apart, and leave out scales that are one node before and after.

        With counts, the graphs that are asked for kinds are the coarse ones, for the counts of their edges.

        Args:
            graphs: finest ones.
            rngs: one for each.
            config: whether there are counts and masses, and how nodes pair.
            again: how many times the coarse part of the pyramids is made anew, below graphs of at most ``COARSE``
                nodes; such scales are added.
        """
        options = config.counts, config.masses, config.pairing == "blocks"
        pyramid = build_pyramid(Graphs.of(graphs), rngs, *options)
        parts = [cls.flat(pyramid, Labels(*ordered_labels(graphs, pyramid)))]
        if again and len(pyramid.levels) > 1:
            small, below = coarse_levels(pyramid.levels)
            for _ in range(again):
                made = cls.flat(build_pyramid(small, rngs, *options), Labels(None, None))
                goal = torch.stack([made.goal[:, 0], pyramid.finest.sizes[made.owner]], 1)
                parts.append(replace(made, goal=goal, rest=made.rest + below[made.owner]))
        return parts[0] if len(parts) == 1 else cls.side_by_side(parts)

    @classmethod
    def side_by_side(cls, parts: Sequence[Scales]) -> Scales:
        """The scales of all of them, and the finished graphs of the first; with counts, all coarse ones."""
        coarse, codes = Graphs.side_by_side([p.coarse for p in parts]), Splits.side_by_side([p.codes for p in parts])
        goal, owner, rest = (torch.cat([getattr(p, name) for p in parts]) for name in ("goal", "owner", "rest"))
        finished, labels = parts[0].finished, parts[0].labels
        if codes.count is not None:
            finished, labels = coarse, Labels(codes.inside, codes.count)
        return cls(coarse, codes, goal, owner, rest, finished, labels, parts[0].num)

    @classmethod
    def flat(cls, pyramid: GraphPyramid, labels: Labels) -> Scales:
        """Those of a pyramid."""
        num, none = pyramid.finest.num, torch.zeros(0, dtype=torch.int64)
        nothing = Scale(Graphs.single_nodes(num), Splits(torch.zeros(num).long(), none))
        scales = pyramid.scales or [nothing]  # where every graph is one node
        coarse = Graphs.side_by_side([s.coarse for s in scales])
        codes = Splits.side_by_side([s.codes for s in scales])
        new = torch.bincount(coarse.graph[codes.token > 0], minlength=coarse.num)
        kept, nodes, edges = coarse.take(new > 0)
        place = torch.arange(coarse.num)[new > 0]
        owner, rest = place % num, len(scales) - place // num
        goal = torch.stack([kept.sizes + new[new > 0], pyramid.finest.sizes[owner]], 1)
        codes, kept = codes[nodes, edges], replace(kept, item=owner)
        if codes.count is not None:
            return cls(kept, codes, goal, owner, rest, kept, Labels(codes.inside, codes.count), num)
        return cls(kept, codes, goal, owner, rest, replace(pyramid.finest, item=torch.arange(num)), labels, num)


def coarse_levels(levels: Sequence[Graphs]) -> tuple[Graphs, Tensor]:
    """Of each graph the finest of its ``levels`` (finest first) with at most ``COARSE`` nodes, and (B,) the number of
    that level."""
    sizes = torch.stack([level.sizes for level in levels])
    which = (sizes <= COARSE).int().argmax(0)
    found, numbers = [], []
    for i, level in enumerate(levels):
        if bool((which == i).any()):
            found.append(level.take(which == i)[0])
            numbers.append((which == i).nonzero()[:, 0])
    small = Graphs.side_by_side(found)
    owner = torch.cat(numbers)[small.graph]
    return renumber(replace(small, graph=owner), owner.argsort(stable=True)), which


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
    maximum: bool = True,
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
        maximum: pairs were as many as there can be.
    """
    coarse = replace(coarse, count=codes.count, inside=codes.inside)
    first, nodes, _ = coarse.take(turn < 0)
    graphs, rows, edges = coarse.take(turn >= 0)
    state = partial(graphs, codes[rows, edges], colours[rows], turn[turn >= 0])
    view = view_partial(state, goal[turn >= 0])
    stars = state.stars
    pairs = torch.stack(star_pairs(state, view))
    order = along_links(stars.centre, (pairs[0], pairs[1]), uniform(graphs.graph[state.parent[stars.centre]]))
    seats = Seats.of(stars.centre, order.index)
    answers = relative(stars.answers(state.codes), seats, state.told)
    possible = star_laws(state, seats, maximum).along(seats, answers)
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
    weighed = None if first.mass is None else Masses(first.mass, first.graph, first.num, first.inside, maximum)
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
        asked=weighed,
        light=at(codes.light, nodes),
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
    most = None if graphs.inside is None else torch.cat(most_counts(graphs))[asked]
    return replace(x, view=join([x.view, view]), labelled=places, label=truth[asked], most=most)


def random_examples(
    scales: Scales, config: GraphModelConfig, generator: torch.Generator, deepest: int | None = None
) -> Examples:
    """One round of every scale of every pyramid, each as likely as the others of its scale.

    Scales are numbered from the finest one of ``deepest`` (of the deepest pyramid, if None) to the coarsest, 0; that of
    kinds comes after it.
    """
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
    x = examples(
        coarse, scales.codes, scales.goal, colours, turn, number, shown, maximum=config.pairing == "cardinality"
    )
    most = int(scales.rest.max()) if len(scales.rest) else 0
    scale = ((most if deepest is None else deepest) - scales.rest).clamp_min(0)
    order = torch.cat([(turn < 0).nonzero()[:, 0], (turn >= 0).nonzero()[:, 0]])
    x = replace(x, scale=scale[order], rounds=(last + 2)[order], pyramids=scales.num)
    owner = scales.labels.owner(scales.finished)
    if not len(owner):
        return x
    rounds = label_rounds(owner, torch.rand(len(owner), generator=generator), config.label_rounds)
    num = scales.finished.num
    last = torch.zeros(num, dtype=torch.int64).scatter_reduce(0, owner, rounds.index + 1, "amax")
    turn = (torch.rand(num, generator=generator) * last).long()[owner]
    known = rounds.known(turn)
    assert x.scale is not None and x.rounds is not None
    of_labels = scale if config.counts else torch.full((num,), most if deepest is None else deepest)
    codes = torch.bincount(owner, minlength=num)
    x = replace(x, scale=torch.cat([x.scale, of_labels]), rounds=torch.cat([x.rounds, codes]))
    # all that is unknown is asked: any order may follow
    return with_labels(x, scales.finished, scales.labels, known, ~known)
