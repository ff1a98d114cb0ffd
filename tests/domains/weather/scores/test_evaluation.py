from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from refine.domains.weather.config import WeatherConfig
from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.pictures.tables import headline, tables
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.evaluation import evaluate_store
from refine.domains.weather.scores.scores import score_forecast
from refine.domains.weather.scores.stability import stability
from refine.errors import RefineError

from ..toy_climate import SCALE, climate, exchangeable, forecast_of

FOLDER = Path(os.environ.get("REFINE_DATA", "")) / "weather"
NAME = "temperature_850"
ROWS = list(range(1020, 1080, 10))
REFERENCES = {
    "persistence",
    "climatology",
    "damped persistence",
    "probabilistic climatology",
    "dressed persistence",
}


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    """Three years of which the last quarter tests."""
    fields = climate()
    shift = {"geopotential_500": 50000.0, "temperature_850": 170.0}  # to what is plausible on Earth
    for name, more in shift.items():
        fields[name] = (fields[name] + more).assign_attrs(fields[name].attrs)
    split = np.where(np.arange(1096) < 900, 0, 2).astype("int8")
    return fields.assign_coords(split=("time", split))


@pytest.fixture(scope="module")
def domain(world: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> WeatherDomain:
    path = tmp_path_factory.mktemp("data") / "world.zarr"
    world.to_zarr(path, consolidated=False)
    return WeatherDomain(WeatherConfig(data=str(path)))


def stored(world: xr.Dataset, path: Path, days: tuple[int, ...] = (1, 3)) -> Path:
    """A forecast in WeatherBench2's form: levels as a dimension."""
    made = forecast_of(world, ROWS, days, exchangeable(6))
    levels = {
        "geopotential": made["geopotential_500"].expand_dims(level=[500]),
        "temperature": made["temperature_850"].expand_dims(level=[850]),
    }
    xr.merge([v.to_dataset(name=n) for n, v in levels.items()], join="outer").to_zarr(path, consolidated=False)
    return path


def test_a_store_is_scored_beside_all_references(domain: WeatherDomain, world: xr.Dataset, tmp_path: Path) -> None:
    found = evaluate_store(stored(world, tmp_path / "f.zarr"), domain, tmp_path / "run", {NAME: 0.03})
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == found
    assert set(found["references"]) == set(found["against"]) == REFERENCES
    crps = {name: r["variables"][NAME]["crps"]["value"][0] for name, r in found["references"].items()}
    assert crps["damped persistence"] < crps["dressed persistence"] < crps["persistence"]
    assert crps["damped persistence"] < crps["probabilistic climatology"] < crps["climatology"]
    against = found["against"]["climatology"]["variables"]
    value = found["variables"][NAME]["crps"]["value"]
    np.testing.assert_allclose(against[NAME]["crps"]["value"], np.array(value) - crps["climatology"], atol=0.3)
    assert set(against) == {*SCALE, "joint"}
    assert found["variables"][NAME]["floor"] == 0.03 and found["published"] == {}
    assert found["stability"]["leads"] == ["1d", "3d"]


def test_truth_that_is_missing_or_cannot_be_is_left_out_and_counted(
    world: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three times of the test year are bad: a truth that cannot be, one that is missing, and one that is not there."""
    broken = world.load().copy(deep=True)
    broken[NAME].values[ROWS[0] + 1] = 1e20
    broken[NAME].values[ROWS[1] + 3] = np.nan
    broken = broken.isel(time=[i for i in range(broken.sizes["time"]) if i != ROWS[2]])  # an initial time
    broken.drop_encoding().to_zarr(tmp_path / "broken.zarr", consolidated=False)
    part = WeatherDomain(WeatherConfig(data=str(tmp_path / "broken.zarr"), variables=[NAME]))
    found = evaluate_store(stored(world, tmp_path / "f.zarr"), part, tmp_path)
    left = found["variables"][NAME]
    assert left["left_out"] == {"truth": [1, 1], "forecast": [0, 0]} and found["verified"] == [5, 5]
    rows = found["by_time"]["crps"][NAME]
    assert [[x is None for x in row] for row in rows] == [[True, False], [False, True], *[[False, False]] * 4]
    climatology = Climatology.fit(world.isel(time=slice(0, 100)))
    forecast = open_forecast(tmp_path / "f.zarr", [NAME]).isel(time=slice(1, None))
    others = score_forecast(forecast, world, climatology, channels=[NAME], parts=())["variables"][NAME]
    np.testing.assert_allclose(left["crps"]["value"][0], others["crps"]["value"][0], rtol=1e-4)
    said = capsys.readouterr().err
    assert (
        f"{NAME}: 2 forecasts of 6 initial times at 2 leads are left out: 2 as truth has no values that can be" in said
    )
    assert set(found["references"]) == REFERENCES
    still = found["references"]["persistence"]["variables"][NAME]
    assert still["left_out"] == {"truth": [1, 1], "forecast": [1, 1]}  # the third has no field to start from
    assert 1 < still["crps"]["value"][0] < 2


def test_tables_and_headline_say_what_was_found(domain: WeatherDomain, world: xr.Dataset, tmp_path: Path) -> None:
    found = evaluate_store(stored(world, tmp_path / "f.zarr"), domain, tmp_path / "run")
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(*tables(found))
    text = console.export_text()
    for word in ("temperature_850", "K", "persistence", "spread_skill", "joint", "1d", "3d"):
        assert word in text, word
    short = headline(found)
    assert short["crps temperature_850 1d"] == found["variables"][NAME]["crps"]["value"][0]
    assert all(isinstance(v, float | int | str) for v in short.values())


def test_a_forecast_of_other_channels_is_refused(domain: WeatherDomain, world: xr.Dataset, tmp_path: Path) -> None:
    made = forecast_of(world, ROWS, (1,), exchangeable(2))[[NAME]].rename({NAME: "temperature_500"})
    made.to_zarr(tmp_path / "g.zarr", consolidated=False)
    with pytest.raises(RefineError, match="none of geopotential_500, temperature_850"):
        evaluate_store(tmp_path / "g.zarr", domain, tmp_path)
    assert not (tmp_path / "scores.json").exists()


def test_a_forecast_in_other_units_is_converted_or_refused(
    domain: WeatherDomain, world: xr.Dataset, tmp_path: Path
) -> None:
    made = forecast_of(world, ROWS, (1,), exchangeable(2))[[NAME]]
    celsius = made - 273.15
    celsius[NAME].attrs["units"] = "degC"
    celsius.to_zarr(tmp_path / "said.zarr", consolidated=False)
    made.to_zarr(tmp_path / "kelvin.zarr", consolidated=False)
    found = [evaluate_store(tmp_path / f"{name}.zarr", domain, tmp_path / "run") for name in ("said", "kelvin")]
    rmse = [each["variables"][NAME]["rmse"]["value"][0] for each in found]
    assert rmse[0] == pytest.approx(rmse[1], rel=1e-3)
    celsius[NAME].attrs["units"] = "K"
    celsius.to_zarr(tmp_path / "not.zarr", consolidated=False)
    with pytest.raises(
        RefineError, match=r"forecast '.*not\.zarr': temperature_850 .* cannot be K \(they look like degC"
    ):
        evaluate_store(tmp_path / "not.zarr", domain, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_stability_sees_drift_and_fading(world: xr.Dataset) -> None:
    """A forecast made of real days is stable; one that warms by 1 K in all, or dies away, is not."""
    climatology = Climatology.fit(world.isel(time=slice(0, 900)))
    still = forecast_of(world, ROWS[:4], (1, 10, 20), lambda name, shape: np.zeros((2, *shape)))
    found = stability(still, climatology)["variables"][NAME]
    assert abs(found["worst_drift"]) < 0.3 and abs(found["worst_activity"] - 1) < 0.4
    warmer = still.assign({NAME: still[NAME] + xr.DataArray([0.0, 0.5, 1.0], dims="prediction_timedelta")})
    drifted = stability(warmer, climatology)["variables"][NAME]
    change = np.array(drifted["drift"]["value"]) - found["drift"]["value"]
    np.testing.assert_allclose(change, [0, 0.5, 1.0], atol=1e-3)
    np.testing.assert_allclose(drifted["activity"]["value"], found["activity"]["value"], rtol=0.05)
    days = still["time"].values[:, None] + still["prediction_timedelta"].values
    usual = climatology.mean(NAME, xr.DataArray(days.reshape(-1), dims="time")).reshape(4, 3, 8, 16)
    faded = still.assign({NAME: (still[NAME].dims, (usual + 0.5 * (still[NAME].values - usual)).astype("float32"))})
    half = stability(faded, climatology)["variables"][NAME]["activity"]["value"]
    np.testing.assert_allclose(half, 0.25 * np.array(found["activity"]["value"]), rtol=0.05)


@pytest.mark.skipif(not (FOLDER / "baselines.json").is_file(), reason="needs the data of REFINE_DATA")
def test_published_rows_stand_beside(tmp_path: Path) -> None:
    from refine.domains.weather.scores.evaluation import published

    domain = WeatherDomain(WeatherConfig(data="speedy", variables=[NAME]))
    with xr.open_zarr(FOLDER / "speedy_t31_physics_ensemble.zarr", consolidated=False) as ensemble:
        times = [f"{np.datetime_as_string(t, unit='m')}" for t in ensemble["time"].values]
    rows = published(domain, {"initial_times": times, "lead_hours": [24, 36], "variables": {NAME: {}}})
    assert rows["set"] == "ens13" and list(rows) == ["set", NAME]
    assert rows[NAME]["physics_ensemble_crps_fair"] == [0.042524, None]
    other = published(domain, {"initial_times": times[:2], "lead_hours": [240], "variables": {NAME: {}}})
    assert other["set"] == "test_all" and other[NAME]["persistence_rmse"] == [3.7984]
