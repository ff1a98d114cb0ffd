"""What the forward process never makes, and what is therefore neither drawn nor given a probability.

Pairs are a matching with as many pairs as there can be, so nodes that it leaves over have no links among each other.
Two of them become siblings that are not linked only if they share a neighbour, or have none at all
(:mod:`refine.domains.graph.splitting.pairing`). It follows, whatever the graph:

1. Siblings that are not linked share a neighbour, if they have any: one answer of their star is BOTH.
2. A node that splits beside one that does not is linked inside: of two neighbours not both were left over.
3. Linked siblings have neighbours that were left over on one side only, or one alone on both: else the four would have
   made two pairs.
4. Where all graphs are connected, a node without neighbours splits into linked siblings.

Pairs that keep blocks apart (``model.pairing=blocks``) are as many as there can be among some of the edges only. Two of
the nodes that they leave over may be neighbours by another edge, so 2 and 3 do not hold; those that share a neighbour
are looked for among the same edges, so 1 and 4 do.

With 1 and 4 graphs never fall apart. Longer alternating paths rule out more codes, which are not closed here: whether
they are possible depends on several codes at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refine.domains.graph.network.star import BOTH, OTHER, SAME, Seats
from refine.domains.graph.splitting.skeleton import MUST, NOT


def must_link(edges: Tensor, two: Tensor, connected: bool, maximum: bool = True) -> Tensor:
    """(N,) bool: nodes that are linked inside if they split (laws 2 and 4).

    Args:
        edges: (2, E) of the coarse graphs.
        two: (N,) bool, which nodes split.
        connected: whether all graphs are.
        maximum: whether pairs were as many as there can be.
    """
    (u, v), count = edges, torch.zeros(len(two), dtype=torch.int64, device=two.device)
    one = torch.zeros_like(two)
    if maximum:
        one = count.index_add(0, u, (~two[v]).long()).index_add(0, v, (~two[u]).long()) > 0
    if not connected:
        return one
    return one | (count.index_add(0, edges.flatten(), torch.ones_like(edges.flatten())) == 0)


class StarLaws:
    """Which answers of stars are possible, given those before them in their star: laws 1 and 3, and that OTHER is told
    from SAME only when a child was named.

    Args:
        seats: of the questions.
        apart: (T,) bool, the children of the centre are not linked.
        left_over: (T,) bool, the neighbour is one that the matching left over, or a pair of such.
        told: (T,) bool, the children of the centre differ in mass, so that nobody has to name one; or None.
    """

    def __init__(self, seats: Seats, apart: Tensor, left_over: Tensor, told: Tensor | None = None) -> None:
        self.star, self.apart = seats.star, apart
        stars = seats.shape[0]
        count = torch.bincount(seats.star, minlength=stars)
        self.last = seats.rank == count[seats.star] - 1
        of_star = torch.bincount(seats.star[left_over], minlength=stars)
        self.one_side = left_over & ~apart & (of_star[seats.star] > 1)
        self.named = torch.zeros(stars, dtype=torch.bool, device=apart.device)
        self.shared = self.named.clone()
        if told is not None:
            self.named[seats.star[told]] = True
        self.side = torch.full((stars,), -1, device=apart.device)

    def possible(self, here: Tensor) -> Tensor:
        """(len(here), 3) bool of the questions ``here``, one at most of each star."""
        star = self.star[here]
        out = torch.ones(len(here), 3, dtype=torch.bool, device=here.device)
        out[:, OTHER] = self.named[star]
        must = self.apart[here] & self.last[here] & ~self.shared[star]
        out[:, SAME] &= ~must
        out[:, OTHER] &= ~must
        one, side = self.one_side[here], self.side[star]
        out[:, BOTH] &= ~one
        out[:, SAME] &= ~(one & (side == OTHER))
        out[:, OTHER] &= ~(one & (side == SAME))
        return out

    def tell(self, here: Tensor, codes: Tensor) -> None:
        """Their answers."""
        star = self.star[here]
        self.named[star] |= codes == SAME
        self.shared[star] |= codes == BOTH
        self.side[star] = torch.where(self.one_side[here], codes, self.side[star])

    def along(self, seats: Seats, codes: Tensor) -> Tensor:
        """(T, 3) bool of all questions, if answers are ``codes`` (T,)."""
        out = torch.ones(len(codes), 3, dtype=torch.bool, device=codes.device)
        for rank in range(seats.shape[1]):
            here = (seats.rank == rank).nonzero()[:, 0]
            out[here] = self.possible(here)
            self.tell(here, codes[here])
        return out


class KeptAnswers:
    """Which answers of stars keep a given graph as it is (:mod:`refine.domains.graph.splitting.skeleton`).

    The child that a star names first may be either of the skeleton's: where its answer does not decide which, a coin
    does.

    Args:
        seats: of the questions.
        need: (T, 2) of the first and the other child of the skeleton, whether it keeps the neighbour.
        coin: (T,) in [0, 1).

    Attributes:
        side: (stars,) which of the two was named first; -1 while none is.
    """

    def __init__(self, seats: Seats, need: Tensor, coin: Tensor) -> None:
        self.star, self.coin = seats.star, coin
        first, second = need.unbind(1)
        self.alone = torch.stack([(first != NOT) & (second != MUST), (second != NOT) & (first != MUST)], 1)
        self.both = (first != NOT) & (second != NOT)
        self.side = torch.full((seats.shape[0],), -1, device=need.device)

    def narrow(self, possible: Tensor, here: Tensor) -> Tensor:
        """(len(here), 3) bool: those of the ``possible`` answers that keep what is given; all that do, if none is."""
        side, alone = self.side[self.star[here]], self.alone[here]
        same = torch.where(side < 0, alone.any(1), torch.where(side == 1, alone[:, 1], alone[:, 0]))
        other = torch.where(side == 1, alone[:, 0], alone[:, 1]) & (side >= 0)
        keeps = torch.stack([same, other, self.both[here]], 1)
        out = possible & keeps
        return torch.where(out.any(1, keepdim=True), out, keeps)

    def tell(self, here: Tensor, codes: Tensor) -> None:
        """Their answers."""
        star, alone = self.star[here], self.alone[here]
        either = (self.coin[here] < 0.5).long()
        named = torch.where(alone.all(1), either, alone[:, 1].long())
        self.side[star] = torch.where((codes == SAME) & (self.side[star] < 0), named, self.side[star])
