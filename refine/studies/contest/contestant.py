"""What a study compares: generators of one kind of latent, under the same conditions, trained by the same engine."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from refine.domain import Domain
from refine.errors import RefineError
from refine.items import Items
from refine.models.codec import Codec
from refine.models.inference import inference
from refine.models.model import Model
from refine.noise import Noise
from refine.settings.config import ModelConfig, SamplerConfig, TrainConfig
from refine.types import Condition, ConditionSpec, Samples


class Subject(Protocol):
    """What a domain brings to a study: items, tasks that leave something open, and a judge.

    Attributes:
        data: what the items are, in words.
        spec: what every task conditions on.
        tasks: their names; the first is generation from the label alone.
        shares: how often training meets each.
    """

    data: str
    spec: ConditionSpec
    tasks: Sequence[str]
    shares: Sequence[float]

    @property
    def judge(self) -> str:
        """What figures are made with, in words."""

    def items(self, split: str) -> Items:
        """Items of ``train``, ``val`` or ``test``: dicts with ``x`` and ``label``."""

    def condition(self, x: Tensor, label: Tensor, task: Tensor) -> Condition:
        """What is told of items (B, ...) with labels (B,) where the number of the task is ``task`` (B,)."""

    def score(self, task: str, drawn: Tensor, x: Tensor, label: Tensor) -> dict[str, Any]:
        """Figures of items drawn for the conditions of ``x``."""

    def show(self, items: Tensor, path: Path) -> None:
        """A picture of items in a row, in a folder that may not be there yet."""


class Contestant(Model):
    """A generator on the finest scale's sites, with the Transformer that all contestants share.

    Args:
        subject: of the study.
        domain: whose codec and resampler it has.
        config: of its predictor, pyramid and quantizer.

    Attributes:
        codec: trained; it stays as it is. A module is registered once: where a tokenizer holds it, this is a property.
        likelihood: what :meth:`nats` are: ``exact`` or a ``bound`` for codes or items, a ``density``; None: unknown.
        tokens: sites that one item costs in a training update.
    """

    stages: ClassVar[tuple[str, ...]] = ("predictor",)
    config: ModelConfig
    codec: Codec
    likelihood: str | None = None
    tokens: int

    def __init__(self, subject: Subject, domain: Domain, config: ModelConfig) -> None:
        super().__init__(domain, config)
        self.subject = subject

    @property
    def num_levels(self) -> int:
        return 1

    @abc.abstractmethod
    def loss(self, latent: Tensor, condition: Condition) -> Tensor:
        """What training minimises, of latents (B, N, C)."""

    @abc.abstractmethod
    def draw(
        self, noise: Noise, condition: Condition, steps: int, method: str = "", temperature: float = 1.0
    ) -> tuple[Tensor, float]:
        """Latents (B, N, C) for B samples, and how many passes through the network a sample took.

        Args:
            noise: the stream of each sample.
            condition: of the B samples.
            steps: how many passes it may take.
            method: where there are several samplers, which.
            temperature: of the laws that codes are drawn from; for diffusion, the standard deviation of the noise that
                it starts from.
        """

    def nats(self, latent: Tensor, condition: Condition) -> Tensor | None:
        """(B,) negative log-likelihoods of items with latents (B, N, C), or upper bounds of them."""
        return None

    def quantised(self, latent: Tensor) -> Tensor | None:
        """Latents (B, N, C) as its codes have them, or None for one without codes."""
        return None

    # -- training ----------------------------------------------------------------------------------------------------

    def training_items(self, split: str, seed: int) -> Items:
        return self.subject.items(split)

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss under tasks that are drawn anew for every item; in validation they take turns."""
        x, label = batch["x"], batch["label"]
        shares = torch.tensor(self.subject.shares)
        if self.training:
            task = torch.multinomial(shares, len(x), replacement=True)
        else:
            task = torch.arange(len(x)) % len(shares)
        with torch.no_grad():
            latent = self.codec.encode(x)
            condition = self.subject.condition(x, label, task.to(x.device))
        loss = self.loss(latent, condition)
        return loss, {"loss": loss}

    def frozen(self) -> Sequence[nn.Module]:
        return (self.codec,)

    # -- sampling ----------------------------------------------------------------------------------------------------

    @inference
    def sample(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
    ) -> Samples:
        noise = Noise(seed, range(first, first + num))
        condition = (condition or Condition()).to(self.device)
        return Samples(self.codec.decode(self.draw(noise, condition, self.steps())[0]), [], condition, [])

    def steps(self) -> int:
        """Passes of :meth:`draw` where nobody says."""
        return self.num_levels

    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        raise RefineError("contestants of a study are scored by it")
