from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.scores import verification
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.comparison import compare
from refine.domains.weather.scores.scores import score_forecast
from refine.errors import RefineError

from ..toy_climate import GRID, SCALE, climate, exchangeable, forecast_of, leads

ROWS, DAYS = list(range(0, 240, 16)), (1, 2, 5)
NAME = "temperature_850"


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return climate(260, "2021-01-01", seed=1)


@pytest.fixture(scope="module")
def climatology() -> Climatology:
    return Climatology.fit(climate())


@pytest.fixture(scope="module")
def perfect(truth: xr.Dataset) -> xr.Dataset:
    """Truth and members are exchangeable."""
    return forecast_of(truth, ROWS, DAYS, exchangeable(8))


@pytest.fixture(scope="module")
def result(perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology) -> dict:
    return score_forecast(perfect, truth, climatology, floors={NAME: 0.05})


def test_scores_are_the_formulas(
    perfect: xr.Dataset, truth: xr.Dataset, result: dict, climatology: Climatology
) -> None:
    x = perfect[NAME].values.astype(float)
    y = truth[NAME].values[np.array(ROWS)[:, None] + DAYS].astype(float)
    between = np.abs(x[:, None] - x[None]).sum((0, 1)) / (2 * 8 * 7)
    expected = {
        "crps": (GRID.area * (np.abs(x - y).mean(0) - between)).mean((0, 2, 3)),
        "rmse": np.sqrt((GRID.area * (x.mean(0) - y) ** 2).mean((0, 2, 3))),
        "member_rmse": np.sqrt((GRID.area * (x - y) ** 2).mean((0, 1, 3, 4))),
        "spread": np.sqrt((GRID.area * x.var(0, ddof=1)).mean((0, 2, 3))),
        "bias": (GRID.area * (x.mean(0) - y)).mean((0, 2, 3)),
        "mae": (GRID.area * np.abs(x - y)).mean((0, 1, 3, 4)),
    }
    distance = np.sqrt((GRID.area * (x - y) ** 2).mean((-2, -1)))
    pairs = np.sqrt((GRID.area * (x[:, None] - x[None]) ** 2).mean((-2, -1)))
    expected["energy"] = (distance.mean(0) - pairs.sum((0, 1)) / (2 * 8 * 7)).mean(0)
    expected["spread_skill"] = np.sqrt(9 / 8) * expected["spread"] / expected["rmse"]
    found = result["variables"][NAME]
    for score, value in expected.items():
        np.testing.assert_allclose(found[score]["value"], value, rtol=2e-5, atol=2e-5, err_msg=score)
        assert (np.array(found[score]["low"]) <= value + 1e-4).all(), score
        assert (np.array(found[score]["high"]) >= value - 1e-4).all(), score


def test_an_exchangeable_ensemble_is_calibrated(result: dict) -> None:
    found = result["variables"][NAME]
    np.testing.assert_allclose(found["spread_skill"]["value"], 1, atol=0.05)
    np.testing.assert_allclose(found["ranks"], 1 / 9, atol=0.035)
    np.testing.assert_allclose(found["calibration"]["thirds"]["ratio"]["value"], 1, atol=0.12)
    np.testing.assert_allclose(found["calibration"]["flow"]["ratio"], 1, atol=0.12)
    assert found["floor"] == 0.05 and found["units"] == "K"
    assert result["variables"]["geopotential_500"]["floor"] is None


def test_thirds_see_where_the_spread_is(truth: xr.Dataset, climatology: Climatology) -> None:
    north = np.where(GRID.latitude > 0, 3.0, 1.0)[:, None]

    def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return north * exchangeable(8, seed=3)(name, shape)

    def too_narrow(name: str, shape: tuple[int, ...]) -> np.ndarray:
        wide = noise(name, shape)
        return wide.mean(0) + np.where(north > 1, 0.5, 1.0) * (wide - wide.mean(0))

    parts = {"parts": ("calibration",), "channels": [NAME]}
    good, bad = (
        score_forecast(forecast_of(truth, ROWS, DAYS, n), truth, climatology, **parts)["variables"][NAME]["calibration"]
        for n in (noise, too_narrow)
    )
    spread = np.array(good["thirds"]["spread"])
    assert (spread[:, 2] > 2 * spread[:, 0]).all()
    np.testing.assert_allclose(good["thirds"]["ratio"]["value"], 1, atol=0.15)
    assert (np.array(bad["thirds"]["ratio"]["value"])[:, 2] < 0.75).all()


