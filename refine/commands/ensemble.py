"""``refine ensemble``: forecast many times from the same state, and write the forecasts as a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from refine.capabilities import Forecasts
from refine.commands.command import GOES_ON, Command
from refine.settings.bounds import SPLITS, form, listed, whole
from refine.settings.config import Config
from refine.settings.places import Place

DATE = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ](?:[01]\d|2[0-3])(?::[0-5]\d)?)?"
DATES = "a date such as 2021-01-31 or 2021-01-31T12:00, FIRST..LAST, every:8d, all"
START = form(rf"{DATE}|{DATE}\s*\.\.\s*{DATE}|every:\s*0*[1-9]\d{{0,6}}\s*[dh]|all", DATES)
"""When forecasts may begin; which of these times the data have is seen later."""


@dataclass
class EnsembleConfig:
    """Keys of ``refine ensemble``."""

    members: Annotated[int, whole(1, 2**20)] = 10  # forecasts from each initial time
    lead: str = "10d"  # how far they go, in days or hours (240h)
    # a date, a list of dates, FIRST..LAST, every:8d, all; null for the last that can be verified
    start: Annotated[Any, listed(START, 100_000)] = None
    split: Annotated[str, SPLITS] = "test"  # train | val | test, whose initial times null, every: and all mean
    fields: Place = None  # data to start from, as domain.data takes it; null for that of the model's domain
    batch_size: Annotated[int, whole(1, 1_000_000)] = 10  # members times initial times that are forecast together
    out: Place = None  # the zarr store to write; null for one in forecasts/ of the run
    scheduler: Place = None  # address of a Dask scheduler whose workers share the files (tcp://host:8786)
    netcdf: bool = False  # also as one netCDF file
    at: str | None = None  # latitude,longitude of a place to draw a plume for


class Ensemble(Command):
    """Forecast an ensemble into a zarr store, or continue where the same command stopped.

    The model is run=FOLDER, else the newest run of the domain, else the one that ships with it.

    \b
      refine ensemble domain=weather --members 50
      refine ensemble run=runs/w --members 50 --start 2021-01-01 --at 51.5,-0.1
    """

    Options = EnsembleConfig
    needs = Forecasts
    kept = True
    example = ("ensemble domain=weather --members 50", "forecasts")
    place = 60

    def run(self, config: Config) -> list[Path]:
        """Forecast as ``config.ensemble`` says.

        Returns:
            The store, and what was made from it.

        Raises:
            RefineError: no model, a domain that does not forecast, or settings that it does not accept.
        """
        from refine.storage.files import inside

        Forecasts.of(config.domain_name)
        model, source, folder = self.loaded(config)
        out = Path("forecasts") if folder is None else folder / "forecasts"
        if folder is not None:
            inside(folder, "forecasts")
        paths: list[Path] = model.domain.ensemble(model, source, config, out)
        return paths

    def stopped(self, config: Config) -> str:
        return GOES_ON
