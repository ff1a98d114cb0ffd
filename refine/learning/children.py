"""The other processes of a training that this one has started."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from refine.errors import RefineError
from refine.progress import console

PERIOD, PATIENCE = 0.3, 3.0  # seconds between two looks at the children; and those in which a failed one is gone
INTERRUPTED = 130  # the code of a child that Ctrl-C ended: this process ends by itself


class Children(Callback):
    """Ends a training of several processes when one of them has died, with one line, and when this one fails.

    Without the others no process gets on: each waits for all at the next step.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.over = run, threading.Event()
        self.processes: list[Any] = []
        self.watch: threading.Thread | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.processes = list(getattr(trainer.strategy.launcher, "procs", []))
        if self.processes:
            self.watch = threading.Thread(target=self._watch, daemon=True)
            self.watch.start()

    def _watch(self) -> None:
        while not self.over.wait(PERIOD):
            for rank, process in enumerate(self.processes, 1):
                if process.poll() not in (None, 0, INTERRUPTED):
                    self._end(f"process {rank} of the training ended with code {process.returncode}")

    def _end(self, what: str) -> None:
        """The main thread may wait for a child for ever; all files are whole at any moment."""
        self._kill()
        text = f"error: {what}; continue with: refine train run={shlex.quote(str(self.run))}"
        console.print(text, soft_wrap=True)
        os._exit(2)

    def _kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self.watch is not None and not isinstance(exception, KeyboardInterrupt | RefineError):
            self.watch.join(PATIENCE)  # a connection broke because a child is dying
        self.over.set()
        if not isinstance(exception, KeyboardInterrupt):  # then Lightning ends them
            self._kill()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.over.set()
