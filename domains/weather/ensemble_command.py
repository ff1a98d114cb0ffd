"""``refine ensemble`` of the weather domain: from a configuration to a store, a table and pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.ensembles.ensemble import Forecaster, Job, job_of, plan_of, timeline_of
from refine.domains.weather.ensembles.initial_times import hours
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.ensembles.unfinished import is_free, partial_folder
from refine.domains.weather.ensembles.writing import write_ensemble
from refine.domains.weather.fields.whole import possible_only
from refine.domains.weather.pictures.summary import summarise, summary_table
from refine.drawing.sampler import samplers_of
from refine.drawing.strategies import build_strategies
from refine.errors import require
from refine.models.loading import best_device
from refine.models.model import Model
from refine.progress import Plain
from refine.settings.config import Config
from refine.settings.places import named
from refine.storage.checkpoint import read_header
from refine.storage.files import read_text, write_text
from refine.version import __version__

if TYPE_CHECKING:
    import xarray as xr

TABLE_CHANNELS = 3


@dataclass(frozen=True)
class Checkpoint:
    """A forecaster in a checkpoint folder and the fields it starts from, for other processes.

    Attributes:
        folder: the checkpoint's.
        fingerprint: that its header names.
        data: as ``domain.data``; None for the domain's own.
        accelerator: as ``trainer.accelerator``.
        places: as :meth:`refine.Model.from_pretrained` takes them.
    """

    folder: str
    fingerprint: str
    data: str | None
    accelerator: str
    places: tuple[tuple[str, str], ...] = ()

    def load(self) -> tuple[Forecaster, xr.Dataset]:
        """The forecaster and the fields, on its grid.

        Raises:
            RefineError: the checkpoint cannot be read, or is another one by now.
        """
        model: Any = Model.from_pretrained(self.folder, best_device(self.accelerator), places=dict(self.places))
        same = read_header(Path(self.folder))["weights"] == self.fingerprint
        require(same, f"{self.folder} holds another model here than where the ensemble was begun")
        return model, domain_of(model, self.data).fields()


def domain_of(model: Any, data: str | None) -> Any:
    """The model's domain, or one like it with other data, brought to the same grid."""
    if data is None or data == model.domain.config.data:
        return model.domain
    domain = type(model.domain)(replace(model.domain.config, data=data, train=None, val=None, test=None))
    domain.data_key = "ensemble.fields"
    return domain


def run_ensemble(
    model: Any,
    source: Path,
    config: Config,
    folder: Path,
    afterwards: Callable[[list[Path]], None] = lambda _: None,
) -> list[Path]:
    """Forecast as ``config.ensemble`` says, with progress, and show what came out.

    Stopped at any moment, the same call makes what is missing.

    Args:
        model: a forecaster with its domain.
        source: its checkpoint.
        config: of the command.
        folder: for the store, if ``ensemble.out`` does not name one.
        afterwards: what else is made of what is returned; the same call comes back to it until it has ended.

    Returns:
        The store, the netCDF file if one was asked for, the pictures, the report.

    Raises:
        RefineError: a value that is not accepted, a store that is there, a full disk, a cluster that does not work.
    """
    wanted = config.ensemble
    if wanted.at is not None:
        from refine.domains.weather.pictures.plumes import parse_place

        parse_place(wanted.at)  # before the work, not after it
    data = absolute(wanted.fields or model.domain.config.data)
    domain = domain_of(model, data)
    fields = domain.fields()
    timeline = timeline_of(fields, model.step)
    within = fields if wanted.fields is not None else domain.fields(wanted.split)
    job = job_of(wanted, config.sampler, config.seed, model, fields, within["time"].values)
    fingerprint, places = read_header(source)["weights"], tuple(named(model.domain.config).items())
    samplers_of(job.sampler, model.num_levels)
    build_strategies(job.sampler)
    loader = Checkpoint(str(source.absolute()), fingerprint, data, config.trainer.accelerator, places)
    stamps = [timeline.stamps[i] for i in job.starts]
    if wanted.out is None:
        target = _unused(folder, name_of(job, stamps, model.step), plan_of(job, model, fields, loader))
    else:
        target = Path(wanted.out).expanduser()
        accepted = "a zarr store such as forecast.zarr; netcdf=true writes forecast.nc beside it"
        require(target.suffix != ".nc", f"ensemble.out={wanted.out!r} is not accepted; accepted: {accepted}")
    netcdf = target.with_suffix(".nc") if wanted.netcdf else None
    fresh = netcdf is None or not netcdf.exists() or partial_folder(target).exists()
    require(fresh, f"ensemble.netcdf=true is not accepted: {netcdf} is there already and is kept; name another out")
    about = {
        "title": f"{job.members} forecasts from each of {len(stamps)} initial times",
        "source": f"refine {__version__}, model {loader.fingerprint}, seed {job.seed}",
        "history": f"fields of {fields.attrs.get('source', domain.name)} forecast by refine ensemble",
    }
    paths: list[Path] = []

    def shown(record: Path) -> None:
        paths.extend([target.absolute(), *([netcdf] if netcdf is not None else [])])
        show(paths, domain, job, stamps, model.step, wanted.at, _pictures_of(target.absolute(), record))
        afterwards(paths)

    write_ensemble(target, job, model, fields, loader, about, wanted.scheduler, netcdf, shown)
    return paths


