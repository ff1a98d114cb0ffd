"""One step: the mean, and scale-wise categorical codes of what the mean does not know.

    X(t + dt) = X(t) + change * (m + e),   m: the mean network,   e ~ the backward process (eq. 17-20)

The codes condition on X(t), X(t - dt), the mean's change, forcings, static fields and the mean network's own features,
all averaged around each site of each scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.weather.config import ForecasterConfig
from refine.domains.weather.fields.data import WeatherData
from refine.domains.weather.forecaster.codec import SphereCodec
from refine.domains.weather.forecaster.mean import MeanForecast
from refine.domains.weather.forecaster.new_days import NewDays
from refine.errors import not_accepted
from refine.models.refiner import Refiner
from refine.noise import Noise
from refine.settings.bounds import check
from refine.settings.by_scale import by_scale
from refine.settings.config import SamplerConfig
from refine.types import Condition, ConditionSpec

BASES = ("mean", "persistence")


class OneStep(Refiner):
    """What is known of the next state, what is coded of it, and draws of that: the part of a forecaster that its
    training, its calibration and its roll-outs share.

    Attributes:
        mean: the mean network.
        new_days: the size and the memory of errors on days that were not learned from.
        channels, grid, step: those of the data.
    """

    domain: WeatherData
    config: ForecasterConfig

    def __init__(self, domain: WeatherData, config: ForecasterConfig) -> None:
        if config.base not in BASES:
            raise not_accepted("model.base", config.base, BASES)
        mean = MeanForecast(config.mean, domain)
        channels = len(domain.channels)
        field = mean.unet.enter.inputs // 4 + channels + mean.num_features
        super().__init__(domain, config, ConditionSpec(field=field))
        self.mean = mean
        self.new_days = NewDays(self.codec)
        self.channels, self.grid, self.step = domain.channels, domain.grid, domain.step

    @property
    def codec(self) -> SphereCodec:
        """In which errors of training days are white."""
        return cast(SphereCodec, self.tokenizer.codec)

    def known(self, before: Tensor, now: Tensor, forcing: Tensor) -> tuple[Tensor, Condition]:
        """The mean's change (B, C, H, W) in units of ``mean.change``, and the condition of the codes: all that is known
        at half the grid's resolution (B, H W / 4, F)."""
        inputs = self.mean.inputs(before, now, forcing)
        change, features = self.mean(inputs)
        coarse = F.avg_pool2d(torch.cat([inputs, change], 1), 2)
        field = torch.cat([coarse, features], 1).flatten(2).transpose(1, 2)
        return change, Condition(field=field)

    def error(self, batch: dict[str, Tensor], change: Tensor) -> Tensor:
        """What is coded, (B, C, H, W) in units of ``mean.change``: the error of the mean, or the whole change."""
        target = (batch["after"] - batch["now"]) / self.mean.change
        return target if self.config.base == "persistence" else target - change

    def calibrated(self, sampler: SamplerConfig) -> SamplerConfig:
        """The sampler, its temperatures and an automatic gain times what was fitted on the validation split."""
        fitted = self.info.get("calibration", {"temperature": [1.0] * self.num_levels, "gain": [1.0] * self.num_levels})
        check(sampler, "sampler")
        asked = by_scale("sampler.temperature", sampler.temperature, self.num_levels)
        temperature = [a * b for a, b in zip(asked, fitted["temperature"], strict=True)]
        if sampler.gain != "auto":
            return replace(sampler, temperature=temperature)
        gain = [self.tokenizer.pyramid.gain(k) * g for k, g in enumerate(fitted["gain"])]
        return replace(sampler, temperature=temperature, gain=gain)

    def white_draw(self, condition: Condition, noise: Noise, sampler: SamplerConfig) -> Tensor:
        """(B, D, C) what is drawn for one step as white harmonics, with a sampler that is calibrated already."""
        return self.codec.white(self.generate(noise, condition, sampler, False).items)
