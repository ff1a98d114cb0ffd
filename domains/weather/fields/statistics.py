"""What fields are like on average: area-weighted moments of each channel and of its change, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.fields import checks
from refine.domains.weather.fields.whole import BLOCK_BYTES, blocks
from refine.errors import RefineError, require
from refine.progress import track

if TYPE_CHECKING:
    import xarray as xr

    from refine.domains.weather.sphere.grids import Grid

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
    """The statistics of a canonical dataset, some chunks of which are in memory at a time.

    Sums are taken in float64 of deviations from the mean of the first field, so that nothing cancels. A pair across a
    gap or between branches does not count.

    Raises:
        RefineError: a missing value anywhere (how many there are, and where the first is), values that cannot be,
            unreadable data, no pairs.
    """
    where = str(ds.attrs.get("source", "the data"))
    previous = checks.predecessors(ds, step)
    pairs = int((previous >= 0).sum())
    require(pairs > 0, f"{where}: none of the {len(previous)} times has its predecessor {step} before")
    reach = int((np.arange(len(previous)) - previous)[previous >= 0].max())  # rows from a time back to its predecessor
    channels = {str(name): _Moments(grid.area.ravel() / grid.area.sum()) for name in ds.data_vars}
    for start, stop in track(list(blocks(ds, BLOCK_BYTES)), "Statistics"):
        part = checks.load(ds.isel(time=slice(start, stop)), where)
        for name, moments in channels.items():
            moments.add(part[name], previous[start:stop] - start, reach)
    for name, moments in channels.items():
        if moments.missing:
            size = ds[name].size
            raise RefineError(checks.missing_text(name, where, moments.missing, size, moments.first_missing))
        checks.within(name, moments.low, moments.high, where)
    columns = np.array([moments.found(len(previous), pairs) for moments in channels.values()]).T
    mean, std, change, change_mean = columns
    return Statistics(tuple(channels), mean, std, change, change_mean, len(previous), pairs)


class _Moments:
    """Sums of one channel; ``weight`` (N,) of places sums to 1."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self.origin: float | None = None
        self.sums = np.zeros(4)  # of x, x**2, change, change**2; x counted from the origin
        self.missing, self.first_missing = 0, ""
        self.low, self.high = np.inf, -np.inf
        self.kept: Array = np.zeros((0, len(weight)))  # the last rows: predecessors of the next

    def add(self, field: xr.DataArray, previous: NDArray[np.int64], reach: int) -> None:
        """Take in some times. ``previous`` counts rows from the first of them: the kept ones are -1, -2, ..."""
        x_TN = field.to_numpy().reshape(len(previous), -1).astype(np.float64)
        finite = np.isfinite(x_TN)
        if not finite.all():
            self.first_missing = self.first_missing or checks.first_missing(field)
            self.missing += int(finite.size - finite.sum())
        if self.missing:
            return
        self.low, self.high = min(self.low, float(x_TN.min())), max(self.high, float(x_TN.max()))
        if self.origin is None:
            self.origin = float(x_TN[0] @ self.weight)
        x_TN -= self.origin
        both = np.concatenate([self.kept, x_TN])
        now = np.flatnonzero(previous >= -len(self.kept))
        change = x_TN[now] - both[previous[now] + len(self.kept)]
        for i, values in enumerate((x_TN, x_TN**2, change, change**2)):
            self.sums[i] += float((values @ self.weight).sum())
        self.kept = both[-reach:]

    def found(self, times: int, pairs: int) -> tuple[float, float, float, float]:
        """Mean, standard deviation, and root mean square and mean of the change."""
        x, xx = self.sums[:2] / times
        change, changes = self.sums[2:] / pairs
        return (self.origin or 0.0) + x, max(xx - x**2, 0.0) ** 0.5, changes**0.5, change
