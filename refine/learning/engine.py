"""Running the stages: from data to a published checkpoint, resumable at any moment."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.utils.data import Subset

from refine.errors import RefineError, not_accepted, shown
from refine.items import Items, Numbered, in_batches, spread
from refine.learning.callbacks import JsonLines, Lines, Publish, Resume
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.children import Children
from refine.learning.data import StepBatches, loader, read_cache, write_cache
from refine.learning.modules import LearnerModule, StageModule, TokenizerModule
from refine.models.model import Model
from refine.models.tokenizer import Tokenizer
from refine.progress import console
from refine.settings.config import Config, StageConfig, TrainerConfig


class StageData(pl.LightningDataModule):
    """Training batches as a function of the step, and a fixed set for validation."""

    def __init__(self, train: Items, val: Items, config: Config, stage: StageConfig) -> None:
        super().__init__()
        self.train_items, self.val_items, self.config, self.stage = train, val, config, stage

    def train_dataloader(self) -> Any:
        trainer = self.trainer
        assert trainer is not None
        each = self.config.trainer.accumulate_grad_batches  # batches of a step
        batches = StepBatches(
            len(self.train_items),  # type: ignore[arg-type]
            self.stage.batch_size,
            self.config.seed,
            self.stage.steps * each,
            first=lambda: trainer.global_step * each,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        return loader(self.train_items, batches, self.config.train.workers)

    def val_dataloader(self) -> Any:
        return in_batches(Numbered(self.val_items), self.stage.batch_size)


class CachedData(StageData):
    """Batches of both splits computed by one process, once, before anything else happens."""

    def __init__(self, train: Items, val: Items, config: Config, stage: StageConfig, model: Model, cache: Path) -> None:
        super().__init__(train, val, config, stage)
        self.model, self.paths = model, [cache / name for name in (cached_as("train", train), cached_as("val", val))]

    def prepare_data(self) -> None:
        assert self.trainer is not None
        self.model.to(self.trainer.strategy.root_device)  # Lightning moves it there only later
        for path, items in zip(self.paths, (self.train_items, self.val_items), strict=True):
            write_cache(items, path, self.stage.batch_size)

    def setup(self, stage: str) -> None:
        self.train_items, self.val_items = map(read_cache, self.paths)


def cached_as(split: str, items: Items) -> str:
    """The name of the file for ``items`` or a part of them."""
    whole = items.dataset if isinstance(items, Subset) else items
    return f"{split}-{len(items)}-{whole.fingerprint}.safetensors"  # type: ignore


def resume_file(run: Path, name: str) -> Path:
    """Where a stage of a run can be gone on from."""
    return run / "resume" / f"{name}.safetensors"


def fit(
    model: Model,
    config: Config,
    run: Path,
    name: str,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> None:
    """Run stage ``name`` of a run to its end, from its resume file if there is one, and publish the result.

    Args:
        model: trained in place.
        config: of the run.
        run: its folder.
        name: of the stage.
        callbacks: of Lightning, beside our own.
        loggers: of Lightning, beside ``metrics.jsonl``.

    Raises:
        RefineError: the loss stopped being finite.
    """
    stage: StageConfig = getattr(config.train, name)
    learner = model.learner(name)
    read = model.tokenizer_items if name == "tokenizer" else partial(learner.training_items, seed=config.seed)
    train, val = read("train"), spread(read("val"), config.train.val_items)
    module: StageModule
    data = StageData(train, val, config, stage)
    if name == "tokenizer":
        tokenizer, fit_items = cast(Tokenizer, model.tokenizer), spread(train, config.train.fit_items)
        spec = getattr(model, "spec", model.domain.condition)
        module = TokenizerModule(tokenizer, config.train, config.seed, fit_items, spec)
    else:
        module = LearnerModule(learner, name, stage, config.seed, config.train)
        if hasattr(train, "fingerprint"):
            data = CachedData(train, val, config, stage, model, run / "cache")

    module.train()  # Lightning keeps the mode it finds, and the stage before ended in evaluation

    def publish(step: int) -> None:
        module.check_weights()
        if step >= stage.steps:
            model.finish(name, config)
        model.info[name] = {"steps": step, "of": stage.steps}
        model.save_pretrained(run)

    resume, done = resume_file(run, name), 0
    if resume.exists():
        state = SafetensorsIO().load_checkpoint(resume)
        done = state["global_step"]
        if done == 0 or done >= stage.steps:
            module.on_load_checkpoint(state)
            module.load_state_dict(state["state_dict"])
    if done >= stage.steps:  # killed between the last step and its publication
        publish(done)
        return
    with quiet_lightning():
        trainer = build_trainer(config, stage, run, name, publish, callbacks, loggers)
        try:
            trainer.fit(module, data, ckpt_path=str(resume) if done else None, weights_only=True)
        except MisconfigurationException as error:
            raise RefineError(f"Lightning does not train with trainer.*: {error}") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        publish(trainer.global_step)
    trainer.strategy.barrier()


def build_trainer(
    config: Config,
    stage: StageConfig,
    run: Path,
    name: str,
    publish: Any,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """A Lightning trainer for one stage; everything in ``config.trainer`` is passed to it as it is.

    Raises:
        RefineError: an option that Lightning does not have, or one that the stage decides.
    """
    save = Resume(resume_file(run, name), min(config.train.save_every, config.train.val_every))
    show: Callback = RichProgressBar() if console.is_terminal else Lines(name)
    after = config.train.fit_after if name == "tokenizer" else 0  # codebooks mean nothing before they were fitted
    average = [WeightAveraging(avg_fn=partial(ema, stage.ema, after))] if stage.ema > 0 else []
    ours: dict[str, Any] = dict(
        max_steps=stage.steps,
        max_epochs=-1,
        val_check_interval=min(config.train.val_every, stage.steps) * config.trainer.accumulate_grad_batches,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=config.train.log_every,
        gradient_clip_val=stage.grad_clip or None,
        use_distributed_sampler=False,
        logger=[JsonLines(run, name), *loggers],
        callbacks=[Publish(publish, stage.steps), *average, show, save, *callbacks, Children(run)],
        plugins=[SafetensorsIO()],
        enable_progress_bar=console.is_terminal,
        enable_model_summary=False,
        default_root_dir=run,
    )
    given = dataclasses.asdict(config.trainer)
    more = given.pop("options")
    free = set(inspect.signature(pl.Trainer).parameters) - {*ours, *given}
    for option in more:
        if option not in free:
            raise not_accepted("trainer.options", option, sorted(free))
    try:
        return pl.Trainer(**given, **more, **ours)
    except Exception as error:  # Lightning and its plugins refuse values in many ways
        raise RefineError(f"{refused_by_lightning(config.trainer)} is not accepted by Lightning: {error}") from error


def refused_by_lightning(given: TrainerConfig) -> str:
    """The key of ``trainer`` that Lightning does not accept even alone, with its value; else that it is all of them."""
    usual = vars(TrainerConfig())
    alone = {n: (n, v) for n, v in vars(given).items() if n != "options" and v != usual[n]}
    alone |= {f"options.{n}": (n, v) for n, v in given.options.items()}
    for key, (name, value) in alone.items():
        try:
            pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, **{name: value})
        except Exception:
            return f"trainer.{key}={shown(value)}"
    return "what trainer.* ask for together"


def check_trainer(config: Config, run: Path, name: str) -> None:
    """Make sure that Lightning accepts what ``config.trainer`` says, for a stage of a run; nothing is written.

    Raises:
        RefineError: it does not.
    """
    with quiet_lightning():
        build_trainer(config, getattr(config.train, name), run, name, publish=None)


def ema(decay: float, after: int, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
    """Exponential moving average from update ``after`` on; its memory grows with the updates made since, so that short
    runs are not held back. Statistics that are buffers are averaged with the weights they belong to; counts are not."""
    n = float(updates) - after
    return (
        current
        if n < 1 or not current.is_floating_point()
        else torch.lerp(average, current, 1 - min(decay, (1 + n) / (10 + n)))
    )


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
