"""`refine evaluate`: what a checkpoint is worth on held-out data, as a table and as json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from refine import __version__
from refine.commands.sample import best_device
from refine.config import Config
from refine.errors import not_accepted, require
from refine.files import write_text
from refine.items import spread
from refine.model import Model
from refine.progress import console
from refine.registry import starter
from refine.runs import find_run


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
    run_folder = find_run(config)
    source = run_folder or starter(config.domain_name)
    model = Model.from_pretrained(source, best_device(config.trainer.accelerator))
    dataset = model.domain.dataset(settings.split)
    num, condition = model.asked(dataset, settings.samples)
    samples = model.sample_many(num, condition, config.seed, config.sampler, batch_size=settings.batch_size)
    figures = {"checkpoint": str(source), "split": settings.split, "seed": config.seed, "refine": __version__}
    out = run_folder or Path("samples")
    figures |= model.score(spread(dataset, settings.items), samples, settings.batch_size)
    figures |= {"samples": len(samples.items)} | model.domain.metrics(model, samples, settings, out)
    figures |= model.domain.verify(model, source, config, out)
    path = out / f"evaluate-{settings.split}.json"
    write_text(path, json.dumps(figures, indent=2) + "\n")
    show(figures)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)
    return figures


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
