"""Items of several lengths, padded to one: a domain whose conditions are masks, and what tests need of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import yaml
from torch import Tensor
from toy import LinearCodec, stir

from refine.domain import Domain
from refine.items import FieldsDataset
from refine.kinds import ALL, register
from refine.models.codec import Codec, IdentityCodec
from refine.models.refiner import Refiner
from refine.scales.resample import GridResampler
from refine.settings.compose import compose
from refine.settings.config import Config, ModelConfig, PredictorConfig
from refine.types import Condition, ConditionSpec, Level


@dataclass
class RaggedConfig:
    """Options of :class:`RaggedDomain`."""

    shapes: list[Any] = field(default_factory=lambda: [[1], [2], [4], [8]])
    channels: int = 2
    items: int = 64
    classes: int = 0
    field: int = 0
    base: bool = False
    up: str = "linear"
    down: str = "area"
    learned: bool = False
    padding: float = 0.0  # what stands where an item has no site


class Placed(GridResampler):
    """Sites know how far they are from the beginning, not from the end: a shorter grid is a part of a longer one."""

    def level(self, k: int) -> Level:
        return Level(torch.arange(self.num_sites(k))[None, :, None] / 8 - 0.5)


class RaggedDomain(Domain):
    """Signals that end somewhere."""

    name, Config = "ragged", RaggedConfig
    config: RaggedConfig

    def dataset(self, split: str) -> FieldsDataset:
        c, g = self.config, torch.Generator().manual_seed(["train", "val", "test"].index(split))
        sites = self.resampler().num_sites(len(c.shapes) - 1)
        label = torch.randint(max(1, c.classes), (c.items,), generator=g)
        x = torch.randn(c.items, 1, c.channels, generator=g) + label[:, None, None]
        x = x + 0.3 * torch.randn(c.items, sites, c.channels, generator=g)
        mask = torch.arange(sites) < torch.randint(1, sites + 1, (c.items, 1), generator=g)
        padded = x.masked_fill(~mask[..., None], c.padding)
        given = {"label": label if c.classes else None, "base": 0.5 * padded if c.base else None}
        given["field"] = padded[..., :1].expand(-1, -1, c.field).clone() if c.field else None
        return FieldsDataset(x=padded, mask=mask, **{n: value for n, value in given.items() if value is not None})

    def codec(self) -> Codec:
        return LinearCodec(self.config.channels) if self.config.learned else IdentityCodec(self.config.channels)

    def resampler(self) -> GridResampler:
        return Placed(self.config.shapes, self.config.down, self.config.up)

    @property
    def condition(self) -> ConditionSpec:
        return ConditionSpec(self.config.classes, field=self.config.field, base=self.config.base, mask=True)


SMALL = PredictorConfig(width=16, depth=2, heads=2)


def ragged_refiner(model: ModelConfig, **options: Any) -> Refiner:
    """A model with random weights and a quantizer fitted to the data, in evaluation mode."""
    torch.manual_seed(0)
    domain = RaggedDomain(RaggedConfig(**options))
    refiner = Refiner(domain, model).eval()
    stir(refiner.predictor), stir(refiner.head, 0.1), stir(refiner.tokenizer.pyramid, 0.1)
    data = domain.dataset("train").tensors
    with torch.no_grad():
        refiner.tokenizer.fit(refiner.tokenizer.codec.encode(data["x"]), data.get("base"), data["mask"])
    return refiner


def some(refiner: Refiner, count: int) -> tuple[Tensor, Condition]:
    """The first training items and their conditions."""
    batch = {name: value[:count] for name, value in refiner.domain.dataset("train").tensors.items()}
    return batch["x"], Condition.from_batch(batch)


@cache
def composed(*arguments: str) -> Config:
    """The configuration of these arguments; not to be changed."""
    return compose(arguments)


def changed(config: Config, *options: str) -> Config:
    """A copy with ``key=value`` of each option set; composing one anew takes half a second."""
    config = copy.deepcopy(config)
    for name, value in (option.split("=", 1) for option in options):
        *sections, last = name.split(".")
        section = config
        for name in sections:
            section = section[name] if isinstance(section, dict) else getattr(section, name)
        if isinstance(section, dict):  # options of an installed kind
            section[last] = yaml.safe_load(value)
        else:
            setattr(section, last, yaml.safe_load(value))
    return config


@contextmanager
def registered(**parts: type) -> Iterator[None]:
    """Parts that are known while this lasts."""
    before = {kind: dict(kind._registered) for kind in ALL.values()}
    try:
        for name, cls in parts.items():
            register(name, cls)
        yield
    finally:
        for kind, names in before.items():
            kind._registered.clear()
            kind._registered.update(names)
