"""What the commands and the training engine need of any domain's model, and how models are saved, loaded and shared."""

from __future__ import annotations

import abc
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from refine.errors import require
from refine.items import Items
from refine.models.saved import fill, model_of
from refine.progress import track
from refine.settings.bounds import check
from refine.settings.config import Config, SamplerConfig, TrainConfig
from refine.settings.places import plainly
from refine.settings.typed import typed
from refine.storage import hub
from refine.storage.checkpoint import open_checkpoint, read_weights, save_checkpoint
from refine.types import Condition, Samples


class Learner(Protocol):
    """What a training stage trains; a module. A :class:`Model` is one."""

    def training_items(self, split: str, seed: int) -> Items:
        """What the stage reads of ``train`` or ``val``; see :meth:`Model.training_items`."""

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Model.training_loss`."""

    def frozen(self) -> Sequence[nn.Module]:
        """See :meth:`Model.frozen`."""


class Model(nn.Module, abc.ABC):
    """A model of a domain: :class:`refine.models.refiner.Refiner` unless the domain brings its own (``Domain.model``).

    Attributes:
        stages: names of its training stages in order. ``predictor`` trains :meth:`training_loss`; a model that also has
            the stage ``tokenizer`` keeps what that one trains, a :class:`refine.Tokenizer`, as ``tokenizer``.
        domain: what it is a model of, a :class:`refine.Domain`.
        config: its configuration, an instance of the domain's ``ModelConfig``.
        info: what its training left to say, by stage; plain data.
    """

    stages: ClassVar[tuple[str, ...]] = ("predictor",)

    def __init__(self, domain: Any, config: Any) -> None:
        super().__init__()
        self.domain, self.config = domain, whole(config)
        self.info: dict[str, Any] = {}

    @property
    @abc.abstractmethod
    def num_levels(self) -> int:
        """K, the number of scales; as many entries have the sampler's lists."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    # -- sampling ----------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def sample(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
    ) -> Samples:
        """Draw samples number ``first`` to ``first + num - 1`` of ``seed``.

        Sample i depends on (seed, i), its condition and the sampler, not on the batch it is drawn in.

        Args:
            num: B.
            condition: of the B samples; None draws unconditionally.
            seed: of all noise.
            first: number of the first sample.
            sampler: temperature, truncation and guidance.
            trail: also the items as they stand after every scale.
        """

    def sample_many(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
        batch_size: int = 64,
    ) -> Samples:
        """:meth:`sample` in batches, with its progress shown; the result is in the memory of the CPU."""
        shown = num if trail else 0
        return Samples.join(list(self.sample_batches(num, condition, seed, sampler, shown, batch_size)))

    def sample_batches(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
        trail: int = 0,
        batch_size: int = 64,
    ) -> Iterator[Samples]:
        """:meth:`sample_many`, a batch at a time: memory does not grow with ``num``.

        Args:
            num: samples in all.
            condition: of all.
            seed: of all noise.
            sampler: temperature, truncation and guidance.
            trail: the first so many samples come with their trail.
            batch_size: samples drawn at once.
        """
        require(num > 0, f"num={num} is not accepted; accepted: 1 or more")
        require(batch_size > 0, f"batch_size={batch_size} is not accepted; accepted: 1 or more")
        for first in track(range(0, num, batch_size), f"Drawing {num} samples"):
            stop = min(first + batch_size, num)
            given = None if condition is None else condition[first:stop]
            drawn = self.sample(stop - first, given, seed, first, sampler, first < trail)
            yield drawn.cpu().with_trail_of(trail - first)

    # -- training ----------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def training_items(self, split: str, seed: int) -> Items:
        """What the predictor stage reads of ``train`` or ``val``; it has a length, and item i never changes.

        The data set may have a method ``collate(rows)`` that makes a batch, a dict of tensors (PyTorch's default
        otherwise), and an attribute ``fingerprint``, a name for all that its batches depend on: then they are computed
        once and read from the run's cache (so ``collate`` must give one row for each item).
        """

    @abc.abstractmethod
    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of :meth:`training_items`, and figures to log by name, the most telling one first.

        In evaluation mode it is the validation's, whose figures are logged as ``val_...``.
        """

    def frozen(self) -> Sequence[nn.Module]:
        """Parts that the predictor stage leaves as they are, in evaluation mode."""
        return ()

    def learner(self, stage: str) -> Any:
        """The part, a :class:`Learner`, that ``stage`` trains; the model itself unless it has parts with losses of
        their own."""
        return self

    def tokenizer_items(self, split: str) -> Items:
        """What the tokenizer stage reads: dicts with ``x``, and ``base`` where there is one."""
        items: Items = self.domain.dataset(split)
        return items

    def check_stage(self, stage: str) -> None:
        """Make sure that training ``stage`` can begin.

        Raises:
            RefineError: it needs another first.
        """

    def finish(self, stage: str, config: Config) -> None:
        """The last thing of a stage, before its result is published: to calibrate, say. Nothing by default."""

    # -- evaluation --------------------------------------------------------------------------------------------------

    def asked(self, items: Items, num: int) -> tuple[int, Condition]:
        """How many samples evaluation draws, and for which conditions: ``num`` without one, if nothing else is known.

        Args:
            items: the split that is evaluated.
            num: ``evaluate.samples``.
        """
        return num, Condition()

    @abc.abstractmethod
    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        """Figures of ``refine evaluate`` that are the model's own, as plain data.

        Args:
            items: held-out items of the domain, as its ``dataset`` gives them.
            samples: what was drawn for comparison, on the CPU.
            batch_size: items at once.

        Returns:
            Lists whose names end in ``_by_scale`` have K entries, coarsest first.
        """

    def hold(self, dtype: torch.dtype) -> None:
        """Keep the weights of what predicts codes in ``dtype``, and compute in it; what makes items of codes stays in
        float32, and so do probabilities.

        Raises:
            RefineError: a model that computes in float32 only.
        """
        require(dtype == torch.float32, f"domain {self.domain.name!r} computes in float32 only, not in {dtype}")

    # -- files -------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``, atomically; trained floats as ``dtype`` if
        given, statistics as they are.

        Raises:
            RefineError: the model has parts that its configuration does not name, which loading would replace.
        """
        self.check_parts()
        header = {
            "domain": self.domain.name,
            "domain_config": plainly(dataclasses.asdict(self.domain.config)),
            "model": dataclasses.asdict(self.config),
            "info": self.info,
        }
        tensors = {n: t.detach().cpu().contiguous() for n, t in self.state_dict().items()}
        if dtype is not None:
            trained = {n for n, p in self.named_parameters() if p.is_floating_point()}
            tensors = {n: t.to(dtype) if n in trained else t for n, t in tensors.items()}
        save_checkpoint(Path(folder), header, tensors)

    def check_parts(self) -> None:
        """Make sure that the configuration says what the model is made of.

        Raises:
            RefineError: a part that was put in by hand.
        """

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        token: str | None = None,
        places: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load a checkpoint folder, or a repository ``owner/name`` of the Hugging Face hub. No pickle is read.

        Whichever class it is called on, the result is the model of the domain that the checkpoint names.

        Args:
            folder: where the checkpoint is.
            device: where the model is to be.
            dtype: of what predicts, as :meth:`hold` has it; None for float32.
            revision: of a repository of the hub: a branch, a tag or a commit.
            token: of the hub, for a private repository.
            places: options of the domain that say where data are (``folder``, ``data``), in place of the checkpoint's.
                Of those that only the checkpoint names nothing is opened that is not on this machine.

        Raises:
            RefineError: not a checkpoint, damaged, from a newer version, or not matching its own configuration; before
                memory is asked for, a configuration of a larger model than the weights are of.
        """
        path = hub.locate(folder, revision, token)
        header, weights = open_checkpoint(path)
        model = model_of(path, header, weights, places)
        fill(model, read_weights(path, header, weights), path)
        model.info = header.get("info", {})
        if dtype is not None:
            model.hold(dtype)
        return model.to(device).eval()  # type: ignore[no-any-return]

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Upload the checkpoint to the Hugging Face hub and return its address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(Path(folder), repo_id, self.domain.name, private, token)


def whole(config: Any) -> Any:
    """A configuration whose sections may be given as dicts, with all of them as what they are, and its values checked.

    Raises:
        RefineError: an unknown key, or a value of another type or out of its bounds.
    """
    given = dataclasses.fields(config) if dataclasses.is_dataclass(config) else ()
    if any(isinstance(getattr(config, f.name), Mapping) for f in given):
        return typed(type(config), dataclasses.asdict(config), "model")
    if given:
        check(config, "model")
    return config