def test_brier_scores_of_percentiles(perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology) -> None:
    one = perfect.isel(time=slice(0, 1))
    found = score_forecast(one, truth, climatology, parts=("brier",))["variables"][NAME]["brier"]
    assert list(found) == ["p5", "p10", "p90", "p95"]
    when = truth["time"].isel(time=list(DAYS))
    limit = climatology.mean(NAME, when) + climatology.quantiles[NAME][2]
    x, y = one[NAME].values[:, 0] >= limit, truth[NAME].values[list(DAYS)] >= limit
    share = x.mean(0)
    fair = (share - y) ** 2 - share * (1 - share) / 7
    np.testing.assert_allclose(found["p90"]["value"], (GRID.area * fair).mean((1, 2)), rtol=1e-5)
    assert found["p90"]["low"] == [None] * 3  # one initial time says nothing of others


def test_spectra_of_members_and_mean(result: dict) -> None:
    found = result["variables"][NAME]["spectra"]
    truth, members, mean = (np.array(found[k])[:, 1:] for k in ("truth", "members", "mean"))
    assert found["wavenumber"] == list(range(9))
    assert (members > mean).all() and (members > truth).all()  # noise of scale 1 was added to truth twice
    np.testing.assert_allclose(np.array(found["ratio"]["value"])[:, 1:], members / truth, rtol=1e-4)
    np.testing.assert_allclose(found["worst"], np.abs(members / truth - 1).max(1), rtol=1e-4)


def test_joint_energy_is_in_standard_deviations(perfect: xr.Dataset, truth: xr.Dataset, result: dict) -> None:
    total = 0.0
    for name in SCALE:
        y = truth[name].values[np.array(ROWS)[:, None] + DAYS].astype(float)
        error = GRID.area * ((perfect[name].values - y) / result["joint"]["scale"][name]) ** 2
        total = total + error.mean((-2, -1)) / 2
    distance = np.sqrt(total).mean(0)
    assert (np.array(result["joint"]["energy"]["value"]) < distance.mean(0)).all()
    single = score_forecast(perfect.isel(number=[0]), truth, Climatology.fit(climate()), parts=("energy",))
    np.testing.assert_allclose(single["joint"]["energy"]["value"], np.sqrt(total)[0].mean(0), rtol=1e-4)


