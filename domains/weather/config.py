"""Options of the weather domain and of its model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from refine.commands.evaluate import EvaluateConfig
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig, StageConfig, TrainConfig
from refine.settings.places import place


@dataclass
class WeatherTrainConfig(TrainConfig):
    """Keys of a training for weather: of one stage more."""

    mean: StageConfig = field(default_factory=StageConfig)  # the mean forecast, of which the codes say the error


@dataclass
class WeatherEvaluateConfig(EvaluateConfig):
    """Keys of ``refine evaluate`` for weather."""

    forecast: str | None = place(None)  # a store to score; null for one that is made as the section ensemble says


@dataclass
class WeatherConfig:
    """Which fields, on which grid, taken apart into which scales; null where the data itself answers."""

    # null: the cut that ships with refine | speedy | era5_week | path, URL or glob of zarr, netCDF
    data: str | None = place(None)
    static: str | None = place(None)  # netCDF or zarr with orography and land-sea mask; null: the data's own
    variables: list[str] | None = None  # channels, like geopotential_500 or z500; null: all there are
    statics: list[str] | None = None  # fields that do not change; null: orography and land-sea mask where there are
    grid: str | None = None  # regridded to this one, conservatively, like gaussian:48x96; null: the data's own
    step: str = "24h"  # from one state to the next
    train: list[str] | None = (
        None  # first and last date; null for all three: the data's own split, else 80/10/10 by time
    )
    val: list[str] | None = None  # first and last date
    test: list[str] | None = None  # first and last date
    pyramid: str = "harmonic"  # harmonic (spherical-harmonic truncations) | healpix (nested cells)
    scales: list[Any] | None = None  # T5,T12,... (harmonic) or nside 1,2,4,... (healpix), coarsest first
    points: str = "healpix"  # harmonic: sites of a scale: healpix (near-critical) | gaussian (redundant)
    oversample: float = 1.3  # harmonic on healpix: least number of sites for each coefficient


@dataclass
class MeanConfig:
    """The deterministic mean forecast, a U-Net."""

    widths: list[int] = field(default_factory=lambda: [96, 160, 192])  # channels at each resolution, finest first
    blocks: int = 2  # residual blocks at each resolution, on the way down and on the way up
    mirror: bool = True  # also train on the planet mirrored at the equator, half a year later


@dataclass
class ForecasterConfig(ModelConfig):
    """A forecast: the mean, and scale-wise codes of its error."""

    quantizer: QuantizerConfig = field(default_factory=lambda: QuantizerConfig(kind="vq", size=256, stages=3))
    predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(condition_dropout=0.0, depth=3))
    base: str = "mean"  # what is coded: the error of the mean | persistence (the whole change of a step)
    mean: MeanConfig = field(default_factory=MeanConfig)
