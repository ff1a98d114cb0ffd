"""Strategies of drawing: choosers around a chooser, found by name like every other kind of part.

The scale loop asks a chooser for the codes of every scale. :class:`refine.drawing.draw.Draw` asks the model; a strategy
wraps a chooser and is one, so that strategies stack: with ``sampler.strategies=[a,b]``, b stands around a, and a around
the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from refine.drawing.sampler import build_sampler
from refine.errors import RefineError
from refine.kinds import STRATEGIES
from refine.settings.config import SamplerConfig
from refine.settings.options import NoOptions
from refine.settings.typed import typed
from refine.types import Level


class Chooser(Protocol):
    """What the scale loop draws with."""

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        """Codes (B, N_k) of scale k."""

    def embed(self, codes: Tensor, k: int) -> Tensor:
        """Their values (B, N_k, C)."""


@STRATEGIES.base
class Strategy:
    """Draws by another chooser, and decides what becomes of it; this one changes nothing.

    A strategy of your own overrides :meth:`__call__`, :meth:`embed` or both, and is announced as an entry point of
    ``refine.strategies``. Randomness comes from ``self.draw.noise``, so that sample i depends on (seed, i) only.

    Args:
        inner: the chooser that is wrapped.
        draw: the innermost one, a :class:`refine.drawing.draw.Draw`: the model, the condition, the noise and
            :meth:`~refine.drawing.draw.Draw.law`.
        options: an instance of ``Options``, with what ``sampler.options.NAME.*`` say.

    Raises:
        RefineError: a model that lacks what the strategy needs.
    """

    Options: ClassVar[type] = NoOptions

    def __init__(self, inner: Chooser, draw: Any, options: Any) -> None:
        self.inner, self.draw, self.options = inner, draw, options

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        """Codes (B, N_k) of scale k."""
        return self.inner(k, level, context, state)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        """Values (B, N_k, C) of the codes that were chosen last."""
        return self.inner.embed(codes, k)


def check_sampler(config: SamplerConfig, num_levels: int) -> None:
    """Refuse now what would be refused when something is drawn.

    Raises:
        RefineError: what :func:`~refine.drawing.sampler.build_sampler` or :func:`build_strategies` refuses.
    """
    build_sampler(config, num_levels)
    build_strategies(config)


def build_strategies(config: SamplerConfig) -> list[tuple[type[Strategy], Any]]:
    """The strategies that a configuration names, the innermost first, each with its options.

    Raises:
        RefineError: one that is not installed, options that it does not accept, or options of one that is not used.
    """
    names: Sequence[str] = config.strategies
    for name in config.options:
        if name not in names:
            raise RefineError(
                f"sampler.options.{name} is not accepted: sampler.strategies={list(names)} does not use it"
            )
    found = []
    for name in names:
        cls = STRATEGIES.load(name)
        found.append((cls, typed(cls.Options, config.options.get(name) or {}, f"sampler.options.{name}")))
    return found
