"""Guidance on the conditions of whole graphs: odds of every choice, mixed from two predictions.

One is told the conditions, the other is not (classifier-free guidance, Ho & Salimans, arXiv 2207.12598):

    logits = (1 - g) logits without + g logits with,

for node tokens, for the answers of stars, each in turn, and for kinds. g = 1 is the conditional law itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from refine.domains.graph.network.network import View
from refine.domains.graph.network.predictor import GraphPredictor
from refine.domains.graph.network.view import Partial, view_answers


@dataclass(frozen=True)
class Told:
    """What the passes of the network are told.

    Attributes:
        conditions: (B, D), or None of a model without conditions.
        without: (B, D) likewise with what guidance is about withheld; None where nothing is guided.
    """

    conditions: Tensor | None = None
    without: Tensor | None = None

    def passes(self, guidance: float) -> list[Tensor | None]:
        """What each pass of the network is told: one pass, or two where ``guidance`` asks for them."""
        return [self.conditions] if self.without is None or guidance == 1 else [self.conditions, self.without]


def mixed(parts: Sequence[Tensor], guidance: float) -> Tensor:
    """Logits of one prediction, or of the one that is told mixed with the other."""
    return parts[0] if len(parts) == 1 else torch.lerp(parts[1], parts[0], guidance)


class Reader(Protocol):
    """Asks the questions of stars, rank by rank."""

    def ask(self, rank: int, here: Tensor) -> Tensor:
        """(len(here), 3) logits of the questions ``here``, which are those at ``rank`` of their stars."""

    def tell(self, rank: int, here: Tensor, codes: Tensor) -> None:
        """Their answers."""


class MixedReader:
    """Two readers as one, of mixed logits."""

    def __init__(self, readers: Sequence[Reader], guidance: float) -> None:
        self.readers, self.guidance = readers, guidance

    def ask(self, rank: int, here: Tensor) -> Tensor:
        """See :class:`Reader`."""
        return mixed([reader.ask(rank, here) for reader in self.readers], self.guidance)

    def tell(self, rank: int, here: Tensor, codes: Tensor) -> None:
        """See :class:`Reader`."""
        for reader in self.readers:
            reader.tell(rank, here, codes)


class PassReader:
    """As :class:`refine.domains.graph.network.star.StarReader`, with a pass of the network for every rank.

    Args:
        states: the network.
        predictor: with the head.
        state: half-way through a scale.
        view: of it, without answers.
    """

    def __init__(
        self, states: Callable[[View], tuple[Tensor, Tensor]], predictor: GraphPredictor, state: Partial, view: View
    ) -> None:
        self.states, self.predictor, self.state, self.view = states, predictor, state, view
        self.codes = torch.full_like(state.stars.centre, -1)

    def ask(self, rank: int, here: Tensor) -> Tensor:
        """See :class:`Reader`."""
        asked = self.state.stars
        h, e = self.states(view_answers(self.view, self.state, self.codes))
        return self.predictor.answers(h, e, asked.centre[here], asked.other[here], asked.edge[here])

    def tell(self, rank: int, here: Tensor, codes: Tensor) -> None:
        """See :class:`Reader`."""
        self.codes[here] = codes


def reader_of(make: Callable[[Tensor | None], Reader], passes: Sequence[Tensor | None], guidance: float) -> Reader:
    """The reader that ``make`` makes of what one pass is told, or a mixture of two."""
    readers = [make(told) for told in passes]
    return readers[0] if len(readers) == 1 else MixedReader(readers, guidance)
