"""A tiny forecaster with random weights over a made-up world: smooth waves and winds that drift and are stirred."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from toy import stir

from refine.domains.weather.config import ForecasterConfig, MeanConfig, WeatherConfig
from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster.errors import Errors
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import HarmonicTransform
from refine.items import in_batches
from refine.settings.config import PredictorConfig, QuantizerConfig

GRID = Grid.parse("gaussian:8x16")
CHANNELS = ["geopotential_500", "u_component_of_wind_850", "v_component_of_wind_850"]
MEAN = torch.tensor([55000.0, 0.0, 0.0])[:, None, None]
SIZE = torch.tensor([800.0, 8.0, 8.0])[:, None, None]
LENGTHS = [24, 8, 8]  # days of each split; a split is a run of its own
T = 4


def make_world(path: Path, seed: int = 0) -> Path:
    """A zarr store of daily fields, band-limited at T4 but for a little noise, with ``split`` and ``branch``."""
    generator, days = torch.Generator().manual_seed(seed), sum(LENGTHS)
    c = torch.randn(days, 3, (T + 1) ** 2, generator=generator)
    for day in range(1, days):
        c[day] = 0.8 * c[day - 1] + 0.6 * c[day]
    turn = HarmonicTransform(GRID, T)
    u, v = turn.synthesise_wind(c[:, 1], c[:, 2])
    x = torch.stack([turn.synthesise(c[:, 0]), u, v], 1)
    x = MEAN + SIZE * (x + 0.02 * torch.randn(x.shape, generator=generator))
    split = np.repeat([0, 1, 2], LENGTHS)
    coords = {
        "time": np.datetime64("2001-02-20", "ns") + np.arange(days) * np.timedelta64(1, "D"),
        "latitude": GRID.latitude,
        "longitude": GRID.longitude,
        "split": ("time", split),
        "branch": ("time", split),
    }
    units = ["m2 s-2", "m s-1", "m s-1"]
    dims = ("time", "latitude", "longitude")
    variables = {n: (dims, x[:, i].numpy(), {"units": units[i]}) for i, n in enumerate(CHANNELS)}
    xr.Dataset(variables, coords).chunk(time=16).to_zarr(path, consolidated=False)
    return path


def tiny_domain(data: Path, **options: Any) -> WeatherDomain:
    config = {"variables": CHANNELS, "grid": GRID.name, "statics": [], "scales": ["T2", "T4"], **options}
    return WeatherDomain(WeatherConfig(data=str(data), **config))


def tiny_config(**options: Any) -> ForecasterConfig:
    defaults: dict[str, Any] = {
        "quantizer": QuantizerConfig(size=4, stages=2),
        "predictor": PredictorConfig(width=16, depth=2, heads=2, condition_dropout=0.0),
        "mean": MeanConfig(widths=[8, 8], blocks=1),
    }
    return ForecasterConfig(**{**defaults, **options})


def tiny_forecaster(domain: WeatherDomain, stirred: bool = True, **options: Any) -> Forecaster:
    """In evaluation mode; the tokenizer is fitted to the errors of a mean with random weights (of none: no changes)."""
    torch.manual_seed(0)
    model = Forecaster(domain, tiny_config(**options)).eval()
    model.mean.fit_statistics()
    if stirred:
        stir(model.mean, 0.05), stir(model.predictor), stir(model.head, 0.3)
    with torch.no_grad():
        errors = torch.cat([b["x"] for b in in_batches(Errors(domain.dataset("train"), model), 8)])
        model.tokenizer.codec.fit(errors)
        model.tokenizer.fit(model.tokenizer.codec.encode(errors))
    return model


def first_states(domain: WeatherDomain, count: int, split: str = "test") -> tuple[torch.Tensor, torch.Tensor, Any]:
    """``before``, ``now`` and the initial times of the first pairs of a split."""
    pairs = domain.dataset(split)
    rows = pairs.__getitems__(list(range(count)))
    return torch.stack([r["before"] for r in rows]), torch.stack([r["now"] for r in rows]), pairs.times[:count]


def batch_of(domain: WeatherDomain, dtype: torch.dtype, count: int = 3) -> dict[str, torch.Tensor]:
    """The first pairs of the test split."""
    (batch,) = itertools.islice(in_batches(domain.dataset("test"), count), 1)
    return {name: x.to(dtype) for name, x in batch.items()}
