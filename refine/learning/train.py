"""A training from its configuration to its pictures: what ``refine train`` runs, and :func:`refine.train`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from refine.drawing.sampler import build_sampler
from refine.drawing.strategies import build_strategies
from refine.errors import not_accepted, require
from refine.kinds import DOMAINS
from refine.learning.adversarial import build_reconstruction
from refine.learning.curves import plot_curves
from refine.learning.engine import fit
from refine.learning.objectives import build_objective
from refine.learning.start import start_from
from refine.models.model import Model
from refine.models.samples import draw_samples
from refine.models.teacher import scale_weights
from refine.models.tokenizer import Tokenizer
from refine.progress import console
from refine.settings.config import Config
from refine.settings.places import named
from refine.storage.runs import run_of


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
    torch.manual_seed(config.seed)
    fresh = DOMAINS.load(config.domain_name)(config.domain).model(config.model)
    if config.stage not in (*fresh.stages, "all"):
        raise not_accepted("stage", config.stage, (*fresh.stages, "all"))
    check_early(config, fresh)
    if config.stage in ("tokenizer", "all") and "tokenizer" in fresh.stages:
        build_reconstruction(cast(Tokenizer, fresh.tokenizer).codec, config.train, config.seed)
    if config.run is None or not (Path(config.run).expanduser() / "config.json").exists():  # else it goes on from that
        start_from(fresh, config.train.init)
    if config.run is None:
        fresh.domain.dataset("train")  # what cannot start leaves no folder
    with run_folder(config) as folder:
        model = last_published(fresh, folder)
        for stage in fresh.stages if config.stage == "all" else [config.stage]:
            model.check_stage(stage)
            if model.info.get(stage, {}).get("steps", 0) >= getattr(config.train, stage).steps:
                console.print(f"{stage}: trained already", highlight=False)
                continue
            fit(model, config, folder, stage, callbacks, loggers)
            model.eval()
        if leads():
            draw_pictures(model, config, folder)
    return folder


def check_early(config: Config, fresh: Model) -> None:
    """Refuse now what would be refused when the predictor is trained, or when pictures are drawn.

    Raises:
        RefineError: settings of the sampler, of its strategies, of the objective, or weights of scales that are none.
    """
    build_sampler(config.sampler, fresh.num_levels)
    build_strategies(config.sampler)
    build_objective(config.train.objective)
    if config.train.scale_weights is not None:
        scale_weights(config.train.scale_weights, fresh.num_levels)


def leads() -> bool:
    """Whether this is the first of the processes that train together."""
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


@contextmanager
def run_folder(config: Config) -> Iterator[Path]:
    """The run's folder, made and kept from others by the first process; those that train with it are told."""
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
    """Curves, the domain's own pictures, and samples."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    written = [*plot_curves(folder, pictures), *model.domain.plot_training(model, pictures)]
    if "predictor" in model.info and model.domain.unconditional:
        written += draw_samples(model, config, pictures)
    shown = ", ".join(str(p) for p in written if p.parent == pictures)
    console.print(f"Checkpoint: {folder}\nPictures: {shown}", soft_wrap=True)
