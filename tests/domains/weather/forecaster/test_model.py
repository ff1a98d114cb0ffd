"""The forecaster: members keep their streams, leads their noise, and stages come in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.fields.calendar import DAILY, FORCINGS
from refine.domains.weather.forecaster.model import Forecaster, _later, _stream, least_lost
from refine.errors import RefineError
from refine.items import in_batches
from refine.models.model import Model
from refine.settings.config import QuantizerConfig, SamplerConfig
from refine.storage.checkpoint import load_checkpoint, save_checkpoint
from refine.types import Condition

from ..tiny_forecaster import (
    CHANNELS,
    GRID,
    batch_of,
    first_states,
    make_world,
    tiny_config,
    tiny_domain,
    tiny_forecaster,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world") / "fields.zarr")


@pytest.fixture(scope="module")
def domain(world: Path) -> WeatherDomain:
    return tiny_domain(world)


@pytest.fixture(scope="module")
def model(domain: WeatherDomain) -> Forecaster:
    return tiny_forecaster(domain)


def forecast(model: Forecaster, times: Any, members: Any, steps: int = 3, **options: Any) -> Tensor:
    """(T, M, leads, C, H, W)"""
    before, now, initial = first_states(model.domain, 4)
    leads = model.forecast(before[times], now[times], initial[times], members, steps, **options)
    return torch.stack(list(leads), 2)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> None:
    """In units of each channel's size."""
    size = torch.tensor([800.0, 8.0, 8.0])[:, None, None]
    torch.testing.assert_close(a / size, b / size, rtol=0, atol=tolerance)


def test_member_7_of_10_is_member_7_of_50(model: Forecaster) -> None:
    ten, fifty = forecast(model, slice(0, 2), range(10)), forecast(model, slice(0, 2), range(50))
    assert ten.shape == (2, 10, 3, 3, 8, 16)
    close(ten, fifty[:, :10])
    close(forecast(model, slice(0, 2), [7]), ten[:, 7:8])
    close(forecast(model, slice(0, 2), [9, 2]), ten[:, [9, 2]])
    assert (ten[:, 0] - ten[:, 1]).abs().max() > 10  # members differ
    other = forecast(model, slice(0, 2), [7], seed=1)
    assert (other - ten[:, 7:8]).abs().max() > 10  # and seeds


