"""``refine evaluate domain=weather``: forecasts from a checkpoint, or from anywhere, against what came to pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from refine.domains.weather.ensemble_command import run_ensemble
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.pictures.report import report_evaluation
from refine.domains.weather.pictures.tables import headline, tables
from refine.domains.weather.scores.evaluation import evaluate_store
from refine.items import spread
from refine.progress import console
from refine.settings.config import Config
from refine.storage.files import own

STARTS = "every:8d"  # initial times, if nothing else is asked for


def verify(model: Any, source: Path, config: Config, folder: Path) -> dict[str, Any]:
    """Score ``evaluate.forecast``, or an ensemble made as the section ``ensemble`` says, and write it up.

    Returns:
        The main scores by lead, and the floors of the codes; everything else stands in ``scores.json`` beside it.
    """
    if config.evaluate.forecast is not None:
        open_forecast(config.evaluate.forecast)  # what is not there is said at once
    floors = model.floors(spread(model.domain.dataset(config.evaluate.split), config.evaluate.items))
    figures: dict[str, Any] = {}

    def scored(store: str, pictures: Sequence[Path] = ()) -> None:
        result = evaluate_store(store, model.domain, folder, floors)
        report, *_ = report_evaluation(result, own(folder, "report"), pictures)
        console.print(*tables(result))
        console.print(f"Report: {report}", soft_wrap=True)
        figures.update({"forecast": store, "report": str(report), "floors": floors} | headline(result))

    if config.evaluate.forecast is not None:
        scored(config.evaluate.forecast)
        return figures
    wanted = replace(config.ensemble, start=config.ensemble.start or STARTS, split=config.evaluate.split)
    settings = replace(config, commands=config.commands | {"ensemble": wanted})

    def made(paths: list[Path]) -> None:
        scored(str(paths[0]), [path for path in paths if path.suffix == ".png"])

    run_ensemble(model, source, settings, folder / "forecasts", made)
    return figures
