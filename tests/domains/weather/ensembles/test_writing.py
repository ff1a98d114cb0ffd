"""Ensembles in this process: the same numbers however the work is cut, stopped or gone on with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import torch
import xarray as xr

from refine.domains.weather.ensembles.ensemble import Job, initial_states
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.ensembles.unfinished import partial_folder
from refine.domains.weather.ensembles.writing import write_ensemble
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.settings.config import SamplerConfig

from ..toy_forecaster import CHANNELS, ToyForecaster, ToyLoader, toy_fields

JOB = Job(starts=(1, 3, 4), members=5, steps=4, seed=3, sampler=SamplerConfig(), rows=2)


def write(target: Path, job: Job = JOB, fields: xr.Dataset | None = None, **options: Any) -> xr.Dataset:
    """Forecast with the toy, whose diary is beside the store; the forecast, in memory."""
    fields = toy_fields() if fields is None else fields
    model = ToyForecaster(Grid.of(fields), target.parent)
    paths = write_ensemble(target, job, model, fields, ToyLoader(str(target.parent)), {"title": "toy"}, **options)
    assert paths[0] == target
    return open_forecast(target).load()


def diary(folder: Path) -> list[str]:
    """What was forecast, process numbers left out."""
    return [line.split(" ", 1)[1] for line in (folder / "forecast.txt").read_text().splitlines()]


def test_the_store_has_what_the_forecaster_said(tmp_path: Path) -> None:
    ds, fields = write(tmp_path / "f.zarr"), toy_fields()
    assert list(ds.data_vars) == CHANNELS and list(ds["number"].values) == list(range(5))
    assert np.array_equal(ds["time"].values, fields["time"].values[[1, 3, 4]])
    model = ToyForecaster(Grid.of(fields))
    before, now = initial_states(fields, model, [1, 3, 4])
    assert np.array_equal(now[2, 0].numpy(), fields[CHANNELS[0]].values[4])
    assert np.array_equal(before[2, 0].numpy(), fields[CHANNELS[0]].values[3])
    times = fields["time"].values[[1, 3, 4]]
    for k, x_TMC in enumerate(model.forecast(before, now, times, range(5), 4, 3, SamplerConfig())):
        for c, channel in enumerate(CHANNELS):
            assert np.array_equal(ds[channel].values[:, :, k], x_TMC[:, :, c].numpy().swapaxes(0, 1))
    assert ds["2m_temperature"].attrs["units"] == "K" and ds["geopotential_500"].attrs["units"] == "m2 s-2"


def test_a_member_is_the_same_in_any_ensemble(tmp_path: Path) -> None:
    few = write(tmp_path / "few.zarr", replace(JOB, members=3))
    many = write(tmp_path / "many.zarr", replace(JOB, members=8, starts=(3,), rows=3, steps=6))
    together = write(tmp_path / "together.zarr", replace(JOB, rows=100))
    assert few.isel(time=[1]).equals(many.isel(number=slice(3), prediction_timedelta=slice(4)))
    assert together.isel(number=slice(3)).equals(few)
    assert len(np.unique(many["2m_temperature"].values.reshape(8, -1), axis=0)) == 8  # no two members are alike
    assert not few.equals(write(tmp_path / "other.zarr", replace(JOB, members=3, seed=4)))


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_other_calendars_and_grids(tmp_path: Path, calendar: str) -> None:
    fields = toy_fields(grid="healpix:2", calendar=calendar)
    ds = write(tmp_path / "f.zarr", fields=fields)
    assert ds["2m_temperature"].shape == (5, 3, 4, 48)
    assert ds["time"].dt.calendar == calendar and np.isfinite(ds["2m_temperature"].values).all()


def test_netcdf_and_progress(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ds = write(tmp_path / "f.zarr", netcdf=tmp_path / "f.nc")
    assert open_forecast(tmp_path / "f.nc").load().equals(ds)
    assert "\x1b" not in capfd.readouterr().err  # plain where there is no terminal


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    before = write(tmp_path / "f.zarr")
    with pytest.raises(RefineError, match="already"):
        write(tmp_path / "f.zarr")
    assert open_forecast(tmp_path / "f.zarr").load().identical(before)
    assert len(diary(tmp_path)) == len(JOB.parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: np.nan,
            r"temperature_850: 3 of 256 values are missing .*first at time 2021-01-03T00:00:00, latitude",
        ),
        (lambda x: -np.inf, r"temperature_850: 3 of 256 values are missing"),
        (lambda x: x - 273.15, r"temperature_850 has values -.*, which cannot be K"),
    ],
)
def test_initial_states_that_cannot_be_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    """Opening a source looks at three of its times only."""
    fields = toy_fields(grid="gaussian:8x16").load()
    fields["temperature_850"][2, 1, 1:4] = change(fields["temperature_850"][2, 1, 1:4])
    with pytest.raises(RefineError, match=rf"initial time 2021-01-04T00:00, .*{message}.*3 of 9 parts"):
        write(tmp_path / "f.zarr", fields=fields)
    assert not (tmp_path / "f.zarr").exists()


def test_a_forecast_that_blows_up_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = ToyForecaster._noise

    def wild(self: ToyForecaster, seed: int, stamp: str, members: Any, k: int, shape: torch.Size) -> torch.Tensor:
        more = float("inf") if stamp == "2021-01-04T00:00" and k == 1 else 0.0
        return noise(self, seed, stamp, members, k, shape) + more

    monkeypatch.setattr(ToyForecaster, "_noise", wild)
    ds = write(tmp_path / "f.zarr", replace(JOB, rows=15))
    assert "times 0-2 members 0-4 is not finite from 48 h on" in capfd.readouterr().err
    finite = np.isfinite(ds["temperature_850"].values)
    assert finite[:, [0, 2]].all() and finite[:, 1, 0].all() and not finite[:, 1, 1:].any()


# -- stopped -----------------------------------------------------------------------------------------------------------


def killed(target: Path, member: int) -> None:
    """The ensemble in another process, which is killed in the middle of its first part with that member."""
    (target.parent / "die").write_text(str(member))
    processes.killed(write, target)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_killed_and_gone_on_with(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "whole").mkdir()
    whole = write(tmp_path / "whole" / "f.zarr")
    target = tmp_path / "f.zarr"
    killed(target, member=3)  # in the second of three parts of the first initial time
    assert not target.exists() and diary(tmp_path) == ["2021-01-02T00:00 0-1", "2021-01-02T00:00 2-3"]
    killed(target, member=4)
    assert write(target).identical(whole)
    assert "2 of 9 parts are done" in capfd.readouterr().err
    lines = diary(tmp_path)
    assert lines.count("2021-01-02T00:00 0-1") == 1  # finished before it was killed
    assert lines.count("2021-01-02T00:00 2-3") == 2 and lines.count("2021-01-02T00:00 4-4") == 2
    assert len(lines) == len(JOB.parts) + 2
    assert not partial_folder(target).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_another_command_for_a_store_in_the_making(tmp_path: Path) -> None:
    target = tmp_path / "f.zarr"
    killed(target, member=3)
    with pytest.raises(RefineError, match=r"ensemble.members=5 \(now 6\), seed=3 \(now 4\)"):
        write(target, replace(JOB, members=6, seed=4))
    with pytest.raises(RefineError, match=r"sampler.temperature=1.0 \(now 0.9\)"):
        write(target, replace(JOB, sampler=SamplerConfig(temperature=0.9)))
    assert len((partial_folder(target) / "finished.txt").read_text().splitlines()) == 1
    write(target)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = sys.platform == "linux" and os.geteuid() == 0 and mount(path, "size=400k") == 0
    if not mounted:
        pytest.skip("needs the right to mount a small file system")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def mount(path: Path, options: str) -> int:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True).returncode


def test_full_disk(tmp_path: Path, small_disk: Path) -> None:
    job, fields = replace(JOB, members=30, rows=3, steps=10), toy_fields(grid="gaussian:8x16")
    whole = write(tmp_path / "f.zarr", job, fields)
    target = small_disk / "f.zarr"
    with pytest.raises(RefineError) as error:
        write(target, job, fields)
    message = str(error.value)
    assert "cannot be written: No space left on device" in message and "the same command goes on" in message
    kept = int(re.findall(r"(\d+) of 30 parts are kept", message)[0])
    assert 0 < kept < 30
    assert mount(small_disk, "remount,size=20m") == 0
    assert write(target, job, fields).identical(whole)
    assert len(diary(small_disk)) == 30 + 1  # one was not finished


def peaks(folder: Path) -> None:
    """Write ever larger ensembles, and how much memory this process has used until then at most."""
    import resource  # not on Windows

    fields = toy_fields(grid="gaussian:48x96")
    for members in (10, 50):  # 22 MB and 111 MB of fields
        job = replace(JOB, members=members, rows=10, steps=10)
        target = folder / f"{members}.zarr"
        write_ensemble(target, job, ToyForecaster(Grid.of(fields)), fields, ToyLoader(""), {})
        with (folder / "peaks").open("a") as file:
            file.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is not told on Windows")
def test_memory_does_not_grow_with_members(tmp_path: Path) -> None:
    processes.finished(processes.start(peaks, tmp_path))
    few, many = map(int, (tmp_path / "peaks").read_text().split())
    assert many < 1.15 * few
