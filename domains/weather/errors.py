"""What the mean gets wrong, as items that the tokenizer learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.domains.weather.pairs import Pairs
from refine.items import collate_of

if TYPE_CHECKING:
    from refine.domains.weather.model import Forecaster


class Errors(Dataset[dict[str, Tensor]]):
    """Items ``x`` (C, H, W): what is coded of a step, computed a batch at a time (:meth:`Forecaster.error`)."""

    def __init__(self, pairs: Pairs, model: Forecaster) -> None:
        self.pairs, self.model = pairs, model

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.pairs[index]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        return self.pairs.__getitems__(indices)

    @torch.no_grad()
    def collate(self, rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The errors of a batch of states."""
        device = self.model.device
        batch = {name: tensor.to(device) for name, tensor in collate_of(self.pairs)(rows).items()}
        change, _ = self.model.known(batch["before"], batch["now"], batch["forcing"])
        return {"x": self.model.error(batch, change).cpu()}
