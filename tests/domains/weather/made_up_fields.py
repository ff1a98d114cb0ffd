"""A small dataset after the CF conventions, as a user has it: levels as a dimension, WeatherBench2's names."""

from __future__ import annotations

import numpy as np
import xarray as xr

from refine.domains.weather.sphere.grids import Grid

LEVELS = {"geopotential": {500: (55e3, 1e3), 850: (14e3, 500.0)}, "temperature": {500: (255.0, 6.0), 850: (275.0, 9.0)}}


def make_fields(days: int, grid: str = "gaussian:8x16", calendar: str = "standard", seed: int = 0) -> xr.Dataset:
    """Daily noise from 2001-02-20 on: geopotential and temperature at 500 and 850 hPa, and 2 m temperature."""
    where, random = Grid.parse(grid), np.random.default_rng(seed)
    place, shape = ("latitude", "longitude"), (days, *where.shape)

    def noise(mean: float, spread: float) -> np.ndarray:
        return (mean + spread * random.standard_normal(shape)).clip(mean - 4 * spread, mean + 4 * spread)

    fields = {
        name: (("time", "level", *place), np.stack([noise(*m) for m in levels.values()], 1).astype("float32"))
        for name, levels in LEVELS.items()
    }
    fields["2m_temperature"] = (("time", *place), noise(285.0, 9.0).astype("float32"))
    times = xr.date_range("2001-02-20", periods=days, calendar=calendar, use_cftime=calendar != "standard")
    level = xr.Variable("level", list(LEVELS["geopotential"]), {"units": "hPa"})
    coords = {"time": times, "level": level, "latitude": where.latitude, "longitude": where.longitude}
    ds = xr.Dataset(fields, coords)
    for name, units in {"geopotential": "m2 s-2", "temperature": "K", "2m_temperature": "K"}.items():
        ds[name].attrs["units"] = units
    return ds
