"""The one scale loop of refine: tokenising, teacher forcing, sampling, in-painting and likelihood are all this walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from refine.pyramid import Pyramid
from refine.quantizer import Quantizer
from refine.types import Level, Step

Choose = Callable[[int, Level, Tensor, Any], Tensor]
"""(k, level, context, state) to the codes (B, N_k) of scale k."""


def walk(pyramid: Pyramid, quantizer: Quantizer, state: Any, choose: Choose) -> Iterator[Step]:
    """Walk from the coarsest scale to the finest; ``choose`` decides the codes, all else is fixed (eq. 17-19)."""
    for k in range(pyramid.num_levels):
        level = pyramid.level(k, state)
        context = pyramid.context(state, k)
        codes = choose(k, level, context, state)
        values = quantizer.embed(codes, k)
        state = pyramid.refine(state, context, values, k)
        yield Step(k, level, context, codes, values, state)
