"""The parts of an ensemble on a Dask cluster whose workers see the same files.

Workers load the forecaster from its checkpoint, once each, and write their chunks themselves; this process keeps the
record. A worker that dies loses the part it was at, which another one forecasts again.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from refine.domains.weather.ensembles.ensemble import Forecaster, Job, Loader, Part, forecast_part
from refine.domains.weather.ensembles.unfinished import Unfinished
from refine.errors import RefineError

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

PATIENCE = 60  # seconds that the scheduler may take to answer, and a worker to appear
_loading = threading.Lock()


def on_cluster(client: Client, work: Unfinished, job: Job, parts: Sequence[Part], loader: Loader) -> Iterator[None]:
    """Forecast ``parts`` and keep the record; one item for each lead.

    Raises:
        RefineError: workers that do not see the files or die again and again.
    """
    from distributed import as_completed

    futures = {client.submit(_on_worker, str(work.store), job, part, loader, pure=False): part for part in parts}
    try:
        for future in as_completed(futures, loop=client.loop):
            future.result()
            work.record(futures[future].name)
            yield from [None] * job.steps
    except (RefineError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever can go wrong in another process
        raise RefineError(f"a worker of ensemble.scheduler failed: {error!r}") from error
    finally:
        client.cancel(list(futures), force=True)


def connected(address: str) -> Client:
    """A client of a Dask cluster, to be closed; itself a context.

    Raises:
        RefineError: no such cluster, or no workers.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        accepted = "the address of a Dask scheduler, such as tcp://host:8786"
        message = f"ensemble.scheduler={address!r} does not answer ({error}); accepted: null, or {accepted}"
        raise RefineError(message) from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        client.close()
        raise RefineError(
            f"ensemble.scheduler={address!r} has no workers; start some with: dask worker {address}"
        ) from None
    return client


def _on_worker(path: str, job: Job, part: Part, loader: Loader) -> None:
    """In a worker: forecast and write one part."""
    import dask

    if not Path(path).is_dir():
        raise RefineError(
            f"the worker on {socket.gethostname()} does not see {path}; workers must share the file system"
        )
    # Threads of a worker share what is loaded. What is computed meanwhile is computed here: as tasks of the cluster it
    # would wait for threads that wait for this lock.
    with _loading, dask.config.set(scheduler="synchronous"):
        model, fields = _loaded(loader)
    for _ in forecast_part(Path(path), job, part, model, fields):
        pass


@lru_cache(maxsize=1)
def _loaded(loader: Loader) -> tuple[Forecaster, xr.Dataset]:
    return loader.load()
