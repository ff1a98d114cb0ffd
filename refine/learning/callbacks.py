"""What happens around training steps: metrics to a file, progress, published weights."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from refine.progress import console
from refine.storage.runs import log_metrics


class JsonLines(Logger):
    """Appends every record to the run's ``metrics.jsonl``."""

    def __init__(self, run: Path, stage: str) -> None:
        super().__init__()
        self.run, self.stage = run, stage

    @property
    def name(self) -> str:
        return self.stage

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        record = {k: float(v) for k, v in metrics.items() if k != "epoch"}
        log_metrics(self.run, {"stage": self.stage, "step": step, **record})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run's ``config.yaml`` has them."""


class Publish(Callback):
    """Calls ``publish`` whenever validation ends before the last step, while averaged weights are in place. Goes before
    the averaging."""

    def __init__(self, publish: Callable[[int], None], steps: int) -> None:
        self.publish, self.steps = publish, steps

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking and trainer.global_step < self.steps:
            self.publish(trainer.global_step)


class Save(ModelCheckpoint):
    """Writes resume files between steps; in the middle of one the gradients of its first batches would be lost."""

    FILE_EXTENSION = ".safetensors"

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class Lines(Callback):
    """Progress as plain lines, for logs and pipes."""

    def __init__(self, what: str, every: float = 10.0) -> None:
        self.what, self.every, self.last = what, every, 0.0

    @rank_zero_only
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        done = trainer.global_step == trainer.max_steps
        if done or time.monotonic() - self.last > self.every:
            self.last = time.monotonic()
            figures = "  ".join(f"{k} {float(v):.4g}" for k, v in trainer.progress_bar_metrics.items())
            console.print(
                f"{self.what}: step {trainer.global_step} of {trainer.max_steps}  {figures}",
                highlight=False,
                soft_wrap=True,
            )
