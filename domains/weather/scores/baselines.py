"""Forecasts that need no model: what every other forecast is measured against.

Each gives a lazy forecast (number, time, prediction_timedelta, *grid), one block for each initial time, that
:func:`~refine.domains.weather.scores.scores.score_forecast` and the pictures take like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refine.domains.weather.ensembles.initial_times import shifted
from refine.domains.weather.fields import checks
from refine.domains.weather.scores.climatology import YEAR, Climatology, bands, hours_of, nearest
from refine.domains.weather.scores.verification import LEAD, NUMBER, TIME, Matched, reader, valid_times
from refine.domains.weather.sphere.grids import Grid
from refine.errors import require

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]
Leads = Sequence[np.timedelta64] | Array

MEMBERS = 50
NEAR = 15  # days of the year from which probabilistic climatology draws, on either side
NEAR_CHANGES = 30  # days of the year from which dressed persistence draws
LEAST = 4  # times near in the year that an hour of the day needs, to be drawn from alone


def persistence(truth: xr.Dataset, times: Array, leads: Leads) -> xr.Dataset:
    """The initial field at every lead."""
    rows, read = _rows(truth, times), reader(truth)

    def draw(channel: str, i: int) -> Array:
        field = read(channel, rows[i])
        return np.broadcast_to(field, (1, len(leads), *field.shape))

    return _lazy(truth, times, leads, 1, draw)


def climatology_forecast(truth: xr.Dataset, climatology: Climatology, times: Array, leads: Leads) -> xr.Dataset:
    """The climatological mean of the valid time."""
    return _lazy(truth, times, leads, 1, lambda channel, i: _usual(climatology, channel, times[i], leads)[None])


@dataclass(frozen=True)
class Damping:
    """How much of an anomaly is left after some time, cell by cell, by regression over training years.

    Attributes:
        kept: (L, *grid) slope by channel.
        deviation: (L, *grid) root mean square of what the regression leaves, by channel.
    """

    kept: dict[str, Array]
    deviation: dict[str, Array]

    @classmethod
    def fit(cls, train: xr.Dataset, climatology: Climatology, leads: Leads) -> Damping:
        """Over all pairs of training times that far apart within one run.

        Raises:
            RefineError: no training times are that far apart.
        """
        earlier = [checks.predecessors(train, lead) for lead in leads]
        for lead, before in zip(leads, earlier, strict=True):
            require(bool((before >= 0).any()), f"no two training times are {lead} apart")
        kept: dict[str, Array] = {}
        deviation: dict[str, Array] = {}
        for name in climatology.coefficients:
            parts: list[tuple[Array, Array]] = []
            for rows, x in bands(train[name]):
                parts.append(_regressed(x - climatology.mean(name, train[TIME], rows), earlier))
            kept[name], deviation[name] = (np.concatenate(v, axis=1) for v in zip(*parts, strict=True))
        return cls(kept, deviation)


def damped_persistence(
    truth: xr.Dataset, climatology: Climatology, damping: Damping, times: Array, leads: Leads
) -> xr.Dataset:
    """Climatology and the share of today's anomaly that is left; ``leads`` are those of ``damping``."""
    rows, read = _rows(truth, times), reader(truth)

    def draw(channel: str, i: int) -> Array:
        now = valid_times(times[i : i + 1], [np.timedelta64(0, "s")])
        anomaly = read(channel, rows[i]) - climatology.mean(channel, now)[0]
        field: Array = _usual(climatology, channel, times[i], leads) + damping.kept[channel] * anomaly
        return field[None]

    return _lazy(truth, times, leads, 1, draw)


def gaussian_crps(forecast: xr.Dataset, damping: Damping, truth: xr.Dataset) -> dict[str, Array]:
    """(T, L) CRPS by channel of normal laws about a forecast of one member, with the deviations of ``damping``."""
    import xarray as xr
    from xskillscore import crps_gaussian

    matched = Matched.of(forecast, truth)
    dims = list(matched.grid.dims)
    area = xr.DataArray(matched.grid.area, dims=dims)
    out: dict[str, Array] = {}
    for name in matched.channels:
        out[name] = np.full(matched.rows.shape, np.nan)
        for times, members, real, _ in matched.read(name, slice(0, matched.rows.shape[1])):
            known, mean = real.notnull() * area, members.isel({NUMBER: 0})
            deviation = np.tile(damping.deviation[name], (times.stop - times.start, *[1] * len(dims)))
            score = crps_gaussian(real, mean, mean.copy(data=deviation), dim=[]).fillna(0.0)
            found = (score * known).sum(dims) / known.sum(dims)
            out[name][times] = found.values.reshape(-1, matched.rows.shape[1])
    return out


