"""The forecast store: what readers of such stores expect, and what happens when it cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from refine.domains.weather.ensembles import store
from refine.domains.weather.ensembles.initial_times import stamps
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError

from ..made_up_stores import LEADS, UNITS, made, values_of

PHYSICS = Path(os.environ.get("REFINE_DATA", "."), "weather", "speedy_t31_physics_ensemble.zarr")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made(tmp_path / "f.zarr")
    return tmp_path / "f.zarr"


def test_as_weatherbench_has_it(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = xr.open_zarr(path)
    x = values_of(Grid.parse("gaussian:4x8"))
    assert ds["temperature"].dims == ("number", "time", "prediction_timedelta", "level", "latitude", "longitude")
    assert ds["2m_temperature"].dims == ("number", "time", "prediction_timedelta", "latitude", "longitude")
    assert ds["temperature"].dtype == ds["2m_temperature"].dtype == "float32"
    assert np.array_equal(ds["temperature"].sel(level=850).values, x[:, :, :, 0])
    assert np.array_equal(ds["2m_temperature"].values, x[:, :, :, 1])
    assert np.array_equal(ds["geopotential"].sel(level=500).values, x[:, :, :, 3])
    assert ds["geopotential"].sel(level=850).isnull().all()  # not forecast
    assert ds["temperature"].encoding["chunks"] == (2, 1, 3, 1, 4, 8)
    assert json.loads((path / "zarr.json").read_text())["zarr_format"] == 3


def test_after_the_cf_conventions(path: Path) -> None:
    ds = xr.open_zarr(path)
    standard = {name: ds[name].attrs["standard_name"] for name in ds.coords}
    assert standard == {
        "number": "realization",
        "time": "forecast_reference_time",
        "prediction_timedelta": "forecast_period",
        "valid_time": "time",
        "level": "air_pressure",
        "latitude": "latitude",
        "longitude": "longitude",
    }
    assert ds.attrs["Conventions"].startswith("CF-") and ds["level"].attrs["units"] == "hPa"
    assert ds["temperature"].attrs["standard_name"] == "air_temperature" and ds["temperature"].attrs["units"] == "K"
    assert ds["valid_time"].dims == ("time", "prediction_timedelta")
    assert (ds["valid_time"] == ds["time"] + ds["prediction_timedelta"]).all()
    assert ds["valid_time"].values[1, 4] == np.datetime64("2021-01-07")
    raw = zarr.open_group(path, mode="r")["prediction_timedelta"]
    assert raw.attrs["units"] == "hours" and list(np.asarray(raw)) == [24, 48, 72, 96, 120]


def test_levels_that_are_not_forecast_take_no_space(path: Path) -> None:
    stored = {
        p.relative_to(path / "geopotential" / "c").parts[3] for p in (path / "geopotential" / "c").glob("*/*/*/*")
    }
    assert stored == {"0"}


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize("grid", ["gaussian:4x8", "regular:5x6", "healpix:2"])
def test_opened_by_channel(tmp_path: Path, grid: str, calendar: str) -> None:
    x = made(tmp_path / "f.zarr", grid, calendar)
    ds = open_forecast(tmp_path / "f.zarr")
    assert list(ds.data_vars) == list(UNITS)  # in the model's order
    for c, channel in enumerate(UNITS):
        assert ds[channel].chunks is not None and ds[channel].attrs["units"] == UNITS[channel]
        assert ds[channel].dims[:3] == ("number", "time", "prediction_timedelta")
        assert np.array_equal(ds[channel].values, x[:, :, :, c])
    assert Grid.of(ds) == Grid.parse(grid)
    assert ds["prediction_timedelta"].values[-1] == np.timedelta64(5, "D")
    assert stamps(ds["valid_time"].values[1])[-1] == "2021-01-07T00:00"


def test_some_channels_by_other_names(path: Path) -> None:
    assert list(open_forecast(path, ["t2m", "z500"]).data_vars) == ["2m_temperature", "geopotential_500"]
    with pytest.raises(RefineError, match=r"geopotential_850.*geopotential_500"):
        open_forecast(path, ["geopotential_850"])


def test_other_peoples_stores(path: Path, tmp_path: Path) -> None:
    ours = open_forecast(path)
    theirs = xr.open_zarr(path).load().transpose("time", "prediction_timedelta", "level", "longitude", "latitude", ...)
    theirs = theirs.isel(latitude=slice(None, None, -1)).drop_vars(["valid_time", "number"])
    theirs = theirs.rename(number="realization", prediction_timedelta="lead_time", time="init_time")
    for name in theirs.data_vars:
        theirs[name].attrs.pop("levels_hPa", None)
    theirs = theirs.assign_coords(lead_time=("lead_time", [24, 48, 72, 96, 120], {"long_name": "lead in hours"}))
    theirs.drop_encoding().to_zarr(tmp_path / "theirs.zarr", zarr_format=2)
    ds = open_forecast(tmp_path / "theirs.zarr", list(UNITS))
    for channel in UNITS:
        assert np.array_equal(ds[channel].values, ours[channel].values)
    assert np.array_equal(ds["prediction_timedelta"].values, ours["prediction_timedelta"].values)
    one = xr.open_zarr(path).isel(number=0, drop=True)
    one.drop_encoding().to_netcdf(tmp_path / "one.nc")
    control = open_forecast(tmp_path / "one.nc", ["z500"])
    assert control.sizes["number"] == 1
    assert np.array_equal(control["geopotential_500"].values[0], ours["geopotential_500"].values[0])


@pytest.fixture
def theirs(path: Path) -> xr.Dataset:
    """A store as somebody else may have it, in memory."""
    return xr.open_zarr(path).load().drop_vars("valid_time").drop_encoding()


def test_units_are_brought_to_those_of_the_channel(theirs: xr.Dataset, path: Path, tmp_path: Path) -> None:
    theirs["2m_temperature"] = (theirs["2m_temperature"] - 273.15).assign_attrs(units="degC")
    theirs.to_netcdf(tmp_path / "a.nc")
    ds = open_forecast(tmp_path / "a.nc")
    assert ds["2m_temperature"].attrs["units"] == "K" and ds["2m_temperature"].dtype == "float32"
    np.testing.assert_allclose(ds["2m_temperature"], open_forecast(path)["2m_temperature"], rtol=1e-5)
    theirs["2m_temperature"].attrs["units"] = "Pa"
    theirs.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(RefineError, match=r"b\.nc': 2m_temperature is given in units='Pa'; accepted: K, degC"):
        open_forecast(tmp_path / "b.nc")


@pytest.mark.parametrize(
    ("values", "units"),
    [([1.0, 1.5, 2, 3, 4], "days"), (np.arange(1, 6) * 86_400_000, "ms"), (np.arange(1, 6) * 60, "minutes")],
)
def test_leads_in_any_unit(theirs: xr.Dataset, tmp_path: Path, values: list[float], units: str) -> None:
    each = {"days": 86400, "ms": 1e-3, "minutes": 60}[units]
    theirs.assign_coords(prediction_timedelta=("prediction_timedelta", values, {"units": units})).to_netcdf(
        tmp_path / "a.nc"
    )
    found = open_forecast(tmp_path / "a.nc")["prediction_timedelta"].values
    assert (found / np.timedelta64(1, "s")).tolist() == [each * v for v in values]


@pytest.mark.parametrize(
    ("axis", "values", "units", "message"),
    [
        ("prediction_timedelta", [1, 2, 3, 4, 5], "months", "'months' is not accepted; accepted: days, hours"),
        ("prediction_timedelta", [1.0, np.nan, 3, 4, 5], "days", r"\[1\.0, nan, .* accepted: durations, each once"),
        ("prediction_timedelta", [24, 24, 48, 72, 96], "hours", r"accepted: durations, each once, ascending"),
        ("prediction_timedelta", list("abcde"), "", r"accepted: durations"),
        ("prediction_timedelta", None, "", "dimension prediction_timedelta has no values of its own"),
        ("time", [0, 1], "", "time begins with .*accepted: dates"),
        ("time", ["2021-01-02", "2021-01-02"], "", "times that are there more than once: 1"),
        ("time", ["2021-01-02", "2021-01-01"], "", "times are not sorted"),
    ],
)
def test_axes_that_cannot_be(
    theirs: xr.Dataset, tmp_path: Path, axis: str, values: list[Any] | None, units: str, message: str
) -> None:
    if values is None:
        broken = theirs.drop_vars(axis)
    else:
        dates = axis == "time" and isinstance(values[0], str)
        array = np.array(values, "datetime64[ns]" if dates else None)
        broken = theirs.assign_coords({axis: (axis, array, {"units": units} if units else {})})
    broken.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(RefineError, match=rf"^forecast '.*a\.nc': .*{message}"):
        open_forecast(tmp_path / "a.nc")


def test_a_channel_that_is_there_twice(theirs: xr.Dataset, tmp_path: Path) -> None:
    theirs.assign(t2m=theirs["2m_temperature"] + 1).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(RefineError, match="2m_temperature is there more than once"):
        open_forecast(tmp_path / "a.nc")


@pytest.mark.skipif(not PHYSICS.exists(), reason="needs the weather data in REFINE_DATA")
def test_the_physics_ensemble() -> None:
    ds = open_forecast(PHYSICS)
    assert dict(ds.sizes) == {"number": 20, "time": 13, "prediction_timedelta": 10, "latitude": 48, "longitude": 96}
    assert set(ds.data_vars) >= {"geopotential_500", "temperature_850"}
    assert Grid.of(ds).name == "gaussian:48x96"


def test_what_is_no_forecast_is_refused(tmp_path: Path, path: Path) -> None:
    xr.open_zarr(path).isel(prediction_timedelta=0, drop=True).drop_encoding().to_netcdf(tmp_path / "fields.nc")
    with pytest.raises(RefineError, match="no dimension prediction_timedelta"):
        open_forecast(tmp_path / "fields.nc")
    with pytest.raises(RefineError, match="does not exist"):
        open_forecast(tmp_path / "nothing.zarr")


LIMITED = """
import resource, sys
import numpy as np
from pathlib import Path
from refine.domains.weather.ensembles import store
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
path, grid = Path(sys.argv[1]), Grid.parse("gaussian:48x96")
store.create(path, grid, {"2m_temperature": "K"}, np.array(["2021-01-01"], "datetime64[ns]"),
             np.array([24], "timedelta64[h]"), 2, (1, 1), {})
