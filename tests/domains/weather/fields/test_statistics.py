"""Moments are those of the whole, however the data is cut into chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.fields import statistics
from refine.domains.weather.fields.checks import predecessors
from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.fields.statistics import streamed
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError

from ..made_up_fields import make_fields

DAY = np.timedelta64(24, "h")


def opened(ds: xr.Dataset, path: Path) -> xr.Dataset:
    ds.to_netcdf(path / "a.nc")
    return open_fields(path / "a.nc")


@pytest.mark.parametrize("grid", ["gaussian:8x16", "regular:9x16"])
@pytest.mark.parametrize("chunk", [1, 3, -1])
def test_moments_are_weighted_by_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: str, chunk: int) -> None:
    monkeypatch.setattr(statistics, "BLOCK_BYTES", 1)  # every chunk on its own
    ds = opened(make_fields(13, grid), tmp_path)
    found = streamed(ds.chunk(time=chunk), Grid.parse(grid), DAY)
    weight = Grid.parse(grid).area / Grid.parse(grid).area.mean()
    assert found.channels == tuple(ds.data_vars)
    assert (found.times, found.pairs) == (13, 12)
    for i, channel in enumerate(found.channels):
        x = ds[channel].values.astype(float)
        mean = (x * weight).mean()
        np.testing.assert_allclose(found.mean[i], mean, rtol=1e-10)
        np.testing.assert_allclose(found.std[i], (weight * (x - mean) ** 2).mean() ** 0.5, rtol=1e-9)
        np.testing.assert_allclose(found.change[i], (weight * np.diff(x, axis=0) ** 2).mean() ** 0.5, rtol=1e-9)
        np.testing.assert_allclose(found.change_mean[i], (weight * np.diff(x, axis=0)).mean(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_predecessors_may_be_several_rows_and_chunks_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(statistics, "BLOCK_BYTES", 1)
    ds = opened(make_fields(20), tmp_path).isel(time=[i for i in range(20) if i != 11])
    x = ds["temperature_850"].values.astype(float)
    previous = predecessors(ds, 4 * DAY)
    now = np.flatnonzero(previous >= 0)
    expected = (Grid.of(ds).area * (x[now] - x[previous[now]]) ** 2).mean() ** 0.5
    found = streamed(ds.chunk(time=chunk), Grid.of(ds), 4 * DAY)
    assert found.pairs == len(now) == 14
    np.testing.assert_allclose(found.change[found.channels.index("temperature_850")], expected, rtol=1e-9)


def test_changes_across_gaps_and_branches_do_not_count(tmp_path: Path) -> None:
    ds = opened(make_fields(12), tmp_path)
    grid = Grid.of(ds)
    broken = ds.isel(time=[0, 1, 2, 3, 6, 7, 8, 9]).assign_coords(branch=("time", [0] * 6 + [1] * 2))
    pairs = [(0, 1), (1, 2), (2, 3), (6, 7), (8, 9)]
    x = ds["temperature_850"].values.astype(float)
    expected = np.mean([(grid.area * (x[b] - x[a]) ** 2).mean() for a, b in pairs]) ** 0.5
    found = streamed(broken, grid, DAY)
    assert found.pairs == 5
    np.testing.assert_allclose(found.change[found.channels.index("temperature_850")], expected, rtol=1e-9)


def test_missing_values_in_the_middle_are_counted_and_named(tmp_path: Path) -> None:
    given = make_fields(40)
    given["temperature"][31, 0, 2, 3] = np.nan
    given["temperature"][33, 0] = np.nan
    ds = opened(given, tmp_path)  # looks at the first, the middle and the last day only
    message = r"temperature_500: 129 of 5120 values are missing .*first at time 2001-03-23T00:00:00.*longitude 67\.5"
    with pytest.raises(RefineError, match=message):
        streamed(ds, Grid.of(ds), DAY)


def test_values_that_cannot_be_in_the_middle_are_named(tmp_path: Path) -> None:
    given = make_fields(40)
    given["2m_temperature"][31] -= 273.15
    ds = opened(given, tmp_path)
    with pytest.raises(RefineError, match=r"2m_temperature has values -.* cannot be K"):
        streamed(ds, Grid.of(ds), DAY)


def test_no_pairs_no_statistics(tmp_path: Path) -> None:
    ds = opened(make_fields(5), tmp_path)
    with pytest.raises(RefineError, match="none of the 5 times has its predecessor"):
        streamed(ds, Grid.of(ds), np.timedelta64(7, "h"))
