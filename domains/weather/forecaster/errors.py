"""What the mean gets wrong: as items that the tokenizer learns from, and in pairs of successive steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from refine.domains.weather.forecaster.one_step import OneStep
from refine.items import collate_of, in_batches

ROWS = 32  # steps whose errors are computed together


class Errors(Dataset[dict[str, Tensor]]):
    """Items ``x`` (C, H, W): what is coded of a step, computed a batch at a time (:meth:`OneStep.error`).

    Args:
        pairs: :class:`refine.domains.weather.fields.pairs.Pairs`, or a part of them.
        model: whose mean it is.
        conditioned: also ``field``, the condition of the codes.
    """

    def __init__(self, pairs: Any, model: OneStep, conditioned: bool = False) -> None:
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


@torch.no_grad()
def successive_errors(model: OneStep, split: str, items: int) -> tuple[Tensor, Tensor]:
    """Errors (N, C, H, W) of about ``items`` steps, evenly spread over a split in pairs of which the second starts
    where the first ends; and where those are, (P, 2)."""
    days = model.domain.dataset(split)
    starts = {int(now): place for place, now in enumerate(days.index[:, 1])}
    pairs = [(place, starts[int(after)]) for place, after in enumerate(days.index[:, 2]) if int(after) in starts]
    pairs = pairs[:: max(1, -(-2 * len(pairs) // items))]
    alone = list(range(0, len(days), max(1, len(days) // items)))
    chosen = sorted({place for pair in pairs for place in pair}) or alone
    at = {place: i for i, place in enumerate(chosen)}
    errors = torch.cat([batch["x"] for batch in in_batches(Subset(Errors(days, model), chosen), ROWS)])
    return errors, torch.tensor([[at[a], at[b]] for a, b in pairs], dtype=torch.int64).view(-1, 2)
