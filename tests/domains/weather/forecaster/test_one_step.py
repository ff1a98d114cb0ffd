"""One step: turned globes give turned laws, winds are vectors, and probabilities sum to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.sphere import resamplers as sphere
from refine.errors import RefineError
from refine.settings.config import QuantizerConfig, TrainConfig
from refine.types import Condition

from ..rotations import precision
from ..tiny_forecaster import GRID, batch_of, make_world, tiny_config, tiny_domain, tiny_forecaster

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


def test_other_bases_are_refused(domain: WeatherDomain) -> None:
    with pytest.raises(RefineError, match=r"model\.base='climate' is not accepted; accepted: mean, persistence"):
        Forecaster(domain, tiny_config(base="climate"))


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


def test_scales_count_as_the_training_weighs_them(model: Forecaster, domain: WeatherDomain) -> None:
    batch = batch_of(domain, torch.float32)
    weights = [float(k == 0) for k in range(model.num_levels)]
    model.train()
    loss, figures = model.training_loss(batch, TrainConfig(scale_weights=weights))
    torch.testing.assert_close(loss, figures["nll_0"])
    model.eval()
    torch.testing.assert_close(
        model.training_loss(batch, TrainConfig(scale_weights=weights))[0],
        model.training_loss(batch, TrainConfig())[0],
    )
