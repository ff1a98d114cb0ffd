"""One scale of the backward process, drawn or scored: node tokens, then the stars of one colour class after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial as partial_

import torch
from torch import Tensor

from refine.codes.laws import ScaleSampler
from refine.domains.graph.network.examples import Shown, examples, nothing, with_labels
from refine.domains.graph.network.guided import PassReader, Reader, Told, mixed, reader_of
from refine.domains.graph.network.labels import GivenLabels, Labels, label_rounds, view_labels
from refine.domains.graph.network.laws import KeptAnswers, must_link
from refine.domains.graph.network.masses import Masses
from refine.domains.graph.network.network import View
from refine.domains.graph.network.predictor import GraphPredictor, at_most, close, padded, split_logits
from refine.domains.graph.network.star import BOTH, Seats, along_links
from refine.domains.graph.network.subset import draw_subset
from refine.domains.graph.network.view import (
    DONE,
    NOW,
    Partial,
    partial,
    star_laws,
    star_pairs,
    view_coarse,
    view_finished,
    view_partial,
)
from refine.domains.graph.splitting.colour import colour
from refine.domains.graph.splitting.counts import most_counts
from refine.domains.graph.splitting.skeleton import FREE, Kept, earlier
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import LINKED, ONE, UNLINKED, Splits, unknown
from refine.drawing.rounds import Rounds
from refine.noise import Noise

# streams of noise of a scale; STARS + 2r and + 1 are those of colour r; SIZES is drawn once
SIZES, CHOICE, LINK, COLOUR, ORDER, KIND, STARS = range(7)
SHARE, COIN = 2**32, 2**33  # no colour has them


class ScaleRounds:
    """The rounds of one scale of a batch, in an order that the samples' own noise decides.

    Args:
        predictor: of tokens, stars and kinds.
        noise: of the samples.
        key: of the noise, of all samples or of each: scales that are still to come with this one, 0 for that of kinds,
            so that a sample does not depend on how deep others of the batch are. Where masses decide how many scales
            there will be: those that there were, with this one.
        label_rounds: rounds in which kinds are revealed at most.
        told: the conditions of the batch.
    """

    def __init__(
        self,
        predictor: GraphPredictor,
        noise: Noise,
        key: int | Sequence[int],
        label_rounds: int = 1,
        told: Told | None = None,
    ) -> None:
        self.predictor, self.noise, self.key, self.most = predictor, noise, key, label_rounds
        self.told = told or Told()
        self.kept: Kept | None = None

    def uniform(self, graph: Tensor, num: int, stream: int) -> Tensor:
        """A number for each site, where ``graph`` (n,) says whose it is: of that sample's own stream."""
        order = graph.argsort(stable=True)
        counts = torch.bincount(graph, minlength=num)
        out = torch.empty(len(graph), device=graph.device)
        out[order] = self.noise.ragged(self.key, counts, graph.device, stream)
        return out

    def colours(self, coarse: Graphs, token: Tensor) -> Rounds:
        """The colour class in which each node splits."""
        uniform = self.uniform(coarse.graph, coarse.num, COLOUR)
        return Rounds(
            colour(coarse, token > 0, uniform if self.kept is None else earlier(uniform, self.kept.token > 0))
        )

    def label_order(self, graphs: Graphs, labels: Labels, place: Tensor) -> Rounds:
        """The round in which each kind is revealed; ``place`` (graphs.num,) are their numbers in the batch."""
        owner = labels.owner(graphs)
        return label_rounds(owner, self.uniform(place[owner], len(self.noise.index), ORDER), self.most)


