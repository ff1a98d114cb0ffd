"""Where the year and the day stand, and where the sun does."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.fields.calendar import DAILY, FORCINGS, forcings, passed
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError

GRID = Grid.parse("gaussian:32x64")


def at(*times: str) -> np.ndarray:
    return np.array(times, dtype="datetime64[ns]")


@pytest.mark.parametrize(
    ("calendar", "days"), [("standard", 366), ("noleap", 365), ("360_day", 360), ("all_leap", 366), ("julian", 366)]
)
def test_parts_of_a_year_of_any_calendar(calendar: str, days: int) -> None:
    times = xr.date_range("2004-01-01", periods=4 * days, freq="6h", calendar=calendar, use_cftime=True).to_numpy()
    year, day = passed(times)
    np.testing.assert_allclose(year, np.arange(4 * days) / (4 * days), atol=1e-12)
    np.testing.assert_allclose(day, np.tile([0, 0.25, 0.5, 0.75], days), atol=1e-12)


def test_both_kinds_of_times_agree() -> None:
    plain = np.datetime64("2003-12-30", "ns") + np.arange(100) * np.timedelta64(5 * 3600 + 61, "s")
    other = xr.DataArray(plain, dims="time", coords={"time": plain}).convert_calendar("standard", use_cftime=True)
    np.testing.assert_allclose(passed(plain), passed(other.time.values), atol=1e-9)


def test_the_sun_stands_where_it_does() -> None:
    """Greenwich noon at an equinox: overhead near (0, 0), nothing on the other side; June: day at the north pole."""
    grid = Grid.parse("regular:181x360")
    solar, names = forcings(at("2021-03-20T12:07", "2021-06-21T12:00", "2021-12-21T00:00"), grid, ["solar"])
    assert names == ("solar",) and solar.shape == (3, 1, 181, 360) and solar.dtype == np.float32
    assert abs(solar[0, 0, 90, 0] - 1.008) < 0.005 and solar[0, 0, 90, 180] == 0
    assert solar[1, 0, -1].min() > 0.38 and solar[1, 0, 0].max() == 0
    north, east = np.unravel_index(solar[1, 0].argmax(), (181, 360))
    assert abs(grid.latitude[north] - 23.44) < 1 and min(east, 360 - east) < 3
    assert abs(grid.latitude[np.unravel_index(solar[2, 0].argmax(), (181, 360))[0]] + 23.44) < 1
    assert np.unravel_index(solar[2, 0].argmax(), (181, 360))[1] in range(177, 184)


def test_the_globe_gets_a_quarter_of_the_solar_constant() -> None:
    times = np.datetime64("2021-01-01", "ns") + np.arange(0, 365 * 24, 29) * np.timedelta64(1, "h")
    fields, _ = forcings(times, GRID, ["solar", "daily_solar"])
    for mean in (fields * GRID.area).mean((0, 2, 3)):
        assert abs(mean - 0.25) < 0.001


def test_daily_radiation_is_the_mean_over_a_day() -> None:
    hours = np.datetime64("2021-05-05", "ns") + np.arange(96) * np.timedelta64(15, "m")
    mean = forcings(hours, GRID, ["solar"])[0].mean(0)
    daily = forcings(at("2021-05-05T12:00"), GRID, ["daily_solar"])[0][0]
    np.testing.assert_allclose(mean, daily, atol=2e-3)
    assert daily[0, 0].max() == 0 and daily[0, -1].min() > 0.25  # polar night, polar day


def test_phases_are_on_the_circle_and_days_follow_the_sun() -> None:
    fields, names = forcings(at("2020-02-29T18:00", "2020-08-30"), GRID)
    assert names == FORCINGS and fields.shape == (2, 5, *GRID.shape)
    named = dict(zip(names, fields.swapaxes(0, 1), strict=True))
    for cycle in ("year", "day"):
        np.testing.assert_allclose(named[f"sin_of_{cycle}"] ** 2 + named[f"cos_of_{cycle}"] ** 2, 1, rtol=1e-6)
    midnight = GRID.longitude.tolist().index(90.0)
    np.testing.assert_allclose(named["cos_of_day"][0, :, midnight], 1, atol=1e-6)


def test_mirroring_the_planet_half_a_year_later_is_a_symmetry() -> None:
    """Nearly: the orbit is an ellipse."""
    now, later = forcings(at("2021-03-01", "2021-08-30T15:00"), GRID, DAILY)[0]
    np.testing.assert_allclose(later[:2], -now[:2], atol=0.02)
    assert abs(later[2, ::-1] - now[2]).max() < 0.05


def test_forcings_on_cells() -> None:
    grid = Grid.parse("healpix:4")
    fields, _ = forcings(at("2021-03-01"), grid)
    assert fields.shape == (1, 5, 192) and np.isfinite(fields).all()


def test_unknown_forcings_are_refused() -> None:
    with pytest.raises(RefineError, match=r"daily_solar.*Did you mean 'solar'"):
        forcings(at("2021-03-01"), GRID, ["solr"])