def test_small_blocks_of_leads_change_nothing(
    perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = perfect.isel(time=slice(0, 4))
    result = score_forecast(some, truth, climatology)
    monkeypatch.setattr(verification, "HELD", 1)
    monkeypatch.setattr(verification, "WHOLE", 1)
    assert score_forecast(some.chunk(time=1), truth, climatology) == result


def test_one_member_has_the_absolute_error(perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology) -> None:
    found = score_forecast(perfect.isel(number=[3]), truth, climatology)["variables"][NAME]
    assert found["crps"] == found["mae"] and found["spread_skill"]["value"] == [0.0] * 3
    assert "ranks" not in found and "calibration" not in found


def test_leads_beyond_the_truth_are_left_out(perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology) -> None:
    short = truth.isel(time=slice(0, ROWS[-1] + 2))  # the last initial time has its first lead only
    found = score_forecast(perfect, short, climatology, parts=())
    before = score_forecast(perfect.isel(time=slice(0, -1)), truth, climatology, parts=())
    assert found["verified"] == [len(ROWS), len(ROWS) - 1, len(ROWS) - 1]
    assert found["variables"][NAME]["crps"]["value"][1:] == before["variables"][NAME]["crps"]["value"][1:]
    assert found["by_time"]["crps"][NAME][-1][1:] == [None, None]
    with pytest.raises(RefineError, match="cannot be verified"):
        score_forecast(perfect, truth.isel(time=[0]), climatology)


def test_cells_without_truth_do_not_count(perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology) -> None:
    half = truth.where(truth.latitude > 0)
    found = score_forecast(perfect, half, climatology, parts=("energy", "ranks", "calibration"))["variables"][NAME]
    x = perfect[NAME].values.astype(float)[..., 4:, :]
    y = truth[NAME].values[np.array(ROWS)[:, None] + DAYS][..., 4:, :]
    weights = GRID.area[4:] / GRID.area[4:].mean()
    np.testing.assert_allclose(found["mae"]["value"], (weights * np.abs(x - y)).mean((0, 1, 3, 4)), rtol=1e-4)
    np.testing.assert_allclose(
        found["spread"]["value"], np.sqrt((weights * x.var(0, ddof=1)).mean((0, 2, 3))), rtol=1e-4
    )
    np.testing.assert_allclose(np.sum(found["ranks"], 1), 1, rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_forecasts_that_miss_values_are_left_out_and_counted(
    perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology, value: float
) -> None:
    broken = perfect.copy(deep=True)
    broken[NAME].values[2, 1, 0, 3, 4] = value
    found = score_forecast(broken, truth, climatology)
    expected = score_forecast(perfect.isel(time=[0, *range(2, len(ROWS))]), truth, climatology)
    mine, theirs = (x["variables"][NAME] for x in (found, expected))
    assert mine["left_out"] == {"truth": [0, 0, 0], "forecast": [1, 0, 0]} and found["verified"] == [14, 15, 15]
    for score in ("crps", "rmse", "spread_skill", "energy", "acc"):
        assert mine[score]["value"][0] == theirs[score]["value"][0], score
    assert mine["calibration"]["flow"]["ratio"][0] == theirs["calibration"]["flow"]["ratio"][0]
    assert found["joint"]["energy"]["value"][0] == expected["joint"]["energy"]["value"][0]
    assert found["by_time"]["crps"][NAME][1][0] is None
    assert found["variables"]["geopotential_500"]["left_out"]["forecast"] == [0, 0, 0]
    broken[NAME].values[2, :, :, 3, 4] = value
    with pytest.raises(
        RefineError, match="temperature_850: nothing can be scored; the forecast of 2021-01-01T00:00 misses"
    ):
        score_forecast(broken, truth, climatology)


def test_another_grid_and_another_lead_are_refused(
    perfect: xr.Dataset, truth: xr.Dataset, climatology: Climatology
) -> None:
    with pytest.raises(RefineError, match="refine regrid IN OUT --grid gaussian:8x16"):
        score_forecast(perfect.isel(longitude=slice(None, None, 2)), truth, climatology)
    with pytest.raises(RefineError, match="lead='4d' is not accepted; accepted: 1d, 2d, 5d"):
        score_forecast(perfect, truth, climatology, leads=leads(4))


def test_results_are_json(result: dict) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["leads"] == ["1d", "2d", "5d"] and result["lead_hours"] == [24, 48, 120]
    assert result["grid"] == "gaussian:8x16" and result["members"] == 8 and len(result["initial_times"]) == len(ROWS)


def test_comparison_is_of_pairs(truth: xr.Dataset, perfect: xr.Dataset, climatology: Climatology, result: dict) -> None:
    same = compare(result, result)["variables"]
    assert same[NAME]["crps"]["value"] == [0.0] * 3 and not any(same[NAME]["crps"]["significant"])
    wide = forecast_of(truth, ROWS[2:], DAYS[:2], exchangeable(8, width=1.5))
    found = compare(result, score_forecast(wide, truth, climatology))
    assert found["leads"] == ["1d", "2d"] and len(found["initial_times"]) == len(ROWS) - 2
    for score in ("crps", "energy"):
        assert all(found["variables"][NAME][score]["significant"]) and max(found["variables"][NAME][score]["high"]) < 0
    mine = np.array(result["by_time"]["crps"][NAME])[2:, :2].mean(0)
    theirs = np.array(score_forecast(wide, truth, climatology)["by_time"]["crps"][NAME]).mean(0)
    np.testing.assert_allclose(found["variables"][NAME]["crps"]["value"], mine - theirs, rtol=1e-4)
    np.testing.assert_allclose(found["variables"][NAME]["crps"]["relative"], mine / theirs - 1, rtol=1e-4)
    assert list(found["variables"]["joint"]) == ["energy"]
    elsewhere = forecast_of(truth, [3, 5], DAYS, exchangeable(2))
    assert compare(result, score_forecast(elsewhere, truth, climatology, parts=()))["variables"] == {}


def test_cells_of_healpix_are_scored_alike() -> None:
    rng = np.random.default_rng(4)
    days = np.datetime64("2021-01-01", "ns") + np.arange(30) * np.timedelta64(1, "D")
    cells = xr.Dataset({NAME: (("time", "cell"), rng.normal(270, 2, size=(30, 48)).astype("f4"))}, {"time": days})
    x = cells[NAME].values[[3, 9, 15]][None, :, None] + rng.normal(size=(6, 3, 1, 48)).astype("f4")
    dims = ("number", "time", "prediction_timedelta", "cell")
    members = xr.Dataset({NAME: (dims, x)}, {"time": days[[2, 8, 14]], "prediction_timedelta": leads(1)})
    found = score_forecast(members, cells, Climatology.fit(cells))
    y = cells[NAME].values[[3, 9, 15]]
    rmse = np.sqrt(np.mean((x[:, :, 0].mean(0) - y) ** 2))
    assert found["grid"] == "healpix:2" and "spectra" not in found["variables"][NAME]
    assert found["variables"][NAME]["rmse"]["value"][0] == pytest.approx(rmse, rel=1e-4)
    assert len(found["variables"][NAME]["calibration"]["flow"]["ratio"][0]) == 3
