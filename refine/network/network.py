"""What a network has to be that predicts scales: the protocol between the scale loop and whatever learns."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from refine.errors import RefineError
from refine.kinds import NETWORKS
from refine.settings.config import PredictorConfig
from refine.settings.options import options_of
from refine.types import Condition, ConditionSpec, Known, Level


@dataclass(frozen=True)
class Given:
    """A condition as a network without anything to prepare takes it.

    Attributes:
        condition: of B items.
        drop: (B, 3) true where the label, the vector or the field is withheld; None for nowhere.
    """

    condition: Condition
    drop: Tensor | None

    def first(self, batch: int) -> Given:
        """Of the first ``batch`` items."""
        return Given(self.condition[:batch], None if self.drop is None else self.drop[:batch])


@NETWORKS.base
class Network(nn.Module, abc.ABC):
    """From contexts of scales to hidden states, of which a head makes laws over codes: psi of eq. 18.

    A network of your own is a subclass with a :meth:`forward`, announced as an entry point of ``refine.networks``. Its
    dataclass ``Options`` has the keys ``model.predictor.options.*``.

    Attributes:
        Options: dataclass of plain options; for the kind that ships it is the section ``model.predictor`` itself.
        width: D, of hidden states.
        rounds: for each scale, in how many rounds its codes are revealed; 1 unless the network reads ``known``.
        prefix: whether a scale attends to all coarser ones, so that scales cannot be scored one by one.
    """

    Options: ClassVar[type] = PredictorConfig
    width: int
    rounds: list[int]
    prefix: bool = False

    @classmethod
    def build(cls, options: Any, sites: Sequence[int], channels: int, spec: ConditionSpec, level: Level) -> Network:
        """The network that ``options``, an instance of ``Options``, describe; by default ``cls(options, sites, ...)``.

        Args:
            options: plain data.
            sites: N_k of each of the K scales.
            channels: C of contexts.
            spec: the conditions.
            level: an example of the domain's levels, for the numbers of its features.
        """
        return cls(options, sites, channels, spec, level)

    def new_cache(self, batch: int, tokens: int) -> Any:
        """A cache for sampling, where ``prefix`` is true: a :class:`refine.network.attention.KVCache`, or what has a
        ``length`` and ``keep`` as that has.

        Raises:
            RefineError: a network that has none.
        """
        raise RefineError(
            f"{type(self).__name__} has no cache; networks with prefix=True need a new_cache() of their own"
        )

    def conditioned(self, condition: Condition, batch: int, drop: Tensor | None = None) -> Any:
        """All that does not depend on the scale, so that sampling computes it once; a record with ``first(batch)``.

        Args:
            condition: of the batch.
            batch: B.
            drop: (B,) or (B, 3), true where the condition (the label, the vector, the field) is withheld; None in
                training leaves it to the network (condition dropout), and withholds nothing otherwise.
        """
        return Given(condition, by_kind(drop))

    @abc.abstractmethod
    def forward(
        self,
        contexts: Sequence[Tensor],
        levels: Sequence[Level],
        scales: Sequence[int],
        condition: Any,
        fields: Sequence[Tensor | None] | None = None,
        drop: Tensor | None = None,
        cache: Any = None,
        known: Sequence[Known | None] | None = None,
    ) -> list[Tensor]:
        """Hidden states (B, N_k, D) for each scale given.

        Args:
            contexts: (B, N_k, C) for each scale.
            levels: their geometry.
            scales: which scales these are.
            condition: a :class:`refine.Condition` of the batch, or what :meth:`conditioned` made of one.
            fields: (B, N_k, F) condition fields seen at each scale.
            drop: as in :meth:`conditioned`.
            cache: in prefix mode, what was kept of the scales before these.
            known: codes of each scale that are known already, where a scale has several rounds; None for none.
        """


KINDS = ("label", "vector", "field")
"""Kinds of condition that a network may be told or not, in the order of the columns of ``drop``."""


def by_kind(drop: Tensor | None) -> Tensor | None:
    """(B, 3) which of the label, the vector and the field of each item is withheld, of (B,) whether all are."""
    return drop[:, None].expand(-1, len(KINDS)) if drop is not None and drop.dim() == 1 else drop


def build_network(
    config: PredictorConfig, sites: Sequence[int], channels: int, spec: ConditionSpec, level: Level
) -> Network:
    """The network that a configuration asks for; see :meth:`Network.build`.

    Raises:
        RefineError: a kind that is not installed, or options that it does not accept.
    """
    cls = NETWORKS.load(config.kind)
    network: Network = cls.build(options_of(cls, config, "model.predictor"), sites, channels, spec, level)
    return network
