"""The model that a command works on: of which run, and on which device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from refine.errors import RefineError
from refine.models.model import Model
from refine.settings.config import TrainerConfig

HELD = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


def load_model(source: str | Path, trainer: TrainerConfig, places: Mapping[str, Any] | None = None) -> Model:
    """The model of a run on the device, and with the weights held in the precision, that the trainer's words ask for;
    what is mixed in training is float32. ``places`` say where its data are, as :meth:`Model.from_pretrained` has it."""
    return Model.from_pretrained(source, best_device(trainer.accelerator), HELD.get(trainer.precision), places=places)


def best_device(accelerator: str) -> str:
    """The device that Lightning's ``trainer.accelerator`` stands for.

    Raises:
        RefineError: it is not there.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    if accelerator in ("auto", "cpu"):
        return "cpu"
    raise RefineError(f"trainer.accelerator={accelerator!r} is not available here; accepted: auto, cpu")
