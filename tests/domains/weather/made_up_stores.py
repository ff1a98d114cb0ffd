"""Forecast stores whose values are their own places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from refine.domains.weather.ensembles import store
from refine.domains.weather.sphere.grids import Grid

UNITS = {"temperature_850": "K", "2m_temperature": "K", "temperature_500": "K", "geopotential_500": "m2 s-2"}
LEADS = np.arange(1, 6) * np.timedelta64(24, "h")


def values_of(grid: Grid, members: int = 5, times: int = 2, leads: int = 5) -> np.ndarray:
    shape = (members, times, leads, len(UNITS), *grid.shape)
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def made(path: Path, name: str = "gaussian:4x8", calendar: str = "standard") -> np.ndarray:
    """A store of 5 members in chunks of 2, and 5 leads in chunks of 3; returns what is in it."""
    grid = Grid.parse(name)
    times = xr.date_range("2021-01-01", periods=2, calendar=calendar, use_cftime=calendar != "standard").values
    store.create(path, grid, UNITS, times, LEADS, 5, (2, 3), {"title": "a test"})
    x = values_of(grid)
    for m in (0, 2, 4):
        for lead in (0, 3):
            store.write(path, list(UNITS), x[m : m + 2, :, lead : lead + 3], (m, 0, lead))
    return x