class ScaleScore(ScaleRounds):
    """Scores the codes of a scale."""

    def __call__(self, coarse: Graphs, goal: Tensor, codes: Splits) -> Tensor:
        """(B,) nats of the codes that make ``goal[:, 0]`` nodes of ``coarse``, exact for the order of the noise."""
        nats = torch.zeros(coarse.num, device=goal.device)
        rounds = self.colours(coarse, codes.token)
        grows = torch.zeros(coarse.num, dtype=torch.bool, device=goal.device)
        grows[coarse.graph[codes.token > 0]] = True
        if codes.count is not None:
            graphs, nodes, edges = coarse.take(grows)
            own = codes[nodes, edges]
            nats[grows] = self.labels(graphs, Labels(own.inside, own.count), grows.nonzero()[:, 0])
        for turn in range(-1, rounds.num):
            active = grows if turn < 0 else torch.zeros_like(grows)
            active[coarse.graph[rounds.now(turn)]] = True
            place = active.nonzero()[:, 0]
            graphs, nodes, edges = coarse.take(active)
            order = partial_(self._star_order, place, coarse.num, turn)
            turns = torch.full_like(place, turn)
            for shown in self._steps(graphs, codes[nodes, edges], rounds.index[nodes], turn):
                own, colours = codes[nodes, edges], rounds.index[nodes]
                maximum = self.predictor.maximum
                x = examples(graphs, own, goal[active], colours, turns, order, shown, maximum=maximum)
                tokens, answers, _ = self.predictor.log_prob(x, self.told.conditions)
                nats = nats.index_add(0, place, tokens) if turn < 0 else nats.index_add(0, place[x.owners[1]], answers)
        return nats

    def _steps(self, graphs: Graphs, codes: Splits, colours: Tensor, turn: int) -> list[Shown | None]:
        """What each pass shows: with the star head one pass shows nothing, else one for each answer of a star."""
        if self.predictor.star is not None or turn < 0:
            return [None]
        state = partial(graphs, codes, colours, torch.full((graphs.num,), turn, device=colours.device))
        longest = int(torch.bincount(state.stars.centre).max()) if len(state.stars.centre) else 0
        return [partial_(before, rank) for rank in range(longest)]

    def _star_order(self, place: Tensor, num: int, turn: int, owner: Tensor) -> Tensor:
        return self.uniform(place[owner], num, STARS + 2 * turn)

    def labels(self, graphs: Graphs, labels: Labels, place: Tensor | None = None) -> Tensor:
        """(graphs.num,) nats of the kinds of graphs that stand, exact for the order of the noise; ``place`` are their
        numbers in the batch, if they are not all of it."""
        nats = torch.zeros(graphs.num, device=graphs.graph.device)
        place = torch.arange(graphs.num, device=nats.device) if place is None else place
        for _, known, now in self.label_order(graphs, labels, place):
            x = with_labels(nothing(graphs.graph.device), graphs, labels, known, now)
            nats.index_add_(0, x.owners[2], self.predictor.log_prob(x, self.told.conditions)[2])
        return nats


def before(rank: int, seats: Seats) -> Tensor:
    """The answers before ``rank`` in their star."""
    return seats.rank < rank


def unfinished(graphs: Graphs) -> Tensor:
    """(B,) bool: which of the graphs have nodes of more than one node."""
    assert graphs.mass is not None
    out = torch.zeros(graphs.num, dtype=torch.bool, device=graphs.graph.device)
    out[graphs.graph[graphs.mass > 1]] = True
    return out


def some(codes: Tensor | None) -> Tensor:
    """Those that a model has."""
    assert codes is not None
    return codes


