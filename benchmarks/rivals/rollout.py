"""Forecasts of many steps by a mean and errors that are drawn: the protocol of ``refine ensemble``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.weather.ensembles.initial_times import shifted, stamps
from refine.domains.weather.fields.calendar import forcings
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.forecaster.new_days import NewDays
from refine.learning.data import derive_seed
from refine.noise import Noise
from refine.settings.config import SamplerConfig
from rivals.known import Known, known


class Control:
    """The mean alone; rivals give it errors.

    Attributes:
        passes: of networks in one step of one member.
        drawn: size of what is drawn.
        new_days: size and memory of the errors that it is to have.
    """

    passes = 1

    def __init__(self, model: Forecaster) -> None:
        self.model = model.eval()
        self.grid, self.channels, self.step = model.grid, model.channels, model.step
        self.drawn, self.new_days = NewDays(model.codec), NewDays(model.codec)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def draw(self, told: Known, times: Any, noise: Noise) -> Tensor | None:
        """(B, C, H, W) errors in units of ``mean.change``; None for none.

        Args:
            told: of the states that are stepped on from.
            times: (B,) theirs.
            noise: of the members.
        """
        return None

    def follow(self, error: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
        """A drawn error (B, C, H, W) with the size of those of new days and their memory of the ``last`` one, and its
        white harmonics; what lies beyond the codec's truncation stays as it is."""
        codec = self.model.codec
        white = self.drawn.white(codec, error)
        followed = self.new_days.follow(white, last)
        return error - self.drawn.colour(codec, white) + self.new_days.colour(codec, followed), followed

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
        """See :meth:`refine.domains.weather.forecaster.model.Forecaster.forecast`. ``sampler`` is for codes and is not
        used here."""
        count, change = len(members), self.model.mean.change
        streams = [derive_seed(stamp, m) for stamp in stamps(times) for m in members]
        last: Tensor | None = None
        for lead in range(steps):
            valid = np.array([shifted(t, lead * self.step) for t in np.asarray(times)])
            forcing = torch.from_numpy(forcings(valid, self.grid, self.model.domain.forcings)[0])
            if lead == 0:  # members share the first pass
                told, now = known(self.model, before, now, forcing).repeat(count), now.repeat_interleave(count, 0)
            else:
                told = known(self.model, before, now, forcing.repeat_interleave(count, 0))
            noise = Noise(derive_seed(seed, "lead", lead), streams)
            step, error = told.change, self.draw(told, valid.repeat(count), noise)
            if error is not None:
                error, last = self.follow(error, last)
                step = step + error
            before, now = now, now + step * change
            yield now.unflatten(0, (-1, count))


class Timed:
    """A forecaster that counts the CPU seconds of its forecasts and the steps of members that they made."""

    def __init__(self, forecaster: Any) -> None:
        self.forecaster = forecaster
        self.grid, self.channels, self.step = forecaster.grid, forecaster.channels, forecaster.step
        self.device = forecaster.device
        self.seconds, self.member_steps = 0.0, 0

    def forecast(self, *args: Any, **more: Any) -> Iterator[Tensor]:
        """As that of the forecaster."""
        leads = self.forecaster.forecast(*args, **more)
        while True:
            start = time.process_time()
            fields = next(leads, None)
            self.seconds += time.process_time() - start
            if fields is None:
                return
            self.member_steps += fields.shape[0] * fields.shape[1]
            yield fields
