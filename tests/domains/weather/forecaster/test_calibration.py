"""Calibration: what is drawn as it happens is left alone, and what is not is put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster import calibration
from refine.domains.weather.forecaster.model import Forecaster
from refine.errors import RefineError
from refine.settings.compose import compose
from refine.settings.config import Config, QuantizerConfig, SamplerConfig

from ..tiny_forecaster import first_states, make_world, tiny_domain, tiny_forecaster


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> WeatherDomain:
    return tiny_domain(make_world(tmp_path_factory.mktemp("world") / "fields.zarr"))


def config() -> Config:
    return compose(["domain=weather"])


def knows_the_law(domain: WeatherDomain, size: float = 1.0) -> Forecaster:
    """Latents of validation days are white; every site draws one of two values as likely, which are as large as a band
    of white latents is; or ``size`` times so."""
    model = tiny_forecaster(domain, stirred=False, quantizer=QuantizerConfig(size=2, groups=[[0], [1], [2]]))
    codec: Any = model.tokenizer.codec
    items = [domain.dataset("val")[i] for i in range(len(domain.dataset("val")))]
    x = torch.stack([(i["after"] - i["now"]) for i in items]) / model.mean.change
    codec.fit(x)
    quantizer: Any = model.tokenizer.quantizer
    wanted = [9 / 25, 16 / 25]  # shares of the degrees of T2 and of the rest, up to T4
    with torch.no_grad():
        for linear in model.head.linears:
            linear.weight.zero_()  # type: ignore[union-attr, operator]
            linear.bias.zero_()  # type: ignore[union-attr, operator]
        for book in quantizer.books:
            for k, share in enumerate(wanted):
                book.codebooks[k].copy_(size * share**0.5 * torch.tensor([[-1.0], [1.0]]))
    return model


@pytest.mark.parametrize("size", [1.0, 0.5])
def test_the_gain_makes_spread_equal_to_error(size: float, domain: WeatherDomain) -> None:
    """Where values are as large as errors their gain is one: also on the finest scale, of whose redundant sites a part
    is not decoded."""
    model = knows_the_law(domain, size)
    found = calibration.calibrate(model, config())
    assert found["days"] == len(domain.dataset("val")) == 6
    # a wind has no degree 0: the coarsest band of two of three channels has 8 of 9 degrees only
    shares = [((9 + 8 + 8) / 27) ** -0.5, 1.0]
    assert found["spread_skill"] == pytest.approx([size * s for s in shares], rel=0.12)
    assert found["gain"] == pytest.approx([1 / (size * s) for s in shares], rel=0.12)


@pytest.mark.parametrize(("size", "wanted"), [(1.0, 1.0), (0.5, 1.92)])
def test_draws_grow_until_they_spread_as_far_as_days_lie_from_their_mean(
    size: float, wanted: float, domain: WeatherDomain
) -> None:
    """Twice too narrow: errors of the mean of 8 members are (1 + 1/32) of what they should cover, a quarter of it
    drawn, so draws have to grow by the root of 4 (1 + 1/32) 8/9."""
    model = knows_the_law(domain, size)
    by_harmonic, by_latitude = calibration.spread_to_error(model, config())
    assert by_harmonic.shape == (25, 3) and by_latitude.shape == (3, 8, 1)
    assert float(by_harmonic.mean()) == pytest.approx(wanted, rel=0.1)
    assert float(by_latitude.mean()) == pytest.approx(1, abs=0.1)
    model.new_days.amplitude *= by_harmonic
    model.new_days.inflation *= by_latitude
    again = calibration.spread_to_error(model, config())
    assert float(again[0].mean()) == pytest.approx(1, abs=0.1) and float(again[1].mean()) == pytest.approx(1, abs=0.1)


def test_the_finest_scale_would_look_too_wide_at_its_sites(domain: WeatherDomain) -> None:
    """The double: spread compared in latents instead of in what is decoded."""
    model = knows_the_law(domain)
    pyramid, codec = model.tokenizer.pyramid, model.tokenizer.codec
    values = torch.randn(200, pyramid.num_sites(1), 3)
    state = pyramid.refine(pyramid.start(200), torch.zeros_like(values), values, 1)
    latent = pyramid.latent(state, 1)
    decoded = codec.encode(codec.decode(latent))
    assert latent.square().mean() > 1.5 * decoded.square().mean()
    white = calibration._size(model, values, 1) / (4 * torch.pi)  # mean squares over the sphere
    assert white == pytest.approx(float(decoded.square().mean() * 200 * 3), rel=0.05)


def test_temperatures_are_those_under_which_days_are_likeliest(domain: WeatherDomain) -> None:
    model = tiny_forecaster(domain)
    plain = calibration.calibrate(model, config())
    assert set(plain["temperature"]) <= set(calibration.TEMPERATURES)
    with torch.no_grad():
        for linear in model.head.linears:
            linear.weight.mul_(1.25)  # type: ignore[union-attr, operator]
            linear.bias.mul_(1.25)  # type: ignore[union-attr, operator]
    sharper = calibration.calibrate(model, config())
    for before, after in zip(plain["temperature"], sharper["temperature"], strict=True):
        assert after >= before
    with torch.no_grad():
        for linear in model.head.linears:
            linear.weight.mul_(10)  # type: ignore[union-attr, operator]
    assert calibration.calibrate(model, config())["temperature"] == [1.4, 1.4]  # a law that is far too sure of itself


def test_it_is_the_same_whenever_it_is_made(domain: WeatherDomain) -> None:
    model = tiny_forecaster(domain)
    assert calibration.calibrate(model, config()) == calibration.calibrate(model, config())


def test_forecasts_use_it(domain: WeatherDomain) -> None:
    model = tiny_forecaster(domain)
    plain = model.calibrated(SamplerConfig(gain="auto"))
    gains = [model.tokenizer.pyramid.gain(k) for k in range(2)]
    assert plain.temperature == [1.0, 1.0] and plain.gain == pytest.approx(gains)
    model.info["calibration"] = {"temperature": [1.1, 0.9], "gain": [0.5, 2.0]}
    fitted = model.calibrated(SamplerConfig(temperature=[1.0, 2.0], gain="auto"))
    assert fitted.temperature == pytest.approx([1.1, 1.8])
    assert fitted.gain == pytest.approx([0.5 * gains[0], 2 * gains[1]])
    assert model.calibrated(SamplerConfig(gain=1.0)).gain == 1.0  # what was asked for is given
    before, now, times = first_states(domain, 1)
    wide = torch.cat(list(model.forecast(before, now, times, range(40), 1))).var(1).mean()
    model.info["calibration"]["gain"] = [0.1, 0.1]
    narrow = torch.cat(list(model.forecast(before, now, times, range(40), 1))).var(1).mean()
    assert wide > 20 * narrow
    with pytest.raises(RefineError, match="temperature"):
        model.calibrated(SamplerConfig(temperature=-1.0))


def test_errors_of_both_splits_are_told(domain: WeatherDomain) -> None:
    model = tiny_forecaster(domain, stirred=False)
    found = calibration.relative_errors(model, 100)
    for split in ("train", "val"):
        # a mean network that has not learned predicts no change: persistence
        assert found[split]["relative_mse"] == pytest.approx(1, abs=0.35)
        assert set(found[split]) == {"relative_mse", *(f"rmse_{c}" for c in domain.channels)}
    errors = [domain.dataset("val")[i]["after"] - domain.dataset("val")[i]["now"] for i in range(6)]
    area = torch.from_numpy(domain.grid.area).float()
    rmse = (torch.stack(errors).square() * area).mean((0, 2, 3)).sqrt()
    for channel, value in zip(domain.channels, rmse.tolist(), strict=True):
        assert found["val"][f"rmse_{channel}"] == pytest.approx(value, rel=1e-4)


def test_the_end_of_a_stage_leaves_it_in_the_checkpoint(domain: WeatherDomain, tmp_path: Path) -> None:
    model = tiny_forecaster(domain)
    model.finish("mean", config())
    assert set(model.info) == {"error"}
    model.finish("tokenizer", config())
    model.finish("predictor", config())
    assert set(model.info) == {"error", "calibration"}
    assert (model.new_days.inflation != 1).any() and (model.new_days.memory != 0).any()
    model.save_pretrained(tmp_path)
    again = Forecaster.from_pretrained(tmp_path)
    assert again.info == model.info and torch.equal(again.new_days.amplitude, model.new_days.amplitude)
