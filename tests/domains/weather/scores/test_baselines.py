from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.scores import baselines, verification
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.scores import score_forecast

from ..toy_climate import SCALE, climate, leads

NAME = "temperature_850"
FOLDER = Path(os.environ.get("REFINE_DATA", "")) / "weather"
real = pytest.mark.skipif(not (FOLDER / "baselines.json").is_file(), reason="needs the data of REFINE_DATA")


@pytest.fixture(scope="module")
def train() -> xr.Dataset:
    return climate()


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return climate(200, "2021-01-01", seed=1)


@pytest.fixture(scope="module")
def climatology(train: xr.Dataset) -> Climatology:
    return Climatology.fit(train)


def test_climatology_finds_the_seasons(climatology: Climatology, train: xr.Dataset) -> None:
    north = np.sin(np.deg2rad(train.latitude.values))
    found = climatology.mean(NAME, train["time"][:1])[0].mean(1)
    np.testing.assert_allclose(found, SCALE[NAME] * (50 + 3 * north), atol=0.3 * SCALE[NAME])  # first of January
    np.testing.assert_allclose(np.sqrt(climatology.variance[NAME]), SCALE[NAME], rtol=0.15)
    np.testing.assert_allclose(climatology.quantiles[NAME][2], 1.28 * SCALE[NAME], atol=0.35 * SCALE[NAME])


