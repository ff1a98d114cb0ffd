"""``refine regrid``: stores on other grids, complete or not there at all, and what is said about them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import healpy
import numpy as np
import pytest
import torch
import xarray as xr

from refine.cli import main
from refine.domains.weather import regrid_command
from refine.domains.weather.regrid_command import regrid_store
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.regrid import Regridder
from refine.errors import RefineError

ERA5 = Path(os.environ.get("REFINE_DATA", "."), "weather", "era5_week.zarr")
SOURCE, TARGET = Grid.parse("regular:13x24"), Grid.parse("healpix:4")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def fields(grid: Grid = SOURCE, calendar: str = "standard") -> xr.Dataset:
    """Ten days of two channels."""
    times = xr.date_range("2021-01-01", periods=10, calendar=calendar, use_cftime=calendar != "standard")
    noise = np.random.default_rng(5).normal(size=(2, 10, *grid.shape)).astype("float32")
    dims = ("time", *grid.dims)
    ds = xr.Dataset({"2m_temperature": (dims, 280 + 10 * noise[0], {"units": "K"})}, {"time": times})
    ds["mean_sea_level_pressure"] = (dims, 101000 + 800 * noise[1], {"units": "Pa"})
    ds["split"] = ("time", np.arange(10) % 3)
    return ds.assign_coords(latitude=(grid.dims[0], grid.latitude), longitude=(grid.dims[-1], grid.longitude))


def write(ds: xr.Dataset, path: str, chunk: int = 3) -> str:
    if path.endswith(".nc"):
        ds.to_netcdf(path)
    else:
        ds.chunk(time=chunk).to_zarr(path, zarr_format=3, consolidated=False)
    return path


def left_behind() -> list[str]:
    return sorted(p.name for p in Path().iterdir())


@pytest.mark.parametrize("given", ["in.zarr", "in.nc"])
@pytest.mark.parametrize("out", ["out.zarr", "new/out.nc"])
def test_there_and_back(given: str, out: str) -> None:
    ds = fields()
    write(ds.sortby("latitude", ascending=False), given)
    figures = regrid_store(given, out, "healpix:4")
    made = xr.open_dataset(out, engine="zarr" if out.endswith("zarr") else "netcdf4")
    regridder = Regridder(SOURCE, TARGET)
    for channel, row in figures.items():
        x = torch.from_numpy(ds[channel].values).double()
        np.testing.assert_allclose(made[channel], regridder.apply_torch(x), rtol=1e-6)
        assert made[channel].attrs["units"] == ds[channel].attrs["units"] == row["units"]
        assert row["conservation"] < 1e-6 and (row["missing"], row["missing_after"]) == (0, 0)
        lost = float((regridder.round_trip_error(x) ** 2).mean() ** 0.5)
        assert row["round_trip"] == pytest.approx(lost, rel=1e-4)
        weights = torch.from_numpy(SOURCE.area)
        std = float((x**2 * weights).mean() - (x * weights).mean() ** 2) ** 0.5
        assert row["round_trip_share"] == pytest.approx(lost / std, rel=1e-3)
    np.testing.assert_array_equal(made["time"], ds["time"])
    np.testing.assert_array_equal(made["split"], ds["split"])
    assert Grid.of(made) == TARGET and made["2m_temperature"].attrs["grid_mapping"] == "healpix"
    made.close()
    regrid_store(out, "back.zarr", SOURCE.name)
    back = xr.open_zarr("back.zarr")
    expected = regridder.inverse().apply_torch(regridder.apply_torch(x))
    np.testing.assert_allclose(back[channel], expected, rtol=1e-6)
    np.testing.assert_array_equal(back["latitude"], SOURCE.latitude)


def test_cells_in_rings_are_refused() -> None:
    write(fields(TARGET).isel(cell=healpy.ring2nest(4, np.arange(192))), "in.nc")
    with pytest.raises(RefineError, match="another order than nested"):
        regrid_store("in.nc", "out.nc", SOURCE.name)


def test_calendars_stay() -> None:
    write(fields(calendar="360_day"), "in.nc")
    regrid_store("in.nc", "out.nc", "gaussian:6x12")
    with xr.open_dataset("out.nc") as made:
        assert made["time"].dt.calendar == "360_day"
        np.testing.assert_array_equal(made["time"], fields(calendar="360_day")["time"])


def test_forecasts_go_too() -> None:
    shape = (3, 2, 4, *SOURCE.shape)
    dims = ("number", "time", "prediction_timedelta", "latitude", "longitude")
    values = 280 + np.random.default_rng(6).normal(size=shape).astype("float32")
    coords = {"latitude": SOURCE.latitude, "longitude": SOURCE.longitude, "time": xr.date_range("2021", periods=2)}
    coords["prediction_timedelta"] = np.arange(1, 5) * np.timedelta64(24, "h")
    ds = xr.Dataset({"2m_temperature": (dims, values, {"units": "K"})}, coords)
    ds.chunk(number=2, time=1).to_zarr("in.zarr", zarr_format=3, consolidated=False)
    regrid_store("in.zarr", "out.zarr", "healpix:4")
    made = xr.open_zarr("out.zarr")
    assert made["2m_temperature"].dims == (*dims[:3], "cell")
    expected = Regridder(SOURCE, TARGET).apply_torch(torch.from_numpy(values).double())
    np.testing.assert_allclose(made["2m_temperature"], expected, rtol=1e-6)
    assert made["valid_time"].values[1, 2] == np.datetime64("2021-01-05")


def test_missing_values_are_counted_and_stay_missing() -> None:
    ds = fields()
    ds["2m_temperature"][3, 4:9, 5:15] = np.nan  # opening looks at the first, the middle and the last time
    write(ds, "in.zarr")
    figures = regrid_store("in.zarr", "out.zarr", "healpix:4")
    made = xr.open_zarr("out.zarr")["2m_temperature"]
    absent = int(np.isnan(made).sum())
    assert (figures["2m_temperature"]["missing"], figures["2m_temperature"]["missing_after"]) == (50, absent)
    assert 0 < absent == int(np.isnan(made[3]).sum()) and float(made.min()) > 200
    assert figures["mean_sea_level_pressure"]["missing"] == 0


def test_memory_holds_one_chunk_of_one_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = Regridder.on_array

    def spy(self: Regridder, x: np.ndarray, least: float = 0.5) -> np.ndarray:
        seen.append(x.size // int(np.prod(x.shape[1:])))
        return real(self, x, least)

    monkeypatch.setattr(Regridder, "on_array", spy)
    monkeypatch.setattr("refine.domains.weather.fields.sources.CHUNK_BYTES", 4 * 3 * SOURCE.num_cells, raising=False)
    monkeypatch.setattr("refine.domains.weather.fields.reading.CHUNK_BYTES", 4 * 3 * SOURCE.num_cells, raising=False)
    write(fields(), "in.zarr")
    regrid_store("in.zarr", "out.zarr", "healpix:4")
    assert max(seen) == 3 and len(seen) == 2 * 2 * 4  # there and back, two channels, four chunks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("in.zarr", "out.zarr", "healpix:5"), "healpix:5' is not accepted; accepted: a power of two"),
        (("in.zarr", "out.zarr", "cubed:5"), "accepted: healpix:NSIDE"),
        (("in.zarr", "out.zarr", "regular:13x24"), "in.zarr is on regular:13x24 already"),
        (("in.zarr", "out.grib", "healpix:4"), "OUT='out.grib' is not accepted; accepted: NAME.zarr, NAME.nc"),
        (("in.zarr", "there.zarr", "healpix:4"), "OUT='there.zarr' is not accepted: it is there already"),
        (("in.zarr", "in.zarr", "healpix:4"), "it is there already"),
        (("nowhere.zarr", "out.zarr", "healpix:4"), "nowhere.zarr"),
        (("in.zarr", "file/out.zarr", "healpix:4"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(arguments: tuple[str, str, str], message: str) -> None:
    write(fields(), "in.zarr")
    Path("there.zarr").mkdir()
    Path("file").write_text("a file")
    before = left_behind()
    with pytest.raises(RefineError) as error:
        regrid_store(*arguments)
    assert message in str(error.value)
    assert left_behind() == before and Path("file").read_text() == "a file"


@pytest.mark.parametrize("out", ["out.zarr", "out.nc"])
def test_a_source_that_breaks_off_leaves_nothing(out: str) -> None:
    write(fields(), "in.zarr", chunk=1)
    chunk = Path("in.zarr/mean_sea_level_pressure/c/7/0/0")  # not one of those that opening looks at
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(RefineError, match="truncated"):
        regrid_store("in.zarr", out, "healpix:4")
    assert left_behind() == ["in.zarr"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_impatient_user_leaves_nothing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise error

    write(fields(), "in.zarr")
    monkeypatch.setattr(regrid_command, "sync", fail)
    with pytest.raises(RefineError if isinstance(error, OSError) else KeyboardInterrupt, match=r"space|^$"):
        regrid_store("in.zarr", "out.zarr", "healpix:4")
    assert left_behind() == ["in.zarr"]


def test_what_appears_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    write(fields(), "in.zarr")
    monkeypatch.setattr(regrid_command, "sync", lambda path: Path("out.zarr").mkdir(exist_ok=True))
    with pytest.raises(RefineError, match="there already"):
        regrid_store("in.zarr", "out.zarr", "healpix:4")
    assert left_behind() == ["in.zarr", "out.zarr"] and not list(Path("out.zarr").iterdir())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["regrid", *arguments])
    return int(end.value.code or 0)


@pytest.mark.parametrize("grid", ["--grid healpix:4", "--grid=healpix:4", "grid=healpix:4"])
def test_the_command_shows_what_it_did(grid: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(fields(), "in.zarr")
    assert run("in.zarr", "out.zarr", *grid.split()) == 0
    out = capsys.readouterr().out
    for part in ("2m_temperature", "round trip", "conservation", "missing", "Written: out.zarr"):
        assert part in out
    assert Grid.of(xr.open_zarr("out.zarr")) == TARGET
    kept = {p: p.read_bytes() for p in Path("out.zarr").rglob("*") if p.is_file()}
    assert run("in.zarr", "out.zarr", "--grid", "healpix:2") == 2
    assert "there already" in capsys.readouterr().err
    assert kept == {p: p.read_bytes() for p in Path("out.zarr").rglob("*") if p.is_file()}


def test_the_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for part in ("refine regrid era5_week week.zarr --grid healpix:16", "gaussian:48x96", "OUT ends in .zarr or .nc"):
        assert part in out
    assert run("in.zarr", "out.zarr") == 2
    assert "grid must be given" in capsys.readouterr().err


@pytest.mark.skipif(not ERA5.is_dir(), reason="needs REFINE_DATA")
def test_a_real_week() -> None:
    shutil.copytree(ERA5, "week.zarr")
    figures = regrid_store("week.zarr", "cells.zarr", "healpix:32")
    assert max(row["conservation"] for row in figures.values()) < 1e-6
    assert 0 < figures["mean_sea_level_pressure"]["round_trip_share"] < 0.1
    made, ds = xr.open_zarr("cells.zarr"), xr.open_zarr("week.zarr", consolidated=False)
    assert made.sizes == {"time": 24, "cell": 12288}
    mean = (ds["2m_temperature"].sortby("latitude").values * Grid.of(ds).area).mean((1, 2))
    np.testing.assert_allclose(made["2m_temperature"].mean("cell"), mean, rtol=1e-6)
