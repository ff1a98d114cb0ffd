"""`refine evaluate`: what a checkpoint is worth on held-out data, as a table and as json."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from refine import __version__
from refine.commands.sample import best_device
from refine.config import Config
from refine.errors import not_accepted, require
from refine.evaluation import draw, score_codes
from refine.files import write_text
from refine.progress import console, track
from refine.refiner import Refiner
from refine.registry import starter
from refine.runs import find_run
from refine.training.data import spread


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
    refiner = Refiner.from_pretrained(source, best_device(config.trainer.accelerator))
    dataset = refiner.domain.dataset(settings.split)
    items, asked = spread(dataset, settings.items), spread(dataset, settings.samples)
    bar = functools.partial(track, what=f"Encoding {settings.split}")
    scores, encoded = score_codes(refiner, items, settings.batch_size, bar)
    bar = functools.partial(track, what="Sampling")
    samples, sampled = draw(refiner, asked, settings.batch_size, config.seed, config.sampler, bar)
    ratio = [s / max(e, 1e-30) for s, e in zip(sampled.values(), encoded.values(), strict=True)]
    figures = {"checkpoint": str(source), "split": settings.split, "seed": config.seed, "refine": __version__}
    out = run_folder or Path("samples")
    figures |= scores | {"kept_variance_by_scale": ratio, "samples": len(samples.items)}
    figures |= refiner.domain.metrics(refiner, samples, settings, out)
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
    console.print(table, rest)
