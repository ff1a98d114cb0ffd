"""Small things that tests of the core are made of: a domain to enumerate, schedules of grids, quantizer doubles."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from strangers import install
from torch import Tensor, nn

from refine.codes.quantizer import Quantizer
from refine.domain import Domain
from refine.items import FieldsDataset
from refine.models.codec import Codec, IdentityCodec
from refine.models.refiner import Refiner
from refine.scales.resample import DOWN, UP, GridResampler
from refine.settings.config import ModelConfig
from refine.types import Condition, ConditionSpec

SCHEDULES: dict[str, list[Any]] = {
    "one scale": [(3, 5)],
    "squares": [1, 2, 4, 8],
    "odd": [1, 3, 7, 13],
    "not square": [(1, 2), (3, 4), (5, 9)],
    "an axis at a time": [(1, 4), (2, 4), (2, 9)],
    "signal": [(1,), (2,), (5,), (16,)],
    "volume": [(1, 1, 1), (2, 3, 2), (4, 5, 3)],
    "VAR": [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
}
KINDS = [(down, up) for down in DOWN for up in UP]

all_schedules = pytest.mark.parametrize("shapes", list(SCHEDULES.values()), ids=list(SCHEDULES))
all_kinds = pytest.mark.parametrize(("down", "up"), KINDS, ids=["-".join(kind) for kind in KINDS])


@dataclass
class TinyConfig:
    """Options of :class:`TinyDomain`."""

    shapes: list[Any] = field(default_factory=lambda: [[1], [2]])
    channels: int = 2
    items: int = 64
    classes: int = 0
    vector: int = 0
    field: int = 0
    base: bool = False
    learned: bool = False  # a linear codec instead of none
    nan_item: int = -1  # this training item is not a number


class LinearCodec(Codec):
    """A codec with something to learn."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.encoder, self.decoder = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)  # type: ignore[no-any-return]

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent)  # type: ignore[no-any-return]

    def discriminator(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(self.channels, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def last_layer(self) -> nn.Parameter:
        return self.decoder.weight


class TinyDomain(Domain):
    """Smooth random fields on a small grid, with every kind of condition that is asked for."""

    name, Config = "tiny", TinyConfig
    config: TinyConfig

    def dataset(self, split: str) -> FieldsDataset:
        c, g = self.config, torch.Generator().manual_seed(["train", "val", "test"].index(split))
        grid, label = self.resampler(), torch.randint(max(1, c.classes), (c.items,), generator=g)
        last = grid.num_levels - 1
        coarse = torch.randn(c.items, grid.num_sites(0), c.channels, generator=g) + label[:, None, None]
        x = grid.up(coarse, 0, last) + 0.3 * torch.randn(c.items, grid.num_sites(last), c.channels, generator=g)
        if split == "train" and c.nan_item >= 0:
            x[c.nan_item] = torch.nan
        given = {
            "label": label if c.classes else None,
            "vector": x.mean((1, 2))[:, None].expand(-1, c.vector).clone() if c.vector else None,
            "field": x[..., :1].expand(-1, -1, c.field).clone() if c.field else None,
            "base": 0.5 * x if c.base else None,
        }
        return FieldsDataset(x=x, **{name: value for name, value in given.items() if value is not None})

    def codec(self) -> Codec:
        return LinearCodec(self.config.channels) if self.config.learned else IdentityCodec(self.config.channels)

    def resampler(self) -> GridResampler:
        return GridResampler(self.config.shapes, up="linear" if len(self.config.shapes[0]) == 1 else "bicubic")

    @property
    def condition(self) -> ConditionSpec:
        return ConditionSpec(self.config.classes, self.config.vector, self.config.field, base=self.config.base)


def install_tiny(folder: Path) -> Path:
    """Announce :class:`TinyDomain` as an installed package would; returns what to put on the module search path."""
    return install(folder, "toy", Path(__file__).read_text(), "tiny = toy:TinyDomain")


def stir(module: nn.Module, size: float = 0.3, seed: int = 0) -> nn.Module:
    """Move every weight at random, so that no zero of an initialisation hides what depends on what."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def tiny_refiner(model: ModelConfig, **options: Any) -> Refiner:
    """A model with random weights and a quantizer fitted to the data, in evaluation mode."""
    torch.manual_seed(0)
    domain = TinyDomain(TinyConfig(**options))
    refiner = Refiner(domain, model).eval()
    stir(refiner.predictor), stir(refiner.head, 0.1), stir(refiner.tokenizer.pyramid, 0.1)
    data = domain.dataset("train").tensors
    with torch.no_grad():
        refiner.tokenizer.fit(refiner.tokenizer.codec.encode(data["x"]), data.get("base"))
    return refiner


def items_of(refiner: Refiner, count: int) -> tuple[Tensor, Condition]:
    """The first training items and their conditions."""
    batch = {name: value[:count] for name, value in refiner.domain.dataset("train").tensors.items()}  # type: ignore[attr-defined]
    return batch["x"], Condition.from_batch(batch)


class ExactQuantizer(Quantizer):
    """A double that quantises nothing: what was encoded last is what is embedded."""

    def __init__(self, num_scales: int, channels: int) -> None:
        super().__init__(num_scales, channels, [1] * num_scales, shared=False)
        self.last = torch.empty(0)

    def encode(self, x: Tensor, k: int) -> Tensor:
        self.last = x
        return torch.zeros(x.shape[:-1], dtype=torch.int64)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return self.last

    def fit(self, x: Tensor, k: int) -> None:
        """There is nothing to fit."""


class RoundingQuantizer(ExactQuantizer):
    """A double that rounds to multiples of ``step``: its error is at most half a step wherever it is used."""

    step = 0.5

    def encode(self, x: Tensor, k: int) -> Tensor:
        return super().encode((x / self.step).round() * self.step, k)
