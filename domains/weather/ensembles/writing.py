"""All of an ensemble into a store, in this process or on a cluster; it goes on where an earlier call stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.ensembles import store
from refine.domains.weather.ensembles.cluster import connected, on_cluster
from refine.domains.weather.ensembles.ensemble import Forecaster, Job, Loader, Part, forecast_part, plan_of
from refine.domains.weather.ensembles.netcdf import write_netcdf
from refine.domains.weather.ensembles.unfinished import Unfinished
from refine.errors import RefineError
from refine.progress import console, track
from refine.storage.locks import alone, lock_beside

if TYPE_CHECKING:
    import xarray as xr


def write_ensemble(
    target: Path,
    job: Job,
    model: Forecaster,
    fields: xr.Dataset,
    loader: Loader,
    attributes: dict[str, Any],
    scheduler: str | None = None,
    netcdf: Path | None = None,
    afterwards: Callable[[Path], None] = lambda _: None,
) -> list[Path]:
    """Forecast all of ``job`` into the store ``target``; go on where an earlier call with the same job stopped.

    Args:
        target: the store; it appears when it is complete.
        job: what to forecast.
        model: the forecaster, for work in this process.
        fields: canonical dataset with the initial states, on the model's grid.
        loader: the same two, for other processes.
        attributes: of the store; they are no part of the plan.
        scheduler: address of a Dask scheduler whose workers share the file system; None to work here.
        netcdf: also write the store as this file.
        afterwards: makes what is made from the store when that is in its place; the same call comes back to it until it
            has ended (:meth:`refine.domains.weather.ensembles.unfinished.Unfinished.publish`).

    Returns:
        What was written.

    Raises:
        RefineError: the target exists, or another plan or another process is under way there; a full disk; a cluster
            that does not work.
    """
    plan = plan_of(job, model, fields, loader)
    leads = np.arange(1, job.steps + 1) * model.step
    chunks = (job.member_chunk, job.lead_chunk(len(model.channels), int(np.prod(model.grid.shape))))
    times = fields["time"].values[list(job.starts)]
    units = {c: str(fields[c].attrs.get("units", "1")) for c in model.channels}

    def create(path: Path) -> None:
        store.create(path, model.grid, units, times, leads, job.members, chunks, attributes, fields)

    target = target.absolute()
    with ExitStack() as stack:
        stack.enter_context(alone(lock_beside(target), f"{target} is being made"))
        client = None
        if scheduler is not None and not target.exists():
            client = stack.enter_context(connected(scheduler))  # before anything is written
        work = Unfinished(target, plan, create)
        left = [part for part in job.parts if part.name not in work.finished and not work.published]
        if len(left) < len(job.parts):
            done = len(job.parts) - len(left)
            console.print(f"going on: {done} of {len(job.parts)} parts are done", soft_wrap=True)
        what = f"Forecasting {job.members} members from {len(job.starts)} initial time{'s' * (len(job.starts) > 1)}"
        try:
            if client is None:
                todo = _here(work, job, left, model, fields)
            else:
                todo = on_cluster(client, work, job, left, loader)
            for _ in track(todo, what, total=len(left) * job.steps):
                pass
            if netcdf is not None and not (work.published and netcdf.exists()):
                write_netcdf(target if work.published else work.store, netcdf)
        except RefineError as error:
            if client is None and not (work.finished or work.published):
                work.discard()
                raise
            done = len([part for part in job.parts if part.name in work.finished])
            kept = f"{done} of {len(job.parts)} parts are kept in {work.folder}; the same command goes on from there"
            raise RefineError(f"{error}; {kept}") from error
        return [work.publish(afterwards), *([netcdf] if netcdf is not None else [])]


def _here(work: Unfinished, job: Job, parts: Sequence[Part], model: Forecaster, fields: xr.Dataset) -> Iterator[None]:
    for part in parts:
        for lead in forecast_part(work.store, job, part, model, fields):
            if lead == job.steps - 1:
                work.record(part.name)
            yield
