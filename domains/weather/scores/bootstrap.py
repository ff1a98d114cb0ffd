"""Intervals over initial times: how much a score would differ had other days been forecast."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Statistic = Callable[..., Array]  # of arrays, with axis=

LEVEL = 0.95
RESAMPLES = 1000
FEWEST = 6  # initial times that say whether two forecasts differ
HELD = 4_000_000  # numbers of resamples held at a time


def interval(
    statistic: Statistic, *samples: Array, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[Array, Array, Array]:
    """A statistic of initial times with its percentile interval (``scipy.stats.bootstrap``).

    Initial times are resampled as they are, so they should be some days apart.

    Args:
        statistic: of all samples and ``axis``, which it reduces.
        samples: each (T, ...), rows of the same initial times; NaN where there is no truth.

    Returns:
        value, low and high, each (...); low and high are NaN where T < 2.
    """
    from scipy.stats import bootstrap

    measured = quiet(statistic)
    value = np.asarray(measured(*samples, axis=0))
    if len(samples[0]) < 2:
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan)
    options: dict[str, Any] = {"axis": 0, "paired": True, "vectorized": True, "method": "percentile"}
    batch = max(1, min(resamples, HELD // sum(s.size for s in samples)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            samples, measured, n_resamples=resamples, batch=batch, confidence_level=level, rng=0, **options
        ).confidence_interval
    return value, np.asarray(found.low), np.asarray(found.high)


def quiet(statistic: Statistic) -> Statistic:
    """The same, without warnings where nothing is left to average: that is NaN, as it should be."""

    def measured(*samples: Array, axis: int = 0) -> Array:
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            return statistic(*samples, axis=axis)

    return measured


def mean(x: Array, axis: int = 0) -> Array:
    """Over the initial times that have a truth."""
    found: Array = np.nanmean(x, axis=axis)
    return found


def root(x: Array, axis: int = 0) -> Array:
    """Square root of the mean."""
    return np.sqrt(mean(x, axis))


def ratio(x: Array, y: Array, axis: int = 0) -> Array:
    """Mean of x over mean of y."""
    found: Array = mean(x, axis) / mean(y, axis)
    return found


def root_ratio(x: Array, y: Array, axis: int = 0) -> Array:
    """Square root of :func:`ratio`."""
    return np.sqrt(ratio(x, y, axis))
