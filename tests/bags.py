"""A domain with a model of its own: bags of letters, which have neither latents nor one size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from strangers import install
from torch import Tensor, nn
from torch.utils.data import Dataset

from refine import Condition, ConditionSpec, Domain, Model, Noise, Samples
from refine.drawing.sampler import build_sampler


@dataclass
class BagConfig:
    items: int = 40
    largest: int = 6


@dataclass
class Depth:
    layers: int = 1


@dataclass
class BagModelConfig:
    letters: int = 3  # kinds of letters
    network: Depth = field(default_factory=Depth)


@dataclass(frozen=True)
class Bag:
    letters: Tensor


class Bags(Dataset[Bag]):
    """Bags of 1 to ``largest`` letters; letter 0 is in half of the places."""

    def __init__(self, config: BagConfig, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        sizes = torch.randint(1, config.largest + 1, (config.items,), generator=g).tolist()
        self.bags = [Bag((torch.randint(4, (n,), generator=g) - 1).clamp_min(0)) for n in sizes]

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, index: int) -> Bag:
        return self.bags[index]

    def collate(self, rows: list[Bag]) -> dict[str, Tensor]:
        return {"letters": torch.cat([bag.letters for bag in rows])}


class BagModel(Model):
    """Half of a bag, then the rest, every letter by the same law."""

    config: BagModelConfig

    def __init__(self, domain: Domain, config: BagModelConfig) -> None:
        super().__init__(domain, config)
        self.logits = nn.Parameter(torch.zeros(config.letters))

    @property
    def num_levels(self) -> int:
        return 2

    def sample(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: Any = None,
        trail: bool = False,
    ) -> Samples:
        condition = condition or Condition()
        self.domain.condition.check(condition, num)
        from refine import SamplerConfig

        noise, knobs = Noise(seed, range(first, first + num)), build_sampler(sampler or SamplerConfig(), 2)
        own = 1 + (noise.uniform(0, (1,), stream=1)[:, 0] * self.domain.config.largest).long()
        sizes = own if condition.size is None else condition.size
        half = (sizes + 1) // 2
        parts = []
        for k, n in enumerate((half, sizes - half)):
            uniform = noise.ragged(k, n)
            drawn = knobs[k].draw(self.logits.detach().expand(len(uniform), -1), uniform)
            parts.append(list(drawn.split(n.tolist())))
        coarse = [Bag(a) for a in parts[0]]
        whole = [Bag(torch.cat(pair)) for pair in zip(*parts, strict=True)]
        return Samples(whole, parts, condition, [coarse, whole] if trail else [])

    def training_items(self, split: str, seed: int) -> Bags:
        return self.domain.dataset(split)

    def training_loss(self, batch: dict[str, Tensor], settings: Any) -> tuple[Tensor, dict[str, Tensor]]:
        nll = nn.functional.cross_entropy(self.logits.expand(len(batch["letters"]), -1), batch["letters"])
        return nll, {"nll": nll, "letters": torch.tensor(float(len(batch["letters"])))}

    @torch.no_grad()
    def score(self, items: Any, samples: Samples, batch_size: int) -> dict[str, Any]:
        nll = [-self.logits.log_softmax(0)[items[i].letters].sum() for i in range(len(items))]
        return {"items": len(nll), "nats": float(torch.stack(nll).mean()), "largest": max(map(size, samples.items))}


def size(bag: Bag) -> int:
    return len(bag.letters)


class BagDomain(Domain):
    name, Config, ModelConfig = "bags", BagConfig, BagModelConfig
    group = "letters have no order"

    def dataset(self, split: str) -> Bags:
        return Bags(self.config, ["train", "val", "test"].index(split))

    def model(self, config: Any) -> BagModel:
        return BagModel(self, config)

    def describe(self, config: Any) -> dict[str, Any]:
        return {"scales": "half a bag, and the rest", "codes": [config.letters] * 2}

    @property
    def condition(self) -> ConditionSpec:
        return ConditionSpec(size=True)

    def save(self, samples: Samples, folder: Path, **options: Any) -> list[Path]:
        path = folder / "bags.txt"
        path.write_text("".join("".join("abc"[i] for i in bag.letters) + "\n" for bag in samples.items))
        return [path]


def install_bags(folder: Path) -> Path:
    """Announce :class:`BagDomain` as an installed package would; returns what to put on the module search path."""
    return install(folder, "bags", Path(__file__).read_text(), "bags = bags:BagDomain")
