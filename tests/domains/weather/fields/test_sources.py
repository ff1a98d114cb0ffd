"""One form out of many: names, levels, units, orders, calendars, files; and what ships with the package."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.fields import checks, reading
from refine.domains.weather.fields.sources import EMBEDDED, locate, open_fields, open_static
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.regrid import Regridder
from refine.errors import RefineError

from ..made_up_fields import make_fields

CHANNELS = ["2m_temperature", "geopotential_500", "geopotential_850", "temperature_500", "temperature_850"]
has_data = pytest.mark.skipif(
    not (Path(os.environ.get("REFINE_DATA", "nowhere")) / "weather").is_dir(), reason="REFINE_DATA has no weather"
)


def written(ds: xr.Dataset, path: Path) -> Path:
    ds.to_netcdf(path)
    return path


def same(found: xr.Dataset, ds: xr.Dataset, rtol: float = 1e-6) -> None:
    """``found`` is canonical and holds what ``ds``, as :func:`make_fields` gives it, holds."""
    assert list(found.data_vars) == CHANNELS
    assert {v.dims for v in found.values()} == {("time", "latitude", "longitude")}
    assert {str(v.dtype) for v in found.values()} == {"float32"}
    assert all(v.chunks is not None for v in found.values())
    assert bool((np.diff(found.latitude) > 0).all() and (np.diff(found.longitude) > 0).all())
    assert found.longitude.min() >= 0 and found.longitude.max() < 360
    for name in ("geopotential", "temperature"):
        for level in (500, 850):
            np.testing.assert_allclose(found[f"{name}_{level}"], ds[name].sel(level=level), rtol=rtol)
    np.testing.assert_allclose(found["2m_temperature"], ds["2m_temperature"], rtol=rtol)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_zarr_of_both_versions(tmp_path: Path, version: int, consolidated: bool) -> None:
    ds = make_fields(7)
    chunks = {"2m_temperature": {"chunks": (2, 8, 16)}}
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=consolidated, encoding=chunks)
    found = open_fields(tmp_path / "a.zarr")
    same(found, ds)
    assert found.attrs["source"] == str(tmp_path / "a.zarr")
    assert found["geopotential_500"].attrs["units"] == "m2 s-2"


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_64BIT", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_netcdf_of_all_formats(tmp_path: Path, format: str) -> None:
    ds = make_fields(7)
    ds.to_netcdf(tmp_path / "a.nc", format=format, engine="netcdf4")  # type: ignore[call-overload]
    same(open_fields(tmp_path / "a.nc"), ds)


def test_packed_integers_are_unpacked(tmp_path: Path) -> None:
    ds = make_fields(7)
    packing = {"dtype": "int16", "scale_factor": 10.0, "add_offset": 3e4, "_FillValue": -32768}
    ds.to_netcdf(tmp_path / "a.nc", encoding={"geopotential": packing})
    np.testing.assert_allclose(
        open_fields(tmp_path / "a.nc")["geopotential_500"], ds.geopotential.sel(level=500), atol=5.1
    )


def test_the_names_and_orders_of_the_climate_data_store(tmp_path: Path) -> None:
    ds = make_fields(7)
    given = ds.rename(time="valid_time", level="pressure_level", geopotential="z", temperature="t")
    given = given.rename({"2m_temperature": "t2m"}).isel(latitude=slice(None, None, -1))
    given = given.assign_coords(number=0, expver=("valid_time", ["0001"] * 7)).isel(pressure_level=[1, 0])
    same(open_fields(written(given, tmp_path / "a.nc")), ds)
    same(open_fields(written(given.expand_dims("realization"), tmp_path / "b.nc")), ds)


def test_the_names_and_units_of_climate_models(tmp_path: Path) -> None:
    ds = make_fields(30, calendar="360_day")
    given = ds.rename(level="plev", latitude="lat", longitude="lon", geopotential="zg", temperature="ta")
    given = given.rename({"2m_temperature": "tas"})
    given["plev"] = ("plev", np.array([50000.0, 85000.0]), {"units": "Pa", "standard_name": "air_pressure"})
    given["zg"] = (given["zg"] / 9.80665).assign_attrs(units="m")
    given["tas"] = (given["tas"] - 273.15).assign_attrs(units="degC")
    given["time_bnds"] = (("time", "bnds"), np.stack([given.time.values] * 2, 1))
    given = given.assign_coords(lon=(given.lon + 180) % 360 - 180).sortby("lon")
    assert given.lon[0] < 0
    found = open_fields(written(given, tmp_path / "a.nc"))
    same(found, ds, rtol=2e-6)
    assert found.time.values[11].isoformat().startswith("2001-03-01")  # February has 30 days
    assert found.time.dt.calendar == "360_day"


def test_the_order_of_dimensions_of_weatherbench2(tmp_path: Path) -> None:
    """Longitude before latitude, and words beside the fields."""
    ds = make_fields(6)
    given = ds.transpose("time", "level", "longitude", "latitude").assign(flag=ds["2m_temperature"].astype("U3"))
    encoding = {"geopotential": {"chunks": (2, 1, 16, 8)}}
    given.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False, encoding=encoding)
    same(open_fields(tmp_path / "a.zarr"), ds)


def test_standard_names_are_enough_on_levels_and_levels_may_stand_in_names(tmp_path: Path) -> None:
    ds = make_fields(5)
    given = xr.Dataset(
        {
            "z500": ds.geopotential.sel(level=500, drop=True),
            "geopotential_850": ds.geopotential.sel(level=850, drop=True),
            "var130": ds.temperature.assign_attrs(standard_name="air_temperature"),
            "2t": ds["2m_temperature"],
        }
    )
    same(open_fields(written(given, tmp_path / "a.nc")), ds)


def test_one_level_as_a_scalar_coordinate(tmp_path: Path) -> None:
    given = make_fields(5)[["temperature"]].sel(level=850)
    assert list(open_fields(written(given, tmp_path / "a.nc"))) == ["temperature_850"]


def test_a_meridian_that_is_there_twice_is_taken_once(tmp_path: Path) -> None:
    ds = make_fields(5)
    twice = xr.concat([ds, ds.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude")
    same(open_fields(written(twice, tmp_path / "a.nc")), ds)


def test_channels_are_chosen_by_any_name_and_in_any_order(tmp_path: Path) -> None:
    path = written(make_fields(5), tmp_path / "a.nc")
    assert list(open_fields(path, ["t850", "2m_temperature", "z500"])) == [
        "temperature_850",
        "2m_temperature",
        "geopotential_500",
    ]
    with pytest.raises(RefineError, match="no level 700 hPa of geopotential; levels there: 500, 850"):
        open_fields(path, ["z700"])
    with pytest.raises(RefineError, match=r"u_component_of_wind_850.*accepted: .*temperature_850"):
        open_fields(path, ["u850"])


def test_split_and_branch_stay_beside_the_fields(tmp_path: Path) -> None:
    given = make_fields(6).assign(split=("time", [0, 0, 0, 1, 2, 2]), branch=("time", [0, 0, 1, 1, 1, 1]))
    found = open_fields(written(given, tmp_path / "a.nc"))
    assert found["split"].values.tolist() == [0, 0, 0, 1, 2, 2]
    assert found["branch"].values.tolist() == [0, 0, 1, 1, 1, 1]
    assert "split" not in found.data_vars


def test_what_is_called_split_and_is_not_of_times_is_let_be(tmp_path: Path) -> None:
    ds = make_fields(5).assign(branch=("level", [0, 1]), split=("quarter", [0, 1, 2, 2]))
    ds.to_netcdf(tmp_path / "a.nc")
    assert not {"branch", "split"} & set(open_fields(tmp_path / "a.nc").variables)


@pytest.mark.parametrize("by", ["time", "variable"])
def test_globs_join_files(tmp_path: Path, by: str) -> None:
    ds = make_fields(9)
    parts = [ds.isel(time=slice(0, 4)), ds.isel(time=slice(4, 9))] if by == "time" else [ds[[v]] for v in ds]
    for i, part in enumerate(parts):
        written(part, tmp_path / f"{i}.nc")
    same(open_fields(f"{tmp_path}/*.nc"), ds)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    ds = make_fields(9)
    written(ds.isel(time=slice(0, 5)), tmp_path / "0.nc")
    for first, message in ((4, "times that are there more than once: 1"), (3, r"do not fit together.*time")):
        written(ds.isel(time=slice(first, 9)), tmp_path / "1.nc")
        with pytest.raises(RefineError, match=message):
            open_fields(f"{tmp_path}/*.nc")
    written(make_fields(9, "gaussian:6x12").isel(time=slice(5, 9)), tmp_path / "1.nc")
    with pytest.raises(RefineError, match="do not fit together"):
        open_fields(f"{tmp_path}/*.nc")


def test_a_year_is_opened_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a field's chunks are unreadable; opening looks at three times only."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 1)
    ds = make_fields(41)
    encoding = {"2m_temperature": {"chunks": (1, 8, 16)}}
    ds[["2m_temperature"]].to_zarr(tmp_path / "a.zarr", consolidated=False, encoding=encoding)
    for i in range(1, 40, 2):
        (tmp_path / f"a.zarr/2m_temperature/c/{i}/0/0").write_bytes(b"no zstd")
    found = open_fields(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found["2m_temperature"][::2], ds["2m_temperature"][::2])
    with pytest.raises(RefineError, match="cannot be read"):
        checks.load(found, "the year")


class _Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Server, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls(tmp_path: Path, served: str) -> None:
    ds = make_fields(5)
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    written(ds, tmp_path / "a.nc")
    for name in ("a.zarr", "a.nc"):
        same(open_fields(f"{served}/{name}"), ds)
    with pytest.raises(RefineError, match=r"b\.zarr' cannot be read as zarr"):
        open_fields(f"{served}/b.zarr")


def test_the_cut_that_ships() -> None:
    ds = open_fields(locate(None))
    assert EMBEDDED.stat().st_size <= 8e6
    assert list(ds.data_vars) == [
        "geopotential_500",
        "temperature_850",
        "u_component_of_wind_850",
        "v_component_of_wind_850",
    ]
    days = np.bincount(ds["split"].values)
    assert days[0] > 500 and days[1] >= 60 and days[2] >= 60
    assert len(np.unique(ds.time.dt.month[ds.split == 0])) == 12
    assert Grid.of(ds).name == "gaussian:48x96"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds))["geopotential_500"][5], ds["geopotential_500"][5])


@has_data
def test_the_cut_has_the_values_of_the_whole() -> None:
    cut, whole = open_fields(locate(None)), open_fields(locate("speedy"))
    days = cut.time[[0, 345, 600, -1]]
    for channel in cut:
        np.testing.assert_array_equal(cut[channel].sel(time=days), whole[channel].sel(time=days))
    assert open_static(None).equals(open_static("speedy"))


@has_data
def test_the_real_week() -> None:
    ds = open_fields(locate("era5_week"))
    raw = xr.open_zarr(locate("era5_week"), consolidated=False)
    assert raw.latitude[0] == 90 and ds.latitude[0] == -90
    np.testing.assert_array_equal(ds["2m_temperature"][3], raw["2m_temperature"][3, ::-1])
    assert Grid.of(ds).name == "regular:181x360"


def test_static_fields_come_with_the_data(tmp_path: Path) -> None:
    ds, place = make_fields(3), ("latitude", "longitude")
    z, shape = ds["2m_temperature"].dims, ds["2m_temperature"].shape
    own = ds.assign(z=(z, np.full(shape, 5e3)), lsm=(place, np.full(shape[1:], 60.0), {"units": "%"}))
    path = written(own, tmp_path / "a.nc")
    found = open_static(path)
    assert list(found) == ["geopotential_at_surface", "land_sea_mask"]
    assert {field.dims for field in found.values()} == {place}
    assert float(found["geopotential_at_surface"].mean()) == 5e3
    assert np.isclose(found["land_sea_mask"], 0.6).all()
    assert list(open_fields(path)) == CHANNELS
    assert list(open_static(written(own.drop_vars("z"), tmp_path / "b.nc"))) == ["land_sea_mask"]


def test_static_fields_are_brought_to_the_grid() -> None:
    grid = Grid.parse("regular:24x48")
    before, after = open_static(EMBEDDED), open_static(EMBEDDED, grid)
    assert after["land_sea_mask"].shape == (24, 48)
    for name in before:
        old = (before[name].values * Grid.of(before).area).mean()
        assert np.isclose((after[name].values * grid.area).mean(), old, rtol=1e-5)
    assert after["land_sea_mask"].min() >= 0 and after["land_sea_mask"].max() <= 1


def test_static_fields_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=r"neither geopotential_at_surface nor land_sea_mask; found: .*temperature"):
        open_static(written(make_fields(2), tmp_path / "a.nc"))


def test_sets_that_are_kept_elsewhere_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REFINE_DATA", raising=False)
    with pytest.raises(RefineError, match=r"domain\.data='speedy'.*REFINE_DATA is not set"):
        locate("speedy")
    monkeypatch.setenv("REFINE_DATA", str(tmp_path))
    with pytest.raises(RefineError, match=r"speedy_t31\.zarr"):
        locate("speedy")
    assert locate("any/path.nc") == "any/path.nc"


def test_cells_of_healpix_stay_as_they_are(tmp_path: Path) -> None:
    ds = open_fields(written(make_fields(4), tmp_path / "a.nc"))
    grid = Grid.parse("healpix:2")
    cells = Regridder(Grid.of(ds), grid).apply(ds)
    cells.to_zarr(tmp_path / "b.zarr", consolidated=False)
    found = open_fields(tmp_path / "b.zarr")
    assert list(found) == CHANNELS and Grid.of(found) == grid
    assert found["temperature_850"].dims == ("time", "cell") and found["temperature_850"].chunks is not None
    np.testing.assert_array_equal(found["temperature_850"], cells["temperature_850"])


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_that_lost_its_metadata_is_not_passed_over(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.zarr"
    make_fields(7).to_zarr(path, zarr_format=version, consolidated=False)
    (path / "notes").mkdir()
    (path / "notes" / "readme.txt").write_text("mine")
    same(open_fields(path), make_fields(7))
    (path / "temperature" / ("zarr.json" if version == 3 else ".zarray")).unlink()
    with pytest.raises(RefineError, match=r"domain\.data=.*: temperature has chunks and nothing that says"):
        open_fields(path)
