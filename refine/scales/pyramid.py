"""The forward process: a latent as a pyramid of residuals (section 3.2 of the paper), over any resampler.

A pyramid says what is known before each scale (the context), what is missing (the residual), and how adding values
changes the state. It holds no loop; :func:`refine.scales.walk.walk` is the only one.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from torch import Tensor, nn

from refine.errors import RefineError
from refine.kinds import PYRAMIDS
from refine.scales.resample import Resampler
from refine.settings.config import PyramidConfig
from refine.settings.options import options_of
from refine.types import Level


@PYRAMIDS.base
class Pyramid(nn.Module, abc.ABC):
    """Interface between the scale loop and a kind of pyramid. States are opaque to everybody else.

    A kind of your own is a subclass, announced as an entry point of ``refine.pyramids``. Its dataclass ``Options`` has
    the keys ``model.pyramid.options.*``; it is made by :meth:`build`.

    Attributes:
        Options: dataclass of plain options; for the kinds that ship it is the section ``model.pyramid`` itself.
        num_levels: K.
        channels: C of contexts and values.
    """

    Options: ClassVar[type] = PyramidConfig
    num_levels: int
    channels: int

    @classmethod
    def build(cls, options: Any, resampler: Resampler, channels: int) -> Pyramid:
        """The pyramid over a resampler and C channels that ``options``, an instance of ``Options``, describe.

        By default ``cls(resampler, channels, options)``.
        """
        return cls(resampler, channels, options)

    @abc.abstractmethod
    def num_sites(self, k: int) -> int:
        """N_k."""

    @abc.abstractmethod
    def start(self, batch: int, base: Tensor | None = None) -> Any:
        """The state before the coarsest scale: nothing, or a ``base`` (B, N_{K-1}, C) known from the condition."""

    @abc.abstractmethod
    def level(self, k: int, state: Any) -> Level:
        """The geometry of scale k."""

    @abc.abstractmethod
    def context(self, state: Any, k: int) -> Tensor:
        """(B, N_k, C): what is known so far, seen at scale k; C(k) of eq. 18."""

    @abc.abstractmethod
    def target(self, latent: Tensor, base: Tensor | None = None) -> Any:
        """What :meth:`residual` needs to know of a latent (B, N_{K-1}, C), computed once."""

    @abc.abstractmethod
    def residual(self, target: Any, state: Any, context: Tensor, k: int) -> Tensor:
        """(B, N_k, C): what the state lacks at scale k; R(k) of eq. 14."""

    @abc.abstractmethod
    def refine(self, state: Any, context: Tensor, values: Tensor, k: int) -> Any:
        """The state after ``values`` (B, N_k, C) were added at scale k; eq. 19."""

    @abc.abstractmethod
    def latent(self, state: Any, k: int) -> Tensor:
        """(B, N_{K-1}, C): the latent as scales 0 to k have it."""

    @property
    def field_sites(self) -> int | None:
        """N, sites of a condition field; None for unknown."""
        return self.num_sites(self.num_levels - 1)

    @abc.abstractmethod
    def field(self, field: Tensor, k: int) -> Tensor:
        """A condition field (B, N_{K-1}, F) seen at scale k: (B, N_k, F)."""

    def take(self, state: Any, index: Tensor) -> Any:
        """The state of other items: item i of the result is item ``index[i]`` of this one.

        Args:
            state: tensors with a leading dimension B, or tuples and lists of such.
            index: (B',) int64; an item may be taken several times or not at all.

        Raises:
            RefineError: a state of another form; such a pyramid has a method of its own.
        """
        return take(state, index)

    def gain(self, k: int) -> float:
        """By which factor the deviation of drawn values from their mean is too small at scale k, if codes are drawn
        independently: sqrt(N / d) where values on N sites change the latent in d independent ways only. On grids it
        is 1."""
        return 1.0


def take(state: Any, index: Tensor) -> Any:
    """Rows ``index`` of every tensor of a state; see :meth:`Pyramid.take`."""
    if isinstance(state, Tensor):
        return state[index]
    if state is None:
        return None
    if isinstance(state, tuple | list):
        parts = [take(part, index) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    raise RefineError(f"a state of {type(state).__name__} cannot be taken apart; the pyramid needs a take() of its own")


def build_pyramid(config: PyramidConfig, resampler: Resampler, channels: int) -> Pyramid:
    """The pyramid that a configuration asks for.

    Raises:
        RefineError: a kind that is not installed, or options that it does not accept.
    """
    cls = PYRAMIDS.load(config.kind)
    pyramid: Pyramid = cls.build(options_of(cls, config, "model.pyramid"), resampler, channels)
    return pyramid
