"""Dask clusters on this machine, whose workers are forked from a process that has imported what takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask
import processes
from distributed import LocalCluster


@contextmanager
def local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Worker processes with one thread each."""
    processes.ready()
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0") as running,
    ):
        yield running