def test_members_share_the_first_pass_of_the_mean(model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    run = model.mean.forward
    monkeypatch.setattr(model.mean, "forward", lambda x: (rows.append(len(x)), run(x))[1])
    forecast(model, slice(0, 2), range(5), steps=3)
    assert rows == [2, 10, 10]


@torch.no_grad()
def test_floors_are_what_codes_alone_lose(model: Forecaster, domain: WeatherDomain) -> None:
    """Area-weighted mean squares of what comes back from codes, as a share; with one code only, nearly all is lost."""
    items = domain.dataset("test")
    lost, size = np.zeros(3), np.zeros(3)
    for batch in in_batches(items, 1):
        error = model.error(batch, model.known(batch["before"], batch["now"], batch["forcing"])[0])
        rest = model.tokenizer.decode(model.tokenizer.encode(error)) - error
        weights = GRID.area[None]
        lost += (weights * rest[0].double().numpy() ** 2).mean((1, 2))
        size += (weights * error[0].double().numpy() ** 2).mean((1, 2))
    floors = model.floors(items, batch_size=3)
    np.testing.assert_allclose([floors[c] for c in CHANNELS], lost / size, rtol=1e-4)
    coarse = tiny_forecaster(domain, quantizer=QuantizerConfig(size=1, stages=1)).floors(items)
    assert all(0 < floors[c] < coarse[c] for c in CHANNELS)


def test_initial_times_do_not_depend_on_one_another(model: Forecaster) -> None:
    together = forecast(model, slice(0, 4), range(3))
    for i in range(4):
        close(forecast(model, slice(i, i + 1), range(3)), together[i : i + 1])
    close(forecast(model, [2, 1], range(3)), together[[2, 1]])


def test_every_lead_has_its_own_noise_and_forcing(model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    before, now, times = first_states(model.domain, 2)
    noises, generate, sun = [], model.generate, []

    def spied(noise: Any, condition: Condition, *rest: Any) -> Any:
        noises.append(noise)
        assert condition.field is not None
        sun.append(condition.field[0, :, 2 * len(CHANNELS) + 2])  # after states and latitudes: the first forcing
        return generate(noise, condition, *rest)

    monkeypatch.setattr(model, "generate", spied)
    whole = list(model.forecast(before, now, times, [0, 5], 3))
    assert len({n.seed for n in noises}) == 3 and len({tuple(n.index) for n in noises}) == 1
    assert len(set(noises[0].index)) == 4  # of two initial times and two members
    assert not torch.equal(sun[0], sun[1])
    torch.testing.assert_close(next(model.forecast(before, now, times, [0, 5], 1)), whole[0])


def test_the_sampler_is_obeyed(model: Forecaster) -> None:
    greedy = forecast(model, slice(0, 1), range(3), sampler=SamplerConfig(greedy=True))
    close(greedy[:, :1].expand_as(greedy), greedy)
    wide, narrow = (
        forecast(model, slice(0, 1), range(8), steps=1, sampler=SamplerConfig(gain=g)).var(1).mean() for g in (1.5, 0.5)
    )
    assert wide > 4 * narrow


def test_the_mean_alone_is_the_network_rolled_out(model: Forecaster) -> None:
    before, now, times = first_states(model.domain, 2)
    one, two = model.forecast_mean(before, now, times, 2)
    batch = batch_of(model.domain, torch.float32, 2)
    change, _ = model.known(before, now, batch["forcing"])
    close(one, now + change * model.mean.change)
    close(next(iter(model.forecast_mean(now, one, times + np.timedelta64(24, "h"), 1))), two)


def test_persistence_codes_the_whole_change(domain: WeatherDomain, model: Forecaster) -> None:
    other = tiny_forecaster(domain, base="persistence")
    batch = batch_of(domain, torch.float32)
    change, _ = other.known(batch["before"], batch["now"], batch["forcing"])
    whole = (batch["after"] - batch["now"]) / other.mean.change
    assert torch.equal(other.error(batch, change), whole)
    assert torch.equal(model.error(batch, change), whole - change)
    members = forecast(other, slice(0, 1), range(30), steps=1)
    _, now, _ = first_states(domain, 1)
    drift = (members[:, :, 0].mean(1) - now) / other.mean.change
    assert drift.abs().mean() < 1.5 and torch.isfinite(members).all()


def test_stages_come_in_order(domain: WeatherDomain) -> None:
    fresh = Forecaster(domain, tiny_config())
    fresh.check_stage("mean")
    for stage in ("tokenizer", "predictor"):
        with pytest.raises(RefineError, match=f"stage={stage} needs a trained mean"):
            fresh.check_stage(stage)
    fresh.mean.fit_statistics()
    fresh.check_stage("tokenizer")
    with pytest.raises(RefineError, match="needs a trained tokenizer"):
        fresh.check_stage("predictor")


def test_a_checkpoint_forecasts_without_the_data(model: Forecaster, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    moved = make_world(tmp_path / "moved.zarr", seed=1)
    again: Any = Model.from_pretrained(tmp_path / "saved", places={"data": str(moved)})
    assert again.channels == CHANNELS and again.grid == GRID
    before, now, times = first_states(model.domain, 1)
    close(next(again.forecast(before, now, times, [3], 1)), next(model.forecast(before, now, times, [3], 1)))


@pytest.mark.parametrize("kind", ["datetime64", "cftime"])
def test_streams_are_functions_of_time_and_member(kind: str) -> None:
    import cftime

    def at(day: int, hour: int) -> Any:
        if kind == "cftime":
            return cftime.DatetimeNoLeap(1850, 1, day, hour)
        return np.datetime64(f"1850-01-{day:02}T{hour:02}", "ns")

    numbers = [_stream(at(day, hour), m) for day in (1, 2) for hour in (0, 6) for m in (0, 1, 2**20 - 1)]
    assert len(set(numbers)) == len(numbers) and min(numbers) >= 0 and max(numbers) < 2**63
    for member in (-1, 2**20):
        with pytest.raises(RefineError, match="member"):
            _stream(at(1, 0), member)
    later = _later(np.array([at(1, 0)]), np.timedelta64(30, "h"))
    assert later[0] == at(2, 6)


def test_a_checkpoint_from_before_forcings_could_be_chosen_forecasts_as_it_did(world: Path, tmp_path: Path) -> None:
    """Its data have several hours, and steps of a day saw none of them."""
    ds = xr.open_zarr(world, consolidated=False)
    hours = np.arange(ds.sizes["time"]) * np.timedelta64(6, "h")
    ds.assign_coords(time=ds["time"].values[0] + hours).drop_vars(["split", "branch"]).to_zarr(
        tmp_path / "hours.zarr", consolidated=False
    )
    old = tiny_forecaster(tiny_domain(tmp_path / "hours.zarr", hourly=False))
    old.save_pretrained(tmp_path / "model")
    header, weights = load_checkpoint(tmp_path / "model")
    del header["domain_config"]["hourly"]
    save_checkpoint(tmp_path / "model", header, weights)
    found: Any = Model.from_pretrained(tmp_path / "model")
    assert found.domain.forcings == DAILY and tiny_domain(tmp_path / "hours.zarr").forcings == FORCINGS
    states = first_states(old.domain, 2, "train")
    was, now = (next(m.forecast(*states, range(2), 1)) for m in (old, found))
    assert torch.equal(was, now)


@pytest.mark.parametrize(
    ("channels", "options", "lost"),
    [
        (4, {"size": 256, "stages": 3}, 0.0002),
        (9, {"size": 256, "stages": 3}, 0.025),
        (23, {"size": 256, "stages": 3}, 0.235),
        (70, {"size": 256, "stages": 3}, 0.622),
        (8, {"size": 256, "groups": [[0, 1, 2, 3], [4, 5, 6, 7]]}, 2**-4),
        (8, {"size": [16, 256]}, 0.5),
        (70, {"kind": "none"}, 0.0),
    ],
)
def test_what_codes_have_to_lose(channels: int, options: dict[str, Any], lost: float) -> None:
    assert least_lost(QuantizerConfig(**options), channels) == pytest.approx(lost, rel=0.03, abs=1e-4)


def test_codes_of_too_many_channels_are_told(domain: WeatherDomain, capsys: pytest.CaptureFixture[str]) -> None:
    for stages, said in ((2, False), (1, True)):
        config = tiny_config(quantizer=QuantizerConfig(size=16, stages=stages))
        Forecaster(domain, config).check_stage("mean")
        assert ("codes of 3 channels lose 16% or more" in capsys.readouterr().err) == said
