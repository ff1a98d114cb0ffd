"""Scores of one channel at L leads of one or more forecasts: the pieces that means over initial times are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refine.domains.weather.scores.calibration_scores import LEAST, half_variances, thirds
from refine.domains.weather.scores.spectra import zonal_power

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]

NUMBER, LEAD = "number", "prediction_timedelta"


def plain_scores(
    members: xr.DataArray, truth: xr.DataArray, mean_climate: Array, area: xr.DataArray
) -> dict[str, Array]:
    """Scores of values at cells, each (L,).

    ``crps`` is fair (Ferro 2014; the absolute error where there is one member), ``mse``, ``bias`` and ``acc`` (not
    centred, as in WeatherBench2) are those of the ensemble mean, ``mae`` that of the members' mean absolute error,
    ``variance`` has ddof 1.

    Args:
        members: (M, L, *grid).
        truth: (L, *grid), NaN where it is not known.
        mean_climate: (L, *grid) climatology of the valid times.
        area: (*grid) weights.
    """
    from scores.continuous import mae, mse
    from scores.probability import crps_for_ensemble

    count, keep = members.sizes[NUMBER], {"preserve_dims": LEAD, "weights": area}
    mean = members.mean(NUMBER)
    found = {"mae": mae(members, truth, **keep), "mse": mse(mean, truth, **keep)}
    found["crps"] = crps_for_ensemble(members, truth, NUMBER, method="fair", **keep) if count > 1 else found["mae"]
    known = truth.notnull() * area
    space = known.dims[1:]
    total = known.sum(space)

    def average(field: xr.DataArray) -> xr.DataArray:
        return (field * known).sum(space) / total

    found["variance"] = average(members.var(NUMBER, ddof=1)) if count > 1 else found["mse"] * 0.0
    found["bias"] = average(mean - truth)
    ours, real = mean - mean_climate, truth - mean_climate
    found["acc"] = average(ours * real) / np.sqrt(average(ours**2) * average(real**2))
    return {name: np.asarray(value.values, np.float64) for name, value in found.items()}


def ranks(members: xr.DataArray, truth: xr.DataArray, area: xr.DataArray) -> Array:
    """(L, M + 1) shares of the globe by the rank of truth among the members; ties are shared out."""
    from scores.probability import rank_histogram

    found: Array = rank_histogram(members, truth, NUMBER, preserve_dims=LEAD, weights=area).values
    return found


def briers(members: xr.DataArray, truth: xr.DataArray, thresholds: Sequence[Array], area: xr.DataArray) -> Array:
    """(L, Q) fair Brier scores of exceeding thresholds (L, *grid) that differ from cell to cell."""
    from scores.probability import brier_score_for_ensemble

    found = [
        brier_score_for_ensemble(members - at, truth - at, NUMBER, 0.0, preserve_dims=LEAD, weights=area)
        for at in thresholds
    ]
    return np.stack([f.values.reshape(-1) for f in found], axis=1)


def distances(members: Array, truth: Array, area: Array) -> tuple[Array, Array]:
    """Mean squared distances over the globe: (L, M) of members from truth, (L, M, M) between members."""
    weights = np.where(np.isnan(truth), 0.0, area)
    total = weights.reshape(len(weights), -1).sum(1).reshape(-1, *[1] * (truth.ndim - 1))
    weights = np.divide(weights, total, out=np.full_like(weights, np.nan), where=total > 0)
    error = np.nan_to_num(members - truth) * np.sqrt(weights)
    flat = error.reshape(*error.shape[:2], -1).swapaxes(0, 1)
    gram = flat @ flat.swapaxes(1, 2)
    square = np.diagonal(gram, axis1=1, axis2=2)
    return square, np.maximum(square[:, :, None] + square[:, None, :] - 2 * gram, 0.0)


def energy(from_truth: Array, between: Array) -> Array:
    """Fair energy score (Gneiting & Raftery 2007) of squared distances (..., M) and (..., M, M)."""
    count = from_truth.shape[-1]
    spread = np.sqrt(between).sum((-2, -1)) / (2 * count * max(1, count - 1))
    score: Array = np.sqrt(from_truth).mean(-1) - spread
    return score


def spectra(members: Array, truth: Array, circles: Array) -> dict[str, Array]:
    """Zonal power (L, W // 2 + 1) of truth, of members (their mean power), and of the ensemble mean."""
    fields = {"truth": truth, "mean": members.mean(0)}
    power = {name: zonal_power(field, circles) for name, field in fields.items()}
    return power | {"members": zonal_power(members, circles).mean(0)}


def conditional(members: Array, truth: Array, area: Array) -> dict[str, Array]:
    """What :mod:`calibration_scores` needs of (M, L, *grid) members: thirds of this forecast and fields of all."""
    flat = members.reshape(*members.shape[:2], -1)
    if len(flat) < LEAST:
        return {}
    real = truth.reshape(len(truth), -1)
    weights = np.where(np.isnan(real), 0.0, area.reshape(-1)).astype(np.float32)
    halves = half_variances(flat).astype(np.float32)
    error = np.nan_to_num((flat.mean(0) - real) ** 2).astype(np.float32)
    variance, square = thirds(halves, error, weights)
    kept = {"first": halves[0], "second": halves[1], "error": error, "known": weights}
    return kept | {"third_variance": variance, "third_error": square}
