"""A domain whose model has a part with a loss of its own: bags of letters, and first how large they are on average."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from bags import Bag, BagConfig, BagDomain, BagModel, Bags
from strangers import install
from torch import Tensor, nn

from refine.settings.config import StageConfig, TrainConfig


@dataclass
class SizedTrainConfig(TrainConfig):
    """Keys of a training with one stage more."""

    mean: StageConfig = field(default_factory=StageConfig)


@dataclass
class SizedConfig(BagConfig):
    """Those of bags."""

    diary: str = ""  # a file in which every call of ``finish`` is written down
    die: str = ""  # the stage at whose end the process dies, if the diary has no line of it


class Sizes(nn.Module):
    """The mean size of a bag, by its own loss; and a constant that only its validation knows."""

    def __init__(self, domain: Any) -> None:
        super().__init__()
        self.domain, self.mean = domain, nn.Parameter(torch.zeros(()))

    def training_items(self, split: str, seed: int) -> Counted:
        return Counted(self.domain.config, ["train", "val"].index(split))

    def training_loss(self, batch: dict[str, Tensor], settings: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.mean - batch["size"]).square().mean()
        return loss, {"square": loss}

    def frozen(self) -> Sequence[nn.Module]:
        return ()


class Counted(Bags):
    """The sizes of bags."""

    def collate(self, rows: list[Bag]) -> dict[str, Tensor]:
        return {"size": torch.tensor([float(len(bag.letters)) for bag in rows])}


class SizedModel(BagModel):
    """Knows the mean size of bags from a stage of its own, and writes down what it learned when a stage ends."""

    stages = ("mean", "predictor")

    def __init__(self, domain: Any, config: Any) -> None:
        super().__init__(domain, config)
        self.sizes = Sizes(domain)

    def learner(self, stage: str) -> Any:
        return self.sizes if stage == "mean" else self

    def frozen(self) -> tuple[nn.Module]:
        return (self.sizes,)

    def finish(self, stage: str, config: Any) -> None:
        diary = Path(self.domain.config.diary)
        seen = diary.read_text().split() if diary.exists() else []
        diary.write_text(" ".join([*seen, stage]))
        if stage == self.domain.config.die and stage not in seen:
            os.kill(os.getpid(), signal.SIGKILL)
        value = self.sizes.mean if stage == "mean" else self.logits.max()
        self.info["summary"] = self.info.get("summary", {}) | {stage: value.item()}


class SizedDomain(BagDomain):
    name, Config, stages = "sized", SizedConfig, SizedModel.stages
    sections: ClassVar[Mapping[str, type]] = {"train": SizedTrainConfig}

    def model(self, config: Any) -> SizedModel:
        return SizedModel(self, config)


def install_sized(folder: Path) -> Path:
    """Announce :class:`SizedDomain` as an installed package would; returns what to put on the module search path."""
    install(folder, "bags", Path(__file__).with_name("bags.py").read_text(), "bags = bags:BagDomain")
    return install(folder, "learners", Path(__file__).read_text(), "sized = learners:SizedDomain")
