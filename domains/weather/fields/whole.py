"""Times that can be learned from: those of which no channel misses a value, or has one that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.fields import checks
from refine.domains.weather.fields.names import describe
from refine.errors import RefineError
from refine.progress import track, warn

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]

BLOCK_BYTES = 32 * 2**20  # of fields in memory at a time, about


def whole_times(ds: xr.Dataset, what: str) -> xr.Dataset:
    """The canonical dataset without the times of which a value is missing or cannot be, in any channel.

    All values are read, some chunks at a time. How many times are left out, and the first reason, is said once.

    Args:
        ds: the dataset.
        what: it is, as ``domain.train``, for messages.

    Raises:
        RefineError: unreadable data, or no time is left; names the first channel that is not whole.
    """
    where = str(ds.attrs.get("source", "the data"))
    good, found = looked_at(ds)
    if found and not good.any():
        name, first = next(iter(found.items()))
        if first.missing:
            raise RefineError(checks.missing_text(name, where, first.missing, ds[name].size, first.first))
        checks.within(name, first.low, first.high, where)
    if found:
        warn(f"{what}: {int((~good).sum())} of {len(good)} times are left out: {reason(found)} ({where})")
    return ds.isel(time=np.flatnonzero(good)) if found else ds


def looked_at(ds: xr.Dataset) -> tuple[NDArray[np.bool_], dict[str, Bad]]:
    """Whether each time is whole, (T,), and what is wrong with the channels that are not.

    Raises:
        RefineError: unreadable data.
    """
    good, found = np.ones(ds.sizes["time"], dtype=bool), dict[str, Bad]()
    for start, stop in track(list(blocks(ds, BLOCK_BYTES)), "Looking for missing values"):
        part = checks.load(ds.isel(time=slice(start, stop)), str(ds.attrs.get("source", "the data")))
        for name, field in part.items():
            low, high, missing = checks.extremes(field)
            bad = (missing > 0) | ~checks.possible(str(name), low, high)
            good[start:stop] &= ~bad
            if bad.any():
                found.setdefault(str(name), Bad()).add(field, missing, low[bad], high[bad])
    return good, found


def reason(found: Mapping[str, Bad]) -> str:
    """What is wrong with the first of some channels, and how many others there are."""
    name, first = next(iter(found.items()))
    why = f"{name} has values from {first.low:g} to {first.high:g}"
    if first.missing:
        why = f"{name} misses {first.missing} values, the first at {first.first}"
    return f"{why}, and so do {len(found) - 1} other channels" if len(found) > 1 else why


def possible_only(ds: xr.Dataset) -> xr.Dataset:
    """The canonical dataset with a channel missing at the times at which it has values that cannot be; lazily."""
    found = {}
    for name, field in ds.data_vars.items():
        least, most = describe(str(name)).range
        place = [d for d in field.dims if d != "time"]
        finite = field.where(abs(field) < np.inf)
        good = ~((finite < least) | (finite > most)).any(place)
        found[name] = finite.where(good).assign_attrs(field.attrs)
    return ds.assign(found)


def blocks(ds: xr.Dataset, size: int) -> Iterator[tuple[int, int]]:
    """First and last row of parts of about ``size`` bytes: whole Dask chunks, those of the channel that has the
    longest, as fields on levels often have shorter ones than others."""
    row = ds.nbytes / max(ds.sizes["time"], 1)
    cuts = [field.chunksizes.get("time", (ds.sizes["time"],)) for field in ds.data_vars.values()]
    start = stop = 0
    for chunk in min(cuts, key=len):
        if stop > start and (stop + chunk - start) * row > size:
            yield start, stop
            start = stop
        stop += chunk
    yield start, stop


@dataclass
class Bad:
    """What is wrong with a channel: how much is missing, where first, and what it has where it has values."""

    missing: int = 0
    first: str = ""
    low: float = np.inf
    high: float = -np.inf

    def add(self, field: xr.DataArray, missing: NDArray[np.int64], low: Array, high: Array) -> None:
        if missing.any():
            self.first = self.first or checks.first_missing(field)
            self.missing += int(missing.sum())
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