def test_climatology_in_bands_is_the_same(
    climatology: Climatology, train: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refine.domains.weather.scores.climatology.BAND", 1)
    again = Climatology.fit(train, [NAME])
    np.testing.assert_allclose(again.coefficients[NAME], climatology.coefficients[NAME])
    np.testing.assert_allclose(again.quantiles[NAME], climatology.quantiles[NAME])


def test_a_record_of_a_week_has_a_constant_mean() -> None:
    week = climate(7)
    found = Climatology.fit(week)
    mean = week[NAME].mean("time").values
    np.testing.assert_allclose(found.mean(NAME, week["time"][3:4])[0], mean, rtol=1e-5)


def test_climatology_of_other_calendars(train: xr.Dataset, climatology: Climatology) -> None:
    noleap = train.isel(time=slice(0, 1095))
    noleap = noleap.assign_coords(
        time=xr.date_range("2001-01-01", periods=1095, freq="D", calendar="noleap", use_cftime=True)
    )
    found = Climatology.fit(noleap)
    np.testing.assert_allclose(
        found.mean(NAME, noleap["time"][:1]), climatology.mean(NAME, train["time"][:1]), atol=0.2
    )
    forecast = baselines.persistence(noleap, noleap["time"].values[[3, 9]], leads(1, 2))
    scored = score_forecast(forecast, noleap, found, parts=())
    assert scored["initial_times"] == ["2001-01-04T00:00", "2001-01-10T00:00"] and scored["verified"] == [2, 2]


def test_persistence_and_climatology_are_fields_of_the_data(truth: xr.Dataset, climatology: Climatology) -> None:
    times = truth["time"].values[[10, 20]]
    still = baselines.persistence(truth, times, leads(1, 3))
    assert still[NAME].dims == ("number", "time", "prediction_timedelta", "latitude", "longitude")
    assert (still[NAME].values == truth[NAME].values[[10, 20]][None, :, None]).all()
    usual = baselines.climatology_forecast(truth, climatology, times, leads(1, 3))
    expected = climatology.mean(NAME, truth["time"].isel(time=[11, 13]))
    np.testing.assert_allclose(usual[NAME].values[0, 0], expected, rtol=1e-6)
    none = baselines.persistence(truth, np.array(["1999-01-01"], "datetime64[ns]"), leads(1))
    assert none[NAME].isnull().all()


def test_damping_is_the_memory_of_the_process(train: xr.Dataset, truth: xr.Dataset, climatology: Climatology) -> None:
    damping = baselines.Damping.fit(train, climatology, leads(1, 3))
    kept = damping.kept[NAME].mean((1, 2))
    np.testing.assert_allclose(kept, [0.8, 0.8**3], atol=0.04)  # the fitted seasons take a little of it
    expected = SCALE[NAME] * np.sqrt([1 - 0.8**2, 1 - 0.8**6])
    np.testing.assert_allclose(damping.deviation[NAME].mean((1, 2)), expected, rtol=0.03)
    times = truth["time"].values[0:190:5]
    forecast = baselines.damped_persistence(truth, climatology, damping, times, leads(1, 3))
    rmse = score_forecast(forecast, truth, climatology, parts=())["variables"][NAME]["rmse"]["value"]
    np.testing.assert_allclose(rmse, expected, rtol=0.05)
    crps = baselines.gaussian_crps(forecast, damping, truth)[NAME]
    np.testing.assert_allclose(crps.mean(0), expected / np.sqrt(np.pi), rtol=0.05)


def test_runs_are_not_joined(train: xr.Dataset, climatology: Climatology) -> None:
    """Two runs with the same dates following each other: no pair of days may cross."""
    branch = (np.arange(train.sizes["time"]) >= 500).astype(int)
    split = train.assign_coords(branch=("time", branch))
    jump = split.assign({n: split[n] + 1000 * SCALE[n] * xr.DataArray(branch, dims="time") for n in SCALE})
    usual = Climatology(climatology.coefficients, climatology.variance, climatology.quantiles, climatology.levels)
    dressed = baselines.dressed_persistence(train, jump, train["time"].values[495:500], leads(1, 5), members=40)
    change = dressed[NAME].values - train[NAME].values[495:500][None, :, None]
    assert np.abs(change).max() < 100 * SCALE[NAME]
    assert baselines.Damping.fit(split, usual, leads(1)).kept[NAME].mean() == pytest.approx(0.8, abs=0.03)


def test_drawn_references_come_from_the_season(train: xr.Dataset, truth: xr.Dataset) -> None:
    times = truth["time"].values[[0, 180]]
    drawn = baselines.probabilistic_climatology(train, times, leads(1, 10), members=20)
    fields = train[NAME].values
    for i, day in ((0, 0), (1, 180)):
        for k, lead in enumerate((1, 10)):
            for member in drawn[NAME].values[:, i, k]:
                (row,) = np.flatnonzero((fields == member).all((1, 2)))
                apart = abs(int(train["time"].dt.dayofyear[row]) - (day + lead + 1))
                assert min(apart, 365 - apart) <= baselines.NEAR + 1
    again = baselines.probabilistic_climatology(train, times, leads(1, 10), members=20)
    assert again.equals(drawn)
    assert len(np.unique(drawn[NAME].values[:, 0, 0, 0, 0])) == 20


def test_large_data_is_read_piece_by_piece(
    train: xr.Dataset, truth: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = truth["time"].values[[5, 50]]
    held = baselines.dressed_persistence(truth, train, times, leads(1, 2), members=6).load()
    monkeypatch.setattr(verification, "WHOLE", 1)
    assert baselines.dressed_persistence(truth, train, times, leads(1, 2), members=6).equals(held)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """The world of baselines.json, one variable of it."""
    rows = json.loads((FOLDER / "baselines.json").read_text())
    fields = open_fields(FOLDER / "speedy_t31.zarr", [NAME]).load()
    physics = open_forecast(FOLDER / "speedy_t31_physics_ensemble.zarr")
    train = fields.isel(time=np.flatnonzero(fields["split"].values == 0))
    climatology = Climatology.fit(train)
    return {"rows": rows, "fields": fields, "physics": physics, "train": train, "climatology": climatology}


def close(
    world: dict[str, Any], forecast: xr.Dataset, days: tuple[int, ...], expected: dict[str, str], sets: str
) -> None:
    found = score_forecast(forecast, world["fields"], world["climatology"], parts=(), leads=leads(*days))
    row = world["rows"]["scores"]["t850"][sets]
    row = {**row, **row.get("physics_ensemble", {})}
    for score, name in expected.items():
        published = [row[name][day - 1] for day in days]
        np.testing.assert_allclose(found["variables"][NAME][score]["value"], published, rtol=0.01, err_msg=name)


@real
def test_published_persistence_and_climatology(world: dict[str, Any]) -> None:
    fields, days = world["fields"], (1, 5, 10)
    year = slice("2021-01-01", "2021-12-26")
    for sets, times in (
        ("ens13", world["physics"]["time"].values),
        ("test_all", fields["time"].sel(time=year).values),
    ):
        still = baselines.persistence(fields, times, leads(*days))
        names = {"rmse": "persistence_rmse", "mae": "persistence_mae", "acc": "acc_persistence"}
        close(world, still, days, names, sets)
        usual = baselines.climatology_forecast(fields, world["climatology"], times, leads(*days))
        close(world, usual, days, {"rmse": "climatology_rmse", "mae": "climatology_mae"}, sets)


@real
def test_published_damped_persistence(world: dict[str, Any]) -> None:
    days, times = (1, 5, 10), world["physics"]["time"].values
    damping = baselines.Damping.fit(world["train"], world["climatology"], leads(*days))
    forecast = baselines.damped_persistence(world["fields"], world["climatology"], damping, times, leads(*days))
    close(world, forecast, days, {"rmse": "damped_persistence_rmse"}, "ens13")
    crps = baselines.gaussian_crps(forecast, damping, world["fields"])[NAME].mean(0)
    row = world["rows"]["scores"]["t850"]["ens13"]["damped_persistence_gauss_crps"]
    np.testing.assert_allclose(crps, [row[d - 1] for d in days], rtol=0.01)


@real
def test_published_sampled_references(world: dict[str, Any]) -> None:
    """Drawn anew, so within the noise of 50 members."""
    days, times = (1, 5), world["physics"]["time"].values
    drawn = baselines.probabilistic_climatology(world["train"], times, leads(*days))
    close(world, drawn, days, {"crps": "prob_climatology_crps", "spread": "prob_climatology_spread"}, "ens13")
    dressed = baselines.dressed_persistence(world["fields"], world["train"], times, leads(*days))
    close(world, dressed, days, {"crps": "dressed_persistence_crps"}, "ens13")


@real
def test_published_physics_ensemble(world: dict[str, Any]) -> None:
    names = {
        "crps": "crps_fair",
        "rmse": "ensmean_rmse",
        "spread": "spread",
        "spread_skill": "spread_skill_fair",
        "member_rmse": "member_rmse",
    }
    close(world, world["physics"], (1, 5, 10), names, "ens13")
