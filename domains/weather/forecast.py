"""``refine ensemble`` of the weather domain: from a configuration to a store, a table and pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from refine import __version__
from refine.checkpoint import read_header
from refine.commands.sample import best_device
from refine.config import Config
from refine.domains.weather.ensemble import Forecaster, Job, job_of, plan_of, timeline_of, write_ensemble
from refine.domains.weather.grids import Grid
from refine.domains.weather.initial_times import hours
from refine.domains.weather.store import open_forecast
from refine.domains.weather.unfinished import is_free, partial_folder
from refine.errors import require
from refine.model import Model

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
    """

    folder: str
    fingerprint: str
    data: str | None
    accelerator: str

    def load(self) -> tuple[Forecaster, xr.Dataset]:
        """The forecaster and the fields, on its grid.

        Raises:
            RefineError: the checkpoint cannot be read, or is another one by now.
        """
        model: Any = Model.from_pretrained(self.folder, best_device(self.accelerator))
        same = read_header(Path(self.folder))["weights"] == self.fingerprint
        require(same, f"{self.folder} holds another model here than where the ensemble was begun")
        return model, domain_of(model, self.data).fields()


def domain_of(model: Any, data: str | None) -> Any:
    """The model's domain, or one like it with other data, brought to the same grid."""
    if data is None or data == model.domain.config.data:
        return model.domain
    return type(model.domain)(replace(model.domain.config, data=data, train=None, val=None, test=None))


def run_ensemble(model: Any, source: Path, config: Config, folder: Path) -> list[Path]:
    """Forecast as ``config.ensemble`` says, with progress, and show what came out.

    Args:
        model: a forecaster with its domain.
        source: its checkpoint.
        config: of the command.
        folder: for the store, if ``ensemble.out`` does not name one.

    Returns:
        The store, the netCDF file if one was asked for, the pictures.

    Raises:
        RefineError: a value that is not accepted, a store that is there, a full disk, a cluster that does not work.
    """
    wanted = config.ensemble
    if wanted.at is not None:
        from refine.domains.weather.plumes import parse_place

        parse_place(wanted.at)  # before the work, not after it
    data = absolute(wanted.fields or model.domain.config.data)
    domain = domain_of(model, data)
    fields = domain.fields()
    timeline = timeline_of(fields, model.step)
    within = fields if wanted.fields is not None else domain.fields(wanted.split)
    job = job_of(wanted, config.sampler, config.seed, model, fields, within["time"].values)
    loader = Checkpoint(str(source.absolute()), read_header(source)["weights"], data, config.trainer.accelerator)
    stamps = [timeline.stamps[i] for i in job.starts]
    if wanted.out is None:
        target = _unused(folder, name_of(job, stamps, model.step), plan_of(job, model, fields, loader))
    else:
        target = Path(wanted.out).expanduser()
    netcdf = target.with_suffix(".nc") if wanted.netcdf else None
    fresh = netcdf is None or not netcdf.exists() or partial_folder(target).exists()
    require(fresh, f"ensemble.netcdf=true is not accepted: {netcdf} is there already and is kept; name another out")
    about = {
        "title": f"{job.members} forecasts from each of {len(stamps)} initial times",
        "source": f"refine {__version__}, model {loader.fingerprint}, seed {job.seed}",
        "history": f"fields of {fields.attrs.get('source', domain.name)} forecast by refine ensemble",
    }
    paths = write_ensemble(target, job, model, fields, loader, about, wanted.scheduler, netcdf)
    show(paths, job, stamps, model.step)
    from refine.domains.weather.pictures import forecast_pictures

    pictures = target.with_suffix("") if target.suffix else target.with_name(f"{target.name}-pictures")
    paths += forecast_pictures(paths[0], pictures, at=wanted.at, static=model.domain.static(), truth=fields)
    Console().print(f"pictures: {pictures}", highlight=False, soft_wrap=True)
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


def show(paths: list[Path], job: Job, stamps: list[str], step: np.timedelta64) -> None:
    """Say where the forecast is, and print mean and spread by lead of the first channels and the first initial time."""
    out = Console()
    forecast = open_forecast(paths[0])
    channels = [str(c) for c in forecast.data_vars][:TABLE_CHANNELS]
    title = f"forecast from {stamps[0]}: mean ± spread over the globe"
    heads = [f"{c}\n{forecast[c].attrs.get('units', '')}" for c in channels]
    table = Table("lead", *(Column(head, overflow="fold") for head in heads), title=title)
    figures = {c: globe(forecast[c].isel(time=0)) for c in channels}
    leads = [hours(lead) for lead in forecast["prediction_timedelta"].values]
    for i, lead in enumerate(leads):
        row = [f"{mean[i]:.5g} ± {spread[i]:.3g}" for mean, spread in figures.values()]
        table.add_row(f"{lead // 24} d" if lead % 24 == 0 else f"{lead} h", *row)
    out.print(table)
    begins = stamps[0] if len(stamps) == 1 else f"{len(stamps)} initial times, {stamps[0]} to {stamps[-1]}"
    text = f"{job.members} members to {job.steps * hours(step)} h from {begins}: {', '.join(map(str, paths))}"
    out.print(text, highlight=False, soft_wrap=True)


def globe(forecast: xr.DataArray) -> tuple[list[float], list[float]]:
    """Mean of all members and root of their mean variance over the globe, by lead; one initial time."""
    grid = Grid.of(forecast)
    weights = grid.area / grid.area.sum()
    space = tuple(range(1, 1 + len(grid.shape)))
    mean = forecast.mean("number").compute(scheduler="synchronous").to_numpy()
    many = forecast.sizes["number"] > 1
    variance = forecast.var("number", ddof=1).compute(scheduler="synchronous").to_numpy() if many else 0 * mean
    spread = np.sqrt((variance * weights).sum(space))
    return [float(v) for v in (mean * weights).sum(space)], [float(v) for v in spread]
