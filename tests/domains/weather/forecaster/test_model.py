"""The forecaster: turned globes give turned laws, and members keep their streams."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster.model import Forecaster, _later, _stream
from refine.domains.weather.sphere import resamplers as sphere
from refine.errors import RefineError
from refine.items import in_batches
from refine.models.model import Model
from refine.settings.config import QuantizerConfig, SamplerConfig
from refine.types import Condition

from ..rotations import precision
from ..tiny_forecaster import CHANNELS, GRID, first_states, make_world, tiny_config, tiny_domain, tiny_forecaster

QUARTER = GRID.shape[1] // 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world") / "fields.zarr")


@pytest.fixture(scope="module")
def domain(world: Path) -> WeatherDomain:
    return tiny_domain(world)


@pytest.fixture(scope="module")
def model(domain: WeatherDomain) -> Forecaster:
    return tiny_forecaster(domain)


def batch_of(domain: WeatherDomain, dtype: torch.dtype, count: int = 3) -> dict[str, Tensor]:
    (batch,) = itertools.islice(in_batches(domain.dataset("test"), count), 1)
    return {name: x.to(dtype) for name, x in batch.items()}


def hidden_states(model: Forecaster, batch: dict[str, Tensor], codes: list[Tensor]) -> list[Tensor]:
    """Of every scale given the coarser ones, before the head, whose logits are float32 always."""
    _, condition = model.known(batch["before"], batch["now"], batch["forcing"])
    return model._predict(model._teacher(codes, condition), condition)


def turn_error(model: Forecaster, batch: dict[str, Tensor]) -> float:
    """How far logits on the globe turned by a quarter are from the turned logits, relative to their spread."""
    turned = {name: x.roll(QUARTER, -1) for name, x in batch.items()}  # winds by component: those of the local frame
    change, _ = model.known(batch["before"], batch["now"], batch["forcing"])
    codes = model.tokenizer.encode(model.error(batch, change))
    (symmetry,) = model.domain.symmetries()
    moved = [c[:, p] for c, p in zip(codes, symmetry.permutations, strict=True)]
    worst = 0.0
    pairs = zip(hidden_states(model, batch, codes), hidden_states(model, turned, moved), strict=True)
    for (a, b), p in zip(pairs, symmetry.permutations, strict=True):
        worst = max(worst, float((b - a[:, p]).abs().max() / a.std()))
    return worst


@pytest.mark.parametrize("pyramid", ["harmonic", "gaussian", "healpix"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dense", [0, 320])
@torch.no_grad()
def test_a_quarter_turn_permutes_the_logits(
    pyramid: str, dtype: torch.dtype, dense: int, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where attention runs along edges; without static fields, which do not turn."""
    monkeypatch.setattr(sphere, "DENSE", dense)
    options: dict[str, Any] = {"pyramid": "healpix", "scales": [1, 2, 4]} if pyramid == "healpix" else {}
    options |= {"points": "gaussian"} if pyramid == "gaussian" else {}
    domain = tiny_domain(world, **options)
    with precision(dtype):
        model = tiny_forecaster(domain).to(dtype)
    batch = batch_of(domain, dtype)
    limit = 2e-4 if dtype == torch.float32 else 1e-11
    assert turn_error(model, batch) < limit
    # the doubles: sites that know their longitude, and a wind that turned with the globe is measured by compass
    resampler: Any = model.tokenizer.pyramid.resampler  # type: ignore[attr-defined]
    kept = resampler.pos_0.clone()
    resampler.pos_0[0, :, 0] = torch.from_numpy(np.arctan2(resampler.points[0][:, 1], resampler.points[0][:, 0]))
    assert turn_error(model, batch) > 0.03
    resampler.pos_0.copy_(kept)
    assert turn_error(model, batch) < limit


@torch.no_grad()
def test_winds_are_tangent_vectors(model: Forecaster) -> None:
    """A quarter turn of the globe turns components in a fixed frame into one another; those of east and north it only
    moves. The double takes the former for the latter."""
    batch = batch_of(model.domain, torch.float32)
    turned = {name: x.roll(QUARTER, -1) for name, x in batch.items()}
    wrong = {n: x if n == "forcing" else torch.stack([x[:, 0], -x[:, 2], x[:, 1]], 1) for n, x in turned.items()}
    (symmetry,) = model.domain.symmetries()
    change, _ = model.known(batch["before"], batch["now"], batch["forcing"])
    for moved, same in ((turned, True), (wrong, False)):
        new, _ = model.known(moved["before"], moved["now"], moved["forcing"])
        latents = [model.tokenizer.codec.encode(model.error(b, c)) for b, c in ((batch, change), (moved, new))]
        far = float((latents[1] - latents[0][:, symmetry.permutations[-1]]).abs().max())
        assert (far < 1e-3) if same else (far > 0.3)


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


def test_other_bases_are_refused(domain: WeatherDomain) -> None:
    with pytest.raises(RefineError, match=r"model\.base='climate' is not accepted; accepted: mean, persistence"):
        Forecaster(domain, tiny_config(base="climate"))


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


def test_probabilities_of_all_codes_sum_to_one(world: Path) -> None:
    """What :class:`refine.models.refiner.Refiner` promises holds for its heir: 8 sites, three codes."""
    domain = tiny_domain(world, scales=["T0"], points="gaussian")
    model = tiny_forecaster(domain, quantizer=QuantizerConfig(size=3))
    batch = batch_of(domain, torch.float32, 1)
    with torch.no_grad():
        _, condition = model.known(batch["before"], batch["now"], batch["forcing"])
    codes = torch.cartesian_prod(*[torch.arange(3)] * 8)
    assert condition.field is not None
    nats = model.log_prob([codes], Condition(field=condition.field.expand(len(codes), -1, -1))).total.double()
    assert float(nats.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert nats.std() > 0.15  # a uniform law would prove little


def test_a_checkpoint_forecasts_without_the_data(model: Forecaster, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    moved = make_world(tmp_path / "moved.zarr", seed=1)
    text = (tmp_path / "saved" / "config.json").read_text()
    (tmp_path / "saved" / "config.json").write_text(text.replace(str(model.domain.config.data), str(moved) + "-gone"))
    again: Any = Model.from_pretrained(tmp_path / "saved")
    assert again.channels == CHANNELS and again.grid == GRID
    before, now, times = first_states(model.domain, 1)
    close(next(again.forecast(before, now, times, [3], 1)), next(model.forecast(before, now, times, [3], 1)))


def test_symmetries_are_permutations_of_the_sites(domain: WeatherDomain) -> None:
    (symmetry,) = domain.symmetries()
    for k, p in enumerate(symmetry.permutations):
        assert sorted(p.tolist()) == list(range(domain.resampler().num_sites(k)))
    assert domain.describe(tiny_config())["sites"] == [12, 48]


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
