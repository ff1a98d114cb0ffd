"""What an adapter supplies, and how adapters are found.

A new domain is one file with a subclass of :class:`Domain`, announced by its distribution as

    [project.entry-points."refine.domains"]
    signal = "my_package.signal:SignalDomain"

What only some domains can do is inherited beside it (:mod:`refine.capabilities`).
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.codes.quantizer import build_quantizer
from refine.drawing.asking import class_number, sizes_of, vectors_of
from refine.errors import RefineError, require
from refine.items import FieldsDataset as FieldsDataset  # importable from here too
from refine.items import collate_of, spread
from refine.kinds import DOMAINS
from refine.models.codec import Codec
from refine.models.model import Model
from refine.models.refiner import Refiner
from refine.scales.resample import Resampler
from refine.settings.bounds import check
from refine.settings.config import ModelConfig
from refine.settings.typed import typed
from refine.storage.arrays import ArchiveWriter
from refine.types import Condition, ConditionSpec, Samples

LOOKED_AT = 1024  # held-out items among which conditions of a class are looked for


@dataclass(frozen=True)
class Symmetry:
    """A transformation that the domain's geometry does not see.

    Attributes:
        name: what it is, in words.
        permutations: K index tensors (N_k,): site i of the transformed item is site ``p[i]`` of the original.
    """

    name: str
    permutations: list[Tensor] = field(repr=False)


@DOMAINS.base
class Domain(abc.ABC):
    """Everything refine has to know about a kind of data.

    Subclasses set ``name``, ``Config`` (a dataclass of plain options) and ``group`` (the symmetry group their geometry
    has, in words), and implement :meth:`dataset`, :meth:`codec` and :meth:`resampler`. A domain whose items are no
    latents on a pyramid of sites brings a model of its own: it implements :meth:`dataset`, :meth:`model` and
    :meth:`describe`, and sets ``ModelConfig`` and ``stages``.

    Attributes:
        name: what the domain is called.
        Config: dataclass of its options, the keys ``domain.*``.
        ModelConfig: dataclass of the options of its model, the keys ``model.*``.
        stages: those that its model is trained in, in order.
        sections: for the names of sections that have more keys in this domain (``train``, or that of a command), a
            subclass of the section's dataclass.
        group: the symmetry group of the geometry, in words.
        packages: those without which nothing can be done, as they are imported, and which an extra brings. A domain
            without them is not loaded, and the error says how to install them.
        unconditional: whether items can be drawn from nothing but what :meth:`ask` says; a forecast cannot.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    ModelConfig: ClassVar[type] = ModelConfig
    stages: ClassVar[tuple[str, ...]] = Refiner.stages
    sections: ClassVar[Mapping[str, type]] = {}
    group: ClassVar[str] = "none"
    packages: ClassVar[tuple[str, ...]] = ()
    unconditional: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        check(config, "domain")
        self.config = config

    @abc.abstractmethod
    def dataset(self, split: str) -> Dataset[Any]:
        """The items of ``train``, ``val`` or ``test``: dicts with ``x`` and any field of :class:`Condition`, or what
        the domain's own model reads.

        It has a length, and item i never changes.
        """

    @classmethod
    def older(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Options as a file of an older version has them, with what it meant where keys that came later are missing."""
        return options

    def codec(self) -> Codec:
        """A fresh codec between items and latents."""
        raise self._incomplete("codec")

    def resampler(self) -> Resampler:
        """The scales: how to go down and up between them, and their geometry."""
        raise self._incomplete("resampler")

    def _incomplete(self, what: str) -> RefineError:
        return RefineError(f"domain {self.name!r} has neither {what}() nor a model() that does without")

    def model(self, config: Any) -> Model:
        """A fresh model; ``config`` is a ``ModelConfig``. By default a :class:`refine.Refiner`."""
        return Refiner(self, config)

    def describe(self, config: Any) -> dict[str, Any]:
        """What ``refine inspect`` says of the scales of such a model, without making one."""
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

    def ask(
        self,
        num: int,
        label: Any = None,
        size: Any = None,
        split: str = "val",
        section: str = "sample",
        vector: Any = None,
    ) -> Condition:
        """Conditions for ``num`` samples: what is asked for, and what nobody can say on a command line.

        By default fields, vectors, bases and masks are those of held-out items, of the class that is asked for if there
        are some; ``refine sample``, the pictures of a training and ``refine evaluate`` use this.

        Args:
            num: B.
            label: a class, by name or number, or a list of classes in turn; None for those of the held-out items, or
                all classes in turn.
            size: sites of an item, or a list of sizes in turn, where items differ in them.
            split: whose items.
            section: of the configuration, with the keys ``label``, ``size`` and ``vector``, for messages.
            vector: one of the model's length, or a list of such in turn; None for those of the held-out items.

        Raises:
            RefineError: no such class, size or vector.
        """
        spec, labels = self.condition, self.labels_of(label, num, f"{section}.label")
        vectors = vectors_of(vector, num, spec.vector, f"{section}.vector")
        sizes = sizes_of(size, num, spec.size, f"{section}.size")
        condition = Condition(label=labels, vector=vectors, size=sizes)
        if not ((spec.vector and vectors is None) or spec.field or spec.base or spec.mask):
            return condition
        held = self._held_out(split, num, None if label is None else labels)
        own = label is None and vectors is None and held.label is not None
        held = held if vectors is None else replace(held, vector=vectors)
        return replace(held, label=held.label if own else labels, size=condition.size)

    def _held_out(self, split: str, num: int, labels: Tensor | None) -> Condition:
        """Conditions of ``num`` items, evenly spread over a split; of given labels (num,) where it has such items."""
        items = self.dataset(split)
        some = spread(items, num if labels is None else LOOKED_AT)
        found = Condition.from_batch(collate_of(items)([some[i] for i in range(len(some))]))  # type: ignore[arg-type]
        turns: dict[int, Any] = {}
        index = []
        for i in range(num):
            wanted = -1 if labels is None or found.label is None else int(labels[i])
            if wanted not in turns:
                own = [] if found.label is None else (found.label == wanted).nonzero().flatten().tolist()
                turns[wanted] = cycle(own or range(len(some)))  # type: ignore[arg-type]
            index.append(next(turns[wanted]))
        return self.condition.only(found)[torch.tensor(index)]

    def labels_of(self, label: Any, num: int, key: str = "sample.label") -> Tensor | None:
        """(num,) labels: the given class, the given classes in turn, or all in turn; None where there are no classes.

        Args:
            label: a class, its name or its number (:func:`refine.drawing.asking.class_number`), or a list of classes.
            num: how many.
            key: what asks, for messages.

        Raises:
            RefineError: no such class.
        """
        classes, names = self.condition.num_classes, self.class_names()
        if not classes:
            require(label is None, f"{key}={label!r} is not accepted: this model is not conditioned on classes")
            return None
        if label is None:
            numbers = list(range(classes))
        else:
            numbers = [class_number(item, names, key) for item in (label if isinstance(label, list) else [label])]
        require(bool(numbers), f"{key}=[] is not accepted; accepted: a class, a list of classes, or null")
        return torch.tensor(list(islice(cycle(numbers), num)))

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
        return _archive([samples], folder)

    def save_batches(self, batches: Iterable[Samples], num: int, folder: Path, **options: Any) -> list[Path]:
        """What :meth:`save` does, of items that come batch by batch and need not fit into memory together.

        By default the one ``samples.npz`` is written as they come; a domain with a ``save`` of its own is given all at
        once, unless it implements this as well.

        Args:
            batches: what is drawn; the first samples have a trail, where one is shown.
            num: how many items there will be.
            folder: it is there.
            options: as for :meth:`save`: ``gif``, ``strip`` and ``pictures``.
        """
        if type(self).save is Domain.save:
            return _archive(batches, folder)
        return self.save(Samples.join(list(batches)), folder, **options)

    def plot_training(self, model: Any, folder: Path) -> list[Path]:
        """Pictures at the end of a training stage, written into ``folder``; none by default.

        Args:
            model: in evaluation mode, on the device that it was trained on; move items there (``model.device``).
            folder: it is there.
        """
        return []

    def metrics(self, model: Any, samples: Samples, config: Any, folder: Path) -> dict[str, Any]:
        """Domain-specific figures of ``refine evaluate``, beside those of the model (``Model.score``).

        Args:
            model: in evaluation mode, on the device that ``trainer.accelerator`` asks for.
            samples: what was drawn, on the CPU.
            config: the section ``evaluate``, an instance of :class:`refine.commands.evaluate.EvaluateConfig`.
            folder: for what is written beside the figures.

        Returns:
            Numbers, texts and lists, as JSON takes them; under names that end in ``_by_scale`` one for each scale.
        """
        return {}

    def check_metrics(self, model: Any, config: Any) -> None:
        """Refuse what :meth:`metrics` would refuse, before anything is drawn; nothing by default.

        Args:
            model: as in :meth:`metrics`.
            config: as there.

        Raises:
            RefineError: a key of the section, or a package that is missing.
        """
        return None

    def starter(self) -> Path | None:
        """Folder of the checkpoint that ships with the domain, if one does."""
        return None


def _archive(batches: Iterable[Samples], folder: Path) -> list[Path]:
    with ArchiveWriter(folder / "samples.npz") as archive:
        for samples in batches:
            codes = {f"codes_{k}": c.cpu().numpy() for k, c in enumerate(samples.codes)}
            archive.add(items=samples.items.cpu().numpy(), **codes)
        return [archive.finish()]


def load_domain(name: str, **options: Any) -> Domain:
    """The domain called ``name`` with ``options`` of its ``Config`` set.

    Raises:
        RefineError: no such domain, or no such option.
    """
    cls = DOMAINS.load(name)
    domain: Domain = cls(typed(cls.Config, options, name))
    return domain


def starter(name: str) -> Path:
    """The checkpoint that ships with the domain called ``name``.

    Raises:
        RefineError: it has none.
    """
    path = load_domain(name).starter()
    if path is None:
        raise RefineError(f"domain {name!r} ships no starter checkpoint; train one with: refine train domain={name}")
    return path
