"""What the mean gets wrong, as items that the tokenizer learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.items import collate_of

if TYPE_CHECKING:
    from refine.domains.weather.forecaster.forecaster import Forecaster


class Errors(Dataset[dict[str, Tensor]]):
    """Items ``x`` (C, H, W): what is coded of a step, computed a batch at a time (:meth:`Forecaster.error`).

    Args:
        pairs: :class:`refine.domains.weather.fields.pairs.Pairs`, or a part of them.
        model: whose mean it is.
        conditioned: also ``field``, the condition of the codes.
    """

    def __init__(self, pairs: Any, model: Forecaster, conditioned: bool = False) -> None:
        self.pairs, self.model, self.conditioned = pairs, model, conditioned

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.pairs[index]  # type: ignore[no-any-return]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        return self.pairs.__getitems__(indices)  # type: ignore[no-any-return]

    @torch.no_grad()
    def collate(self, rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The errors of a batch of states."""
        device = self.model.device
        batch = {name: tensor.to(device) for name, tensor in collate_of(self.pairs)(rows).items()}
        change, condition = self.model.known(batch["before"], batch["now"], batch["forcing"])
        out = {"x": self.model.error(batch, change).cpu()}
        if self.conditioned and condition.field is not None:
            out["field"] = condition.field.cpu()
        return out
