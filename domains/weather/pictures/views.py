"""A channel of a forecast from one initial time, as pictures read it: lead by lead, in the unit that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.pictures.looks import Array, Look, look_of

if TYPE_CHECKING:
    import xarray as xr

SHORT = 3.0  # days: shorter forecasts are told in hours
DAY = np.timedelta64(1, "D")


class View:
    """Nothing is read before it is asked for, and then one lead or one place at a time.

    Args:
        forecast: (number, prediction_timedelta, space) with a scalar ``time``, in any order, or more initial times of
            which none is asked for.
        truth: the canonical dataset of what came to be, on the same grid; None where it is not known.
    """

    def __init__(self, forecast: xr.DataArray, truth: xr.Dataset | None = None) -> None:
        self.space = space_of(forecast)
        self.forecast = forecast.transpose("number", "prediction_timedelta", *self.space)
        self.name = str(forecast.name)
        self.look: Look = look_of(self.name, str(forecast.attrs.get("units", "")))
        self.numbers: list[int] = forecast["number"].values.tolist()
        self.start: Any = forecast["time"].values[()]
        self.deltas: Any = forecast["prediction_timedelta"].values
        self.truth = None
        if truth is not None and self.name in truth:
            self.truth = truth[self.name].transpose("time", *self.space)

    @property
    def days(self) -> Array:
        """(L,) leads in days."""
        return np.asarray(self.deltas / DAY, dtype=np.float64)

    @property
    def axis(self) -> tuple[str, Array]:
        """Hours of a short forecast, else days, and the leads in them."""
        return ("hours", self.days * 24) if self.days[-1] < SHORT else ("days", self.days)

    def near(self, days: Sequence[float]) -> list[int]:
        """The leads nearest to ``days``, none twice, in order; of a short forecast as many from first to last."""
        if len(days) > 1 and self.days[-1] < SHORT:
            spaced = np.linspace(0, len(self.days) - 1, min(len(days), len(self.days)))
            return [int(lead) for lead in spaced.round()]
        return sorted({int(abs(self.days - day).argmin()) for day in days})

    def members(self, lead: int) -> Array:
        """(M, *grid) what the members say."""
        return self.look.drawn(self.forecast.isel(prediction_timedelta=lead).values)

    def actual(self, lead: int) -> Array | None:
        """(*grid) what came to be, None where it is not known."""
        at = self._verifying[lead]
        return None if self.truth is None or at < 0 else self.look.drawn(self.truth.isel(time=at).values)

    def members_at(self, cell: int) -> Array:
        """(M, L) what the members say of one cell."""
        return self.look.drawn(self.forecast.isel(self._where(cell)).values)

    def actual_at(self, cell: int) -> Array:
        """(L,) what came to be in one cell, NaN where it is not known."""
        found = np.full(len(self.deltas), np.nan)
        if self.truth is not None and (self._verifying >= 0).any():
            seen = self._verifying >= 0
            found[seen] = self.look.drawn(self.truth.isel({"time": self._verifying[seen]} | self._where(cell)).values)
        return found

    def lead_name(self, lead: int) -> str:
        """``day 5`` or ``hour 18``, and when that is."""
        hours = float(self.deltas[lead] / np.timedelta64(1, "h"))
        name = f"day {hours / 24:g}" if hours % 24 == 0 else f"hour {hours:g}"
        return f"{name} ({when(valid_time(self.start, self.deltas[lead]))})"

    @cached_property
    def _verifying(self) -> Any:
        """(L,) where in the truth each valid time is, -1 where it is not."""
        if self.truth is None:
            return np.full(len(self.deltas), -1)
        return self.truth.indexes["time"].get_indexer([valid_time(self.start, delta) for delta in self.deltas])

    def _where(self, cell: int) -> dict[str, Any]:
        shape = [self.forecast.sizes[d] for d in self.space]
        return dict(zip(self.space, (int(i) for i in np.unravel_index(cell, shape)), strict=True))


def space_of(field: xr.DataArray) -> tuple[str, ...]:
    """The dimensions of a field's grid."""
    return ("cell",) if "cell" in field.dims else ("latitude", "longitude")


def valid_time(start: Any, delta: Any) -> Any:
    """Initial time plus lead, in any calendar."""
    return start + (delta if isinstance(start, np.datetime64) else delta.astype("timedelta64[s]").item())


def when(time: Any) -> str:
    """A time of any calendar as ``2021-02-26 00 UTC``."""
    text = str(time.astype("datetime64[m]")).replace("T", " ") if isinstance(time, np.datetime64) else str(time)[:16]
    return f"{text.removesuffix(':00')} UTC"