def probabilistic_climatology(
    train: xr.Dataset, times: Array, leads: Leads, members: int = MEMBERS, seed: int = 0
) -> xr.Dataset:
    """Training fields of the season and the hour of the valid time, drawn without a second use; all channels of one
    time."""
    drawn = np.zeros((len(times), members, len(leads)), dtype=int)
    for i, start in enumerate(times):
        for k, lead in enumerate(leads):
            near = _near(train[TIME], shifted(start, lead), NEAR)
            drawn[i, :, k] = _choose(near, members, seed, i, k)
    read = reader(train)
    return _lazy(train, times, leads, members, lambda channel, i: read(channel, drawn[i]))


def dressed_persistence(
    truth: xr.Dataset, train: xr.Dataset, times: Array, leads: Leads, members: int = MEMBERS, seed: int = 0
) -> xr.Dataset:
    """The initial field and changes over the lead that training years saw in this season, from this hour on."""
    rows, read = _rows(truth, times), reader(truth)
    seen = reader(train)
    drawn = np.zeros((2, len(times), members, len(leads)), dtype=int)  # later and earlier day
    for k, lead in enumerate(leads):
        before = checks.predecessors(train, lead)
        later = np.flatnonzero(before >= 0)
        for i, start in enumerate(times):
            near = later[_near(train[TIME][before[later]], start, NEAR_CHANGES)]
            chosen = _choose(near, members, seed, i, k)
            drawn[:, i, :, k] = chosen, before[chosen]

    def draw(channel: str, i: int) -> Array:
        changed: Array = read(channel, rows[i]) + seen(channel, drawn[0, i]) - seen(channel, drawn[1, i])
        return changed

    return _lazy(truth, times, leads, members, draw)


def _lazy(like: xr.Dataset, times: Array, leads: Leads, members: int, draw: Callable[[str, int], Array]) -> xr.Dataset:
    """A forecast of the channels of ``like``; ``draw`` gives (M, L, *grid) of a channel and an initial time."""
    import dask.array as da
    import xarray as xr
    from dask.delayed import delayed

    grid = Grid.of(like)
    shape = (members, len(leads), *grid.shape)
    dims = (NUMBER, TIME, LEAD, *grid.dims)
    later = delayed(lambda channel, i: draw(channel, i).astype(np.float32), pure=False)
    out: dict[str, Any] = {}
    for name in map(str, like.data_vars):
        drawn = [later(name, i) for i in range(len(times))]
        parts = [da.from_delayed(d, shape, np.float32) for d in drawn]  # type: ignore[no-untyped-call]
        joined = da.stack(parts, axis=1)  # type: ignore[no-untyped-call]
        out[name] = (dims, joined, {"units": like[name].attrs.get("units", "")})
    axes = {NUMBER: np.arange(members), TIME: times, LEAD: np.asarray(leads)}
    return xr.Dataset(out, axes | {d: like[d] for d in grid.dims if d in like.coords})


def _rows(truth: xr.Dataset, times: Array) -> Array:
    """Places of initial times; -1 where there is none, whose field is NaN then."""
    rows: Array = truth.get_index(TIME).get_indexer(times)
    return rows


def _usual(climatology: Climatology, channel: str, start: Any, leads: Leads) -> Array:
    return climatology.mean(channel, valid_times([start], leads))


def _near(times: xr.DataArray, when: Any, window: int) -> Array:
    """Places of the times that are near one in the year, and have its hour of the day, or the nearest that is there."""
    import xarray as xr

    one = xr.DataArray(np.array([when]), dims=TIME)
    apart = np.abs(times.dt.dayofyear.values - one.dt.dayofyear.values)
    near = np.flatnonzero(np.minimum(apart, YEAR - apart) <= window)
    require(len(near) > 0, f"no training time is within {window} days of the season of {when}")
    hours = hours_of(times[near], LEAST)
    found: Array = near[nearest(times[near], hours) == nearest(one, hours)]
    return found


def _choose(near: Array, members: int, seed: int, *place: int) -> Array:
    rng = np.random.default_rng((seed, *place))
    return rng.choice(near, members, replace=len(near) < members)


def _regressed(anomaly: Array, earlier: Sequence[Array]) -> tuple[Array, Array]:
    """(L, ...) slope and residual deviation of (T, ...) anomalies on those at earlier places."""
    kept, deviation = [], []
    for before in earlier:
        later = np.flatnonzero(before >= 0)
        x, y = anomaly[before[later]], anomaly[later]
        slope = np.einsum("t...,t...->...", x, y) / np.maximum(np.einsum("t...,t...->...", x, x), 1e-30)
        rest = y - slope * x
        kept.append(slope)
        deviation.append(np.sqrt(np.einsum("t...,t...->...", rest, rest) / len(later)))
    return np.stack(kept), np.stack(deviation)
