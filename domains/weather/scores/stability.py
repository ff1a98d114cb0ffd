"""Long roll-outs against the climate: does the mean drift, do the weather systems die or grow?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.ensembles.initial_times import hours
from refine.domains.weather.scores import bootstrap
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.comparison import plain, scored
from refine.domains.weather.scores.verification import LEAD, NUMBER, TIME, duration, pieces, read_members, valid_times
from refine.domains.weather.sphere.grids import Grid
from refine.progress import track

if TYPE_CHECKING:
    import xarray as xr


def stability(forecast: xr.Dataset, climatology: Climatology, channels: Sequence[str] | None = None) -> dict[str, Any]:
    """How far members are from the climate, by channel and lead; needs no truth.

    ``drift`` is the area mean of members less that of the climatology of the valid time; ``drift_scaled`` the same in
    climatological standard deviations of a cell. ``activity`` is the spatial variance of the members' anomalies over
    that of the training years: 1 in the climate, 0 for climatology itself. ``worst_drift`` (scaled) and
    ``worst_activity`` (as far from 1 as it gets) are over all leads. Intervals are over initial times.
    """
    grid = Grid.of(forecast)
    leads, starts = forecast[LEAD].values, forecast[TIME].values
    weights = (grid.area / grid.area.sum()).reshape(-1)
    names = [str(n) for n in forecast.data_vars if channels is None or n in channels]
    out: dict[str, Any] = {}
    for name in track([n for n in names if n in climatology.coefficients], "Stability"):
        scale = climatology.scale(name, grid.area)
        drift, square = (np.zeros((len(starts), len(leads))) for _ in range(2))
        for block in pieces(len(leads), grid.num_cells * forecast.sizes[NUMBER]):
            for times, members in read_members(forecast[name], grid, block):
                anomaly = members.values - climatology.mean(name, valid_times(starts[times], leads[block]))
                anomaly[~np.isfinite(anomaly)] = np.nan
                flat = anomaly.reshape(*anomaly.shape[:2], -1)
                drift[times, block] = (flat.mean(0) @ weights).reshape(-1, block.stop - block.start)
                square[times, block] = (np.square(flat).mean(0) @ weights).reshape(-1, block.stop - block.start)
        variance = (square - drift**2) / scale**2
        mean, activity = bootstrap.mean(drift) / scale, bootstrap.mean(variance)
        out[name] = {
            "units": str(forecast[name].attrs.get("units", "")),
            "drift": scored(bootstrap.mean, drift),
            "drift_scaled": plain(mean),
            "activity": scored(bootstrap.mean, variance),
            "worst_drift": plain(mean[np.abs(mean).argmax()]),
            "worst_activity": plain(activity[np.abs(activity - 1).argmax()]),
        }
    return {"leads": [duration(v) for v in leads], "lead_hours": [hours(v) for v in leads], "variables": out}
