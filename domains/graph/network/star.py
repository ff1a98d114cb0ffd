"""The star head: which child of a splitting node keeps each of its neighbours, one neighbour after another.

All stars of a colour class are answered side by side after one pass of the network. The children of a node are
interchangeable, so answers are told relative to the first one that is not "both": the child it names is the first child
(``SAME``), the other is ``OTHER``. That is one answer for each unordered pair of children, with nothing to choose, and
no order of nodes enters. Children that differ in mass are told apart by it: the heavier one is the first.

A causal Transformer over the star in a random order: known answers form the content, and each question looks at those
before it, as in two-stream attention (XLNet, arXiv 1906.08237). One pass scores a whole star; in sampling the content
is cached.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.graph.network.network import mlp
from refine.drawing.rounds import Rounds

SAME, OTHER, BOTH = 0, 1, 2
TALLIES = 25  # numbers of :func:`tally`
LINK_REACH = 3  # half of the longest walk among the neighbours of a star that is looked at


class Seats(NamedTuple):
    """Stars as rows of a padded table: question t sits at (star[t], rank[t]).

    Attributes:
        star: (T,) row.
        rank: (T,) place in the order of its star.
        shape: (stars, longest star).
    """

    star: Tensor
    rank: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, centre: Tensor, rank: Tensor) -> Seats:
        """Seats of questions about ``centre`` nodes."""
        _, star = torch.unique(centre, return_inverse=True)
        return cls(star, rank, (int(star.max()) + 1, int(rank.max()) + 1) if len(star) else (0, 0))

    def table(self, values: Tensor, fill: float = 0) -> Tensor:
        """(T, ...) laid out as (stars, longest, ...)."""
        out = values.new_full((*self.shape, *values.shape[1:]), fill)
        out[self.star, self.rank] = values
        return out


def along_links(centre: Tensor, pairs: tuple[Tensor, Tensor], uniform: Tensor) -> Rounds:
    """An order inside each star that walks along the links among its neighbours.

    The first question is random; then one whose neighbour is linked to a neighbour that was asked about, where there is
    one, at random among those. What such a question depends on most is then known.

    Args:
        centre: (T,) whose star each question is of.
        pairs: (P,) and (P,) questions of linked neighbours.
        uniform: (T,) in [0, 1).
    """
    start = Seats.of(centre, Rounds.one_by_one(centre, uniform).index)
    s, r = start.shape
    near = uniform.new_zeros(s, r, r)
    i, j = pairs
    for a, b in ((i, j), (j, i)):
        near[start.star[a], start.rank[a], start.rank[b]] = 1.0
    free = start.table(uniform + 1, fill=-torch.inf)
    place = torch.zeros(s, r, dtype=torch.int64, device=centre.device)
    score, rows = free.clone(), torch.arange(s, device=centre.device)
    for turn in range(r):
        pick = score.argmax(1)
        place[rows, pick] = torch.where(score[rows, pick] > -torch.inf, turn, place[rows, pick])
        free[rows, pick] = -torch.inf
        reached = (near[rows, pick] > 0) | (score > 2)
        score = torch.where(reached, free + 2, free)
    return Rounds(place[start.star, start.rank])


def relative(answers: Tensor, seats: Seats, told: Tensor | None = None) -> Tensor:
    """(T,) answers 1 (child 0), 2 (child 1), 3 (both) as SAME, OTHER and BOTH of the first that is not both; where
    children are ``told`` (T,) apart, SAME is child 0."""
    table = seats.table(answers)
    single = (table == 1) | (table == 2)
    earlier = single.cumsum(1) > single  # strictly before
    first = torch.where(single & ~earlier, table, 0).sum(1)  # the child that the first one names, 0 for none
    same = answers == first[seats.star]
    if told is not None:
        same = torch.where(told, answers == 1, same)
    return torch.where(answers == 3, BOTH, torch.where(same, SAME, OTHER))


def link_walks(near: Tensor) -> Tensor:
    """(S, R, R, 2r): powers 1 to 2r of the normalised adjacency ``near`` (S, R, R) among the neighbours of a star.

    They tell how far two neighbours are apart around the centre, also where those between them are not answered yet.
    """
    scale = near.sum(-1).clamp_min(1).rsqrt()
    step = near * scale[:, :, None] * scale[:, None, :]
    powers = [step]
    for _ in range(2 * LINK_REACH - 1):
        powers.append(powers[-1] @ step)
    return torch.stack(powers, -1)


def tally(told: Tensor, rest: Tensor, apart: Tensor) -> Tensor:
    """(T, 25) how often each answer was given so far, ``told`` (T, 3), how many questions ``rest`` (T,) follow, all of
    this again where the children are not linked, ``apart`` (T,), and that itself.

    Attention averages, so it cannot count; but trees want exactly one "both" of twins and none of linked children, and
    triangulations two.
    """
    numbers = torch.cat([told, rest[:, None]], 1)
    seen, apart = torch.cat([numbers == 0, numbers == 1, numbers.log1p()], 1), apart[:, None].to(told.dtype)
    return torch.cat([seen, seen * apart, apart], 1)


class StarBlock(nn.Module):
    """Attention of questions and content to the content before them, and an MLP."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = mlp(width, int(ratio * width), width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (S, heads, R, D / heads)."""
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual branches around the attended values."""
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class StarHead(nn.Module):
    """(T, 3) logits of SAME, OTHER and BOTH.

    Args:
        inputs: width of the network's states.
        width: of the head.
        depth: its blocks.
        heads: attention heads.
    """

    def __init__(self, inputs: int, width: int, depth: int, heads: int = 4, ratio: float = 2.0) -> None:
        super().__init__()
        self.inputs = nn.Linear(3 * inputs, width)
        self.answer = nn.Embedding(3, width)
        self.tally = nn.Linear(TALLIES, width, bias=False)
        self.linked = nn.Linear(inputs, depth * heads)  # from the state of the edge between two neighbours
        self.link = mlp(2 * LINK_REACH, width, depth * heads)  # from walks among the neighbours
        self.blocks = nn.ModuleList(StarBlock(width, heads, ratio) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 3)
        self.depth, self.heads = depth, heads

    def questions(self, h: Tensor, e: Tensor, centre: Tensor, other: Tensor, edge: Tensor) -> Tensor:
        """(T, width): what the network says about each question."""
        out: Tensor = self.inputs(torch.cat([e[edge], h[centre], h[other]], 1))
        return out

    def biases(self, e: Tensor, pairs: tuple[Tensor, Tensor, Tensor], seats: Seats) -> Tensor:
        """(depth, S, heads, R, R) added to attention between two seats of a star: how their neighbours are linked.

        Args:
            e: (E, D) states of edges.
            pairs: (P,) question, question of the same star, and the edge between their neighbours.
            seats: of the questions.
        """
        i, j, edge = pairs
        s, r = seats.shape
        at = seats.star[i], seats.rank[i], seats.rank[j]
        back = seats.star[i], seats.rank[j], seats.rank[i]
        near = e.new_zeros(s, r, r)
        near[at] = near[back] = 1.0
        table = self.link(link_walks(near))
        state = self.linked(e)[edge]
        table = table.index_put(at, state, accumulate=True).index_put(back, state, accumulate=True)
        out: Tensor = table.unflatten(-1, (self.depth, self.heads)).permute(3, 0, 4, 1, 2)
        return out

    def forward(self, questions: Tensor, apart: Tensor, codes: Tensor, biases: Tensor, seats: Seats) -> Tensor:
        """Teacher forcing: (T, 3) logits of every question, given the answers ``codes`` (T,) before it; ``apart`` (T,)
        says whose children are not linked."""
        content = seats.table(questions + self.answer(codes))
        given = seats.table(F.one_hot(codes, 3).to(questions.dtype))
        length = torch.bincount(seats.star, minlength=seats.shape[0])
        rest = (length[seats.star] - 1 - seats.rank).to(questions.dtype)
        told = (given.cumsum(1) - given)[seats.star, seats.rank]
        asked = seats.table(questions + self.tally(tally(told, rest, apart)))
        r = seats.shape[1]
        causal = torch.ones(r, r, dtype=torch.bool, device=asked.device).tril()
        # keys: the content, then the asking question itself
        own = torch.eye(r, dtype=torch.bool, device=asked.device)
        see = torch.cat([causal & ~own, own], 1)
        for block, bias in zip(self.blocks, biases, strict=True):
            assert isinstance(block, StarBlock)
            q, k, v = block.project(content)
            qa, ka, va = block.project(asked)
            both = torch.cat([bias, torch.zeros_like(bias)], -1).masked_fill(~see, -torch.inf)
            looked = F.scaled_dot_product_attention(qa, torch.cat([k, ka], 2), torch.cat([v, va], 2), both)
            asked = block.finish(asked, looked)
            told = F.scaled_dot_product_attention(q, k, v, bias.masked_fill(~causal, -torch.inf))
            content = block.finish(content, told)
        out: Tensor = self.out(self.norm(asked[seats.star, seats.rank]))
        return out

    def reader(self, questions: Tensor, apart: Tensor, biases: Tensor, seats: Seats) -> StarReader:
        """For sampling: ask rank by rank."""
        return StarReader(self, questions, apart, biases, seats)


class StarReader:
    """The answers so far, cached: :meth:`ask` the questions of a rank, then :meth:`tell` their answers."""

    def __init__(self, head: StarHead, questions: Tensor, apart: Tensor, biases: Tensor, seats: Seats) -> None:
        self.head, self.questions, self.apart, self.biases, self.star = head, questions, apart, biases, seats.star
        (s, r), d = seats.shape, questions.shape[1]
        self.keys = questions.new_zeros(head.depth, 2, s, head.heads, r, d // head.heads)
        self.told = questions.new_zeros(s, 3)
        self.length = torch.bincount(seats.star, minlength=s).to(questions.dtype)

    def ask(self, rank: int, here: Tensor) -> Tensor:
        """(len(here), 3) logits of the questions ``here``, which are those at ``rank`` of their stars."""
        rows = self.star[here]
        counted = self.head.tally(tally(self.told[rows], self.length[rows] - 1 - rank, self.apart[here]))
        states = self._step(self.questions[here] + counted, rank, rows, False)
        out: Tensor = self.head.out(self.head.norm(states))
        return out

    def tell(self, rank: int, here: Tensor, codes: Tensor) -> None:
        """Their answers."""
        self.told[self.star[here], codes] += 1
        self._step(self.questions[here] + self.head.answer(codes), rank, self.star[here], True)

    def _step(self, x: Tensor, rank: int, rows: Tensor, keep: bool) -> Tensor:
        x = x[:, None]
        for i, block in enumerate(self.head.blocks):
            assert isinstance(block, StarBlock)
            q, k, v = block.project(x)
            cache = self.keys[i]
            if keep:
                cache[0, rows, :, rank], cache[1, rows, :, rank] = k[:, :, 0], v[:, :, 0]
            bias = self.biases[i, rows, :, rank, :rank]
            # content sees itself with the bias of its own seat, a question sees itself without
            own = self.biases[i, rows, :, rank, rank] if keep else torch.zeros_like(self.biases[i, rows, :, rank, rank])
            bias = torch.cat([bias, own[..., None]], -1)[:, :, None]
            keys, values = (torch.cat([c[rows, :, :rank], t], 2) for c, t in ((cache[0], k), (cache[1], v)))
            x = block.finish(x, F.scaled_dot_product_attention(q, keys, values, bias))
        return x[:, 0]
