"""The rivals of the codes (``benchmarks/weather_controls.py``): their laws, and that each is trained and forecasts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from refine.domains.weather.config import ForecasterConfig, MeanConfig, WeatherConfig
from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.forecaster.new_days import by_degree
from refine.learning.data import derive_seed
from refine.noise import Noise

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import rivals.edm
import rivals.network
import weather_controls
from rivals.dressed import Dressed, day_of_year
from rivals.edm import EDM, LEVELS, SIGMA_MAX, SIGMA_MIN, heun
from rivals.folders import LEARNED, ControlFolder
from rivals.inflation import inflate, inflation
from rivals.known import Days, known
from rivals.one_pass import ALPHA, almost_fair_crps
from rivals.rollout import Control
from rivals.spherical import Bands, normal
from rivals.training import rate

from .toy_climate import UNITS, climate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """A mean of a made-up world that knows its statistics and not much more."""
    path = tmp_path_factory.mktemp("data") / "fields.zarr"
    fields = climate(days=80) + xr.Dataset({"geopotential_500": 50000.0, "temperature_850": 170.0})
    fields = fields.map(lambda x: x.astype("float32").assign_attrs(units=UNITS[x.name]))
    fields.to_zarr(path, zarr_format=3, consolidated=False)
    torch.manual_seed(0)
    domain = WeatherDomain(WeatherConfig(data=str(path), scales=["T1", "T3"]))
    forecaster = Forecaster(domain, ForecasterConfig(mean=MeanConfig(widths=[8], blocks=1)))
    forecaster.mean.fit_statistics()
    return forecaster.eval()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals.network, "WIDTHS", [8, 8])


@pytest.fixture(scope="module")
def run(model: Forecaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model.save_pretrained(folder)
    return folder


def stirred(rival: Any) -> Any:
    """A rival whose network says something, as if it were trained."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in rival.network.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    return rival


def rivals_of(model: Forecaster) -> dict[str, Control]:
    found: dict[str, Control] = {"mean": Control(model), "dressed": Dressed(model, **Dressed.fit(model))}
    return found | {kind: stirred(make(model)) for kind, make in LEARNED.items()}


def test_a_member_is_the_same_in_any_company(model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setattr(rivals.edm, "LEVELS", 3)
    fields = model.domain.fields()
    x = torch.from_numpy(fields.isel(time=[3, 4, 8, 9]).to_array().to_numpy()).transpose(0, 1).contiguous()
    before, now, times = x[0::2], x[1::2], fields["time"].values[[4, 9]]
    for name, rival in rivals_of(model).items():
        both = list(rival.forecast(before, now, times, range(3), 2, 7))
        alone = list(rival.forecast(before[1:], now[1:], times[1:], [2], 2, 7))
        other = list(rival.forecast(before[1:], now[1:], times[1:], [2], 2, 8))
        assert both[-1].shape == (2, 3, 2, 8, 16)
        for a, b, c in zip(both, alone, other, strict=True):
            difference = (a[1, 2] - b[0, 0]).abs() / model.mean.change
            assert difference.max() < 0.05, name  # half precision rounds as the batch is cut
            assert torch.equal(b, c) == (name == "mean")
        assert (both[0][:, 0] == both[0][:, 1]).all() == (name == "mean")


def test_dressed_draws_whole_days_of_the_season(model: Forecaster) -> None:
    error = torch.arange(366.0)[:, None, None, None].expand(-1, 2, 8, 16).half()
    rival = Dressed(model, error, torch.arange(1, 367))
    told = known(model, *(torch.zeros(400, n, 8, 16) for n in (2, 2, len(model.domain.forcings))))
    times = np.repeat(np.array(["2021-01-10", "2021-07-01"], "M8[ns]"), 200)
    drawn = rival.draw(told, times, Noise(0, range(400)))
    assert (drawn == drawn[:, :1, :1, :1]).all()
    apart = np.abs(drawn[:, 0, 0, 0].numpy() + 1 - day_of_year(times))
    assert np.minimum(apart, 366 - apart).max() in range(25, 32)
    assert len(drawn[:200, 0, 0, 0].unique()) > 40


def test_inflation_makes_drawn_errors_as_large_as_those_of_new_days(model: Forecaster) -> None:
    """At every degree of every channel; also where they are drawn half as large."""
    tensors, days = Dressed.fit(model), Days(model, "val")
    told, _ = days.batch(torch.arange(len(days)))
    noise = Noise(derive_seed("inflation"), range(len(days)))
    found = []
    for factor in (1.0, 0.5):
        rival = Dressed(model, tensors["error"] * factor, tensors["day"])
        inflate(rival, inflation(rival))
        drawn = rival.draw(told, days.times, noise)
        whites = [model.codec.white(x) for x in (drawn, rival.follow(drawn, None)[0], days.error)]
        before, after, wanted = (by_degree(model.codec, w.square().mean(0)) for w in whites)
        torch.testing.assert_close(after, wanted, rtol=0.1, atol=0)
        assert (before / wanted).log().abs().max() > 0.2  # the double: as they are drawn
        assert rival.new_days.memory.any()
        found.append(whites[1])
    torch.testing.assert_close(found[0], found[1], rtol=3e-2, atol=3e-2 * float(found[0].std()))


def test_errors_are_what_the_mean_leaves(model: Forecaster) -> None:
    days = Days(model, "train")
    told, error = days.batch(torch.tensor([5, 2]))
    after = torch.stack([days.pairs[5]["after"], days.pairs[2]["after"]])
    now = torch.stack([days.pairs[5]["now"], days.pairs[2]["now"]])
    torch.testing.assert_close(now + (told.change + error) * model.mean.change, after, rtol=1e-5, atol=1e-2)


def test_almost_fair_crps(model: Forecaster) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 2, 2, 8, 16, generator=generator), torch.randn(3, 2, 8, 16, generator=generator)
    error, apart = (x - y[:, None]).abs().mean(), (x[:, 0] - x[:, 1]).abs().mean()
    fair, plain = error - apart / 2, error - apart / 4
    found = almost_fair_crps(x, y, torch.ones(8, 16))
    torch.testing.assert_close(found, ALPHA * fair + (1 - ALPHA) * plain)


