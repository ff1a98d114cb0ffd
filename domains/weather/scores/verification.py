"""Which truth belongs to which forecast: fields of both, one channel and one initial time after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refine.domains.weather.ensembles.initial_times import hours, shifted, stamps
from refine.domains.weather.sphere.grids import Grid
from refine.errors import not_accepted, require

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]

NUMBER, TIME, LEAD = "number", "time", "prediction_timedelta"
WHOLE = 32_000_000  # numbers of a channel that are kept in memory
USED, NO_TRUTH, INCOMPLETE = range(3)  # a forecast that is scored, has no truth, or misses values that truth has
HELD = 3_000_000  # numbers of a forecast, or of what is kept of all initial times, held at a time


@dataclass(frozen=True)
class Matched:
    """Forecasts and the truth that they are of.

    Attributes:
        forecast: variables (number, time, prediction_timedelta, *grid), lazy; one for each channel.
        truth: variables (time, *grid), lazy.
        grid: of both.
        rows: (T, L) places in the time of ``truth``; -1 where it does not go that far.
        fields: :func:`reader` of ``truth``.
    """

    forecast: xr.Dataset
    truth: xr.Dataset
    grid: Grid
    rows: Array
    fields: Callable[[str, Array], Array]

    @classmethod
    def of(cls, forecast: xr.Dataset, truth: xr.Dataset, leads: Sequence[np.timedelta64] | None = None) -> Matched:
        """Match by valid time.

        Args:
            leads: which of the forecast's to take, all by default.

        Raises:
            RefineError: the grids differ, a lead is not in the forecast, or no valid time is in the truth.
        """
        if leads is not None:
            there = forecast[LEAD].values
            for lead in leads:
                if lead not in there:
                    raise not_accepted("lead", duration(lead), [duration(v) for v in there])
            forecast = forecast.sel({LEAD: list(leads)})
        ours, real = Grid.of(forecast), Grid.of(truth)
        hint = f"bring the forecast to it first: refine regrid IN OUT --grid {real.name}"
        require(ours == real, f"the forecast is on the grid {ours.name}, the truth on {real.name}; {hint}")
        times = valid_times(forecast[TIME].values, forecast[LEAD].values)
        rows = truth.get_index(TIME).get_indexer(times.values).reshape(forecast.sizes[TIME], -1)
        first, last = (stamps(forecast[TIME].values)[i] for i in (0, -1))
        begin, end = (stamps(truth[TIME].values)[i] for i in (0, -1))
        message = f"forecasts of {first}..{last} cannot be verified: no valid time is in the truth ({begin}..{end})"
        require(bool((rows >= 0).any()), message)
        return cls(forecast, truth, ours, rows, reader(truth))

    @property
    def channels(self) -> list[str]:
        """Channels that both have."""
        return [str(name) for name in self.forecast.data_vars if name in self.truth.data_vars]

    def blocks(self) -> list[slice]:
        """Leads to read at a time."""
        times, leads = self.rows.shape
        return pieces(leads, self.grid.num_cells * max(self.forecast.sizes[NUMBER], 3 * times))

    def read(self, channel: str, leads: slice) -> Iterator[tuple[slice, xr.DataArray, xr.DataArray, Array]]:
        """Some initial times after others, as many as are not large: their places, members (M, t * l, *grid) and truth
        (t * l, *grid), float32 in memory, leads of one initial time after those of another; and what to do with them,
        (t, l), of :data:`USED`, :data:`NO_TRUTH`, :data:`INCOMPLETE`.

        Truth is NaN where there is none. It counts as none where the forecast has missing or infinite values and truth
        has not; all of that lead of that initial time is left out then.
        """
        for times, members in read_members(self.forecast[channel], self.grid, leads):
            rows = self.rows[times, leads].reshape(-1)
            truth = members.isel({NUMBER: 0}).copy(data=self.fields(channel, rows))
            known, finite = truth.notnull(), (abs(members) < np.inf).all(NUMBER)
            whole = (finite | ~known).all(self.grid.dims)
            some = known.any(self.grid.dims)
            what = np.where(some.values, np.where(whole.values, USED, INCOMPLETE), NO_TRUTH)
            if not whole.all():
                members, truth = members.where(whole, 0), truth.where(whole)
            yield times, members, truth, what.reshape(times.stop - times.start, -1)


def pieces(count: int, size: int) -> list[slice]:
    """Slices of ``count`` things of ``size`` numbers each, as long as they may be held at a time."""
    step = min(count, max(1, HELD // size))
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]


def read_members(field: xr.DataArray, grid: Grid, leads: slice) -> Iterator[tuple[slice, xr.DataArray]]:
    """Some initial times after others: their places and (M, t * l, *grid) float32 in memory, without coordinates."""
    import xarray as xr

    each = field.isel({LEAD: leads}).transpose(NUMBER, TIME, LEAD, *grid.dims)
    for times in pieces(each.sizes[TIME], grid.num_cells * each.sizes[NUMBER] * each.sizes[LEAD]):
        values = np.asarray(each[:, times].values, np.float32)
        yield times, xr.DataArray(values.reshape(len(values), -1, *grid.shape), dims=(NUMBER, LEAD, *grid.dims))


def valid_times(starts: Any, leads: Any) -> xr.DataArray:
    """(T * L,) when forecasts are for, initial time by initial time."""
    import xarray as xr

    return xr.DataArray(np.array([shifted(start, lead) for start in starts for lead in leads]), dims=TIME)


def reader(fields: xr.Dataset) -> Callable[[str, Array], Array]:
    """A function of a channel and places in time: (*places, *grid) float32 values of ``fields`` (time, *grid), NaN at
    places below 0.

    The last channel asked for stays in memory if it is not large; else what is asked for is read, each time once.
    """

    @lru_cache(maxsize=1)
    def whole(channel: str) -> Array | None:
        field = fields[channel]
        return np.asarray(field.values, np.float32) if field.size <= WHOLE else None

    def there(channel: str, places: Array) -> Array:
        kept = whole(channel)
        if kept is not None:
            return kept[places]
        once, back = np.unique(places, return_inverse=True)
        found: Array = np.asarray(fields[channel].isel({TIME: once}).values, np.float32)
        return found[back.reshape(np.shape(places))]

    def read(channel: str, places: Array) -> Array:
        absent = np.asarray(places) < 0
        found = there(channel, np.where(absent, 0, places))
        if absent.any():
            found = np.array(found)
            found[absent] = np.nan
        return found

    return read


def duration(lead: Any) -> str:
    """``5d``, or ``30h`` where it is not whole days."""
    count = hours(lead)
    return f"{count}h" if count % 24 else f"{count // 24}d"
