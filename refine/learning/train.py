"""A training from its configuration to its pictures: what ``refine train`` runs, and :func:`refine.train`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from refine.drawing.strategies import check_sampler
from refine.errors import not_accepted, require
from refine.kinds import DOMAINS
from refine.learning.adversarial import build_reconstruction
from refine.learning.curves import plot_curves
from refine.learning.engine import check_resume, check_trainer, fit
from refine.learning.objectives import build_objective
from refine.learning.optimizers import check_optimizer
from refine.learning.start import start_from
from refine.models.memory import made
from refine.models.model import Model
from refine.models.samples import draw_samples
from refine.models.teacher import scale_weights
from refine.models.tokenizer import Tokenizer
from refine.progress import console
from refine.settings.bounds import check
from refine.settings.config import Config
from refine.settings.places import named
from refine.settings.typed import plain_data
from refine.storage.runs import begun, run_of


def train(config: Config, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()) -> Path:
    """Train a model, resuming whatever the run's folder holds, and draw pictures of the result.

    Args:
        config: of the run, from :func:`refine.compose` for example.
        callbacks: of Lightning, in every stage beside our own.
        loggers: of Lightning, beside the run's ``metrics.jsonl``: ``TensorBoardLogger``, ``WandbLogger``.

    Returns:
        The run's folder: ``config.yaml``, ``config.json`` and ``model.safetensors`` (the checkpoint),
        ``metrics.jsonl``, ``pictures/``, ``resume/`` and ``cache/``.

    Raises:
        RefineError: a stage that is unknown or needs a trained tokenizer first; a run of another model, or one that
            another process trains; a loss that is not finite.
    """
    check(config)
    torch.manual_seed(config.seed)
    fresh = made(DOMAINS.load(config.domain_name)(config.domain), config.model)
    if config.stage not in (*fresh.stages, "all"):
        raise not_accepted("stage", config.stage, (*fresh.stages, "all"))
    check_early(config, fresh)
    with run_folder(config) as folder:
        if not (folder / "config.json").exists():  # else it goes on from that
            start_from(fresh, config.train.init)
        model = last_published(fresh, folder)
        stages = list(fresh.stages) if config.stage == "all" else [config.stage]
        left = [s for s in stages if model.info.get(s, {}).get("steps", 0) < getattr(config.train, s).steps]
        if left:
            look_at(model, config, folder, left)
        with begun(config) if leads() else nullcontext():  # all that can be refused has been looked at
            for stage in stages:
                model.check_stage(stage)
                if stage not in left:
                    console.print(f"{stage}: trained already")
                    continue
                fit(model, config, folder, stage, callbacks, loggers)
                model.eval()
            if leads():
                draw_pictures(model, config, folder)
    return folder


def check_early(config: Config, fresh: Model) -> None:
    """Refuse now what would be refused when a later stage is trained, or when pictures are drawn.

    Raises:
        RefineError: what a checkpoint does not take, such as names from the data; a class that is none; settings of the
            sampler, of its strategies, of the objective, of an optimiser or of the losses, or weights of scales that
            are none.
    """
    plain_data({"domain": asdict(fresh.domain.config), "model": asdict(fresh.config)})  # as a checkpoint takes it
    check_sampler(config.sampler, fresh.num_levels)
    build_objective(config.train.objective)
    if config.train.scale_weights is not None:
        scale_weights(config.train.scale_weights, fresh.num_levels)
    if fresh.domain.unconditional:
        fresh.domain.labels_of(config.sample.label, 1)
    for stage in fresh.stages:
        check_optimizer(getattr(config.train, stage), f"train.{stage}.optimizer")
    if "tokenizer" in fresh.stages and config.stage in ("tokenizer", "all"):
        build_reconstruction(cast(Tokenizer, fresh.tokenizer).codec, config.train, config.seed)


def look_at(model: Model, config: Config, folder: Path, stages: Sequence[str]) -> None:
    """Refuse now, before anything is written, what would be refused when the first of the stages that are left begins,
    or after it.

    Raises:
        RefineError: data that cannot be used, a stage that needs another first, too few steps to fit the quantizer in,
            samples that nobody can ask for, a trainer that Lightning does not make, or a damaged resume file.
    """
    steps, after, stage = config.train.tokenizer.steps, config.train.fit_after, stages[0]
    fits = "tokenizer" not in stages or steps > after or bool(cast(Tokenizer, model.tokenizer).quantizer.fitted)
    require(
        fits,
        f"train.tokenizer.steps={steps} is not accepted: the quantizer is fitted after train.fit_after={after} steps; "
        "accepted: more steps, or a smaller train.fit_after",
    )
    for split in ("train", "val"):
        items = model.domain.dataset(split)
        require(len(items) > 0, f"there are no {'training' if split == 'train' else 'validation'} items")
    if model.domain.unconditional:
        wanted = config.sample
        model.domain.ask(1, wanted.label, wanted.size, wanted.split)
    model.check_stage(stage)
    check_trainer(config, folder, stage)
    check_resume(model, config, folder, stage)


def leads() -> bool:
    """Whether this is the first of the processes that train together."""
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


@contextmanager
def run_folder(config: Config) -> Iterator[Path]:
    """Where the run is to be, kept from others by the first process; those that train with it are told."""
    if leads():
        with run_of(config) as folder:
            os.environ["REFINE_RUN"] = str(folder)
            yield folder
        return
    told = str(Path(config.run).expanduser()) if config.run else os.environ.get("REFINE_RUN")
    require(told is not None, "processes started from outside (torchrun, SLURM) need run=FOLDER, the same for all")
    assert told is not None
    yield Path(told)


def last_published(fresh: Model, folder: Path) -> Model:
    """The model as the run last published it, or the new one.

    Raises:
        RefineError: the folder holds a model of another configuration.
    """
    if not (folder / "config.json").exists():
        return fresh
    saved = Model.from_pretrained(folder, places=named(fresh.domain.config))
    found, wanted = ((m.domain.name, m.domain.config, m.config) for m in (saved, fresh))
    same = found == wanted
    require(same, f"run={folder} holds a model of another domain or model configuration; see refine inspect {folder}")
    return saved.train()


def draw_pictures(model: Model, config: Config, folder: Path) -> None:
    """Curves, the domain's own pictures, and samples; nothing with ``sample.pictures=false``."""
    if not config.sample.pictures:
        console.print(f"Checkpoint: {folder}", soft_wrap=True)
        return
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    written = [*plot_curves(folder, pictures), *model.domain.plot_training(model, pictures)]
    if "predictor" in model.info and model.domain.unconditional:
        written += draw_samples(model, config, pictures)
    shown = ", ".join(str(p) for p in written if p.parent == pictures)
    console.print(f"Checkpoint: {folder}\nPictures: {shown}", soft_wrap=True)
