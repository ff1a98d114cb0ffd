"""Options of the weather domain and of its model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from refine.commands.evaluate import EvaluateConfig
from refine.settings.bounds import Text, each, either, one_of, real, whole
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig, StageConfig, TrainConfig
from refine.settings.places import Place


@dataclass
class WeatherTrainConfig(TrainConfig):
    """Keys of a training for weather: of one stage more."""

    mean: StageConfig = field(default_factory=StageConfig)  # the mean forecast, of which the codes say the error


@dataclass
class WeatherEvaluateConfig(EvaluateConfig):
    """Keys of ``refine evaluate`` for weather."""

    forecast: Place = None  # a store to score; null for one that is made as the section ensemble says


@dataclass
class WeatherConfig:
    """Which fields, on which grid, taken apart into which scales; null where the data itself answers."""

    # null: the cut that ships with refine | speedy | era5_week | path, URL or glob of zarr, netCDF
    data: Place = None
    static: Place = None  # netCDF or zarr with orography and land-sea mask; null: the data's own
    # channels, like geopotential_500 or z500; null: all there are
    variables: Annotated[list[str] | None, each(Text(), 1, 1000)] = None
    # fields that do not change; null: orography and land-sea mask where there are
    statics: Annotated[list[str] | None, each(Text(), 0, 1000)] = None
    grid: str | None = None  # regridded to this one, conservatively, like gaussian:48x96; null: the data's own
    step: str = "24h"  # from one state to the next
    # forcings know the hour of the day; null: where training data have several, or a step is no whole days
    hourly: bool | None = None
    train: Annotated[list[str] | None, each(Text(), 2, 2)] = (
        None  # first and last date; null for all three: the data's own split, else 80/10/10 by time
    )
    val: Annotated[list[str] | None, each(Text(), 2, 2)] = None  # first and last date
    test: Annotated[list[str] | None, each(Text(), 2, 2)] = None  # first and last date
    # harmonic (spherical-harmonic truncations) | healpix (nested cells)
    pyramid: Annotated[str, one_of("harmonic", "healpix")] = "harmonic"
    # T5,T12,... (harmonic) or nside 1,2,4,... (healpix), coarsest first
    scales: Annotated[list[Any] | None, each(either(whole(0, 10_000), Text(20)), 1, 100)] = None
    # harmonic: sites of a scale: healpix (near-critical) | gaussian (redundant)
    points: Annotated[str, one_of("healpix", "gaussian")] = "healpix"
    oversample: Annotated[float, real(1, 100)] = 1.3  # harmonic on healpix: least number of sites for each coefficient


@dataclass
class MeanConfig:
    """The deterministic mean forecast, a U-Net."""

    # channels at each resolution, finest first
    widths: Annotated[list[int], each(whole(1), 1, 16)] = field(default_factory=lambda: [96, 160, 192])
    blocks: Annotated[int, whole(1, 100)] = 2  # residual blocks at each resolution, on the way down and on the way up
    mirror: bool = True  # also train on the planet mirrored at the equator, half a year later


@dataclass
class ForecasterConfig(ModelConfig):
    """A forecast: the mean, and scale-wise codes of its error."""

    quantizer: QuantizerConfig = field(default_factory=lambda: QuantizerConfig(kind="vq", size=256, stages=3))
    predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(condition_dropout=0.0, depth=3))
    # what is coded: the error of the mean | persistence (the whole change of a step)
    base: Annotated[str, one_of("mean", "persistence")] = "mean"
    mean: MeanConfig = field(default_factory=MeanConfig)
