"""``refine ensemble``: forecast many times from the same state, and write the forecasts as a store."""

from __future__ import annotations

from pathlib import Path

from refine.commands.sample import load_model
from refine.registry import starter
from refine.settings.config import Config
from refine.storage.runs import find_run


def run(config: Config) -> list[Path]:
    """Forecast with ``config.run``, else the newest run of the domain, else the checkpoint that ships with it.

    Returns:
        The store, and what was made from it.

    Raises:
        RefineError: no model, a domain that does not forecast, or settings that it does not accept.
    """
    folder = find_run(config)
    source = folder or starter(config.domain_name)
    model = load_model(source, config.trainer)
    return model.domain.ensemble(model, source, config, Path("forecasts") if folder is None else folder / "forecasts")
