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
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from refine.progress import console, duration
from refine.storage.files import sync, writing
from refine.storage.runs import METRICS, forget_metrics, log_metrics


class JsonLines(Logger):
    """Appends every record to the run's ``metrics.jsonl``; records of steps that are done again go before."""

    def __init__(self, run: Path, stage: str) -> None:
        super().__init__()
        self.run, self.stage, self.begun = run, stage, False

    @property
    def name(self) -> str:
        return self.stage

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self.begun and step is not None:
            forget_metrics(self.run, self.stage, step)
            self.begun = True
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


class Resume(Checkpoint):
    """Writes the state to go on from, and ends a training that is asked to end.

    The state after a step is written beside the file that is in force, and takes its place once all figures of that
    step are in ``metrics.jsonl``, those of a validation too: whatever happens, what is gone on from has its lines. The
    first file is of before the first step, because a checkpoint may be published before there is another one.

    Ctrl-C or SIGTERM ends the training after the step that it is at, with that state, in all of its processes after the
    same step; a second one ends it at once. Lightning calls callbacks of this kind last.

    Args:
        path: of the file.
        every: how many steps there are from one state to the next.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.coming = path.with_name(f"{path.stem}.next{path.suffix}")
        self.asked = self.ending = False
        self.written: int | None = None  # the step whose state is beside the one in force
        self.at: int | None = None  # the step that is in force, as far as it is known
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:
            trainer.save_checkpoint(self.path)
        self.at = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches != 0:
            return  # what some batches of a step have gathered is in no file
        self.ending = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        step = trainer.global_step
        if self.ending or step % self.every == 0 or step >= trainer.max_steps:
            trainer.save_checkpoint(self.coming)
            self.written = step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._take_over(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._take_over(trainer)

    def _take_over(self, trainer: pl.Trainer) -> None:
        if self.written is None:
            return
        if trainer.is_global_zero:
            metrics = self.path.parents[1] / METRICS
            if metrics.exists():
                sync(metrics)
            with writing(self.path):
                self.coming.replace(self.path)
                sync(self.path.parent)
        self.at, self.written = self.written, None
        if self.ending:
            raise KeyboardInterrupt

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._give_back()
        step = trainer.global_step
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero and self.at not in (None, step):
            text = f"{self.path.stem}: stopped at once at step {step}; it continues from step {self.at}"
            console.print(text, soft_wrap=True)

    def _give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


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
