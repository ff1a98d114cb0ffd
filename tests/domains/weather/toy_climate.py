"""A small made-up world with seasons, whose forecasts have known laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from refine.domains.weather.sphere.grids import Grid

GRID = Grid.parse("gaussian:8x16")
UNITS = {"geopotential_500": "m2 s-2", "temperature_850": "K"}
SCALE = {"geopotential_500": 100.0, "temperature_850": 2.0}


def leads(*days: int) -> np.ndarray:
    return np.array([np.timedelta64(24 * d, "h") for d in days]).astype("timedelta64[ns]")


def climate(days: int = 1096, start: str = "2001-01-01", seed: int = 0) -> xr.Dataset:
    """Seasons and anomalies that keep .8 of themselves from day to day, independent from cell to cell."""
    rng = np.random.default_rng(seed)
    times = np.datetime64(start, "ns") + np.arange(days) * np.timedelta64(1, "D")
    phase = 2 * np.pi * np.arange(days)[:, None, None] / 365.25
    north = np.sin(np.deg2rad(GRID.latitude))[:, None]
    out = {}
    for name, scale in SCALE.items():
        anomaly = rng.normal(size=(days, *GRID.shape))
        for t in range(1, days):
            anomaly[t] = 0.8 * anomaly[t - 1] + 0.6 * anomaly[t]
        field = scale * (50 + 3 * north * np.cos(phase) + anomaly)
        out[name] = (("time", *GRID.dims), field.astype(np.float32), {"units": UNITS[name]})
    return xr.Dataset(out, axes(time=times)).chunk(time=64)


def axes(**more: Any) -> dict[str, Any]:
    return {**more, "latitude": GRID.latitude, "longitude": GRID.longitude}


def forecast_of(truth: xr.Dataset, rows: list[int], days: tuple[int, ...], noise: Any) -> xr.Dataset:
    """Truth with ``noise(name, shape)`` of shape (M, T, L, H, W) added."""
    places = np.array(rows)[:, None] + np.array(days)
    out = {}
    for name, field in truth.data_vars.items():
        values = field.values[places]
        out[name] = (
            ("number", "time", "prediction_timedelta", *GRID.dims),
            (values + noise(str(name), values.shape)).astype(np.float32),
            field.attrs,
        )
    members = next(iter(out.values()))[1].shape[0]
    times = truth["time"].values[rows]
    return xr.Dataset(out, axes(number=np.arange(members), time=times, prediction_timedelta=leads(*days)))


def exchangeable(members: int, seed: int = 0, width: float = 1.0) -> Any:
    """Noise that makes truth one more member of the ensemble (with ``width`` 1)."""
    rng = np.random.default_rng(seed)

    def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
        centre = rng.normal(size=shape)
        return SCALE[name] * (centre + width * rng.normal(size=(members, *shape)))

    return noise
