"""What a place is like at a time of the year, learned from training years: the reference of anomalies and of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]

HARMONICS = 3  # of the year
QUANTILES = (0.05, 0.1, 0.9, 0.95)  # of anomalies, for Brier scores
YEAR = 365.25  # days
BAND = 64_000_000  # numbers of a channel held at a time while fitting


@dataclass(frozen=True)
class Climatology:
    """Mean + annual harmonics of each cell, and the spread of anomalies about them.

    Attributes:
        coefficients: (terms, *grid) float64 by channel: constant, then cos and sin of each harmonic.
        variance: (*grid) by channel, mean square of the training anomalies.
        quantiles: (Q, *grid) by channel, of the training anomalies, at ``levels``.
        levels: Q probabilities.
    """

    coefficients: dict[str, Array]
    variance: dict[str, Array]
    quantiles: dict[str, Array]
    levels: tuple[float, ...]

    @classmethod
    def fit(
        cls, fields: xr.Dataset, channels: Sequence[str] | None = None, levels: Sequence[float] = QUANTILES
    ) -> Climatology:
        """Least squares over the times of ``fields`` (time, *grid), which is read channel by channel.

        Records of less than a year have a constant mean.
        """
        names = [str(n) for n in (channels if channels is not None else fields.data_vars)]
        days = _days(fields["time"])
        terms = 2 * HARMONICS + 1 if days.max() - days.min() >= YEAR - 1 else 1
        basis = season(fields["time"])[:, :terms]
        solve: Array = np.linalg.pinv(basis)
        parts: dict[str, list[tuple[Array, Array, Array]]] = {}
        for name in names:
            for _, x in bands(fields[name]):
                flat = x.reshape(len(x), -1)
                coefficients: Array = solve @ flat
                flat = flat - (basis @ coefficients).astype(x.dtype)
                variance = np.square(flat, dtype=np.float64).mean(axis=0, keepdims=True)
                quantile = np.asarray(np.quantile(flat, levels, axis=0, overwrite_input=True), np.float32)
                shape = x.shape[1:]
                done = tuple(v.reshape(-1, *shape) for v in (coefficients, variance, quantile))
                parts.setdefault(name, []).append((done[0], done[1], done[2]))
        joined = {n: [np.concatenate(v, axis=1) for v in zip(*p, strict=True)] for n, p in parts.items()}
        return cls(
            {n: v[0] for n, v in joined.items()},
            {n: v[1][0] for n, v in joined.items()},
            {n: v[2] for n, v in joined.items()},
            tuple(float(v) for v in levels),
        )

    def mean(self, channel: str, times: xr.DataArray) -> Array:
        """(T, *grid) float32: the climatological field of each of (T,) times."""
        coefficients = self.coefficients[channel]
        field: Array = np.tensordot(season(times)[:, : len(coefficients)], coefficients, 1).astype(np.float32)
        return field

    def scale(self, channel: str, area: Array) -> float:
        """Standard deviation of anomalies over the globe; ``area`` (*grid) are weights."""
        return float(np.sqrt(np.average(self.variance[channel], weights=area)))


def season(times: xr.DataArray) -> Array:
    """(T, 2 * HARMONICS + 1) values of the constant and of the annual harmonics at (T,) times of any calendar."""
    phase = 2 * np.pi * (times.dt.dayofyear.values - 1 + times.dt.hour.values / 24) / YEAR
    columns = [np.ones_like(phase)]
    for k in range(1, HARMONICS + 1):
        columns += [np.cos(k * phase), np.sin(k * phase)]
    return np.stack(columns, axis=1)


def bands(field: xr.DataArray) -> Iterator[tuple[slice, Array]]:
    """All times of some rows of a field (time, *grid) after others: the rows, and (T, rows, ...) float32 values."""
    rows = field.shape[1]
    step = max(1, BAND // max(1, field.size // rows))
    for start in range(0, rows, step):
        band = slice(start, start + step)
        yield band, np.asarray(field[:, band].values, dtype=np.float32)


def _days(times: xr.DataArray) -> Array:
    values = times.values
    if values.dtype == object:  # cftime
        return np.array([(v - values[0]).total_seconds() / 86400 for v in values])
    days: Array = (values - values[0]) / np.timedelta64(1, "D")
    return days
