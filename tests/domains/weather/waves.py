"""Waves that drift apart, as a forecast and its truth; a mask; pictures as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from refine.domains.weather.sphere.grids import Grid

UNITS = {"geopotential_500": "m2 s-2", "2m_temperature": "K", "v_component_of_wind_850": "m s-1", "made_up": ""}


def field(grid: Grid, channel: str, phase: float = 0.0) -> np.ndarray:
    """Something smooth of the size that the channel has."""
    lat, lon = (
        (grid.latitude, grid.longitude)
        if len(grid.shape) == 1
        else np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    )
    wave = np.cos(np.deg2rad(lat)) * np.cos(np.deg2rad(3 * lon) + phase)
    size = {"geopotential_500": (55000, 3000), "2m_temperature": (280, 20), "v_component_of_wind_850": (0, 12)}
    middle, swing = size.get(channel, (5, 1))
    return np.asarray(middle + swing * wave)


def forecast(
    grid: Grid, channels: list[str], members: int = 3, leads: int = 5, times: Any = None
) -> tuple[xr.Dataset, xr.Dataset]:
    """A forecast (number, time, lead, *grid) of waves that drift apart, and the truth (time, *grid) of the first."""
    times = np.array(["2021-02-26", "2021-03-06"], "datetime64[ns]") if times is None else times
    days = np.arange(1, leads + 1)
    coords = {d: v for d, v in zip(grid.dims, (grid.latitude, grid.longitude), strict=False) if d != "cell"}
    ds, true = {}, {}
    for c in channels:
        parts = [
            [[field(grid, c, t + day * (0.2 + 0.05 * m)) for day in days] for t in range(len(times))]
            for m in range(members)
        ]
        dims, units = ("number", "time", "prediction_timedelta", *grid.dims), {"units": UNITS[c]}
        ds[c] = (dims, np.asarray(parts, "float32"), units)
        known = [field(grid, c, 0.2 * day) for day in range(leads + 1)]
        true[c] = (("time", *grid.dims), np.asarray(known, "float32"), units)
    axes = {"number": np.arange(members), "time": times, "prediction_timedelta": days * np.timedelta64(24, "h")}
    axes["prediction_timedelta"] = axes["prediction_timedelta"].astype("timedelta64[ns]")
    dates = xr.date_range(str(times[0])[:10], periods=leads + 1, calendar=getattr(times[0], "calendar", "standard"))
    return xr.Dataset(ds, {**axes, **coords}), xr.Dataset(true, {"time": dates, **coords})


def land(grid: Grid) -> xr.Dataset:
    mask = (field(grid, "made_up") > 5).astype("float32")
    coords = {d: v for d, v in zip(grid.dims, (grid.latitude, grid.longitude), strict=False) if d != "cell"}
    return xr.Dataset({"land_sea_mask": (grid.dims, mask)}, coords)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.info["Title"] and image.info["Description"]
        return np.asarray(image.convert("RGB")).astype(int)
