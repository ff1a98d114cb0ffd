"""Which truth belongs to which forecast: fields of both, one channel and one initial time after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refine.domains.weather.grids import Grid
from refine.domains.weather.initial_times import hours, shifted, stamps
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
    """

    forecast: xr.Dataset
    truth: xr.Dataset
    grid: Grid
    rows: Array

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
        times = np.array([[shifted(t, lead) for lead in forecast[LEAD].values] for t in forecast[TIME].values])
        rows = truth.indexes[TIME].get_indexer(times.reshape(-1)).reshape(times.shape)
        first, last = (stamps(forecast[TIME].values)[i] for i in (0, -1))
        begin, end = (stamps(truth[TIME].values)[i] for i in (0, -1))
        message = f"forecasts of {first}..{last} cannot be verified: no valid time is in the truth ({begin}..{end})"
        require(bool((rows >= 0).any()), message)
        return cls(forecast, truth, ours, rows)

    @property
    def channels(self) -> list[str]:
        """Channels that both have."""
        return [str(name) for name in self.forecast.data_vars if name in self.truth.data_vars]

    def blocks(self) -> list[slice]:
        """Leads to read at a time."""
        return lead_blocks(self.grid, self.rows.shape[1], max(self.forecast.sizes[NUMBER], 3 * len(self.rows)))

    def times(self, index: int, leads: slice) -> Any:
        """(l,) valid times of one initial time."""
        start = self.forecast[TIME].values[index]
        return np.array([shifted(start, lead) for lead in self.forecast[LEAD].values[leads]])

    def read(self, channel: str, leads: slice) -> Iterator[tuple[int, xr.DataArray, xr.DataArray]]:
        """Initial time by initial time: its place, members (M, l, *grid) and truth (l, *grid), float32 in memory.

        Truth is NaN where there is none.

        Raises:
            RefineError: the forecast has missing values where truth has none.
        """
        truth = reader(self.truth)
        for i, rows in enumerate(self.rows[:, leads]):
            if (rows < 0).all():
                continue
            members = read_members(self.forecast[channel], self.grid, i, leads)
            real = np.full((len(rows), *self.grid.shape), np.nan, np.float32)
            real[rows >= 0] = truth(channel, rows[rows >= 0])
            array = members.isel({NUMBER: 0}).copy(data=real)
            missing = int((members.isnull() & array.notnull()).sum())
            if missing:
                when = stamps(self.forecast[TIME].values[i : i + 1])[0]
                raise RefineError(
                    f"{channel}: the forecast of {when} has {missing} missing values where truth has none"
                )
            yield i, members, array


def lead_blocks(grid: Grid, leads: int, fields: int) -> list[slice]:
    """Slices of the leads, so that memory does not grow with their number; ``fields`` are held of each."""
    step = min(leads, max(1, HELD // (grid.num_cells * fields)))
    return [slice(start, min(leads, start + step)) for start in range(0, leads, step)]


def read_members(field: xr.DataArray, grid: Grid, index: int, leads: slice) -> xr.DataArray:
    """(M, l, *grid) float32 in memory of one initial time; without coordinates."""
    chosen = field.isel({TIME: index, LEAD: leads}, drop=True).transpose(NUMBER, LEAD, *grid.dims)
    return chosen.astype(np.float32).compute().drop_vars(list(chosen.coords))


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
