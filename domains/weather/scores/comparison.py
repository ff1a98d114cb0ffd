"""Scores as plain data, and the difference of two forecasts with what is significant of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refine.domains.weather.scores import bootstrap

Array = npt.NDArray[Any]


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The difference of two results of ``score_forecast`` on the initial times, leads and channels that both have.

    Returns:
        ``leads``, ``initial_times`` and, in ``variables`` by channel (``joint``, too) and score (``crps``, ``rmse``,
        ``energy``), by lead: ours minus theirs with the interval of pairs of initial times, ``relative`` to theirs,
        and ``significant`` where the interval leaves zero out. Of fewer than :data:`bootstrap.FEWEST` initial times
        at a lead nothing is: intervals from so few are far too narrow.
    """
    leads = [lead for lead in ours["leads"] if lead in theirs["leads"]]
    times = [time for time in ours["initial_times"] if time in theirs["initial_times"]]
    out: dict[str, Any] = {"leads": leads, "initial_times": times, "variables": {}}
    if not leads or not times:
        return out
    for score, kept, mean in (
        ("crps", "crps", bootstrap.mean),
        ("rmse", "mse", bootstrap.root),
        ("energy", "energy", bootstrap.mean),
    ):
        for name in [n for n in ours["by_time"][kept] if n in theirs["by_time"][kept]]:
            a, b = (_rows(result, kept, name, times, leads) for result in (ours, theirs))
            a, b = np.where(np.isnan(b), b, a), np.where(np.isnan(a), a, b)  # initial times that both have

            def less(x: Array, y: Array, axis: int = 0, mean: bootstrap.Statistic = mean) -> Array:
                return mean(x, axis) - mean(y, axis)

            value, low, high = bootstrap.interval(less, a, b)
            found = {"value": value, "low": low, "high": high, "relative": value / bootstrap.quiet(mean)(b)}
            many = np.isfinite(a - b).sum(0) >= bootstrap.FEWEST
            sure = [bool(n and (lo > 0 or hi < 0)) for n, lo, hi in zip(many, low, high, strict=True)]
            out["variables"].setdefault(name, {})[score] = plain(found) | {"significant": sure}
    return out


def _rows(result: Mapping[str, Any], kept: str, name: str, times: list[str], leads: list[str]) -> Array:
    rows = [result["initial_times"].index(t) for t in times]
    columns = [result["leads"].index(lead) for lead in leads]
    return np.array(result["by_time"][kept][name], dtype=float)[np.ix_(rows, columns)]


def scored(statistic: bootstrap.Statistic, *rows: Array) -> dict[str, Any]:
    """``value``, ``low`` and ``high`` of a statistic of rows (T, ...) of initial times."""
    found = bootstrap.interval(statistic, *rows)
    return {name: plain(part) for name, part in zip(("value", "low", "high"), found, strict=True)}


def plain(value: Any) -> Any:
    """Arrays as lists of numbers with six digits, None where there is none."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return [plain(v) for v in value]
    number = float(value)
    return float(f"{number:.6g}") if np.isfinite(number) else None
