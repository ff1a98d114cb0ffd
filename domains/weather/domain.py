"""The weather domain: its data, the scales into which errors are taken apart, its model, and what its commands do.

Nothing in this folder imports this file. Commands load what they need when they run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from refine.capabilities import Forecasts, Regrids
from refine.domain import Symmetry
from refine.domains.weather.config import ForecasterConfig, WeatherConfig, WeatherEvaluateConfig, WeatherTrainConfig
from refine.domains.weather.fields.data import WeatherData
from refine.domains.weather.forecaster.codec import SphereCodec
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.sphere.resamplers import (
    HarmonicResampler,
    NestedResampler,
    SphereResampler,
    harmonic_names,
    nested_names,
    sites_of,
)
from refine.errors import not_accepted, require

if TYPE_CHECKING:
    from refine.models.model import Model
    from refine.settings.config import Config as RunConfig

PYRAMIDS = ("harmonic", "healpix")


class WeatherDomain(WeatherData, Forecasts, Regrids):
    """Weather: a mean forecast, and codes of what the mean does not know.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    name = "weather"
    packages = ("xarray", "zarr", "dask", "scipy")
    group = "rotations about the axis that map every scale to itself"
    Config = WeatherConfig
    ModelConfig = ForecasterConfig
    stages = Forecaster.stages
    sections: ClassVar[Mapping[str, type]] = {"train": WeatherTrainConfig, "evaluate": WeatherEvaluateConfig}
    unconditional = False

    # -- scales ------------------------------------------------------------------------------------------------------

    @cached_property
    def truncation(self) -> int:
        """T: harmonics up to this degree are coded; the last scale's, or a little more than a quadratic grid holds."""
        scales = self.config.scales
        if self.config.pyramid == "harmonic" and scales:
            return parse_scale(scales[-1], "T")
        return min(round(0.365 * self.grid.shape[1]), self.grid.shape[0] - 1)

    @cached_property
    def scales(self) -> list[int]:
        """Truncations (harmonic) or nsides (healpix), coarsest first."""
        if self.config.pyramid not in PYRAMIDS:
            raise not_accepted("domain.pyramid", self.config.pyramid, PYRAMIDS)
        harmonic = self.config.pyramid == "harmonic"
        if self.config.scales is not None:
            return [parse_scale(s, "T" if harmonic else "H") for s in self.config.scales]
        if harmonic:  # bands of about equal width in degree
            return sorted({round(self.truncation * share) for share in (0.14, 0.37, 0.63, 1)})
        finest = int(np.ceil(np.log2(max(1, ((self.truncation + 1) ** 2 / 12) ** 0.5))))
        return [2**j for j in range(finest + 1)]

    def resampler(self) -> SphereResampler:
        if self.config.pyramid == "healpix":
            return NestedResampler(self.scales, self.grid, self.truncation)
        return HarmonicResampler(self.scales, self.config.points, self.config.oversample, self.grid)

    def resampler_names(self) -> list[str]:
        """Names of the sites of each scale."""
        if self.config.pyramid == "healpix":
            return nested_names(self.scales)
        return harmonic_names(self.scales, self.config.points, self.config.oversample)

    def codec(self) -> SphereCodec:
        return SphereCodec(len(self.channels), self.winds, self.grid, self.truncation, self.resampler_names()[-1])

    def scale_names(self) -> list[str]:
        """What the scales are called."""
        return [f"{'T' if self.config.pyramid == 'harmonic' else 'nside '}{s}" for s in self.scales]

    def symmetries(self) -> list[Symmetry]:
        """A quarter turn about the axis."""
        turned = []
        for points in self.resampler().points:
            back = points @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
            turned.append(torch.from_numpy((back @ points.T).argmax(1)))
        return [Symmetry("a quarter turn about the axis", turned)]

    # -- model -------------------------------------------------------------------------------------------------------

    def model(self, config: Any) -> Model:
        return Forecaster(self, config)

    def describe(self, config: Any) -> dict[str, Any]:
        sites = [sites_of(name) for name in self.resampler_names()]
        q = config.quantizer
        books = f"{q.stages} x {q.size}" if q.stages > 1 else str(q.size)
        return {"scales": self.scale_names(), "sites": sites, "codes of a site": books, "channels": self.channels}

    def ensemble(self, model: Any, source: Path, config: RunConfig, folder: Path) -> list[Path]:
        """See :func:`refine.domains.weather.ensemble_command.run_ensemble`."""
        from refine.domains.weather.ensemble_command import run_ensemble

        return run_ensemble(model, source, config, folder)

    def verify(self, model: Any, source: Path, config: RunConfig, folder: Path) -> dict[str, Any]:
        """See :func:`refine.domains.weather.evaluate_command.verify`."""
        from refine.domains.weather.evaluate_command import verify

        return verify(model, source, config, folder)

    def plot_training(self, model: Any, folder: Path) -> list[Path]:
        """``refinement.png``: one step of one member, scale by scale."""
        from refine.domains.weather.pictures.strip import plot_strip

        return [plot_strip(model, self.scale_names(), folder / "refinement.png")] if "predictor" in model.info else []

    @classmethod
    def regrid(cls, source: str, out: Path, grid: str) -> dict[str, dict[str, Any]]:
        """See :func:`refine.domains.weather.regrid_command.regrid_store`."""
        from refine.domains.weather.regrid_command import regrid_store

        return regrid_store(source, out, grid)

    def starter(self) -> Path | None:
        path = Path(__file__).parent / "starter"
        return path if (path / "config.json").is_file() else None


def parse_scale(scale: Any, letter: str) -> int:
    """``T31``, ``H4`` or the number itself.

    Raises:
        RefineError: anything else.
    """
    text = str(scale).upper().removeprefix(letter)
    accepted = "T0, T1, ..." if letter == "T" else "nsides, powers of two"
    require(text.isdecimal(), f"domain.scales: {scale!r} is not accepted; accepted: {accepted}, coarsest first")
    return int(text)
