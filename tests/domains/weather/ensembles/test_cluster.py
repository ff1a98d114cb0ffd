"""Ensembles on a Dask cluster of two worker processes: the same numbers, and a worker that dies costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster

from refine.domains.weather.ensembles import cluster as cluster_module
from refine.domains.weather.ensembles.ensemble import Job
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.ensembles.unfinished import partial_folder
from refine.domains.weather.ensembles.writing import write_ensemble
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.settings.config import SamplerConfig

from ..clusters import local_cluster
from ..toy_forecaster import ToyForecaster, ToyLoader, toy_fields

JOB = Job(starts=(1, 3, 4), members=6, steps=4, seed=3, sampler=SamplerConfig(), rows=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster(2) as running:
        yield running


def write(target: Path, job: Job = JOB, scheduler: str | None = None) -> list[Path]:
    fields = toy_fields()
    model = ToyForecaster(Grid.of(fields), target.parent)
    return write_ensemble(target, job, model, fields, ToyLoader(str(target.parent)), {}, scheduler)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_same_numbers(cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "f.zarr")
    write(tmp_path / "f.zarr", scheduler=cluster.scheduler_address)
    assert open_forecast(tmp_path / "f.zarr").load().identical(open_forecast(tmp_path / "here" / "f.zarr").load())
    workers = {line.split()[0] for line in lines(tmp_path / "forecast.txt")}
    assert len(workers) == 2 and len(lines(tmp_path / "forecast.txt")) == len(JOB.parts)
    assert sorted(lines(tmp_path / "loads.txt")) == sorted(workers)  # once each


def test_a_killed_worker_is_replaced(cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "f.zarr")
    (tmp_path / "die").write_text("3")
    write(tmp_path / "f.zarr", scheduler=cluster.scheduler_address)
    assert not (tmp_path / "die").exists()
    assert open_forecast(tmp_path / "f.zarr").load().identical(open_forecast(tmp_path / "here" / "f.zarr").load())
    assert len(lines(tmp_path / "forecast.txt")) > len(JOB.parts)


def test_begun_here_and_finished_there(cluster: LocalCluster, tmp_path: Path) -> None:
    fields = toy_fields().load()
    fields["2m_temperature"][3] = float("nan")
    model, target = ToyForecaster(Grid.of(fields), tmp_path), tmp_path / "f.zarr"
    with pytest.raises(RefineError, match="3 of 9 parts are kept"):
        write_ensemble(target, JOB, model, fields, ToyLoader(str(tmp_path)), {})
    write(target, scheduler=cluster.scheduler_address)
    assert len(lines(tmp_path / "forecast.txt")) == len(JOB.parts)


def test_an_error_of_a_worker_is_told(cluster: LocalCluster, tmp_path: Path) -> None:
    job = replace(JOB, starts=(0, 2))  # the first field has none before it
    with pytest.raises(RefineError, match=r"a worker of ensemble.scheduler failed: .*; \d of 6 parts are kept in"):
        write(tmp_path / "f.zarr", job, cluster.scheduler_address)
    assert partial_folder(tmp_path / "f.zarr").is_dir()


def test_no_such_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "tcp://"):
        with pytest.raises(RefineError, match=r"ensemble.scheduler=.*tcp://host:8786"):
            write(tmp_path / "f.zarr", scheduler=address)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(RefineError, match="has no workers"),
    ):
        write(tmp_path / "f.zarr", scheduler=empty.scheduler_address)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("f.zarr")]  # refused before it was begun