def test_heun_of_diffusers_draws_from_the_law_of_its_denoiser(
    model: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    sigmas = heun().sigmas
    assert len(sigmas) - 1 == 2 * LEVELS - 1 == EDM.passes - 1
    assert sigmas[0] == SIGMA_MAX and abs(sigmas[-2] - SIGMA_MIN) < 1e-6 and sigmas[-1] == 0
    rival, passes = EDM(model), []

    def denoised(told: Any, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        passes.append(sigma[0].item())  # of a normal law with mean 3 and deviation 1/2
        return 3 + (x - 3) * 0.25 / (0.25 + sigma[:, None, None, None] ** 2)

    monkeypatch.setattr(rival, "denoised", denoised)
    told = known(model, *(torch.zeros(4, n, 8, 16) for n in (2, 2, len(model.domain.forcings))))
    drawn = rival.draw(told, None, Noise(0, range(4)))
    assert passes == sigmas[:-1].tolist()
    assert abs(drawn.mean() - 3) < 0.1 and 0.45 < drawn.std() < 0.55


def test_an_untrained_denoiser_is_that_of_white_noise(model: Forecaster) -> None:
    rival, generator = EDM(model), torch.Generator().manual_seed(0)
    told, error = Days(model, "val").batch(torch.arange(4))
    x, sigma = torch.randn(error.shape, generator=generator), torch.tensor([0.1, 1.0, 3.0, 9.0])
    torch.testing.assert_close(rival.denoised(told, x, sigma), x / (1 + sigma[:, None, None, None] ** 2))
    unit = torch.randn(error.shape, generator=generator) * rival.network.size
    assert abs(rival.loss(told, unit, model.mean.area, generator) - 1) < 0.1


def test_noise_in_bands_has_unit_variance_and_its_own_degrees(model: Forecaster) -> None:
    bands = Bands(model)
    x = bands.fields(normal(Noise(0, range(300)), (8, bands.coefficients)))
    assert ((x.square() * model.mean.area).mean((0, 2, 3)) - 1).abs().max() < 0.15
    found = bands.transform.analyse(x).square().sum(0)
    assert (found[0] * found[1]).max() < 1e-6 * found.max()
    pole, equator = x[..., 0, :].var(), x[..., 4, :].var()
    assert abs(pole / equator - 1) < 0.15


def test_the_rate_warms_up_and_falls() -> None:
    rates = [rate(i / 100) for i in range(101)]
    assert rates[0] < 0.1 and max(rates) > 0.95 and abs(rates[-1] - 0.01) < 1e-6
    assert rates[3:] == sorted(rates[3:], reverse=True)


@pytest.mark.parametrize("kind", ["mean", "dressed", "one_pass", "edm"])
def test_train_forecast_and_score(
    kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "edm":
        pytest.importorskip("diffusers")
        monkeypatch.setattr(rivals.edm, "LEVELS", 3)

    def call(*words: Any) -> None:
        monkeypatch.setattr(sys, "argv", ["weather_controls.py", *map(str, words)])
        weather_controls.main()

    minutes = 0.005 if kind in LEARNED else 0
    folder, store = tmp_path / kind, tmp_path / "forecast.zarr"
    call("train", "--run", run, "--control", kind, "--cpu-minutes", minutes, "--out", folder)
    about = json.loads((folder / "control.json").read_text())
    if kind in LEARNED:
        weights = (folder / "model.safetensors").read_bytes()
        assert about["steps"] > 0 and np.isfinite(about["validation_loss"])
        call("train", "--run", run, "--control", kind, "--cpu-minutes", minutes, "--out", folder)
        assert (folder / "model.safetensors").read_bytes() == weights  # nothing is left to do
    call("forecast", folder, "--starts", "2001-03-10", "--members", 3, "--lead", "2d", "--out", store)
    forecast, loaded = open_forecast(store), ControlFolder(str(folder)).load()[0]
    members = 1 if kind == "mean" else 3
    assert forecast.sizes["number"] == members and np.isfinite(forecast.to_array().to_numpy()).all()
    cost = json.loads(store.with_suffix(".json").read_text())
    assert cost["control"] == kind and cost["passes"] == loaded.passes and cost["cpu_seconds_per_member_step"] > 0
    if kind == "dressed":
        score(store, tmp_path, monkeypatch, call)
        assert "joint energy" in capsys.readouterr().out


def score(store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., None]) -> None:
    """A store against itself."""
    monkeypatch.setattr(weather_controls, "RESULTS", folder / "results")
    call("score", store, store)
    scores = json.loads((folder / "results" / "weather.json").read_text())
    assert list(scores["rows"]) == ["dressed", "forecast"]
    difference = scores["rows"]["forecast"]["first_minus_this"]["joint"]["energy"]
    assert difference["value"] == [0, 0] and difference["significant"] == [False, False]
