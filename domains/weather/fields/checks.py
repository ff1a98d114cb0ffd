"""Is it usable? Times in order, values that can be, nothing missing: else one clear message, never a silent zero."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.fields.names import describe
from refine.domains.weather.fields.units import accepted, suspected
from refine.errors import RefineError, require, shown
from refine.progress import warn

if TYPE_CHECKING:
    import xarray as xr


def times(ds: xr.Dataset, where: str) -> None:
    """Raise RefineError unless times are dates, unique and ascending."""
    values = ds["time"].to_numpy()
    require(len(values) > 0, f"{where}: there are no times")
    dates = values.dtype.kind == "M" or hasattr(values[0], "timetuple")
    message = f"{where}: time begins with {values[0]!r}; accepted: dates, as of units='hours since 2000-01-01'"
    require(bool(dates), message)
    absent = int(np.isnat(values).sum()) if values.dtype.kind == "M" else 0
    require(absent == 0, f"{where}: {absent} of {len(values)} times are missing")
    back = np.flatnonzero(values[1:] <= values[:-1])
    if not len(back):
        return
    i = int(back[0])
    if len(np.unique(values)) < len(values):
        ordered = np.sort(values)
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        message = f"times that are there more than once: {len(again)}, first {_plain(again[0])}"
    else:
        later = f"{_plain(values[i + 1])} comes after {_plain(values[i])}"
        message = f"times are not sorted: {later} ({len(back)} such places)"
    raise RefineError(f"{where}: {message}; accepted: each time once, ascending")


def _plain(value: object) -> str:
    """A time as text, without nanoseconds."""
    return str(np.datetime_as_string(value, "s") if isinstance(value, np.datetime64) else value)


def marks(name: str, values: NDArray[Any], where: str) -> NDArray[Any]:
    """``split`` or ``branch`` of each time. A time without ``branch`` is in no run, which is said; runs that texts name
    become numbers then. (T,)

    Raises:
        RefineError: numbers at some times and texts at others.
    """
    missing = np.array([value is None or value != value or value == "" for value in values.tolist()], dtype=bool)
    texts = np.array([isinstance(value, str) for value in values.tolist()], dtype=bool)
    both = f"{where}: {name} is a number at some times and a text at others, like {shown(values[texts][:1].tolist())}"
    require(not (texts & ~missing).any() or bool(texts[~missing].all()), f"{both}; accepted: one or the other")
    in_no_run = name == "branch" and bool(missing.any())
    if in_no_run:
        warn(f"{where}: branch is missing at {missing.sum()} of {len(values)} times, which are paired with none")
    if not texts.any():
        return values
    named = np.array(["" if absent else value for value, absent in zip(values.tolist(), missing, strict=True)])
    return np.where(missing, np.nan, np.unique(named, return_inverse=True)[1]) if in_no_run else named


def predecessors(ds: xr.Dataset, step: np.timedelta64) -> NDArray[np.int64]:
    """The index of the time one ``step`` before each time, in the same branch; -1 where there is none. (T,)

    A gap in time, or a change of the coordinate ``branch`` (another run of a model), has no predecessor.
    """
    index = ds.get_index("time")
    if not len(index):
        return np.zeros(0, dtype=np.int64)
    before = index - datetime.timedelta(seconds=int(step / np.timedelta64(1, "s")))
    found = np.asarray(index.get_indexer(before), dtype=np.int64)
    if "branch" in ds.coords:
        branch = ds["branch"].to_numpy()
        found = np.where((found >= 0) & (branch[found] == branch), found, -1)
    return found


def consecutive(ds: xr.Dataset, step: np.timedelta64) -> NDArray[np.bool_]:
    """Whether each time has its predecessor one ``step`` before, in the same branch. (T,) bool"""
    return predecessors(ds, step) >= 0


def sample(ds: xr.Dataset, where: str) -> None:
    """Look at the first, the middle and the last time, which is all that opening a source reads of its fields: one of
    them at least has to have values that can be. Times of which some are missing may be left out later
    (:mod:`refine.domains.weather.fields.whole`).

    Raises:
        RefineError: unreadable, or values that cannot be in the units of their channel.
    """
    places = sorted({0, ds.sizes["time"] // 2, ds.sizes["time"] - 1})
    for name, field in load(ds.isel(time=places), where).items():
        low, high, _ = extremes(field)
        there = low <= high
        if there.any() and not (there & possible(str(name), low, high)).any():
            within(str(name), float(low.min()), float(high.max()), where)


def extremes(field: xr.DataArray) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Of a field (time, \\*place) in memory: the lowest and highest finite value of each time, infinity and its
    negative where there is none; and how many are missing or infinite. (T,) each"""
    x = field.to_numpy().reshape(field.shape[0], -1)
    finite = np.isfinite(x)
    low = np.min(x, axis=1, where=finite, initial=np.inf).astype(np.float64)
    high = np.max(x, axis=1, where=finite, initial=-np.inf).astype(np.float64)
    return low, high, np.asarray((~finite).sum(1))


def load(ds: xr.Dataset, where: str) -> xr.Dataset:
    """The dataset in memory.

    Raises:
        RefineError: it cannot be read, as where a file has been cut off.
    """
    try:
        return ds.compute()
    except Exception as error:  # whatever the format, the file system or the network has against it
        raise unreadable(where, error) from error


def unreadable(where: str, error: Exception) -> RefineError:
    """The error for data that could be opened and not read."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RefineError(f"{where}: the fields cannot be read ({first}); is the source truncated, or damaged?")


def values(field: xr.DataArray, where: str) -> None:
    """Look at a field in memory.

    Raises:
        RefineError: missing values (how many, the first), or values outside of what the variable can show in its units.
    """
    data = field.to_numpy()
    absent = int(data.size - np.isfinite(data).sum())
    if absent:
        raise RefineError(missing_text(str(field.name), where, absent, data.size, first_missing(field)))
    if data.size:
        within(str(field.name), float(data.min()), float(data.max()), where)


def first_missing(field: xr.DataArray) -> str:
    """Where a field in memory has its first missing value."""
    first = np.argwhere(~np.isfinite(field.to_numpy()))[0]
    return ", ".join(f"{d} {_plain(field[d].to_numpy()[i])}" for d, i in zip(field.dims, first, strict=True))


def missing_text(channel: str, where: str, count: int, size: int, first: str) -> str:
    """The message for a channel with ``count`` missing values of ``size``."""
    share = f"{count} of {size} values are missing ({count / size:.2g})"
    hint = "leave the channel out, or fill them first"
    return f"{where}: {channel}: {share}, the first at {first}; accepted: none ({hint})"


def possible(channel: str, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether values between these can be those of a channel, in its units; so can none at all."""
    least, most = describe(channel).range
    return np.asarray((low > high) | ((low >= least) & (high <= most)))


def within(channel: str, low: float, high: float, where: str) -> None:
    """Raise RefineError where a channel's values, from ``low`` to ``high``, cannot be in its units."""
    variable = describe(channel)
    least, most = variable.range
    if least <= low and high <= most:
        return
    others = " or ".join(suspected(variable, low, high))
    looks = f" (they look like {others})" if others else ""
    units = ", ".join(accepted(variable))
    raise RefineError(
        f"{where}: {channel} has values {low:g}..{high:g}, which cannot be {variable.units}{looks}; accepted: "
        f"{least:g}..{most:g} {variable.units}; put right the attribute units (understood: {units}) or the values"
    )
