"""The forecaster: how it learns, how its codes are scored, and forecasts of many steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from refine.domains.weather.fields.calendar import forcings
from refine.domains.weather.forecaster import calibration
from refine.domains.weather.forecaster.errors import Errors, successive_errors
from refine.domains.weather.forecaster.one_step import OneStep
from refine.errors import require
from refine.items import Items, in_batches, spread
from refine.learning.data import derive_seed
from refine.noise import Noise
from refine.progress import warn
from refine.settings.config import Config, QuantizerConfig, SamplerConfig, TrainConfig
from refine.types import Condition, Samples

SAMPLER = SamplerConfig(gain="auto")  # where none is given
MEMBERS = 2**20  # most members of an initial time, in the numbering of noise streams
LOST = 0.1  # share of the variance that codes may lose in silence
EPOCH = 2**32  # hours before 1970 that initial times may lie


class Forecaster(OneStep):
    """Probabilistic forecasts of one step, and of many.

    Example:
        >>> import refine
        >>> model = refine.Model.from_pretrained("runs/weather")  # doctest: +SKIP
        >>> fields = model.forecast(before, now, times, range(50), steps=10)  # doctest: +SKIP
    """

    stages: ClassVar[tuple[str, ...]] = ("mean", "tokenizer", "predictor")
    # -- training ----------------------------------------------------------------------------------------------------

    def learner(self, stage: str) -> Any:
        return self.mean if stage == "mean" else self

    def check_stage(self, stage: str) -> None:
        ready = stage == "mean" or bool(self.mean.fitted)
        require(ready, f"stage={stage} needs a trained mean; run stage=mean first, or give its run=FOLDER")
        super().check_stage(stage if stage != "mean" else "tokenizer")
        lost = least_lost(self.config.quantizer, len(self.channels))
        if lost > LOST:
            text = (
                f"codes of {len(self.channels)} channels lose {lost:.0%} or more of what is white; fewer channels share"
            )
            warn(
                f"model.quantizer: {text} a code with groups=[[0,1,2,3],[4,5,6,7],...], more bits have stages and size"
            )

    def tokenizer_items(self, split: str) -> Items:
        """Errors of the mean."""
        return Errors(self.domain.dataset(split), self)

    def training_items(self, split: str, seed: int) -> Items:
        return self.domain.dataset(split)

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the codes of the error given what is known (eq. 18), in nats per code."""
        with torch.no_grad():
            change, condition = self.known(batch["before"], batch["now"], batch["forcing"])
            codes = self.tokenizer.encode(self.error(batch, change))
        return self.step_loss(codes, condition, settings)

    def frozen(self) -> Sequence[nn.Module]:
        return (self.tokenizer, self.mean)

    def finish(self, stage: str, config: Config) -> None:
        """After the mean: its filter, and its error on both splits. After the predictor:
        :mod:`refine.domains.weather.forecaster.calibration`."""
        if stage == "mean":
            self.mean.fit_filter(spread(self.domain.dataset("val"), config.train.fit_items))
            self.info["error"] = calibration.relative_errors(self, config.train.val_items)
        if stage == "predictor":
            self.new_days.fit(self.codec, *successive_errors(self, "val", config.train.fit_items))
            if self.config.base == "persistence":
                self.new_days.memory.fill_(0)  # successive changes are known to each other
            self.info["calibration"] = calibration.calibrate(self, config)
            by_harmonic, by_latitude = calibration.spread_to_error(self, config)
            self.new_days.amplitude *= by_harmonic
            self.new_days.inflation *= by_latitude

    # -- evaluation --------------------------------------------------------------------------------------------------

    def asked(self, items: Items, num: int) -> tuple[int, Condition]:
        return super().asked(Errors(items, self, conditioned=True), num)

    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        """Figures of the codes of one step; forecasts are scored by ``refine evaluate``."""
        return super().score(Errors(items, self, conditioned=True), samples, batch_size)

    @torch.no_grad()
    def floors(self, items: Items, batch_size: int = 16) -> dict[str, float]:
        """By channel, the mean square of what codes lose of an error, as a share of the error's: the quantisation floor
        and what lies beyond the truncation."""
        lost, all_of_it = torch.zeros(2, len(self.channels))
        for batch in in_batches(Errors(items, self), batch_size):
            x = batch["x"].to(self.device)
            rest = self.tokenizer.decode(self.tokenizer.encode(x)) - x
            lost += (rest.square() * self.mean.area).mean((2, 3)).sum(0).cpu()
            all_of_it += (x.square() * self.mean.area).mean((2, 3)).sum(0).cpu()
        return dict(zip(self.channels, (lost / all_of_it).tolist(), strict=True))

    # -- forecasts ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def forecast(
        self,
        before: Tensor,
        now: Tensor,
        times: Any,
        members: Sequence[int],
        steps: int,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
    ) -> Iterator[Tensor]:
        """Roll ensembles out, one step at a time.

        Member m of an initial time depends on the seed, that time and m, not on what else is asked for. All members
        share the first pass of the mean network.

        Args:
            before: (T, C, H, W) states one step before the initial times, physical units.
            now: (T, C, H, W) states at the initial times.
            times: (T,) the initial times, datetime64 or cftime.
            members: their numbers, M of them.
            steps: how many.
            seed: of all noise.
            sampler: as in :meth:`sample`; by default with the gain that restores the variance of sampling.

        Yields:
            (T, M, C, H, W) states after 1, 2, ... steps.
        """
        self.eval()
        sampler = self.calibrated(sampler or SAMPLER)
        count, streams = len(members), [_stream(t, m) for t in np.asarray(times) for m in members]
        before, now, last = before.to(self.device), now.to(self.device), None
        for lead in range(steps):
            valid = _later(np.asarray(times), lead * self.step)
            forcing = torch.from_numpy(forcings(valid, self.grid, self.domain.forcings)[0]).to(self.device)
            change, condition = self.known(before, now, forcing if lead == 0 else forcing.repeat_interleave(count, 0))
            if lead == 0:
                now, change = now.repeat_interleave(count, 0), change.repeat_interleave(count, 0)
                condition = condition.map(lambda t: t.repeat_interleave(count, 0))
            noise = Noise(derive_seed(seed, "lead", lead), streams)
            last = self.new_days.follow(self.white_draw(condition, noise, sampler), last)
            error = self.new_days.colour(self.codec, last)
            before, now = now, now + (error if self.config.base == "persistence" else error + change) * self.mean.change
            yield now.unflatten(0, (-1, count))

    @torch.no_grad()
    def refinement(self, batch: dict[str, Tensor], noise: Noise, sampler: SamplerConfig) -> tuple[list[Tensor], Tensor]:
        """Forecasts of one step (B, C, H, W) as they stand after every scale, and the mean they start from."""
        self.eval()
        change, condition = self.known(batch["before"], batch["now"], batch["forcing"])
        base = torch.zeros_like(change) if self.config.base == "persistence" else change
        trail = self.generate(noise, condition, self.calibrated(sampler), True).trail
        errors = [self.new_days.colour(self.codec, self.codec.white(t)) for t in trail]
        return [batch["now"] + (base + e) * self.mean.change for e in errors], batch["now"] + base * self.mean.change

    @torch.no_grad()
    def forecast_mean(self, before: Tensor, now: Tensor, times: Any, steps: int) -> Iterator[Tensor]:
        """The mean network alone, rolled out: (T, C, H, W) after 1, 2, ... steps. Not the mean of the ensemble."""
        self.eval()
        for lead in range(steps):
            valid = _later(np.asarray(times), lead * self.step)
            forcing = torch.from_numpy(forcings(valid, self.grid, self.domain.forcings)[0]).to(self.device)
            change, _ = self.mean(self.mean.inputs(before, now, forcing))
            before, now = now, now + change * self.mean.change
            yield now


