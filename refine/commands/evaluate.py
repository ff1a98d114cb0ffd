"""`refine evaluate`: what a checkpoint is worth on held-out data, as a table and as json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from refine import __version__
from refine.commands.sample import choose_labels, load_model
from refine.domain import Domain
from refine.errors import not_accepted, require
from refine.items import spread
from refine.models.model import Model
from refine.progress import console
from refine.registry import load_domain_class, starter
from refine.settings.config import Config
from refine.storage.files import write_text
from refine.storage.runs import find_run
from refine.types import Condition


def run(config: Config) -> dict[str, Any]:
    """Score the run's checkpoint (or the domain's starter) on ``evaluate.split`` and write ``evaluate-SPLIT.json``.

    Returns:
        The figures, by scale where they have one for each, coarsest first.

    Raises:
        RefineError: nothing to evaluate, or a split that is none.
    """
    settings = config.evaluate
    if settings.split not in ("train", "val", "test"):
        raise not_accepted("evaluate.split", settings.split, ("train", "val", "test"))
    require(settings.items > 0 and settings.samples > 0, "evaluate.items and evaluate.samples must be 1 or more")
    export = None if settings.export is None else _new_npz(settings.export)
    domain = load_domain_class(config.domain_name)
    if export is not None and domain.export is Domain.export:
        raise domain.lacks("export", "has no form that other evaluators read")
    run_folder = find_run(config)
    source = run_folder or starter(config.domain_name)
    model = load_model(source, config.trainer)
    dataset = model.domain.dataset(settings.split)
    num, condition = _balanced(model, settings.samples) if settings.balanced else model.asked(dataset, settings.samples)
    samples = model.sample_many(num, condition, config.seed, config.sampler, batch_size=settings.batch_size)
    if export is not None:  # before the figures, which may take long
        model.domain.export(samples, export)
        console.print(f"Exported: {export}", highlight=False, soft_wrap=True)
    figures = {"checkpoint": str(source), "split": settings.split, "seed": config.seed, "refine": __version__}
    out = run_folder or Path("samples")
    figures |= model.score(spread(dataset, settings.items), samples, settings.batch_size)
    figures |= {"samples": len(samples.items), "balanced": settings.balanced}
    figures |= model.domain.metrics(model, samples, settings, out)
    figures |= model.domain.verify(model, source, config, out)
    path = out / f"evaluate-{settings.split}.json"
    write_text(path, json.dumps(figures, indent=2) + "\n")
    show(figures)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)
    return figures


def _balanced(model: Model, num: int) -> tuple[int, Condition]:
    """Every class in turn, for as many samples as were asked for."""
    given = model.domain.condition
    classes = given.num_classes > 0 and not (given.vector or given.field)
    require(classes, "evaluate.balanced=true is not accepted: this model is not conditioned on classes alone")
    return num, Condition(label=choose_labels(None, num, model.domain))


def _new_npz(given: str) -> Path:
    """The path of an export, which is not there yet.

    Raises:
        RefineError: another extension, a file that is there, or a place that cannot be a folder.
    """
    path = Path(given).expanduser()
    key = f"evaluate.export={given!r} is not accepted"
    require(path.suffix == ".npz", f"{key}; accepted: a path that ends in .npz")
    require(not path.exists(), f"{key}: it is there already; give a new name")
    nearest = next(p for p in path.absolute().parents if p.exists())
    require(nearest.is_dir() and os.access(nearest, os.W_OK), f"{key}: {nearest} cannot be written to")
    return path


def show(figures: dict[str, Any]) -> None:
    """Two tables: figures by scale, and the rest."""
    by_scale = {n.removesuffix("_by_scale"): v for n, v in figures.items() if n.endswith("_by_scale")}
    table = Table(title="By scale, coarsest first")
    table.add_column("scale", justify="right")
    for name in by_scale:
        table.add_column(name.replace("_", " "), justify="right")
    for k, row in enumerate(zip(*by_scale.values(), strict=True)):
        table.add_row(str(k), *(f"{v:.4g}" for v in row))
    rest = Table("figure", "value", title="Overall")
    for name, value in figures.items():
        if not name.endswith("_by_scale"):
            rest.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else escape(str(value)))
    console.print(*([table] if by_scale else []), rest)