x = np.random.default_rng(0).random((1, 1, 1, 1, 48, 96), dtype=np.float32)
store.write(path, ["2m_temperature"], x, (0, 0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    store.write(path, ["2m_temperature"], x + 1, (1, 0, 0))
except RefineError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of files are not there on Windows")
def test_what_does_not_fit_is_one_message_and_costs_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "f.zarr"
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert "f.zarr cannot be written: File too large" in done.stdout
    ds = open_forecast(path)
    x = np.random.default_rng(0).random((48, 96), dtype=np.float32)
    assert np.array_equal(ds["2m_temperature"].values[0, 0, 0], x)
    assert np.isnan(ds["2m_temperature"].values[1]).all()


@pytest.mark.parametrize(("name", "dtype"), [("gaussian:4x8", "float32"), ("regular:4x7", "float64")])
def test_those_who_match_coordinates_exactly_lose_nothing(tmp_path: Path, name: str, dtype: str) -> None:
    grid = Grid.parse(name)
    data = xr.Dataset({"t2m": (("time", *grid.dims), np.full((2, *grid.shape), 280, dtype="float32"))})
    data["t2m"].attrs["units"] = "K"
    digits = {"latitude": np.round(grid.latitude, 5), "longitude": np.round(grid.longitude, 5)}  # as files have them
    data = data.assign_coords({"time": np.array(["2021-01-01", "2021-01-02"], "datetime64[ns]")})
    data = data.assign_coords({axis: values.astype(dtype) for axis, values in digits.items()})
    data.to_netcdf(tmp_path / "data.nc")
    fields = open_fields(str(tmp_path / "data.nc"))
    store.create(tmp_path / "f.zarr", grid, UNITS, fields["time"].values, LEADS, 2, (2, 3), {}, fields)
    for theirs in (fields, data):
        both = xr.align(xr.open_zarr(tmp_path / "f.zarr"), theirs, join="exact", exclude=["time"])
        assert both[0].sizes["latitude"] == 4
    assert Grid.of(open_forecast(tmp_path / "f.zarr")) == grid
    with pytest.raises(ValueError, match="itude"):
        made(tmp_path / "computed.zarr", name)
        xr.align(xr.open_zarr(tmp_path / "computed.zarr"), data, join="exact", exclude=["time"])


def test_fields_on_another_grid_say_nothing_about_coordinates(tmp_path: Path) -> None:
    grid, other = Grid.parse("gaussian:4x8"), Grid.parse("regular:5x8")
    fields = xr.Dataset(coords={"latitude": other.latitude, "longitude": other.longitude})
    store.create(
        tmp_path / "f.zarr", grid, UNITS, np.array(["2021-01-01"], "datetime64[ns]"), LEADS, 2, (2, 3), {}, fields
    )
    assert np.array_equal(xr.open_zarr(tmp_path / "f.zarr")["latitude"], grid.latitude)
