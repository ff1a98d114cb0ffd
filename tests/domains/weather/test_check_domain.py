"""The checker for domains runs on the weather domain, and refuses what is broken in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from refine.domains.weather.config import WeatherConfig
from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.sphere.resamplers import HarmonicResampler
from refine.testing import CheckError, check_domain
from refine.types import Level

from .tiny_forecaster import CHANNELS, GRID, make_world, tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("check") / "world.zarr")


def small(cls: type[WeatherDomain], data: Path, **options: Any) -> WeatherDomain:
    config = {"variables": CHANNELS, "grid": GRID.name, "statics": [], "scales": ["T2", "T4"], **options}
    return cls(WeatherConfig(data=str(data), **config))


@pytest.mark.parametrize("options", [{}, {"pyramid": "healpix", "scales": [1, 2, 4]}], ids=["harmonic", "healpix"])
def test_passes(data: Path, options: dict[str, Any]) -> None:
    assert check_domain(small(WeatherDomain, data, **options), config=tiny_config()) == [
        "splits", "items", "codec", "levels", "reconstruction", "set_structure", "symmetry", "likelihood", "decoding",
        "conditions", "settings", "training", "sampling", "asking", "files", "figures", "pictures",
    ]  # fmt: skip


class SeesLongitude(HarmonicResampler):
    """Tells the predictor where east of Greenwich a site is."""

    def level(self, k: int) -> Level:
        level = super().level(k)
        longitude = torch.from_numpy(self.points[k][:, :2]).to(level.pos)
        return replace(level, pos=torch.cat([level.pos, longitude[None]], 2))


class Fading(HarmonicResampler):
    """Loses a little of everything, each time it goes anywhere."""

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        return 0.9 * super().up(x, source, target)


class FieldOfOneScale(HarmonicResampler):
    """Shows conditions as they are, at every scale."""

    def field(self, field: Tensor, k: int) -> Tensor:
        return field


@pytest.mark.parametrize(
    ("resampler", "message"),
    [
        (SeesLongitude, "a quarter turn about the axis: relative equivariance error"),
        (Fading, "the pyramid reconstructs its latent with relative error"),
        (FieldOfOneScale, r"a field is seen at scale 0 as \(4, 32, .*\), not \(B, N, F\) = \(4, 12, "),
    ],
)
def test_refuses(data: Path, resampler: type[HarmonicResampler], message: str) -> None:
    class Broken(WeatherDomain):
        def resampler(self) -> HarmonicResampler:
            return resampler(self.scales, self.config.points, self.config.oversample, self.grid)

    with pytest.raises(CheckError, match=message):
        check_domain(small(Broken, data), config=tiny_config())
