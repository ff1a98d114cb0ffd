"""References of six-hourly fields know the hour of the day."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.evaluation import reference_scores

from ..toy_climate import GRID, axes

NAME, NOISE, DAYS = "2m_temperature", 0.3, 400


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    """Temperatures that repeat every day, 8 K to either side, but for noise of .3 K."""
    times = np.datetime64("2016-01-01", "ns") + np.arange(4 * DAYS + 40) * np.timedelta64(6, "h")
    hour = times.astype("datetime64[h]").astype(int)[:, None, None] % 24
    noise = np.random.default_rng(0).normal(size=(len(times), *GRID.shape))
    x = 280 + 8 * np.cos(2 * np.pi * hour / 24) + NOISE * noise
    return xr.Dataset({NAME: (("time", *GRID.dims), x.astype("f4"), {"units": "K"})}, axes(time=times)).chunk(time=200)


@pytest.fixture(scope="module")
def climatology(world: xr.Dataset) -> Climatology:
    return Climatology.fit(world.isel(time=slice(0, 4 * DAYS)))


def test_anomalies_are_those_of_the_hour(world: xr.Dataset, climatology: Climatology) -> None:
    assert climatology.hours == (0, 6, 12, 18)
    assert climatology.scale(NAME, GRID.area) == pytest.approx(NOISE, rel=0.03)  # and not 5.7 K
    four = climatology.mean(NAME, world["time"][-4:]).mean((1, 2))
    np.testing.assert_allclose(four, [288, 280, 272, 280], atol=0.1)
    later = world["time"][-40:]
    limits = climatology.mean(NAME, later) + climatology.thresholds(NAME, later)[2]
    exceeded = (world[NAME].values[-40:] > limits).reshape(10, 4, -1).mean((0, 2))
    np.testing.assert_allclose(exceeded, 0.1, atol=0.03)  # the 90th percentile, at every hour


def test_references_err_by_the_noise_alone(world: xr.Dataset, climatology: Climatology) -> None:
    train, test = world.isel(time=slice(0, 4 * DAYS)), world.isel(time=slice(4 * DAYS - 10, None))
    leads = np.array([6, 24, 36], "timedelta64[h]").astype("timedelta64[ns]")
    found = reference_scores(test, train, climatology, test["time"].values[10:18:4], leads)

    def score(reference: str, name: str) -> Any:
        return np.array(found[reference]["variables"][NAME][name]["value"])

    np.testing.assert_allclose(score("climatology", "rmse"), NOISE, rtol=0.1)
    np.testing.assert_allclose(score("probabilistic climatology", "crps"), NOISE / np.sqrt(np.pi), rtol=0.1)
    np.testing.assert_allclose(score("damped persistence", "rmse"), NOISE, rtol=0.15)
    np.testing.assert_allclose(score("dressed persistence", "rmse"), NOISE * 2**0.5, rtol=0.15)
    assert score("persistence", "rmse")[0] > 5 and score("persistence", "rmse")[1] < 0.5  # it knows no hour
