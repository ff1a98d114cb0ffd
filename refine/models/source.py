"""What a model needs of its domain, and no more."""

from __future__ import annotations

from typing import Any, Protocol

from torch.utils.data import Dataset

from refine.models.codec import Codec
from refine.scales.resample import Resampler
from refine.types import ConditionSpec


class Source(Protocol):
    """Items, and how they become latents on scales; :class:`refine.Domain` is one."""

    config: Any

    @property
    def name(self) -> str:
        """What the domain is called."""

    @property
    def condition(self) -> ConditionSpec:
        """What items are conditioned on."""

    @property
    def dimensions(self) -> int | None:
        """Real numbers in one item; None counts them from the first training item."""

    def dataset(self, split: str) -> Dataset[Any]:
        """The items of ``train``, ``val`` or ``test``."""

    def codec(self) -> Codec:
        """A fresh codec."""

    def resampler(self) -> Resampler:
        """The scales."""

    def model(self, config: Any) -> Any:
        """A fresh model."""
