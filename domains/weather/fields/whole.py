"""Times that can be learned from: those of which no channel misses a value, or has one that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.fields import checks
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
    good, found = np.ones(ds.sizes["time"], dtype=bool), dict[str, _Bad]()
    for start, stop in track(list(blocks(ds, BLOCK_BYTES)), "Looking for missing values"):
        part = checks.load(ds.isel(time=slice(start, stop)), where)
        for name, field in part.items():
            low, high, missing = checks.extremes(field)
            bad = (missing > 0) | ~checks.possible(str(name), low, high)
            good[start:stop] &= ~bad
            if bad.any():
                found.setdefault(str(name), _Bad()).add(field, missing, low[bad], high[bad])
    if not found:
        return ds
    name, first = next(iter(found.items()))
    if not good.any():
        if first.missing:
            raise RefineError(checks.missing_text(name, where, first.missing, ds[name].size, first.first))
        checks.within(name, first.low, first.high, where)
    why = f"{name} has values from {first.low:g} to {first.high:g}"
    if first.missing:
        why = f"{name} misses {first.missing} values, the first at {first.first}"
    others = f", and so do {len(found) - 1} other channels" if len(found) > 1 else ""
    count = f"{int((~good).sum())} of {len(good)} times are left out"
    warn(f"{what}: {count}: {why}{others} ({where})")
    return ds.isel(time=np.flatnonzero(good))


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
class _Bad:
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
