"""Running the stages: from data to a published checkpoint, resumable at any moment."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar, WeightAveraging
from torch import Tensor

from refine.config import Config, StageConfig
from refine.errors import RefineError
from refine.progress import console
from refine.refiner import Refiner
from refine.training.callbacks import JsonLines, Lines, Publish
from refine.training.checkpoint_io import SafetensorsIO
from refine.training.data import Items, StepBatches, fingerprint, in_batches, load_tokens, loader, spread, token_cache
from refine.training.modules import PredictorModule, StageModule, TokenizerModule


class StageData(pl.LightningDataModule):
    """Training batches as a function of the step, and a fixed set for validation."""

    def __init__(self, train: Items, val: Items, config: Config, stage: StageConfig) -> None:
        super().__init__()
        self.train_items, self.val_items, self.config, self.stage = train, val, config, stage

    def train_dataloader(self) -> Any:
        trainer = self.trainer
        assert trainer is not None
        batches = StepBatches(
            len(self.train_items),  # type: ignore[arg-type]
            self.stage.batch_size,
            self.config.seed,
            self.stage.steps,
            first=lambda: trainer.global_step,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        return loader(self.train_items, batches, self.config.train.workers)

    def val_dataloader(self) -> Any:
        return in_batches(self.val_items, self.stage.batch_size)


class TokenData(StageData):
    """The codes of both splits, encoded by one process, once, before anything else happens."""

    def __init__(self, refiner: Refiner, train: Items, val: Items, config: Config, cache: Path) -> None:
        super().__init__(train, val, config, config.train.predictor)
        sizes = [len(items) for items in (train, val)]  # type: ignore[arg-type]
        key = fingerprint(refiner.tokenizer, dataclasses.asdict(config.domain), sizes)
        self.refiner = refiner
        self.paths = {split: cache / f"{split}-{key}.safetensors" for split in ("train", "val")}

    def prepare_data(self) -> None:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device  # the module is moved there only later
        items = {"train": self.train_items, "val": self.val_items}
        for split, path in self.paths.items():
            token_cache(self.refiner.tokenizer, items[split], path, self.stage.batch_size, device)

    def setup(self, stage: str) -> None:
        self.train_items, self.val_items = load_tokens(self.paths["train"]), load_tokens(self.paths["val"])


def fit(refiner: Refiner, config: Config, run: Path, name: str) -> None:
    """Run stage ``name`` of a run to its end, from its resume file if there is one, and publish the result.

    Raises:
        RefineError: the loss stopped being finite.
    """
    stage: StageConfig = getattr(config.train, name)
    train, val = refiner.domain.dataset("train"), spread(refiner.domain.dataset("val"), config.train.val_items)
    module: StageModule
    data: StageData
    if name == "tokenizer":
        fit_items = spread(train, config.train.fit_items)
        module = TokenizerModule(refiner.tokenizer, stage, config.seed, config.train.fit_after, fit_items)
        data = StageData(train, val, config, stage)
    else:
        module = PredictorModule(refiner, stage, config.seed, config.train.site_budget)
        data = TokenData(refiner, train, val, config, run / "cache")

    module.train()  # Lightning keeps the mode it finds, and the stage before ended in evaluation

    def publish(step: int) -> None:
        module.check_weights()
        refiner.info[name] = {"steps": step, "of": stage.steps}
        refiner.save_pretrained(run)

    resume = run / "resume" / f"{name}.safetensors"
    if resume.exists() and (done := SafetensorsIO().load_checkpoint(resume))["global_step"] >= stage.steps:
        module.load_state_dict(done["state_dict"])  # killed between the last step and its publication
        publish(done["global_step"])
        return
    with quiet_lightning():
        try:
            trainer = build_trainer(config, stage, run, name, publish)
        except (MisconfigurationException, ValueError) as error:
            raise RefineError(f"Lightning does not accept {config.trainer}: {error}") from error
        trainer.fit(module, data, ckpt_path=str(resume) if resume.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        publish(trainer.global_step)
    trainer.strategy.barrier()


def build_trainer(config: Config, stage: StageConfig, run: Path, name: str, publish: Any) -> pl.Trainer:
    """A Lightning trainer for one stage; everything in ``config.trainer`` is passed to it as it is."""
    save = ModelCheckpoint(
        dirpath=run / "resume",
        filename=name,
        # never later than the first published weights, or a run killed between the two would begin again from those
        every_n_train_steps=min(config.train.save_every, config.train.val_every),
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    save.FILE_EXTENSION = ".safetensors"
    show: Callback = RichProgressBar() if console.is_terminal else Lines(name)
    after = config.train.fit_after if name == "tokenizer" else 0  # codebooks mean nothing before they were fitted
    average = [WeightAveraging(use_buffers=False, avg_fn=partial(ema, stage.ema, after))] if stage.ema > 0 else []
    return pl.Trainer(
        **dataclasses.asdict(config.trainer),
        max_steps=stage.steps,
        max_epochs=-1,
        val_check_interval=min(config.train.val_every, stage.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=config.train.log_every,
        gradient_clip_val=stage.grad_clip or None,
        use_distributed_sampler=False,
        logger=JsonLines(run, name),
        callbacks=[Publish(publish), *average, show, save],
        plugins=[SafetensorsIO()],
        enable_progress_bar=console.is_terminal,
        enable_model_summary=False,
        default_root_dir=run,
    )


def ema(decay: float, after: int, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
    """Exponential moving average from update ``after`` on; its memory grows with the updates made since, so that short
    runs are not held back."""
    n = float(updates) - after
    return current if n < 1 else torch.lerp(average, current, 1 - min(decay, (1 + n) / (10 + n)))


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide Lightning's banners, tips, and advice on worker counts: they do not concern our users."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
