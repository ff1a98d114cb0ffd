"""Errors of new days: their size by latitude and degree is found, and so is how long they last."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster.codec import SphereCodec
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.forecaster.new_days import NewDays, by_degree
from refine.settings.config import SamplerConfig

from ..tiny_forecaster import GRID, T, first_states, make_world, tiny_domain, tiny_forecaster

DAYS = 4000
MEMORY = 0.6


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> WeatherDomain:
    return tiny_domain(make_world(tmp_path_factory.mktemp("world") / "fields.zarr"))


@pytest.fixture(scope="module")
def codec(domain: WeatherDomain) -> SphereCodec:
    """Of errors larger towards the poles and in low degrees."""
    codec: Any = domain.codec()
    rows = torch.linspace(-1, 1, GRID.shape[0]).square()[:, None]
    codec.profile.copy_((1 + rows).expand_as(codec.profile))
    codec.size.copy_(torch.linspace(2, 1, len(codec.size))[:, None].expand_as(codec.size))
    return codec


def white_series(codec: SphereCodec, days: int = DAYS) -> Tensor:
    """(N, D, C) unit coefficients that remember: half of the channels' variance of yesterday's in low degrees only."""
    generator = torch.Generator().manual_seed(0)
    memory = torch.where(codec.degree < 3, MEMORY, 0.0)[:, None]
    w = torch.randn(days, len(codec.degree), 3, generator=generator)
    w[:, 0, 1:] = 0  # a wind has no degree 0
    for day in range(1, days):
        w[day] = memory * w[day - 1] + (1 - memory**2).sqrt() * w[day]
    return w


def test_white_and_colour_are_inverse(codec: SphereCodec) -> None:
    new = NewDays(codec)
    w = white_series(codec, 3)
    torch.testing.assert_close(new.colour(codec, w), codec.colour(w))  # nothing learned yet: training days
    new.inflation.copy_(torch.linspace(1, 2, GRID.shape[0])[:, None].expand_as(new.inflation))
    new.amplitude.copy_(torch.linspace(0.5, 2, len(new.amplitude))[:, None].expand_as(new.amplitude))
    torch.testing.assert_close(new.white(codec, new.colour(codec, w)), w, rtol=1e-3, atol=1e-3)
    assert (new.colour(codec, w) - codec.colour(w)).abs().max() > 0.1


def test_size_and_memory_are_found(codec: SphereCodec) -> None:
    """Errors twice as large everywhere, and half as large again in the highest degree."""
    truth, new, w = NewDays(codec), NewDays(codec), white_series(codec)
    truth.amplitude[codec.degree == codec.degree.max()] = 1.5
    errors = 2 * truth.colour(codec, w)
    pairs = torch.stack([torch.arange(DAYS - 1), torch.arange(1, DAYS)], 1)
    new.fit(codec, errors, pairs)
    again = by_degree(codec, new.white(codec, errors).square().mean(0))
    torch.testing.assert_close(again[1:], torch.ones(len(again) - 1, 3), rtol=1e-3, atol=1e-3)
    assert float((new.amplitude[-1] / new.amplitude[15]).mean()) == pytest.approx(1.5, rel=0.02)
    expected = codec.transform.smooth(torch.where(codec.degree < 3, MEMORY, 0.0)[:, None].expand_as(new.memory))
    assert expected[0, 0] > 0.9 * MEMORY and expected[-1].abs().max() < 0.2 * MEMORY
    assert float((new.memory - expected)[:, 0].abs().max()) < 0.05
    new.fit(codec, errors, torch.empty(0, 2, dtype=torch.int64))
    assert not new.memory.any()
    shuffled = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))]
    new.fit(
        codec, errors, torch.stack([pairs[:, 0], shuffled[:, 1]], 1)
    )  # the double: days that have nothing in common
    assert float(new.memory.abs().max()) < 0.05


def test_memory_keeps_the_law_of_a_step_and_widens_the_sum_of_steps(codec: SphereCodec) -> None:
    new, generator = NewDays(codec), torch.Generator().manual_seed(1)
    new.memory.fill_(MEMORY)
    last, total = None, torch.zeros(DAYS, len(codec.degree), 3)
    for _ in range(3):
        last = new.follow(torch.randn(total.shape, generator=generator), last)
        total = total + last
    assert last is not None and float(last.var()) == pytest.approx(1, rel=0.02)
    wanted = 3 + 2 * (2 * MEMORY + MEMORY**2)  # of the sum of three steps of an AR(1) process
    assert float(total.var()) == pytest.approx(wanted, rel=0.02)


def test_smoothing_knows_degree_and_order_and_no_longitude(codec: SphereCodec) -> None:
    """Harmonics m and -m, which turning the globe mixes, get the same; distant ones do not touch one another."""
    one = torch.zeros(len(codec.degree), 1)
    one[T * (T + 1) + T] = 1.0  # m = T of degree T
    found = codec.transform.smooth(one)[:, 0]
    for degree in range(T + 1):
        band = found[codec.degree == degree]
        torch.testing.assert_close(band, band.flip(0))
    assert found[T * (T + 1)] == 0 and found[T * (T + 1) - T] > 0  # m = 0 and m = -T
    torch.testing.assert_close(codec.transform.smooth(torch.ones_like(one)), torch.ones_like(one))


def test_forecasts_remember(domain: WeatherDomain) -> None:
    """Errors of successive leads go together as the memory says; those of the first lead do not change."""
    model = tiny_forecaster(domain, stirred=False)
    plain, kept = (correlation(model, memory) for memory in (0.0, 0.8))
    assert plain[0] == pytest.approx(0, abs=0.05) and kept[0] == pytest.approx(0.8, abs=0.05)
    torch.testing.assert_close(plain[1], kept[1])


def correlation(model: Forecaster, memory: float) -> tuple[float, Tensor]:
    """Of the drawn errors of two leads, and the fields of the first."""
    model.new_days.memory.fill_(memory)
    before, now, times = first_states(model.domain, 1)
    one, two = (x[0] for x in model.forecast(before, now, times, range(60), 2, sampler=SamplerConfig(gain=1.0)))
    errors = [model.codec.white(x / model.mean.change) for x in (one - now, two - one)]  # no changes forecast
    a, b = (e - e.mean(0) for e in errors)
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt()), one
