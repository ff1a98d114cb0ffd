"""A forecast from one initial time in figures: mean, spread and, where it is known, error, lead by lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Column, Table

from refine.domains.weather.scores.verification import LEAD, NUMBER, TIME, duration, reader, valid_times
from refine.domains.weather.sphere.grids import Grid

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Globe:
    """Figures of a channel over the globe, by lead.

    Attributes:
        units: of all of them.
        mean: of all members.
        spread: root of their mean variance; 0 of a single one.
        error: root mean square error of their mean, NaN where truth is not known.
    """

    units: str
    mean: Sequence[float]
    spread: Sequence[float]
    error: Sequence[float]


def summarise(forecast: xr.Dataset, truth: xr.Dataset | None = None) -> dict[str, Globe]:
    """Figures of the first initial time of a forecast store, by channel.

    Args:
        forecast: as :func:`refine.domains.weather.ensembles.store.open_forecast` gives it.
        truth: the canonical dataset of what came to be, on the same grid; of another one nothing is said.
    """
    grid = Grid.of(forecast)
    first = forecast.isel({TIME: slice(1)})
    rows = np.full(first.sizes[LEAD], -1)
    if truth is not None and Grid.of(truth) == grid:
        rows = truth.get_index("time").get_indexer(valid_times(first[TIME].values, first[LEAD].values).values)
    out = {}
    for name in map(str, forecast.data_vars):
        there = rows if truth is not None and name in truth else np.full_like(rows, -1)
        out[name] = _globe(first[name].isel({TIME: 0}), grid, truth, there)
    return out


def _globe(forecast: xr.DataArray, grid: Grid, truth: xr.Dataset | None, rows: Any) -> Globe:
    weights = grid.area / grid.area.sum()
    space = tuple(range(1, 1 + len(grid.shape)))
    mean = forecast.mean(NUMBER).compute(scheduler="synchronous").to_numpy()
    many = forecast.sizes[NUMBER] > 1
    variance = forecast.var(NUMBER, ddof=1).compute(scheduler="synchronous").to_numpy() if many else 0 * mean
    square = np.full_like(mean, np.nan)
    if truth is not None and (rows >= 0).any():
        square[rows >= 0] = (mean[rows >= 0] - reader(truth)(str(forecast.name), rows[rows >= 0])) ** 2
    figures = (mean * weights).sum(space), *(np.sqrt((x * weights).sum(space)) for x in (variance, square))
    return Globe(str(forecast.attrs.get("units", "")), *([float(v) for v in figure] for figure in figures))


def summary_table(figures: dict[str, Globe], leads: Any, stamp: str) -> Table:
    """Leads below one another, channels beside one another.

    Args:
        figures: of :func:`summarise`.
        leads: of the forecast.
        stamp: the initial time.
    """
    heads = [f"{name}\n{found.units}".strip() for name, found in figures.items()]
    known = any(np.isfinite(found.error).any() for found in figures.values())
    title = f"forecast from {stamp}: mean ± spread over the globe" + (" (error of the mean)" if known else "")
    table = Table("lead", *(Column(head, overflow="fold") for head in heads), title=title)
    for i, lead in enumerate(leads):
        table.add_row(duration(lead).replace("d", " d").replace("h", " h"), *(_cell(g, i) for g in figures.values()))
    return table


def _cell(found: Globe, i: int) -> str:
    error = f" ({found.error[i]:.3g})" if np.isfinite(found.error[i]) else ""
    return f"{found.mean[i]:.5g} ± {found.spread[i]:.3g}{error}"
