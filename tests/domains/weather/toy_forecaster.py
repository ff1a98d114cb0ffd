"""A small forecaster that is real: waves that travel eastward and die away, stirred by smooth noise.

What it forecast, and where it was loaded, it writes down in the folder of its loader; a file ``die`` there with the
name of a member makes it kill its process at that member, once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from refine.domains.weather.ensembles.initial_times import stamps
from refine.domains.weather.sphere.grids import Grid
from refine.noise import Noise
from refine.settings.config import SamplerConfig

CHANNELS = ["geopotential_500", "temperature_850", "temperature_500", "2m_temperature"]
MEANS = {"geopotential": 54000.0, "temperature": 270.0, "2m_temperature": 285.0}
UNITS = {"geopotential": "m2 s-2", "temperature": "K", "2m_temperature": "K"}


def toy_fields(days: int = 12, grid: str = "gaussian:4x8", calendar: str = "standard", first: int = 1) -> xr.Dataset:
    """Canonical fields of every channel from 2021-01-01 on, at 00 UTC."""
    where, generator = Grid.parse(grid), np.random.default_rng(0)
    times = xr.date_range(f"2021-01-{first:02}", periods=days, calendar=calendar, use_cftime=calendar != "standard")
    variables = {}
    for channel in CHANNELS:
        name = channel.rpartition("_")[0] if channel[-1].isdigit() else channel
        x = MEANS[name] + 5 * generator.standard_normal((days, *where.shape))
        attrs = {"units": UNITS[name], "long_name": channel}
        variables[channel] = (("time", *where.dims), x.astype("float32"), attrs)
    coords = {
        "time": times,
        "latitude": (where.dims[0], where.latitude),
        "longitude": (where.dims[-1], where.longitude),
    }
    return xr.Dataset(variables, coords, {"source": "toy"}).chunk(time=4)


class ToyForecaster:
    """x(t + step) = half of x(t) turned by one cell, plus its mean over time before, plus noise."""

    channels = CHANNELS
    device = torch.device("cpu")

    def __init__(self, grid: Grid, diary: Path | None = None, step: int = 24) -> None:
        self.grid, self.diary, self.step = grid, diary, np.timedelta64(step, "h")

    def forecast(
        self,
        before: Tensor,
        now: Tensor,
        times: Any,
        members: Sequence[int],
        steps: int,
        seed: int,
        sampler: SamplerConfig | None,
    ) -> Iterator[Tensor]:
        self._note(f"{os.getpid()} {','.join(stamps(times))} {members[0]}-{members[-1]}")
        scale = 1.0 if sampler is None else float(sampler.temperature)
        mean = (before + now) / 2
        anomaly = (now - mean)[:, None].expand(-1, len(members), *(-1,) * (now.ndim - 1))
        for k in range(steps):
            noise = torch.stack([self._noise(seed, stamp, members, k, now.shape[1:]) for stamp in stamps(times)])
            anomaly = 0.9 * anomaly.roll(1, -1) + scale * noise
            if k == steps // 2 and self._asked_to_die(members):
                os.kill(os.getpid(), signal.SIGKILL)
            yield mean[:, None] + anomaly

    def _noise(self, seed: int, stamp: str, members: Sequence[int], k: int, shape: torch.Size) -> Tensor:
        stream = int(stamp.replace("-", "").replace("T", "").replace(":", ""))
        x = Noise(seed, members).uniform(k, tuple(shape), stream=stream) - 0.5
        return x + x.roll(1, -1)

    def _note(self, line: str) -> None:
        if self.diary is not None:
            with (self.diary / "forecast.txt").open("a") as file:
                file.write(line + "\n")

    def _asked_to_die(self, members: Sequence[int]) -> bool:
        asked = self.diary is not None and (self.diary / "die").is_file()
        if asked and self.diary is not None and int((self.diary / "die").read_text()) in members:
            (self.diary / "die").unlink()
            return True
        return False


@dataclass(frozen=True)
class ToyLoader:
    """Makes the toy in another process, and counts how often."""

    folder: str
    fingerprint: str = "toy 1"

    def load(self) -> tuple[ToyForecaster, xr.Dataset]:
        with (Path(self.folder) / "loads.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        fields = toy_fields()
        return ToyForecaster(Grid.of(fields), Path(self.folder)), fields
