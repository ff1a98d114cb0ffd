"""What an adapter supplies, and how the core finds it: by entry point, never by import.

A new domain is one file with a subclass of :class:`Domain`, announced by its distribution as

    [project.entry-points."refine.domains"]
    signal = "my_package.signal:SignalDomain"
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from refine.errors import RefineError, not_accepted
from refine.resample import Resampler
from refine.types import ConditionSpec, Samples

if TYPE_CHECKING:
    from refine.config import EvaluateConfig
    from refine.refiner import Refiner

GROUP = "refine.domains"


class Codec(nn.Module, abc.ABC):
    """F and G of eq. 12 and 20: between items and a latent on the finest scale's sites.

    Attributes:
        channels: C, latent channels.
    """

    channels: int

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Items (B, ...) to a latent (B, N_{K-1}, C)."""

    @abc.abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, N_{K-1}, C) to items (B, ...)."""

    def reconstruction_loss(self, output: Tensor, x: Tensor) -> Tensor:
        """What training the codec minimises; the mean squared error unless a domain knows better."""
        return nn.functional.mse_loss(output, x)


class IdentityCodec(Codec):
    """No latent space: items are already (B, N_{K-1}, C). The "no-latent" control of section 6 of the paper."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, latent: Tensor) -> Tensor:
        return latent


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
    has, in words), and implement :meth:`dataset`, :meth:`codec` and :meth:`resampler`.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    group: ClassVar[str] = "none"

    def __init__(self, config: Any) -> None:
        self.config = config

    @abc.abstractmethod
    def dataset(self, split: str) -> Dataset[dict[str, Tensor]]:
        """The items of ``train``, ``val`` or ``test``: dicts with ``x`` and any field of :class:`Condition`.

        It has a length, and item i never changes.
        """

    @abc.abstractmethod
    def codec(self) -> Codec:
        """A fresh codec between items and latents."""

    @abc.abstractmethod
    def resampler(self) -> Resampler:
        """The scales: how to go down and up between them, and their geometry."""

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
        np.savez_compressed(path, items=samples.items.cpu().numpy(), **arrays)  # type: ignore[arg-type]
        return [path]

    def plot_training(self, refiner: Refiner, folder: Path) -> list[Path]:
        """Pictures at the end of a training stage; none by default."""
        return []

    def metrics(self, refiner: Refiner, samples: Samples, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Domain-specific figures of ``refine evaluate``, beside those that the core computes for every domain."""
        return {}

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


def entry_point_domains() -> dict[str, EntryPoint]:
    """Announced domains by name; none is imported."""
    return {e.name: e for e in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def load_domain_class(name: str) -> type[Domain]:
    """The adapter called ``name``.

    Raises:
        RefineError: no such domain, or it cannot be imported (the cause is in the message).
    """
    found = entry_point_domains()
    if name not in found:
        raise not_accepted("domain", name, found)
    try:
        cls = found[name].load()
    except Exception as error:  # a stranger's adapter may fail in any way; say which one and why
        raise RefineError(f"domain {name!r} ({found[name].value}) cannot be loaded: {error!r}") from error
    if not (isinstance(cls, type) and issubclass(cls, Domain)):
        raise RefineError(f"domain {name!r} ({found[name].value}) is not a subclass of refine.Domain")
    return cls


def all_domains() -> Iterator[tuple[str, type[Domain] | RefineError]]:
    """Every announced domain, or why it does not load."""
    for name in entry_point_domains():
        try:
            yield name, load_domain_class(name)
        except RefineError as error:
            yield name, error


def load_domain(name: str, **options: Any) -> Domain:
    """The domain called ``name`` with ``options`` of its ``Config`` set.

    Raises:
        RefineError: no such domain, or no such option.
    """
    from refine.compose import typed

    cls = load_domain_class(name)
    return cls(typed(cls.Config, options, name))


def starter(name: str) -> Path:
    """The checkpoint that ships with the domain called ``name``.

    Raises:
        RefineError: it has none.
    """
    path = load_domain(name).starter()
    if path is None:
        raise RefineError(f"domain {name!r} ships no starter checkpoint; train one with: refine train domain={name}")
    return path
