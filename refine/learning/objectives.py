"""Objectives: what the predictor is trained for, found by name like every other kind of part.

An objective stands around teacher forcing: it may change what the model is shown, or add to its loss. Validation always
measures the likelihood, so that objectives can be compared by it.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from torch import Tensor

from refine.kinds import OBJECTIVES
from refine.models.model import Learner
from refine.settings.config import ObjectiveConfig, TrainConfig
from refine.settings.options import NoOptions
from refine.settings.typed import typed


@OBJECTIVES.base
class Objective(abc.ABC):
    """The loss of the stage ``predictor``.

    An objective of your own is a subclass, announced as an entry point of ``refine.objectives``; its dataclass
    ``Options`` has the keys ``train.objective.options.*``.

    Args:
        options: an instance of ``Options``.
    """

    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any) -> None:
        self.options = options

    @abc.abstractmethod
    def __call__(self, model: Any, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of the model's training items, and figures to log by name, the most telling one first.

        Randomness is to be drawn from PyTorch's generator, which every step seeds, so that a training can be resumed.

        Args:
            model: in training mode; a :class:`refine.Refiner` for latents, whose batches hold ``codes_0`` ...
                ``codes_{K-1}`` (:func:`refine.models.encoding.batch_codes`) and conditions.
            batch: one training batch.
            settings: the section ``train``.
        """


class Likelihood(Objective):
    """Cross-entropy of every code given the true coarser ones (eq. 18); the model's own loss."""

    def __call__(
        self, model: Learner, batch: dict[str, Tensor], settings: TrainConfig
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return model.training_loss(batch, settings)


def build_objective(config: ObjectiveConfig) -> Objective:
    """The objective that a configuration asks for.

    Raises:
        RefineError: a kind that is not installed, or options that it does not accept.
    """
    cls = OBJECTIVES.load(config.kind)
    objective: Objective = cls(typed(cls.Options, config.options, "train.objective.options"))
    return objective