def least_lost(config: QuantizerConfig, channels: int) -> float:
    """The least share of the variance of white latents that codes lose: 2^(-2 b / c) where c channels share b bits, the
    rate-distortion bound of normal values (Cover & Thomas 2006, theorem 10.3.2). Zero where no bound is known."""
    if config.kind != "vq":
        return 0.0
    sizes = config.size if isinstance(config.size, Sequence) else [config.size]
    bits = config.stages * math.log2(min(sizes))
    groups = [len(group) for group in config.groups or [list(range(channels))]]
    return sum(size * 2 ** (-2 * bits / size) for size in groups if size) / sum(groups)


def _later(times: np.ndarray[Any, Any], delta: np.timedelta64) -> np.ndarray[Any, Any]:
    """Times of any calendar, so much later."""
    return np.asarray(times + (delta if times.dtype.kind == "M" else delta.astype("timedelta64[s]").item()))


def _stream(time: Any, member: int) -> int:
    """The number of the noise stream of a member: a function of the initial time and the member only."""
    if isinstance(time, np.datetime64):
        hours = int(time.astype("datetime64[h]").astype(np.int64))
    else:
        import cftime

        hours = int(cftime.date2num(time, "hours since 1970-01-01", calendar=time.calendar))
    require(0 <= member < MEMBERS, f"member={member} is not accepted; accepted: 0 to {MEMBERS - 1}")
    require(-EPOCH < hours < EPOCH, f"time={time} is too far from 1970")
    return (hours + EPOCH) * MEMBERS + member
