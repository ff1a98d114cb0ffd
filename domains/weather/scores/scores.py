"""Scores of ensemble forecasts by channel and lead, with intervals over initial times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refine.domains.weather.ensembles.initial_times import hours, stamps
from refine.domains.weather.scores import bootstrap, measures
from refine.domains.weather.scores.calibration_scores import LEAST, flow_thirds
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.comparison import plain, scored
from refine.domains.weather.scores.verification import (
    INCOMPLETE,
    LEAD,
    NO_TRUTH,
    NUMBER,
    TIME,
    USED,
    Matched,
    duration,
    valid_times,
)
from refine.errors import RefineError
from refine.progress import track

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]

PARTS = ("brier", "ranks", "spectra", "calibration", "energy")
TOP = 25  # zonal wavenumber up to which spectra are judged
PLAIN: dict[str, tuple[Callable[..., Array], tuple[str, ...]]] = {
    "crps": (bootstrap.mean, ("crps",)),
    "rmse": (bootstrap.root, ("mse",)),
    "mae": (bootstrap.mean, ("mae",)),
    "acc": (bootstrap.mean, ("acc",)),
    "bias": (bootstrap.mean, ("bias",)),
    "spread": (bootstrap.root, ("variance",)),
    "member_rmse": (bootstrap.root, ("member_mse",)),
    "energy": (bootstrap.mean, ("energy",)),
}
FIELDS = ("first", "second", "error", "known")  # of measures.conditional, kept of all initial times
KEPT = ("crps", "mse", "variance", "energy")  # by initial time, so that forecasts can be compared in pairs


def score_forecast(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    climatology: Climatology,
    leads: Sequence[np.timedelta64] | None = None,
    channels: Sequence[str] | None = None,
    floors: Mapping[str, float] | None = None,
    parts: Collection[str] = PARTS,
) -> dict[str, Any]:
    """All scores as plain data that json takes.

    Every score is ``{"value": [...], "low": [...], "high": [...]}`` by lead, the latter two a 95 % bootstrap interval
    over initial times. Means over the globe are weighted by area. ``None`` stands for what cannot be said.

    ==================  ==============================================================================================
    ``leads``           as ``1d``; ``lead_hours`` as numbers; ``verified`` counts initial times with a truth, by lead,
                        of the channel that has the fewest
    ``initial_times``   as ``2021-02-26T00:00``
    ``members``         M
    ``variables``       by channel: ``units``, ``floor`` (relative error that quantisation alone makes) and the scores
                        ``crps`` (fair), ``rmse`` (of the ensemble mean), ``mae``, ``acc``, ``bias``, ``spread``
                        (ddof 1), ``spread_skill`` (sqrt((M + 1) / M) spread / rmse), ``member_rmse``, ``energy``
    ``.. left_out``     [lead] initial times that do not count: for want of a ``truth`` that can be, or because the
                        ``forecast`` misses values that truth has
    ``.. brier``        by name of the event, ``p90``: more than the 90th percentile of climatological anomalies
    ``.. ranks``        [lead][M + 1] shares of the rank of truth
    ``.. spectra``      ``wavenumber`` [K]; zonal power ``truth``, ``members``, ``mean`` [lead][K]; ``ratio`` of members
                        to truth with its interval; ``worst`` [lead] deviation of it from 1 for wavenumbers 1..25
    ``.. calibration``  ``thirds`` of the globe, least to largest predicted variance: ``spread``, ``error`` [lead][3],
                        their ``ratio`` with its interval; ``flow``: thirds of the initial times at each cell
    ``joint``           ``energy`` of all channels in climatological standard deviations (``scale`` by channel)
    ``by_time``         score, then channel (``joint``, too), [initial time][lead]; what ``compare`` reads
    ==================  ==============================================================================================

    Memory is bounded: one channel and one initial time is read at a time, some leads of it where fields are large.

    Args:
        forecast: variables (number, time, prediction_timedelta, *grid), one for each channel, lazy.
        truth: variables (time, *grid), lazy.
        climatology: of the training years.
        leads: which to score, all by default.
        channels: which to score; by default those of both data sets.
        floors: relative quantisation error by channel.
        parts: what is wanted beside the scores of cells, of :data:`PARTS`.

    Raises:
        RefineError: grids differ, or nothing can be verified, of one channel at least.
    """
    matched = Matched.of(forecast, truth, leads)
    names = [n for n in matched.channels if channels is None or n in channels]
    times, steps = matched.rows.shape
    members = forecast.sizes[NUMBER]
    joint = [np.zeros((times, steps, members)), np.zeros((times, steps, members, members))]
    out: dict[str, Any] = {}
    kept: dict[str, dict[str, Any]] = {name: {} for name in KEPT}
    verified = (matched.rows >= 0).sum(0)
    scale = {n: climatology.scale(n, matched.grid.area) for n in names}
    for name in track(names, "Scoring"):
        rows, flow, done = _channel(matched, name, climatology, parts)
        if "energy" in parts:
            joint[0] += rows["from_truth"] / scale[name] ** 2 / len(names)
            joint[1] += rows["between"] / scale[name] ** 2 / len(names)
            rows["energy"] = measures.energy(rows.pop("from_truth"), rows.pop("between"))
        units = str(truth[name].attrs.get("units", ""))
        there = matched.rows >= 0
        lost = {"truth": (done == NO_TRUTH) & there, "forecast": done == INCOMPLETE}
        about = {
            "units": units,
            "floor": (floors or {}).get(name),
            "left_out": {key: [int(n) for n in lost[key].sum(0)] for key in lost},
        }
        out[name] = about | _summary(rows, flow, members, climatology)
        verified = np.minimum(verified, (done == USED).sum(0))
        for score in KEPT:
            if score in rows:
                kept[score][name] = plain(rows[score])
    together: dict[str, Any] = {"scale": plain(scale)}
    if "energy" in parts:
        total = measures.energy(*joint)
        together["energy"] = scored(bootstrap.mean, total)
        kept["energy"]["joint"] = plain(total)
    durations = matched.forecast[LEAD].values
    return {
        "members": members,
        "grid": matched.grid.name,
        "leads": [duration(v) for v in durations],
        "lead_hours": [hours(v) for v in durations],
        "verified": [int(n) for n in verified],
        "initial_times": stamps(forecast[TIME].values),
        "interval": {"level": bootstrap.LEVEL, "resamples": bootstrap.RESAMPLES, "over": "initial times"},
        "variables": out,
        "joint": together,
        "by_time": kept,
    }


def _channel(
    matched: Matched, name: str, climatology: Climatology, parts: Collection[str]
) -> tuple[dict[str, Array], tuple[Array, Array] | None, Array]:
    """Rows (T, L, ...) of each measure, NaN where there is no truth; (L, 3) thirds over time; and what was done with
    each forecast (T, L), as :meth:`Matched.read` has it."""
    import xarray as xr

    forecast, rows = matched.forecast, dict[str, Array]()
    flows: list[tuple[Array, Array]] = []
    area = xr.DataArray(matched.grid.area, dims=matched.grid.dims)
    done = np.zeros(matched.rows.shape, dtype=int)
    for block in matched.blocks():
        fields: dict[str, list[Array]] = {}
        for times, members, truth, what in matched.read(name, block):
            done[times, block] = what
            count, length = times.stop - times.start, block.stop - block.start
            when = valid_times(forecast[TIME].values[times], forecast[LEAD].values[block])
            for key, value in _measure(members, truth, climatology, name, when, area, parts).items():
                each = value.reshape(count, length, *value.shape[1:])
                if key in FIELDS:
                    fields.setdefault(key, []).append(each)
                else:
                    blank = np.full((*matched.rows.shape, *value.shape[1:]), np.nan)
                    rows.setdefault(key, blank)[times, block] = each
        if fields and len(matched.rows) > 2:
            flows.append(flow_thirds(*(np.concatenate(fields[part]) for part in FIELDS)))
    if not (done == USED).any():
        first = stamps(forecast[TIME].values)[int((done == INCOMPLETE).any(1).argmax())]
        missing = f"the forecast of {first} misses values that truth has" if (done == INCOMPLETE).any() else ""
        raise RefineError(f"{name}: nothing can be scored; {missing or 'truth has no values that can be'}")
    rows = {key: _of_used(value, done) for key, value in rows.items()}
    if not flows:
        return rows, None, done
    variance, square = (np.concatenate(part) for part in zip(*flows, strict=True))
    return rows, (variance, square), done


def _of_used(value: Array, done: Array) -> Array:
    return np.where((done == USED).reshape(*done.shape, *[1] * (value.ndim - 2)), value, np.nan)


def _measure(
    members: xr.DataArray,
    truth: xr.DataArray,
    climatology: Climatology,
    name: str,
    when: xr.DataArray,
    area: xr.DataArray,
    parts: Collection[str],
) -> dict[str, Array]:
    """All measures (L, ...) of one channel of one forecast, and fields for the thirds over time."""
    usual = climatology.mean(name, when)
    found = measures.plain_scores(members, truth, usual, area)
    m, y = members.values, truth.values
    from_truth, between = measures.distances(m, y, area.values)
    found["member_mse"] = from_truth.mean(1)
    if "energy" in parts:
        found |= {"from_truth": from_truth, "between": between}
    if "brier" in parts:
        found["brier"] = measures.briers(members, truth, [usual + q for q in climatology.thresholds(name, when)], area)
    if "ranks" in parts and len(m) > 1:
        found["ranks"] = measures.ranks(members, truth, area)
    if "spectra" in parts and m.ndim == 4:
        power = measures.spectra(m, y, area.values[:, 0])
        found |= {f"power_{key}": value for key, value in power.items()}
    if "calibration" in parts and len(m) >= LEAST:
        found |= measures.conditional(m, y, area.values)
    return found


def _summary(
    rows: dict[str, Array], flow: tuple[Array, Array] | None, members: int, climatology: Climatology
) -> dict[str, Any]:
    """Rows of initial times as scores with intervals."""
    out: dict[str, Any] = {}
    for score, (statistic, needed) in PLAIN.items():
        if all(key in rows for key in needed):
            out[score] = scored(statistic, *(rows[key] for key in needed))
    fair = (members + 1) / members
    out["spread_skill"] = scored(bootstrap.root_ratio, fair * rows["variance"], rows["mse"])
    if "brier" in rows:
        names = [f"p{100 * q:g}" for q in climatology.levels]
        out["brier"] = {q: scored(bootstrap.mean, rows["brier"][..., i]) for i, q in enumerate(names)}
    if "ranks" in rows:
        out["ranks"] = plain(bootstrap.mean(rows["ranks"]))
    if "power_truth" in rows:
        out["spectra"] = _spectra({key: rows[f"power_{key}"] for key in ("truth", "members", "mean")})
    if "third_error" in rows:
        variance, error = fair * rows["third_variance"], rows["third_error"]
        means = {"spread": bootstrap.root(variance), "error": bootstrap.root(error)}
        out["calibration"] = {"thirds": plain(means) | {"ratio": scored(bootstrap.root_ratio, variance, error)}}
        if flow is not None:
            spread, wrong = np.sqrt(fair * flow[0]), np.sqrt(flow[1])
            out["calibration"]["flow"] = plain({"spread": spread, "error": wrong, "ratio": spread / wrong})
    return out


def _spectra(power: dict[str, Array]) -> dict[str, Any]:
    ratio = scored(bootstrap.ratio, power["members"], power["truth"])
    found = bootstrap.ratio(power["members"], power["truth"])[:, 1 : TOP + 1]
    means = {key: bootstrap.mean(value) for key, value in power.items()}
    numbers = list(range(power["truth"].shape[-1]))
    found_means: dict[str, Any] = plain(means)
    return {"wavenumber": numbers} | found_means | {"ratio": ratio, "worst": plain(np.abs(found - 1).max(-1))}
