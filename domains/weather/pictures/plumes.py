"""Plumes: what all members say of one place, lead after lead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.pictures.maps import INK, Globe, distance_km
from refine.domains.weather.pictures.sheets import Chart
from refine.domains.weather.pictures.views import View, when
from refine.errors import RefineError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BANDS = ((0.05, 0.95, "#cfe1f2"), (0.25, 0.75, "#8fbbdc"))  # share of members, colour
MEDIAN, MEMBER, TRUTH = "#08519c", "#5b7ea3", "#c4420f"
FEW = 8  # members, and no bands


def parse_place(text: str) -> tuple[float, float]:
    """``51.5,-0.1`` as latitude and longitude in degrees.

    Raises:
        RefineError: not two numbers, or not on the globe.
    """
    try:
        lat, lon = (float(part) for part in str(text).split(","))
    except ValueError:
        lat = lon = float("nan")
    if not (-90 <= lat <= 90 and -180 <= lon <= 360):
        message = "accepted: latitude,longitude in degrees with -90 <= latitude <= 90 and -180 <= longitude <= 360"
        raise RefineError(f"at={text!r} is not accepted; {message}, as 51.5,-0.1 for London")
    return lat, lon


def place_name(latitude: float, longitude: float) -> str:
    """``51.5°N 0.1°W``."""
    longitude = (longitude + 180) % 360 - 180
    return f"{abs(latitude):.4g}°{'N' if latitude >= 0 else 'S'} {abs(longitude):.4g}°{'E' if longitude >= 0 else 'W'}"


def plot_plume(views: Sequence[View], place: tuple[float, float], path: Path, globe: Globe) -> Path:
    """Each channel at the cell in which ``place`` lies: members, shares of them, their median, and what came to be.

    Args:
        views: the channels.
        place: latitude and longitude in degrees.
        path: of the picture.
        globe: the grid of the channels.
    """
    cell = int(globe.cell(*place))
    centre = globe.centre(cell)
    columns = 1 if len(views) < 4 else 2
    title, away = f"Forecast for {place_name(*place)}", f"{distance_km(place, centre):.0f} km away"
    members = f"{len(views[0].numbers)} member{'s' * (len(views[0].numbers) != 1)}"
    subtitle = f"{members} from {when(views[0].start)}; nearest grid cell: {place_name(*centre)}, {away}"
    size = (7.6, 1.9) if columns == 1 else (5.6, 1.9)
    chart = Chart(-(-len(views) // columns), columns, size, title, subtitle)
    for view, ax in zip(views, chart.each(len(views)), strict=True):
        _plume(ax, view, cell)
    return chart.save(path, f"What all members say of the nearest grid cell, {away}.")


def _plume(ax: Axes, view: View, cell: int) -> None:
    from matplotlib.ticker import MaxNLocator

    members, actual = view.members_at(cell), view.actual_at(cell)
    unit, leads = view.axis
    many, single = len(members) > FEW, len(leads) == 1
    if many and not single:
        for low, high, colour in BANDS:
            edges = np.quantile(members, [low, high], axis=0)
            ax.fill_between(leads, *edges, color=colour, linewidth=0, label=f"{high - low:.0%} of members")
    style: dict[str, Any] = {"linewidth": 0.5 if many else 1.2, "alpha": 0.45 if many else 0.9, "color": MEMBER}
    spots: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linestyle": "none", "alpha": 0.6} if single else {}
    for i, member in enumerate(members):
        ax.plot(leads, member, label="" if i else "member", **style | spots)
    if len(members) > 1:
        mark: dict[str, Any] = {"marker": "_", "markersize": 18, "linestyle": "none"} if single else {}
        ax.plot(leads, np.median(members, axis=0), color=MEDIAN, linewidth=1.8, label="median", **mark)
    if np.isfinite(actual).any():
        ax.plot(leads, actual, marker="o", markersize=4, linewidth=1.2, color=TRUTH, label="truth", zorder=4)
    ax.set_xlabel(f"{unit} since {when(view.start)}", fontsize=8.5, color=INK)
    stored = f" ({view.look.unit})" if view.look.unit else ""
    ax.set_title(f"{view.look.title[:1].upper()}{view.look.title[1:]}{stored}", loc="left", fontsize=10)
    if single:
        ax.set(xlim=(leads[0] - 1, leads[0] + 1), xticks=leads)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
