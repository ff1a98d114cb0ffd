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
from refine.errors import RefineError, not_accepted, require

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]

NUMBER, TIME, LEAD = "number", "time", "prediction_timedelta"
WHOLE = 32_000_000  # numbers of a channel that are kept in memory
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

    def read(self, channel: str, leads: slice) -> Iterator[tuple[slice, xr.DataArray, xr.DataArray]]:
        """Some initial times after others, as many as are not large: their places, members (M, t * l, *grid) and truth
        (t * l, *grid), float32 in memory, leads of one initial time after those of another.

        Truth is NaN where there is none.

        Raises:
            RefineError: the forecast has missing or infinite values where truth has none.
        """
        for times, members in read_members(self.forecast[channel], self.grid, leads):
            rows = self.rows[times, leads].reshape(-1)
            real = np.full((len(rows), *self.grid.shape), np.nan, np.float32)
            real[rows >= 0] = self.fields(channel, rows[rows >= 0])
            truth = members.isel({NUMBER: 0}).copy(data=real)
            missing = ~(abs(members) < np.inf).all(NUMBER) & truth.notnull()
            lost = missing.values.reshape(times.stop - times.start, -1).sum(1)
            if lost.any():
                first = int(np.flatnonzero(lost)[0])
                when = stamps(self.forecast[TIME].values[times])[first]
                raise RefineError(f"{channel}: the forecast of {when} misses {lost[first]} values that truth has")
            yield times, members, truth


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
    """A function of a channel and places in time: (*places, *grid) float32 values of ``fields`` (time, *grid).

    The last channel asked for stays in memory if it is not large; else what is asked for is read, each time once.
    """

    @lru_cache(maxsize=1)
    def whole(channel: str) -> Array | None:
        field = fields[channel]
        return np.asarray(field.values, np.float32) if field.size <= WHOLE else None

    def read(channel: str, places: Array) -> Array:
        kept = whole(channel)
        if kept is not None:
            return kept[places]
        once, back = np.unique(places, return_inverse=True)
        found: Array = np.asarray(fields[channel].isel({TIME: once}).values, np.float32)
        return found[back.reshape(np.shape(places))]

    return read


def duration(lead: Any) -> str:
    """``5d``, or ``30h`` where it is not whole days."""
    count = hours(lead)
    return f"{count}h" if count % 24 else f"{count // 24}d"
