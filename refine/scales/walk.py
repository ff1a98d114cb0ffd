"""The one scale loop of refine: tokenising, teacher forcing, sampling, in-painting and likelihood are all this walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from refine.types import Step

Choose = Callable[[int, Any, Any, Any], Any]
"""(k, level, context, state) to the codes of scale k: (B, N_k) on a pyramid of latents."""


class Scales(Protocol):
    """What the loop needs of a pyramid: :class:`refine.scales.pyramid.Pyramid`, or a domain's own."""

    @property
    def num_levels(self) -> int:
        """K."""

    def level(self, k: int, state: Any) -> Any:
        """The geometry of scale k."""

    def context(self, state: Any, k: int) -> Any:
        """What is known so far, seen at scale k."""

    def refine(self, state: Any, context: Any, values: Any, k: int) -> Any:
        """The state after ``values`` were added at scale k."""


class Embedding(Protocol):
    """What the loop needs of a quantizer: :class:`refine.codes.quantizer.Quantizer`, or a domain's own."""

    def embed(self, codes: Any, k: int) -> Any:
        """Codes of scale k to values."""


def walk(pyramid: Scales, quantizer: Embedding, state: Any, choose: Choose) -> Iterator[Step]:
    """Walk from the coarsest scale to the finest; ``choose`` decides the codes, all else is fixed (eq. 17-19)."""
    for k in range(pyramid.num_levels):
        level = pyramid.level(k, state)
        context = pyramid.context(state, k)
        codes = choose(k, level, context, state)
        values = quantizer.embed(codes, k)
        state = pyramid.refine(state, context, values, k)
        yield Step(k, level, context, codes, values, state)
