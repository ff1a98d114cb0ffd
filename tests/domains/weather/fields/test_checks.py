"""What cannot be used is refused in one message that says what, where, and what would be accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.fields import checks
from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.fields.whole import whole_times
from refine.errors import RefineError

from ..made_up_fields import make_fields

DAY = np.timedelta64(24, "h")


def refused(ds: xr.Dataset, path: Path, message: str) -> None:
    file = path / f"{len(list(path.iterdir()))}.nc"
    ds.to_netcdf(file)
    with pytest.raises(RefineError, match=message) as raised:
        open_fields(file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("units", ["K", None])
def test_celsius_that_is_called_kelvin_or_nothing(tmp_path: Path, units: str | None) -> None:
    ds = make_fields(5)
    ds["2m_temperature"] = (ds["2m_temperature"] - 273.15).assign_attrs({"units": units} if units else {})
    refused(
        ds, tmp_path, r"domain\.data=.*2m_temperature has values -.* cannot be K \(they look like degC.*130\.\.350 K"
    )


def test_hectopascal_that_is_called_pascal(tmp_path: Path) -> None:
    ds = make_fields(5)
    ds["msl"] = (1000 + 0 * ds["2m_temperature"]).assign_attrs(units="Pa")
    refused(
        ds, tmp_path, r"mean_sea_level_pressure has values 1000\.\.1000, .* Pa \(they look like hPa\); accepted: 82000"
    )


def test_height_that_is_called_geopotential(tmp_path: Path) -> None:
    ds = make_fields(5)
    ds["geopotential"] = (ds["geopotential"] / 9.80665).assign_attrs(units="m2 s-2")
    refused(ds, tmp_path, r"geopotential_500 has values 5.* cannot be m2 s-2 \(they look like m\)")


def test_units_that_mean_something_else(tmp_path: Path) -> None:
    ds = make_fields(5)
    ds["2m_temperature"].attrs["units"] = "Pa"
    refused(ds, tmp_path, r"2m_temperature is given in units='Pa'; accepted: K, degC, degF")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 1, 3, 2, 4], r"not sorted: 2001-02-22T00:00:00 comes after 2001-02-23T00:00:00 \(1 such places\)"),
        ([4, 3, 2, 1, 0], r"not sorted: 2001-02-23.*4 such places"),
        ([0, 1, 1, 2, 2], r"times that are there more than once: 2, first 2001-02-21"),
        ([0, 1, 2, 0, 4], r"times that are there more than once: 1, first 2001-02-20"),
    ],
)
@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_times_out_of_order(tmp_path: Path, order: list[int], message: str, calendar: str) -> None:
    message = message if calendar == "standard" else message.replace("T00", " 00")
    refused(make_fields(5, calendar=calendar).isel(time=order), tmp_path, message)


def test_times_that_are_no_dates(tmp_path: Path) -> None:
    ds = make_fields(5)
    refused(ds.assign_coords(time=np.arange(5)), tmp_path, r"time begins with .*0.*; accepted: dates")
    refused(ds.drop_vars("time"), tmp_path, r"dimension time has no values")
    refused(ds.isel(time=0), tmp_path, r"no dimension time; dimensions there: level \(2\)")
    refused(ds.isel(time=slice(0, 0)), tmp_path, r"there are no times")


def test_times_that_miss_values_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first and the last, which opening looks at; refused only where no time is left."""
    ds = make_fields(5)
    ds["temperature"][0, 1, 6, 3] = np.nan
    ds["temperature"][4, 1, 0, :] = np.nan
    ds.to_netcdf(tmp_path / "some.nc")
    found = whole_times(open_fields(tmp_path / "some.nc"), "domain.train")
    np.testing.assert_array_equal(found["time"], ds["time"][1:4])
    said = " ".join(capsys.readouterr().err.split())
    assert "domain.train: 2 of 5 times are left out: temperature_850 misses 17 values" in said
    ds["temperature"][:, 1, 6, 3] = np.nan
    ds.to_netcdf(tmp_path / "all.nc")
    with pytest.raises(RefineError, match=r"temperature_850: 21 of 640 values are missing .*first at time 2001-02-20"):
        whole_times(open_fields(tmp_path / "all.nc"), "domain.train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.isel(latitude=slice(2, 5)), r"latitude=.* leaves part of the sphere out"),
        (lambda ds: ds.isel(longitude=slice(0, 9)), r"longitude=0\.\.180 leaves 180 degrees out"),
        (lambda ds: ds.isel(latitude=[0, 2, 1, 3, 4, 5, 6, 7]), r"neither ascending nor descending"),
        (lambda ds: ds.assign_coords(latitude=ds.latitude * 100), r"accepted: two or more, in degrees from -90 to 90"),
        (lambda ds: ds.assign_coords(longitude=ds.longitude * 100), r"accepted: degrees, 0\.\.360 or -180\.\.180"),
        (lambda ds: ds.drop_vars("latitude"), r"dimension latitude has no values of its own; curvilinear"),
        (lambda ds: ds.rename(latitude="row"), r"no dimension latitude; dimensions there: .*row \(8\)"),
        (lambda ds: xr.concat([ds, ds], "number"), r"dimensions number \(2\) beside time, level and place; select one"),
        (
            lambda ds: ds.assign_coords(level=("level", [1, 2], {"units": "m"})),
            r"in 'm'; accepted: pressures in hPa or Pa",
        ),
        (
            lambda ds: ds.assign_coords(level=("level", [50000, 50000], {"units": "Pa"})),
            r"level 500\.0 hPa is there more than once; accepted: each once",
        ),
        (lambda ds: ds.drop_vars("level"), r"dimension level of .* has no values"),
        (lambda ds: ds.assign(t2m=ds["2m_temperature"]), r"both '2m_temperature' and 't2m' are 2m_temperature"),
        (
            lambda ds: xr.Dataset(coords=ds.coords).assign(split=ds.time.dt.day),
            r"no fields with a time and a place",
        ),
    ],
)
def test_grids_and_levels_that_cannot_be(
    tmp_path: Path, change: Callable[[xr.Dataset], xr.Dataset], message: str
) -> None:
    refused(change(make_fields(3)), tmp_path, message)


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_64BIT", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_netcdf_that_was_cut_off(tmp_path: Path, format: str, share: float) -> None:
    """The library of the classic formats reads zeros past the end of a file."""
    path = tmp_path / "a.nc"
    make_fields(200).to_netcdf(path, format=format, engine="netcdf4")  # type: ignore[call-overload]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RefineError, match=r"cut off|truncated"):
        checks.load(open_fields(path), "the file")