def absolute(data: str | None) -> str | None:
    """A path from the root, so that processes in other folders find it; names of data sets and URLs as they are."""
    return str(Path(data).absolute()) if data is not None and Path(data).exists() else data


def name_of(job: Job, stamps: list[str], step: np.timedelta64) -> str:
    """What a store is called that nobody gave a name: ``2021-12-26T00-50x240h``."""
    ends = [stamp.removesuffix(":00").replace(":", "") for stamp in dict.fromkeys([stamps[0], stamps[-1]])]
    return f"{'_'.join(ends)}-{job.members}x{job.steps * hours(step)}h"


def _unused(folder: Path, name: str, plan: dict[str, Any]) -> Path:
    """A store that is not there yet, or one that this very plan is under way to."""
    path, number = folder / f"{name}.zarr", 1
    while not is_free(path, plan):
        number += 1
        path = folder / f"{name}-{number}.zarr"
    return path


def show(
    paths: list[Path], domain: Any, job: Job, stamps: list[str], step: np.timedelta64, at: str | None, folder: Path
) -> None:
    """Say where the forecast is, print figures of its first channels, and draw and write up the first initial time.

    Pictures and report go into ``folder``, and are added to ``paths``.
    """
    from refine.domains.weather.pictures.forecast_pictures import forecast_pictures
    from refine.domains.weather.pictures.report import report_forecast

    out, forecast, truth = Plain(), open_forecast(paths[0]), possible_only(domain.fields())
    figures = summarise(forecast, truth)
    leads = forecast["prediction_timedelta"].values
    out.print(summary_table(dict(list(figures.items())[:TABLE_CHANNELS]), leads, stamps[0]))
    begins = stamps[0] if len(stamps) == 1 else f"{len(stamps)} initial times, {stamps[0]} to {stamps[-1]}"
    text = f"{job.members} members to {job.steps * hours(step)} h from {begins}: {', '.join(map(str, paths))}"
    out.print(text, soft_wrap=True)
    pictures = forecast_pictures(paths[0], folder, at=at, static=domain.static(), truth=truth)
    report = report_forecast(paths[0], forecast, [summary_table(figures, leads, stamps[0])], folder, pictures)
    out.print(f"Report: {report}, pictures beside it", soft_wrap=True)
    paths += [*pictures, report]


def _pictures_of(store: Path, record: Path) -> Path:
    """A folder beside the store that was not there before: ``forecast`` of ``forecast.zarr``, else ``forecast-2``, ...

    It is noted in the folder ``record``, so that pictures that were begun are gone on with in the same place.
    """
    note = record / "pictures.txt"
    if note.is_file():
        return store.with_name(read_text(note))
    first = store.with_suffix("") if store.suffix else store.with_name(f"{store.name}-pictures")
    names = itertools.chain([first], (first.with_name(f"{first.name}-{n}") for n in itertools.count(2)))
    found = next(path for path in names if not path.exists())
    write_text(note, found.name)
    return found
