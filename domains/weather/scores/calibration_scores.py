"""Conditional calibration: is the error large where and when the ensemble says that it is?

Ranking cells by a noisy variance and then averaging that same variance overstates it in the upper third. So half of
the members say which third a cell is in, and the variance there is that of the other half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LEAST = 4  # members, for two variances
TINY = 1e-30


def half_variances(members: Array) -> Array:
    """(2, ...) variances (ddof 1) of every other of (M, ...) members."""
    return np.stack([members[half::2].var(axis=0, ddof=1) for half in (0, 1)])


def thirds(halves: Array, error: Array, weights: Array) -> tuple[Array, Array]:
    """Predicted variance and squared error in the thirds of the globe by predicted variance.

    Args:
        halves: (2, L, S) variances of the two halves of the members at S cells.
        error: (L, S) squared errors of the ensemble mean.
        weights: (L, S) areas, 0 where there is no truth.

    Returns:
        (L, 3) variance, (L, 3) squared error, thirds of least, middle and largest predicted variance.
    """
    leads = len(error)
    variance, square = np.zeros((leads, 3)), np.zeros((leads, 3))
    for ranked, said in (halves, halves[::-1]):
        order = np.argsort(ranked, axis=1)
        area = np.take_along_axis(weights, order, 1)
        share = (np.cumsum(area, axis=1) - area / 2) / np.maximum(area.sum(1, keepdims=True), TINY)
        third = np.minimum((3 * share).astype(int), 2)
        for source, out in ((said, variance), (error, square)):
            value = np.take_along_axis(source, order, 1)
            for lead in range(leads):
                total = np.maximum(np.bincount(third[lead], area[lead], 3), TINY)
                out[lead] += np.bincount(third[lead], area[lead] * value[lead], 3) / total / 2
    return variance, square


def flow_thirds(first: Array, second: Array, error: Array, weights: Array) -> tuple[Array, Array]:
    """The same with thirds of the initial times at each cell: what changes from day to day, geography taken out.

    Args:
        first: (T, L, S) variance of one half of the members.
        second: of the other half.
        error: squared errors of the ensemble mean.
        weights: areas, 0 where there is no truth.
    """
    known = np.maximum((weights > 0).sum(0), 1)
    variance, square = (np.zeros((error.shape[1], 3)) for _ in range(2))
    for ranked, said in ((first, second), (second, first)):
        rank = np.argsort(np.argsort(np.where(weights > 0, ranked, np.inf), axis=0), axis=0)
        third = 3 * rank // known
        for k in range(3):
            area = weights * (third == k)
            total = area.sum((0, 2))
            with np.errstate(invalid="ignore", divide="ignore"):
                variance[:, k] += (area * said).sum((0, 2)) / total / 2
                square[:, k] += (area * error).sum((0, 2)) / total / 2
    return variance, square