def test_zarr_with_chunks_missing_or_damaged(tmp_path: Path) -> None:
    """A missing chunk reads as the fill value, which is a plausible zero for winds."""
    ds = make_fields(9)
    ds["u10"] = (ds["2m_temperature"] - 285).assign_attrs(units="m s-1")
    encoding = {"u10": {"chunks": (2, 8, 16), "dtype": "int16", "scale_factor": 0.1, "_FillValue": -32768}}
    ds.to_zarr(tmp_path / "a.zarr", consolidated=False, encoding=encoding)
    chunk = tmp_path / "a.zarr" / "u10" / "c" / "1" / "0" / "0"
    content = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(RefineError, match=r"chunks of u10 that are missing: 1 of 5; is it cut off\?"):
        open_fields(tmp_path / "a.zarr")
    assert "2m_temperature" in open_fields(tmp_path / "a.zarr", ["t2m"])
    for damaged in (b"", content[:20], b"x" * 200):
        chunk.write_bytes(damaged)
        with pytest.raises(RefineError, match="truncated, or damaged"):
            checks.load(open_fields(tmp_path / "a.zarr", ["10u"]), "the store")


def test_zarr_without_its_metadata(tmp_path: Path) -> None:
    make_fields(3).to_zarr(tmp_path / "a.zarr", consolidated=False)
    (tmp_path / "a.zarr" / "zarr.json").write_text('{"zarr_format": ')
    with pytest.raises(RefineError, match=r"cannot be read as zarr .*cut off, or damaged\?"):
        open_fields(tmp_path / "a.zarr")


def test_rain_may_rest(tmp_path: Path) -> None:
    """Chunks of zeros are not written by zarr where zero is the fill value."""
    ds = make_fields(4)
    ds["tp"] = (0 * ds["2m_temperature"]).assign_attrs(units="m")
    ds.to_zarr(tmp_path / "a.zarr", consolidated=False, encoding={"tp": {"_FillValue": None, "chunks": (1, 8, 16)}})
    assert float(open_fields(tmp_path / "a.zarr")["total_precipitation"].max()) == 0


@pytest.mark.parametrize("source", ["nothing.nc", "nothing*.nc", "folder", "text.nc", "empty.nc"])
def test_what_is_no_data(tmp_path: Path, source: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.nc").write_text("not a field in sight")
    (tmp_path / "empty.nc").touch()
    with pytest.raises(
        RefineError, match=r"^domain\.data='.*(does not exist|no file matches|is a folder|cannot be read)"
    ):
        open_fields(tmp_path / source)


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_predecessors_stop_at_gaps_and_branches(calendar: str) -> None:
    ds = make_fields(12, calendar=calendar).isel(time=[0, 1, 2, 5, 6, 7, 8, 11])
    assert checks.predecessors(ds, DAY).tolist() == [-1, 0, 1, -1, 3, 4, 5, -1]
    assert checks.predecessors(ds, 3 * DAY).tolist() == [-1, -1, -1, 2, -1, -1, 3, 6]
    ds = ds.assign_coords(branch=("time", [0, 0, 0, 0, 0, 1, 1, 1]))
    assert checks.predecessors(ds, DAY).tolist() == [-1, 0, 1, -1, 3, -1, 5, -1]
    assert checks.consecutive(ds, DAY).tolist() == [False, True, True, False, True, False, True, False]


def test_predecessors_need_not_be_neighbours() -> None:
    hours = np.datetime64("2020-02-28", "ns") + np.arange(9) * np.timedelta64(6, "h")
    ds = xr.Dataset(coords={"time": hours})
    assert checks.predecessors(ds, DAY).tolist() == [-1] * 4 + [0, 1, 2, 3, 4]
    assert not checks.consecutive(ds, np.timedelta64(7, "h")).any()
    assert checks.predecessors(ds.isel(time=[]), DAY).shape == (0,)
