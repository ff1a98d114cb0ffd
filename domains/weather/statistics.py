"""What fields are like on average: area-weighted moments of each channel and of its change, in one pass with Dask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather import checks
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import xarray as xr

    from refine.domains.weather.grids import Grid

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Area-weighted moments, (C,) each in the units of the channel.

    Attributes:
        channels: in the order of the dataset.
        mean: over times and places.
        std: about that mean.
        change: root mean square of X(t) - X(t - step), over times that have their predecessor.
        change_mean: mean of that change.
        times: how many times there are.
        pairs: how many of them have their predecessor.
    """

    channels: tuple[str, ...]
    mean: Array
    std: Array
    change: Array
    change_mean: Array
    times: int
    pairs: int


def streamed(ds: xr.Dataset, grid: Grid, step: np.timedelta64) -> Statistics:
    """The statistics of a canonical dataset; chunks of it are in memory only while they are added up.

    Sums are taken in float64 of deviations from the first field's mean, so that nothing cancels. A pair across a gap or
    between branches does not count.

    Raises:
        RefineError: a missing value anywhere (how many there are, and where the first is), unreadable data, no pairs.
    """
    import dask

    channels = [str(c) for c in ds.data_vars]
    where = str(ds.attrs.get("source", "the data"))
    previous = checks.predecessors(ds, step)
    now = np.flatnonzero(previous >= 0)
    require(len(now) > 0, f"{where}: none of the {len(previous)} times has its predecessor {step} before")
    weight = grid.area / grid.area.sum()
    first = checks.load(ds.isel(time=0), where)
    around = {c: float((first[c].to_numpy() * weight).sum(dtype=np.float64)) for c in channels}
    sums: dict[str, Any] = {c: _sums(ds[c], around[c], weight, previous[now], now) for c in channels}
    try:
        (sums,) = dask.compute(sums)  # type: ignore[attr-defined,no-untyped-call]
    except Exception as error:
        raise checks.unreadable(where, error) from error
    for channel in channels:
        if sums[channel]["missing"]:
            raise _missing(ds[channel], int(sums[channel]["missing"]), where)
    count = {"x": ds.sizes["time"], "d": len(now)}
    table = {key: np.array([float(sums[c][key]) for c in channels]) for key in ("x", "xx", "d", "dd", "low", "high")}
    for channel, low, high in zip(channels, table["low"], table["high"], strict=True):
        checks.within(channel, low, high, where)
    mean = table["x"] / count["x"]
    return Statistics(
        channels=tuple(channels),
        mean=mean + np.array([around[c] for c in channels]),
        std=np.sqrt(np.maximum(table["xx"] / count["x"] - mean**2, 0)),
        change=np.sqrt(table["dd"] / count["d"]),
        change_mean=table["d"] / count["d"],
        times=count["x"],
        pairs=count["d"],
    )


def _sums(
    field: xr.DataArray, around: float, weight: Array, before: NDArray[np.int64], now: NDArray[np.int64]
) -> dict[str, Any]:
    """Lazy sums over times of area-weighted means of a field and its change, and of their squares."""
    import dask.array as da

    data = field.data.astype("float64") - around
    change = data[now] - data[before]
    places = tuple(range(1, data.ndim))

    def total(values: Any) -> Any:
        return (values * weight).sum(axis=places).sum()

    return {
        "x": total(data),
        "xx": total(data**2),
        "d": total(change),
        "dd": total(change**2),
        "missing": (~da.isfinite(data)).sum(),
        "low": da.nanmin(data) + around,
        "high": da.nanmax(data) + around,
    }


def _missing(field: xr.DataArray, count: int, where: str) -> RefineError:
    """The error that counts missing values and says where the first is; reads chunk after chunk until it is found."""
    for i in range(0, field.sizes["time"], 16):
        part = field.isel(time=slice(i, i + 16)).compute()
        if not np.isfinite(part.to_numpy()).all():
            return checks.missing(part, where, count, field.size)
    return RefineError(f"{where}: {field.name} has {count} missing values of {field.size}")
