"""What a place is like at a time of the year and an hour of the day, learned from training years: the reference of
anomalies and of events."""

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
LEAST = 4  # training times of an hour for each coefficient, so that it has a climatology of its own
BAND = 64_000_000  # numbers of a channel held at a time while fitting


@dataclass(frozen=True)
class Climatology:
    """Mean + annual harmonics of each cell and hour of the day, and the spread of anomalies about them.

    Attributes:
        coefficients: (H, terms, *grid) float64 by channel: constant, then cos and sin of each harmonic.
        variance: (*grid) by channel, mean square of the training anomalies.
        quantiles: (Q, H, *grid) by channel, of the training anomalies of the hour, at ``levels``.
        levels: Q probabilities.
        hours: H hours of the day that have a climatology of their own; other times have that of the nearest.
    """

    coefficients: dict[str, Array]
    variance: dict[str, Array]
    quantiles: dict[str, Array]
    levels: tuple[float, ...]
    hours: tuple[int, ...] = (0,)

    @classmethod
    def fit(
        cls, fields: xr.Dataset, channels: Sequence[str] | None = None, levels: Sequence[float] = QUANTILES
    ) -> Climatology:
        """Least squares over the times of ``fields`` (time, *grid), which is read channel by channel.

        Records of less than a year have a constant mean at each hour.
        """
        names = [str(n) for n in (channels if channels is not None else fields.data_vars)]
        days = _days(fields["time"])
        terms = 2 * HARMONICS + 1 if days.max() - days.min() >= YEAR - 1 else 1
        basis = season(fields["time"])[:, :terms]
        hours = hours_of(fields["time"], LEAST * terms)
        which = nearest(fields["time"], hours)
        rows = [np.flatnonzero(which == h) for h in range(len(hours))]
        solve: list[Array] = [np.linalg.pinv(basis[r]) for r in rows]
        parts: dict[str, list[tuple[Array, Array, Array]]] = {}
        for name in names:
            for _, x in bands(fields[name]):
                flat, shape = x.reshape(len(x), -1), x.shape[1:]
                coefficients: Array = np.stack([s @ flat[r] for s, r in zip(solve, rows, strict=True)])
                anomaly = np.empty_like(flat)
                for mean, r in zip(coefficients, rows, strict=True):
                    anomaly[r] = flat[r] - (basis[r] @ mean).astype(x.dtype)
                variance = np.square(anomaly, dtype=np.float64).mean(axis=0)
                by_hour = [np.quantile(anomaly[r], levels, axis=0, overwrite_input=True) for r in rows]
                quantile = np.stack(by_hour, axis=1)
                done = (coefficients, variance[None, None], np.asarray(quantile, np.float32))
                parts.setdefault(name, []).append(tuple(v.reshape(*v.shape[:2], *shape) for v in done))  # type: ignore[arg-type]
        joined = {n: [np.concatenate(v, axis=2) for v in zip(*p, strict=True)] for n, p in parts.items()}
        return cls(
            {n: v[0] for n, v in joined.items()},
            {n: v[1][0, 0] for n, v in joined.items()},
            {n: v[2] for n, v in joined.items()},
            tuple(float(v) for v in levels),
            hours,
        )

    def mean(self, channel: str, times: xr.DataArray, rows: slice = slice(None)) -> Array:
        """(T, *grid) float32: the climatological field of each of (T,) times; some ``rows`` of the grid, if wanted."""
        coefficients, which = self.coefficients[channel][:, :, rows], nearest(times, self.hours)
        basis = season(times)[:, : coefficients.shape[1]]
        field = np.empty((len(basis), *coefficients.shape[2:]), np.float32)
        for h, own in enumerate(coefficients):
            field[which == h] = np.tensordot(basis[which == h], own, 1)
        return field

    def thresholds(self, channel: str, times: xr.DataArray) -> Array:
        """(Q, T, *grid) float32: anomalies that a share ``levels`` of those of the hour of each time did not exceed."""
        found: Array = self.quantiles[channel][:, nearest(times, self.hours)]
        return found

    def scale(self, channel: str, area: Array) -> float:
        """Standard deviation of anomalies over the globe; ``area`` (*grid) are weights."""
        return float(np.sqrt(np.average(self.variance[channel], weights=area)))


def hours_of(times: xr.DataArray, least: int) -> tuple[int, ...]:
    """The hours of the day that at least so many of (T,) times have; one that stands for all, if no hour has them."""
    found, counts = np.unique(times.dt.hour.values, return_counts=True)
    return tuple(int(h) for h in found[counts >= least]) or (int(found[0]),)


def nearest(times: xr.DataArray, hours: Sequence[int]) -> Array:
    """(T,) which of the hours of the day is nearest to each time, round the clock."""
    apart = np.abs(times.dt.hour.values[:, None] - np.asarray(hours))
    which: Array = np.minimum(apart, 24 - apart).argmin(1)
    return which


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
