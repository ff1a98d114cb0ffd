"""Optimisers of a stage: AdamW, or Muon for hidden matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from refine.errors import not_accepted, require
from refine.settings.config import StageConfig

KINDS = ("adamw", "muon")


def check_optimizer(stage: StageConfig, key: str) -> None:
    """Make sure that the optimiser of a stage can be built here.

    Raises:
        RefineError: a kind that is none, or Muon in a PyTorch that is too old for it.
    """
    if stage.optimizer not in KINDS:
        raise not_accepted(key, stage.optimizer, KINDS)
    new_enough = stage.optimizer != "muon" or hasattr(torch.optim, "Muon")
    require(new_enough, f"{key}=muon needs PyTorch 2.9 or newer; accepted here: adamw")


def build_optimizer(modules: nn.Module, stage: StageConfig, *others: Optimizer) -> Optimizer:
    """The optimiser of ``stage`` over all that ``modules`` learn; weight decay on matrices only.

    Args:
        modules: what learns.
        stage: kind and settings.
        others: optimisers of anything else, to be stepped, scheduled and saved with it; their groups come last.

    Raises:
        RefineError: see :func:`check_optimizer`.
    """
    check_optimizer(stage, "train.*.optimizer")
    learned = [p for p in modules.parameters() if p.requires_grad]
    matrices, rest = [p for p in learned if p.dim() >= 2], [p for p in learned if p.dim() < 2]
    if stage.optimizer == "muon":
        return Joined([*muon_and_adamw(matrices, rest, stage), *others])
    groups = [
        {"params": matrices, "weight_decay": stage.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, 0.99))
    return Joined([adamw, *others]) if others else adamw


def muon_and_adamw(
    matrices: Iterable[nn.Parameter], rest: Iterable[nn.Parameter], stage: StageConfig
) -> list[Optimizer]:
    """Muon (Jordan et al. 2024: momentum whose update is made orthogonal) on matrices, AdamW on everything else.

    Both are PyTorch's. Muon's updates have AdamW's size (``match_rms_adamw``), so that one learning rate serves both.
    Matrices are parameters of exactly two dimensions; embeddings and kernels of more count as the rest.
    """
    matrices = list(matrices)
    hidden, other = [p for p in matrices if p.dim() == 2], [p for p in matrices if p.dim() != 2]
    lr, decay = stage.lr, stage.weight_decay
    parts: list[Optimizer] = [
        torch.optim.Muon([{"params": hidden}], lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    ]
    for vectors, weight_decay in ((other, decay), (list(rest), 0.0)):
        if vectors:
            parts.append(torch.optim.AdamW(vectors, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay))
    return parts


class Joined(Optimizer):
    """Several optimisers as one, because the trainer wants one to schedule, save and resume."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """The parts work on this optimiser's own groups and state, whichever those are since the last load."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each part."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
