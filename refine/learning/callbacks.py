"""What happens around training steps: metrics to a file, progress, published weights."""

from __future__ import annotations

import signal
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from refine.progress import console, duration
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


class Resume(ModelCheckpoint):
    """Writes the state to go on from, between steps only: what some batches of a step have gathered is in no file."""

    FILE_EXTENSION = ".safetensors"

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class Interrupt(Callback):
    """Ctrl-C ends a training after the step that it is at, with the resume file ``path``; a second one ends it at once.

    Goes after whatever else happens at the end of a step. Several processes, which may be at different steps, are
    stopped where they are.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.asked = path, False
        self.before: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.asked and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._give_back()

    def _give_back(self) -> None:
        if self.before is not None and signal.getsignal(signal.SIGINT) == self._ask:
            signal.signal(signal.SIGINT, self.before)
        self.before = None


class Lines(Callback):
    """Progress as plain lines, for logs and pipes: the first step, the last, and one every ``every`` seconds, with the
    time that is left at the pace so far."""

    def __init__(self, what: str, every: float = 10.0) -> None:
        self.what, self.every, self.last, self.shown = what, every, 0.0, -1
        self.start: tuple[float, int] = (0.0, 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.monotonic(), trainer.global_step

    @rank_zero_only
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        now, step, steps = time.monotonic(), trainer.global_step, trainer.max_steps
        if step == self.shown or (step < steps and now - self.last <= self.every):
            return
        first, self.last, self.shown = self.shown < 0, now, step
        began, at = self.start
        pace = (now - began) / max(1, step - at)
        left = "" if first or step >= steps else f", {duration(pace * (steps - step))} left"
        figures = "  ".join(f"{k} {float(v):.4g}" for k, v in trainer.progress_bar_metrics.items())
        console.print(f"{self.what}: step {step} of {steps}{left}  {figures}", soft_wrap=True)
