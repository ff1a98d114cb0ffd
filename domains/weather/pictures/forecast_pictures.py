"""Pictures of forecasts: members side by side, mean and spread, plumes at a place, how a step is refined."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.pictures.looks import DIFFERENCE, SPREAD, Array, limits, look_of
from refine.domains.weather.pictures.maps import INK, Globe, draw_lines
from refine.domains.weather.pictures.plumes import parse_place, plot_plume
from refine.domains.weather.pictures.sheets import Sheet, columns_for
from refine.domains.weather.pictures.views import View, space_of, when
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.regrid import Regridder
from refine.errors import not_accepted, require
from refine.progress import track

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

STAMPS = 24  # maps on one sheet at most
STAMP_DAY, MAP_DAYS = 5, (1, 3, 5, 10)  # leads that are drawn, where there are such


class Maps:
    """Fields on one grid, with the outline of land on top.

    Args:
        grid: of the fields.
        static: a dataset with ``land_sea_mask`` on any grid, or None for no outline.
    """

    def __init__(self, grid: Grid, static: xr.Dataset | None = None) -> None:
        self.globe = Globe(grid)
        self.land: list[Array] = []
        if static is not None and "land_sea_mask" in static:
            mask = static["land_sea_mask"]
            self.land = Globe(Grid.of(static)).lines(mask.transpose(*space_of(mask)).values, 0.5)

    def draw(self, ax: Axes, field: Array, norm: Normalize, colours: str, every: float = 0.0) -> AxesImage:
        """One field, with contour lines of itself where ``every`` is not 0."""
        image = self.globe.shade(ax, field, norm, colours)
        if every and np.isfinite(field).any():
            low, high = np.nanmin(field), np.nanmax(field)
            levels = np.arange(math.ceil(low / every), math.floor(high / every) + 1) * every
            draw_lines(ax, self.globe.lines(field, levels), colors="white", linewidths=0.45, alpha=0.75)
        draw_lines(ax, self.land, colors="white", linewidths=1.7, alpha=0.4)
        draw_lines(ax, self.land, colors=INK, linewidths=0.7, alpha=0.9)
        return image


def forecast_pictures(
    store: Path | str,
    folder: Path,
    at: str | None = None,
    static: xr.Dataset | None = None,
    channels: Sequence[str] | None = None,
    truth: xr.Dataset | None = None,
    start: int = 0,
) -> list[Path]:
    """Draw one initial time of a forecast store: ``stamps_*.png``, ``maps_*.png`` and, with a place, ``plume.png``.

    Args:
        store: as :func:`refine.domains.weather.ensembles.store.open_forecast` reads it.
        folder: where the pictures go.
        at: a place as ``latitude,longitude`` in degrees.
        static: with ``land_sea_mask`` for the outline of land.
        channels: those to draw; None for all.
        truth: what came to be; errors of the mean and the line in the plume come from it.
        start: which of the initial times.

    Raises:
        RefineError: no such channel, place or initial time.
    """
    place = None if at is None else parse_place(at)
    forecast = open_forecast(store)
    names = [str(name) for name in forecast.data_vars]
    channels = names if channels is None else list(channels)
    for channel in channels:
        if channel not in names:
            raise not_accepted("channels", channel, names)
    times = forecast.sizes["time"]
    require(-times <= start < times, f"start={start} is not accepted; {store} has {times} initial times, from 0")
    maps = Maps(Grid.of(forecast), static)
    if truth is not None and Grid.of(truth) != maps.globe.grid:
        truth = Regridder(Grid.of(truth), maps.globe.grid).apply(truth[[c for c in channels if c in truth]])
    views = [View(forecast[channel].isel(time=start), truth) for channel in channels]
    paths = []
    for view in track(views, "drawing forecasts"):
        paths.append(plot_maps(view, folder / f"maps_{view.name}.png", maps))
        paths.append(plot_stamps(view, folder / f"stamps_{view.name}.png", maps))
    if place is not None:
        paths.append(plot_plume(views, place, folder / "plume.png", maps.globe))
    return paths


def plot_stamps(view: View, path: Path, maps: Maps) -> Path:
    """The members at one lead, near day 5 where there is one, in the same colours; before them truth and mean."""
    look, lead = view.look, view.near([STAMP_DAY])[0]
    members, actual = view.members(lead), view.actual(lead)
    several = len(members) > 1
    fields = {} if actual is None else {"truth": actual}
    fields |= {"mean": members.mean(0)} if several else {}
    shown = min(len(members), STAMPS - len(fields))
    fields |= {f"member {n}": field for n, field in zip(view.numbers[:shown], members, strict=False)}
    norm = limits(np.stack(list(fields.values())), look.centred)
    columns = columns_for(len(fields), 6 if len(fields) > 15 else 4 if len(fields) > 6 else 3)
    width = {1: 7.5, 2: 4.6, 3: 3.8, 4: 3.2, 5: 2.7}.get(columns, 2.4)
    many = f"{shown} of {len(members)} members" if shown < len(members) else _count(shown, "member")
    title = f"{_capital(look.title)}: {many}"
    subtitle = f"{view.lead_name(lead)}, forecast from {when(view.start)}"
    sheet = Sheet(-(-len(fields) // columns), columns, (width, width / 2), title, subtitle, foot=0.62)
    for i, (name, field) in enumerate(fields.items()):
        ax = sheet.panel(*divmod(i, columns), name, strong=not name.startswith("member"))
        image = maps.draw(ax, field, norm, look.colours, look.contour)
    sheet.bar_below(image, look.unit)
    return sheet.save(path, "Each member is one possible state of the atmosphere; all maps have the same colours.")


def plot_maps(view: View, path: Path, maps: Maps) -> Path:
    """Mean, spread and, where the truth is known, error of the mean at days 1, 3, 5 and 10."""
    look, leads, several = view.look, view.near(MAP_DAYS), len(view.numbers) > 1
    means, spreads, errors = [], [], []
    for lead in leads:
        members, actual = view.members(lead), view.actual(lead)
        means.append(members.mean(0))
        if several:
            spreads.append(members.std(0, ddof=1))
        errors.append(np.full(members.shape[1:], np.nan) if actual is None else means[-1] - actual)
    what = "mean" if several else "forecast"
    rows = [(what, means, look.colours, limits(means, look.centred), look.unit)]
    if several:
        rows.append(("spread", spreads, SPREAD, limits(spreads, from_zero=True), look.difference_unit))
    if np.isfinite(errors).any():
        rows.append((f"{what}\nminus truth", errors, DIFFERENCE, limits(errors, centred=True), look.difference_unit))
    width = {1: 6.0, 2: 4.6}.get(len(leads), 3.3)
    title = f"{_capital(look.title)}: {'mean and spread' if several else 'forecast'}"
    subtitle = f"{_count(len(view.numbers), 'member')}, forecast from {when(view.start)}"
    sheet = Sheet(len(rows), len(leads), (width, width / 2), title, subtitle, left=0.95, right=0.95)
    for r, (name, fields, colours, norm, unit) in enumerate(rows):
        sheet.label(r, name)
        for c, (lead, field) in enumerate(zip(leads, fields, strict=True)):
            ax = sheet.panel(r, c, "" if r else view.lead_name(lead))
            image = maps.draw(ax, field, norm, colours, 0.0 if r else look.contour)
        sheet.bar_beside(r, image, unit, "max" if name == "spread" else "both")
    caption = (
        "Spread is the standard deviation of the members: where it is large, the forecast is not sure. Grey: not known."
    )
    return sheet.save(path, caption if several else "The only member at some leads.")


def refinement_strip(
    fields: Sequence[Array],
    scales: Sequence[str],
    channels: Mapping[str, str],
    grid: Grid,
    path: Path,
    truth: Array | None = None,
    mean: Array | None = None,
    static: xr.Dataset | None = None,
) -> Path:
    """One forecast step after every scale: the fields, and below them what the scales have added to the mean so far.

    Args:
        fields: (C, *grid) after each scale, coarsest first.
        scales: their names, as T4.
        channels: names of the C channels, and the units they are stored in.
        grid: of the fields.
        path: of the picture.
        truth: (C, *grid) what came to be.
        mean: (C, *grid) what the mean network says, which the scales start from.
        static: with ``land_sea_mask`` for the outline of land.
    """
    require(
        len(fields) == len(scales) > 0, f"{len(fields)} fields of {len(scales)} scales; accepted: one field a scale"
    )
    maps, looks = Maps(grid, static), [look_of(name, units) for name, units in channels.items()]
    shown = [] if mean is None else [("mean", mean)]
    shown += [(f"+ {name}" if shown or i else name, x) for i, (name, x) in enumerate(zip(scales, fields, strict=True))]
    shown += [] if truth is None else [("truth", truth)]
    per_channel, width = 1 if mean is None else 2, min(3.0, 15.5 / len(shown))
    title, subtitle = "One forecast step, scale by scale", f"{_count(len(scales), 'scale')}: {', '.join(scales)}"
    sheet = Sheet(per_channel * len(looks), len(shown), (width, width / 2), title, subtitle, left=1.35, right=0.95)
    for c, look in enumerate(looks):
        row = per_channel * c
        states = [look.drawn(field[c]) for _, field in shown]
        norm = limits(states, look.centred)
        sheet.label(row, textwrap.fill(look.title, 14))
        for i, ((name, _), state) in enumerate(zip(shown, states, strict=True)):
            ax = sheet.panel(row, i, name if c == 0 else "", strong=name in ("mean", "truth"))
            image = maps.draw(ax, state, norm, look.colours, look.contour)
        sheet.bar_beside(row, image, look.unit)
        if mean is None:
            continue
        added = [state - states[0] for state in states[1:]]
        norm = limits(added, centred=True)
        sheet.label(row + 1, "minus mean")
        for i, state in enumerate(added, 1):
            image = maps.draw(sheet.panel(row + 1, i), state, norm, DIFFERENCE)
        sheet.bar_beside(row + 1, image, look.difference_unit)
    return sheet.save(path, "Each scale adds finer detail to the mean forecast; the last column is what came to be.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