class ScaleDraw(ScaleRounds):
    """Draws the codes of a scale; ``sampler`` says what to do with logits, ``kept`` which codes a given graph decides,
    ``passes`` counts those of the network."""

    def __init__(
        self,
        predictor: GraphPredictor,
        noise: Noise,
        key: int | Sequence[int],
        sampler: ScaleSampler,
        label_rounds: int = 1,
        told: Told | None = None,
        kept: Kept | None = None,
    ) -> None:
        super().__init__(predictor, noise, key, label_rounds, told)
        self.sampler, self.kept, self.passes = sampler, kept, 0
        self.tellings = self.told.passes(sampler.guidance)

    def states(self, view: View) -> list[tuple[Tensor, Tensor]]:
        """States of nodes and edges of every pass that a prediction needs."""
        return [self._pass(told, view) for told in self.tellings]

    def _pass(self, told: Tensor | None, view: View) -> tuple[Tensor, Tensor]:
        self.passes += 1
        return self.predictor.states(view, told)

    def mixed(self, parts: Sequence[Tensor]) -> Tensor:
        """The logits of all passes as those that are drawn from."""
        return mixed(parts, self.sampler.guidance)

    def __call__(self, coarse: Graphs, goal: Tensor) -> Splits:
        """The codes that make ``goal[:, 0]`` nodes of ``coarse``, or as many as its masses decide."""
        grows = goal[:, 0] > coarse.sizes if coarse.mass is None else unfinished(coarse)
        if self.predictor.counts:
            coarse = self.counted(coarse, grows)
        token, light = self.tokens(coarse, goal, grows)
        if coarse.mass is not None:
            new = torch.bincount(coarse.graph[token > 0], minlength=coarse.num)
            goal = torch.stack([coarse.sizes + new, goal[:, 1]], 1)
        codes = replace(unknown(coarse, token), count=coarse.count, inside=coarse.inside, light=light)
        rounds = self.colours(coarse, codes.token)
        for turn, _, now in rounds:
            active = torch.zeros(coarse.num, dtype=torch.bool, device=now.device)
            active[coarse.graph[now]] = True
            graphs, nodes, edges = coarse.take(active)
            turns = torch.full((graphs.num,), turn, device=now.device)
            state = partial(graphs, codes[nodes, edges], rounds.index[nodes], turns)
            answered = self.stars(state, goal[active], turn, active.nonzero()[:, 0], coarse.num, nodes.nonzero()[:, 0])
            codes = replace(codes, pattern=codes.pattern.masked_scatter(edges, answered.pattern))
        return codes

    def counted(self, coarse: Graphs, grows: Tensor) -> Graphs:
        """``coarse`` with counts of its own, where it ``grows`` (B,)."""
        graphs, nodes, edges = coarse.take(grows)
        assert coarse.count is not None
        labels = self.labels(graphs, grows.nonzero()[:, 0])
        out = replace(coarse, count=coarse.count.masked_scatter(edges, some(labels.edge)))
        if coarse.inside is not None:
            out = replace(out, inside=coarse.inside.masked_scatter(nodes, some(labels.node)))
        return out

    def tokens(self, coarse: Graphs, goal: Tensor, grows: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N,) node tokens of graphs that ``grows`` (B,) says, and masses of lighter children if there are masses.
        Exactly as many nodes split as are missing, or else one at least."""
        token = torch.full_like(coarse.graph, ONE)
        light = None if coarse.mass is None else torch.zeros_like(token)
        if not bool(grows.any()):
            return token, light
        graphs, nodes, _ = coarse.take(grows)
        states = [h for h, _ in self.states(view_coarse(graphs, goal[grows]))]
        choice, link = (self.uniform(coarse.graph, coarse.num, stream)[nodes] for stream in (CHOICE, LINK))
        connected, maximum = self.predictor.connected, self.predictor.maximum
        if graphs.mass is not None:
            head, asked = self.predictor.masses, Masses(graphs.mass, graphs.graph, graphs.num, graphs.inside, maximum)
            assert head is not None and light is not None
            share = self.uniform(coarse.graph, coarse.num, SHARE)[nodes]
            # the head is linear here, so mixing states is mixing logits
            two, lighter = head.draw(self.mixed(states), asked, self.sampler, choice, share)
            sure = must_link(graphs.edges, two, connected, maximum)
            linked = self.mixed([head.links(h, asked.mass, lighter) for h in states])
            is_linked = head.draw_links(linked, asked, lighter, sure, self.sampler, link)
            light = light.masked_scatter(nodes, lighter)
        else:
            assert self.predictor.token is not None
            split, linked = map(self.mixed, zip(*(split_logits(self.predictor.token(h)) for h in states), strict=True))
            table, row, column = padded(split, graphs.graph)
            numbers = torch.zeros_like(table).index_put((row, column), choice)
            number = (goal[:, 0] - coarse.sizes)[grows]
            if self.kept is not None:  # those that have to split do
                must = self.kept.token[nodes] > 0
                table[row[must], column[must]] = -torch.inf
                number = number - torch.bincount(row[must], minlength=len(number))
            two = draw_subset(table, number, numbers)[row, column]
            two = two if self.kept is None else two | must
            sure = must_link(graphs.edges, two, connected, maximum)
            pairs = torch.stack([torch.where(sure, -torch.inf, 0.0), torch.where(sure, 0.0, linked)], 1)
            is_linked = self.sampler.draw(pairs, link) == 1
        drawn = torch.where(two, torch.where(is_linked, LINKED, UNLINKED), ONE)
        if self.kept is not None:
            drawn = torch.where(self.kept.token[nodes] > 0, self.kept.token[nodes], drawn)
        return token.masked_scatter(nodes, drawn), light

    def stars(self, state: Partial, goal: Tensor, turn: int, numbers: Tensor, num: int, rows: Tensor) -> Splits:
        """The codes after the stars of one colour are answered: one pass, then one question of each star at a time;
        ``rows`` are the numbers of the state's coarse nodes in the batch, ``numbers`` of its graphs, of ``num``."""
        asked = state.stars
        if not len(asked.centre):
            return state.codes
        view = view_partial(state, goal)
        pairs = star_pairs(state, view)
        owner = numbers[state.current.graph[asked.centre]]
        order = self.uniform(owner, num, STARS + 2 * turn)
        need = self._need(state, rows)
        if need is not None:
            order = earlier(order, (need != FREE).any(1))
        rank = along_links(asked.centre, pairs[:2], order)
        uniform = self.uniform(owner, num, STARS + 2 * turn + 1)
        seats = Seats.of(asked.centre, rank.index)
        make = partial_(self._reader, state, view, pairs, seats)
        reader = reader_of(make, self.tellings, self.sampler.guidance)
        codes = torch.empty_like(asked.centre)
        laws = star_laws(state, seats, self.predictor.maximum)
        kept = None if need is None else KeptAnswers(seats, need, self.uniform(owner, num, COIN + turn))
        for r, _, now in rank:
            here = now.nonzero()[:, 0]
            possible = laws.possible(here)
            possible = possible if kept is None else kept.narrow(possible, here)
            codes[here] = drawn = self.sampler.draw(close(reader.ask(r, here), possible), uniform[here])
            for part in (laws, kept):
                if part is not None:
                    part.tell(here, drawn)
            reader.tell(r, here, drawn)
        if self.kept is not None and kept is not None:
            self.kept.swapped[rows[state.parent[asked.centre]]] = kept.side[seats.star] == 1
        answers = torch.where(codes == BOTH, 3, codes + 1)
        return asked.put(state.codes, answers)

    def _need(self, state: Partial, rows: Tensor) -> Tensor | None:
        """(T, 2) what a given graph asks of the answers of stars (:meth:`Kept.needs`)."""
        if self.kept is None:
            return None
        asked, parent = state.stars, rows[state.parent]
        low, high = self.kept.borne(parent, (state.kind == DONE) | (state.kind == DONE + 1))
        return self.kept.needs(parent[asked.centre], low[asked.other], high[asked.other])

    def _reader(
        self, state: Partial, view: View, pairs: tuple[Tensor, Tensor, Tensor], seats: Seats, told: Tensor | None
    ) -> Reader:
        head, asked = self.predictor.star, state.stars
        if head is None:
            return PassReader(partial_(self._pass, told), self.predictor, state, view)
        h, e = self._pass(told, view)
        questions = head.questions(h, e, asked.centre, asked.other, asked.edge)
        apart = state.kind[asked.centre] == NOW + 1
        return head.reader(questions, apart, head.biases(e, pairs, seats), seats)

    def labels(self, graphs: Graphs, place: Tensor | None = None, given: GivenLabels | None = None) -> Labels:
        """Kinds of the nodes and edges of graphs that stand, the codes of each in random rounds; ``place`` are their
        numbers in the batch, if they are not all of it, ``given`` what is known."""
        predictor, num = self.predictor, len(self.noise.index)
        device = graphs.graph.device
        empty = torch.zeros(graphs.num_nodes, dtype=torch.int64, device=device), torch.zeros_like(graphs.edges[0])
        heads = predictor.node_label, predictor.edge_label
        labels = Labels(*(e if head is not None else None for e, head in zip(empty, heads, strict=True)))
        place = torch.arange(graphs.num, device=device) if place is None else place
        rounds = self.label_order(graphs, labels, place)
        uniform = self.uniform(place[labels.owner(graphs)], num, KIND)
        most = (None, None) if graphs.inside is None else most_counts(graphs)
        view = view_finished(graphs)
        if given is not None:
            labels = given.labels
        for _, known, now in rounds:
            if given is not None:
                known, now = known | given.known, now & ~given.known
            passes = self.states(view_labels(view, graphs, labels, known))
            states = tuple(zip(*passes, strict=True))  # of nodes in every pass, and of edges
            drawn: list[Tensor | None] = []
            parts = zip(heads, states, labels.parts(graphs, now), labels.parts(graphs, uniform), most, strict=True)
            for codes, (head, state, here, numbers, top) in zip((labels.node, labels.edge), parts, strict=True):
                if head is None or codes is None:
                    drawn.append(None)
                    continue
                logits = self.mixed([head(s[here]) for s in state])
                logits = logits if top is None else at_most(logits, top[here])
                drawn.append(codes.masked_scatter(here, self.sampler.draw(logits, numbers[here])))
            labels = Labels(*drawn)
        return labels
