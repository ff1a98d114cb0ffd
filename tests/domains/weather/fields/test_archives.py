"""Fields as public archives write them: heights for geopotential, versions, levels and surface in one store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.fields import reading
from refine.domains.weather.fields.calendar import DAILY
from refine.domains.weather.fields.pairs import Pairs
from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.fields.statistics import streamed
from refine.domains.weather.fields.whole import whole_times
from refine.domains.weather.sphere.grids import Grid

from ..made_up_fields import make_fields


def written(ds: xr.Dataset, path: Path) -> Path:
    ds.to_netcdf(path)
    return path


@pytest.mark.parametrize(
    ("name", "standard", "units"),
    [
        ("hgt", "geopotential_height", "m"),
        ("x", "geopotential_height", "gpm"),
        ("gh", "", "m"),
        ("zg", "geopotential_height", "m"),
        ("x", "geopotential", "m2 s-2"),
    ],
)
def test_heights_of_levels_are_geopotential(tmp_path: Path, name: str, standard: str, units: str) -> None:
    """As NCEP, cfgrib and climate models call them."""
    ds = make_fields(4)
    scale = 1 if units == "m2 s-2" else 9.80665
    given = (ds["geopotential"] / scale).assign_attrs(units=units, **({"standard_name": standard} if standard else {}))
    given = given.rename(name).to_dataset()
    given["level"].attrs["units"] = "millibar"
    found = open_fields(written(given, tmp_path / "a.nc"))
    assert list(found) == ["geopotential_500", "geopotential_850"]
    np.testing.assert_allclose(found["geopotential_500"], ds["geopotential"].sel(level=500), rtol=1e-5)


def test_versions_of_era5_as_a_dimension(tmp_path: Path) -> None:
    """Final values (1) where there are some, else preliminary ones (5); in any order."""
    ds = make_fields(6)[["2m_temperature"]]
    both = ds.expand_dims(expver=[5, 1], axis=1).copy(deep=True)
    both["2m_temperature"].values[:4, 0] += 7  # preliminary values that final ones replace
    both["2m_temperature"].values[4:, 1] = np.nan
    found = open_fields(written(both, tmp_path / "a.nc"))
    np.testing.assert_array_equal(found["2m_temperature"].values, ds["2m_temperature"].values)
    beside = ds.assign_coords(expver=("time", ["0001"] * 4 + ["0005"] * 2))
    found = open_fields(written(beside, tmp_path / "b.nc"))
    np.testing.assert_array_equal(found["2m_temperature"].values, ds["2m_temperature"].values)


def test_levels_and_surface_fields_in_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public layout of WeatherBench2: longitude before latitude, chunks of a hundred times."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", 2**18)  # less than there is, so that chunks of the fields differ
    ds = make_fields(250).transpose("time", "level", "longitude", "latitude")
    encoding = {name: {"chunks": (100, *ds[name].shape[1:])} for name in ds}
    ds.to_zarr(tmp_path / "wb2.zarr", zarr_format=2, consolidated=False, encoding=encoding)
    found = open_fields(tmp_path / "wb2.zarr")
    assert set(found) >= {"geopotential_500", "temperature_850", "2m_temperature"}
    expected = ds["geopotential"].sel(level=500).transpose("time", "latitude", "longitude")
    np.testing.assert_array_equal(found["geopotential_500"].values, expected.values)
    cuts = {field.chunksizes["time"] for field in found.values()}
    assert len(cuts) == 2  # fields on levels have fewer times in a chunk
    assert whole_times(found, "domain.train").sizes["time"] == 250
    step = np.timedelta64(24, "h")
    known = streamed(found, Grid.of(found), step)
    level = float(found["geopotential_500"].weighted(found["latitude"].copy(data=Grid.of(found).area[:, 0])).mean())
    assert known.mean[known.channels.index("geopotential_500")] == pytest.approx(level, rel=1e-6)
    assert known.pairs == 249 and len(Pairs(found, Grid.of(found), step, DAILY)) == 248
