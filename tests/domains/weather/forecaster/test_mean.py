"""The mean forecast: what it reads, what it is measured by, and the planet in the mirror."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster.errors import Errors
from refine.domains.weather.forecaster.mean import MeanForecast
from refine.items import in_batches, spread
from refine.settings.config import TrainConfig

from ..tiny_forecaster import CHANNELS, GRID, make_world, tiny_config, tiny_domain, tiny_forecaster


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> WeatherDomain:
    return tiny_domain(make_world(tmp_path_factory.mktemp("world") / "fields.zarr"))


def mean_of(domain: WeatherDomain, mirror: bool = False) -> MeanForecast:
    torch.manual_seed(0)
    config = tiny_config().mean
    config.mirror = mirror
    mean = MeanForecast(config, domain)
    mean.fit_statistics()
    return mean


def batch_of(domain: WeatherDomain, count: int = 6) -> dict[str, Tensor]:
    return next(iter(in_batches(domain.dataset("train"), count)))


def loss_of(mean: MeanForecast, batch: dict[str, Tensor]) -> float:
    return float(mean.training_loss(batch, TrainConfig())[0].detach())


def test_statistics_are_those_of_the_training_split(domain: WeatherDomain) -> None:
    mean, ds = mean_of(domain), domain.fields("train")
    x = torch.from_numpy(np.stack([ds[c].to_numpy() for c in CHANNELS], 1)).double()
    area = torch.from_numpy(GRID.area / GRID.area.sum())
    centre = (x * area).sum((2, 3)).mean(0)
    scale = ((x - centre[:, None, None]).square() * area).sum((2, 3)).mean(0).sqrt()
    change = ((x[1:] - x[:-1]).square() * area).sum((2, 3)).mean(0).sqrt()
    for found, wanted in ((mean.centre, centre), (mean.scale, scale), (mean.change, change)):
        torch.testing.assert_close(found[:, 0, 0].double(), wanted, rtol=1e-4, atol=1e-3)
    assert bool(mean.fitted) and set(mean.state_dict()) >= {"centre", "scale", "change", "static", "fitted"}


@torch.no_grad()
def test_without_training_it_is_persistence(domain: WeatherDomain) -> None:
    mean, batch = mean_of(domain).eval(), batch_of(domain, 22)
    change, features = mean(mean.inputs(batch["before"], batch["now"], batch["forcing"]))
    assert torch.equal(change, torch.zeros_like(change)) and features.shape == (22, 8, 4, 8)
    loss, figures = mean.training_loss(batch, TrainConfig())
    assert float(loss) == pytest.approx(1, abs=0.1)  # the changes that it is measured by
    area = torch.from_numpy(GRID.area).float()
    rmse = ((batch["after"] - batch["now"]).square() * area).mean((0, 2, 3)).sqrt()
    assert [float(figures[f"rmse_{c}"]) for c in CHANNELS] == pytest.approx(rmse.tolist(), rel=1e-4)


def test_areas_weigh(domain: WeatherDomain) -> None:
    """An error at a pole counts for less than one at the equator."""
    mean, batch = mean_of(domain).eval(), batch_of(domain, 2)
    batch["after"] = batch["now"].clone()
    losses = []
    for row in (0, 4):
        moved = batch | {"after": batch["after"].clone()}
        moved["after"][:, :, row] += mean.change[:, :, 0, None].expand(3, 1, 16)[:, 0]
        losses.append(loss_of(mean, moved))
    assert losses[0] / losses[1] == pytest.approx(GRID.area[0, 0] / GRID.area[4, 0], rel=1e-3)


def test_the_mirror_is_another_planet_with_the_same_laws(
    domain: WeatherDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """South becomes north, northward winds change sign, and the season is the other one; sunlight goes with both."""
    mean, batch = mean_of(domain, mirror=True), batch_of(domain, 4)
    torch.nn.init.normal_(mean.unet.leave.weight)
    signs = torch.tensor([1.0, 1.0, -1.0])[:, None, None]
    season = torch.tensor([-1.0 if "of_year" in name else 1.0 for name in domain.forcings])[:, None, None]
    by_hand = {n: batch[n].flip(-2) * signs for n in ("before", "now", "after")}
    by_hand["forcing"] = batch["forcing"].flip(-2) * season
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.zeros(*shape))
    mirrored = loss_of(mean, batch)
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.ones(*shape))
    plain, hand = loss_of(mean, batch), loss_of(mean, by_hand)
    monkeypatch.setattr(torch, "rand", rand)
    assert mirrored == pytest.approx(hand, rel=1e-5) and abs(mirrored - plain) > 1e-3
    assert loss_of(mean.eval(), batch) == pytest.approx(plain, rel=1e-5)  # never in validation


def test_errors_are_what_the_mean_leaves(domain: WeatherDomain) -> None:
    model = tiny_forecaster(domain)
    pairs = domain.dataset("val")
    (plain,) = in_batches(pairs, 6)
    change, condition = model.known(plain["before"], plain["now"], plain["forcing"])
    for items, rows in ((pairs, slice(None)), (spread(pairs, 2), slice(None, None, 5))):
        (batch,) = in_batches(Errors(items, model, conditioned=True), 6)
        torch.testing.assert_close(batch["x"], model.error(plain, change)[rows])
        assert condition.field is not None
        torch.testing.assert_close(batch["field"], condition.field[rows], rtol=1e-4, atol=1e-4)
    (alone,) = in_batches(Errors(pairs, model), 6)
    assert set(alone) == {"x"}


def test_statics_are_read_beside_the_fields(tmp_path: Path) -> None:
    import xarray as xr

    data = make_world(tmp_path / "fields.zarr")
    height, width = GRID.shape
    land = (np.arange(height * width).reshape(height, width) % 3 == 0).astype("float32")
    dims = ("latitude", "longitude")
    coords = {"latitude": GRID.latitude, "longitude": GRID.longitude}
    xr.Dataset({"land_sea_mask": (dims, land)}, coords).to_netcdf(tmp_path / "static.nc")
    domain = tiny_domain(data, static=str(tmp_path / "static.nc"), statics=["land_sea_mask"])
    mean = mean_of(domain)
    assert float(mean.static.mean()) == pytest.approx(0, abs=1e-5)
    assert float(mean.static.std()) == pytest.approx(1, abs=1e-3)
    inputs = mean.inputs(*(batch_of(domain, 2)[n] for n in ("before", "now", "forcing")))
    assert inputs.shape[1] == 6 + 1 + 2 + len(domain.forcings)
    torch.testing.assert_close(inputs[0, 6], mean.static[0])
