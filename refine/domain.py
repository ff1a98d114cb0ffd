"""What an adapter supplies.

A new domain is one file with a subclass of :class:`Domain`, announced by its distribution as

    [project.entry-points."refine.domains"]
    signal = "my_package.signal:SignalDomain"
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.errors import RefineError
from refine.models.codec import Codec
from refine.scales.resample import Resampler
from refine.settings.config import ModelConfig
from refine.types import ConditionSpec, Samples

if TYPE_CHECKING:
    from refine.models.model import Model
    from refine.settings.config import Config as RunConfig
    from refine.settings.config import EvaluateConfig
    from refine.studies.contestant import Subject


@dataclass(frozen=True)
class Symmetry:
    """A transformation that the domain's geometry does not see.

    Attributes:
        name: what it is, in words.
        permutations: K index tensors (N_k,): site i of the transformed item is site ``p[i]`` of the original.
    """

    name: str
    permutations: list[Tensor] = field(repr=False)


class Domain(abc.ABC):
    """Everything refine has to know about a kind of data.

    Subclasses set ``name``, ``Config`` (a dataclass of plain options) and ``group`` (the symmetry group their geometry
    has, in words), and implement :meth:`dataset`, :meth:`codec` and :meth:`resampler`. A domain whose items are no
    latents on a pyramid of sites brings a model of its own: it implements :meth:`dataset`, :meth:`model` and
    :meth:`describe`, and sets ``ModelConfig``.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    ModelConfig: ClassVar[type] = ModelConfig
    group: ClassVar[str] = "none"
    unconditional: ClassVar[bool] = True
    imports: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any) -> None:
        self.config = config

    @abc.abstractmethod
    def dataset(self, split: str) -> Dataset[Any]:
        """The items of ``train``, ``val`` or ``test``: dicts with ``x`` and any field of :class:`Condition`, or what
        the domain's own model reads.

        It has a length, and item i never changes.
        """

    def codec(self) -> Codec:
        """A fresh codec between items and latents."""
        raise self._incomplete("codec")

    def resampler(self) -> Resampler:
        """The scales: how to go down and up between them, and their geometry."""
        raise self._incomplete("resampler")

    def _incomplete(self, what: str) -> RefineError:
        return RefineError(f"domain {self.name!r} has neither {what}() nor a model() that does without")

    def model(self, config: Any) -> Model:
        """A fresh model; ``config`` is a ``ModelConfig``. By default a :class:`refine.models.refiner.Refiner`."""
        from refine.models.refiner import Refiner

        return Refiner(self, config)

    def describe(self, config: Any) -> dict[str, Any]:
        """What ``refine inspect`` says of the scales of such a model, without making one."""
        from refine.codes.build_quantizer import build_quantizer

        resampler = self.resampler()
        quantizer = build_quantizer(config.quantizer, resampler.num_levels, self.codec().channels)
        return {
            "scales": [resampler.num_sites(k) for k in range(resampler.num_levels)],
            "codes": quantizer.sizes if quantizer.discrete else "none",
        }

    @property
    def condition(self) -> ConditionSpec:
        """What items are conditioned on; nothing by default."""
        return ConditionSpec()

    @property
    def dimensions(self) -> int | None:
        """Real numbers in one item, for bits per dimension; None counts them from the first training item."""
        return None

    def symmetries(self) -> list[Symmetry]:
        """Transformations under which the levels are invariant; ``refine.testing`` proves them on the predictor."""
        return []

    def class_names(self) -> list[str]:
        """A word for each label."""
        return [str(i) for i in range(self.condition.num_classes)]

    def save(self, samples: Samples, folder: Path, **options: Any) -> list[Path]:
        """Write drawn items into ``folder`` and say which files those are; by default one ``samples.npz``."""
        path = folder / "samples.npz"
        arrays = {f"codes_{k}": c.cpu().numpy() for k, c in enumerate(samples.codes)}
        np.savez_compressed(path, items=samples.items.cpu().numpy(), **arrays)
        return [path]

    def plot_training(self, model: Any, folder: Path) -> list[Path]:
        """Pictures at the end of a training stage; none by default."""
        return []

    def metrics(self, model: Any, samples: Samples, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Domain-specific figures of ``refine evaluate``, beside those of the model (``Model.score``)."""
        return {}

    def verify(self, model: Any, source: Path, config: RunConfig, folder: Path) -> dict[str, Any]:
        """Figures of ``refine evaluate`` that take more than drawn samples: forecasts against what came to pass.

        Args:
            model: the domain's model.
            source: the checkpoint it was loaded from.
            config: of the command.
            folder: for what is written beside the figures.
        """
        return {}

    def ensemble(self, model: Any, source: Path, config: RunConfig, folder: Path) -> list[Path]:
        """Forecast an ensemble, as ``config.ensemble`` says, and tell which files were written.

        Args:
            model: the domain's model.
            source: the checkpoint it was loaded from.
            config: of the command.
            folder: where forecasts go if the configuration does not say.

        Raises:
            RefineError: the domain does not forecast.
        """
        raise self.lacks("ensemble", "does not forecast")

    def inpaint(self, model: Any, config: RunConfig, folder: Path) -> list[Path]:
        """Draw a part of an item anew, as ``config.inpaint`` says, and tell which files were written.

        Args:
            model: the domain's model.
            config: of the command.
            folder: for the files; it is made when there are some.

        Raises:
            RefineError: the domain does not in-paint.
        """
        raise self.lacks("inpaint", "does not in-paint")

    def export(self, samples: Samples, path: Path) -> None:
        """Write drawn items in the form that the field's own evaluator reads.

        Raises:
            RefineError: the domain has no such form.
        """
        raise self.lacks("export", "has no form that other evaluators read")

    def pictures(self, items: Tensor, output_type: str) -> Any:
        """Drawn items (B, ...) as pictures.

        Args:
            items: in the domain's units.
            output_type: ``pil``, a list of B images of Pillow; ``np``, an array (B, H, W, C) in [0, 1]; ``pt``, a
                tensor (B, C, H, W) in [0, 1].

        Raises:
            RefineError: items of the domain are no pictures.
        """
        raise self.lacks("pictures", "draws no pictures")

    def subject(self) -> Subject:
        """What ``refine study`` is about: items, tasks and a judge.

        Raises:
            RefineError: the domain has no study.
        """
        raise self.lacks("subject", "has no study")

    @classmethod
    def lacks(cls, method: str, words: str) -> RefineError:
        """The error of a ``method`` that a domain does without; it names the domains that have it."""
        from refine.registry import all_domains

        classes = [other for _, other in all_domains() if isinstance(other, type)]
        able = [other.name for other in classes if getattr(other, method) is not getattr(Domain, method)]
        return RefineError(f"domain {cls.name!r} {words}; accepted: {', '.join(able) or 'none that is here'}")

    @classmethod
    def regrid(cls, source: str, out: Path, grid: str) -> dict[str, dict[str, Any]]:
        """Write gridded data on another grid, and tell what that did to each field.

        Args:
            source: of the data, as the domain reads it.
            out: a file or folder that is not there yet.
            grid: name of a grid.

        Raises:
            RefineError: the domain has no grids.
        """
        from refine.registry import all_domains

        classes = [other for _, other in all_domains() if isinstance(other, type)]
        able = [other.name for other in classes if other.regrid.__func__ is not Domain.regrid.__func__]  # type: ignore[attr-defined]
        raise RefineError(f"domain {cls.name!r} has no grids; accepted: {', '.join(able) or 'no installed domain'}")

    @classmethod
    def import_weights(cls, kind: str, to: Path, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make a run of weights that others published, and tell what they were found to be.

        Args:
            kind: whose weights; one of ``imports``.
            to: the run's folder, new or empty.
            given: files and what else the command was given, by name.

        Raises:
            RefineError: the domain does not know the kind.
        """
        raise RefineError(f"domain {cls.name!r} imports no weights of {kind}")

    def starter(self) -> Path | None:
        """Folder of the checkpoint that ships with the domain, if one does."""
        return None


class FieldsDataset(Dataset[dict[str, Tensor]]):
    """Items held in memory: one tensor per field, the first dimension counting items."""

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors: Mapping[str, Tensor] = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        rows = {name: tensor[torch.as_tensor(indices)] for name, tensor in self.tensors.items()}
        return [{name: row[i] for name, row in rows.items()} for i in range(len(indices))]
