"""Fields on the whole globe, drawn cell by cell on Mollweide's equal-area map."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.pictures.looks import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

    from refine.domains.weather.sphere.grids import Grid

WIDTH = 800  # pixels of a map, before it is scaled to its place
FINER = 4  # contour lines are smoothed by so many points a cell
MISSING = "#b8b8b8"
INK = "#20242a"
EARTH_KM = 6371.0


class Globe:
    """A grid as it lies on the map, which is 4 wide and 2 high, longitude 0 in its middle.

    Args:
        grid: latitude-longitude, Gaussian or HEALPix.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """(WIDTH / 2, WIDTH) the cell in which each pixel of the map lies, counted over the whole grid."""
        x = (np.arange(WIDTH) + 0.5) / WIDTH * 4 - 2
        y = 1 - (np.arange(WIDTH // 2) + 0.5) / (WIDTH // 2) * 2
        return self.cell(*_unproject(*np.meshgrid(x, y)))

    def cell(self, latitude: Any, longitude: Any) -> NDArray[np.int64]:
        """The number of the cell in which points (in degrees) lie."""
        latitude, longitude = np.asarray(latitude), np.asarray(longitude)
        if self.grid.kind == "healpix":
            import healpy

            return np.asarray(healpy.ang2pix(self.grid.nside, longitude, latitude, nest=True, lonlat=True))
        lat, lon = self.grid.latitude, self.grid.longitude
        west = (lon[0] + lon[-1] - 360) / 2
        row: NDArray[np.int64] = np.searchsorted((lat[1:] + lat[:-1]) / 2, latitude)
        column = np.searchsorted((lon[1:] + lon[:-1]) / 2, (longitude - west) % 360 + west)
        cells: NDArray[np.int64] = row * len(lon) + column
        return cells

    def centre(self, cell: int) -> tuple[float, float]:
        """Latitude and longitude of a cell, the latter in [-180, 180)."""
        if self.grid.kind == "healpix":
            lat, lon = float(self.grid.latitude[cell]), float(self.grid.longitude[cell])
        else:
            row, column = divmod(cell, len(self.grid.longitude))
            lat, lon = float(self.grid.latitude[row]), float(self.grid.longitude[column])
        return lat, (lon + 180) % 360 - 180

    def shade(self, ax: Axes, field: Any, norm: Normalize, colours: str) -> AxesImage:
        """Fill each cell with the colour of its number; grey where it is missing. The map's frame comes with it."""
        import matplotlib
        from matplotlib.patches import Ellipse

        values = np.asarray(field, dtype=np.float64).ravel()[self.pixels]  # matplotlib masks what is not finite
        palette = matplotlib.colormaps[colours].with_extremes(bad=MISSING)
        image = ax.imshow(values, cmap=palette, norm=norm, extent=(-2, 2, -1, 1), interpolation="nearest")
        frame = Ellipse((0, 0), 4, 2, facecolor="none", edgecolor=INK, linewidth=0.8, zorder=5)
        ax.add_patch(frame)
        image.set_clip_path(frame)
        ax.set(xlim=(-2.01, 2.01), ylim=(-1.01, 1.01), aspect="equal")
        ax.set_axis_off()
        return image

    def lines(self, field: Any, levels: Any) -> list[Array]:
        """Contour lines as (n, 2) points on the map; none where the field never reaches ``levels``."""
        from contourpy import contour_generator

        x, y, values = self._mesh(np.asarray(field, dtype=np.float64))
        lines = contour_generator(x, y, np.ma.array(values, mask=~np.isfinite(values)))  # type: ignore[no-untyped-call]
        return [np.asarray(line) for level in np.atleast_1d(levels) for line in lines.lines(float(level))]

    def _mesh(self, field: Array) -> tuple[Array, Array, Array]:
        """Where on the map the values for contour lines are: from pole to pole and a little beyond the date line."""
        if self.grid.kind == "healpix":
            import healpy

            assert self.grid.nside is not None
            count = 4 * self.grid.nside
            lat, lon = np.linspace(-90, 90, 2 * count + 1), np.linspace(-180, 180, 2 * count + 1)
            points = np.meshgrid(lon, lat)
            values = np.asarray(healpy.get_interp_val(field, *points, nest=True, lonlat=True))
        else:
            lat, lon = self.grid.latitude, (self.grid.longitude + 180) % 360 - 180
            order = np.argsort(lon)
            edge = min(4, len(lon))
            order = np.concatenate([order[-edge:], order, order[:edge]])
            turn = np.repeat([-360, 0, 360], [edge, len(lon), edge])
            lon, values = lon[order] + turn, field[:, order]
            for pole, row in ((-90.0, 0), (90.0, -1)):
                if abs(lat[row]) < 90:
                    lat = np.insert(lat, 0 if row == 0 else len(lat), pole)
                    values = np.insert(values, 0 if row == 0 else len(values), values[row].mean(), axis=0)
            lat, lon, values = _finer(np.asarray(lat), np.asarray(lon), values)
        x, y = _project(*np.meshgrid(lat, lon, indexing="ij"))
        return x, y, values


def _finer(lat: Array, lon: Array, values: Array) -> tuple[Array, Array, Array]:
    """Coarse fields by cubic splines between their cells, so that lines are smooth."""
    from scipy.interpolate import RectBivariateSpline

    if len(lat) > 150 or min(values.shape) < 4 or not np.isfinite(values).all():
        return lat, lon, values
    spline = RectBivariateSpline(lat, lon, values)
    lat, lon = (np.interp(np.arange(0, len(a) - 1 + 0.5 / FINER, 1 / FINER), np.arange(len(a)), a) for a in (lat, lon))
    return lat, lon, np.asarray(spline(lat, lon))


def _project(latitude: Array, longitude: Array) -> tuple[Array, Array]:
    """Degrees to Mollweide's x and y (Snyder, Map Projections, USGS 1395, p. 251), by inverting a table."""
    t = np.linspace(-np.pi / 2, np.pi / 2, 4001)
    angle = np.interp(np.sin(np.deg2rad(latitude)), (2 * t + np.sin(2 * t)) / np.pi, t)
    return longitude / 90 * np.cos(angle), np.sin(angle)


def _unproject(x: Array, y: Array) -> tuple[Array, Array]:
    """The inverse; points beside the map as those on its edge."""
    angle = np.arcsin(y)
    latitude = np.rad2deg(np.arcsin(np.clip((2 * angle + np.sin(2 * angle)) / np.pi, -1, 1)))
    return latitude, np.clip(90 * x / np.cos(angle), -180, 180)


def draw_lines(ax: Axes, lines: list[Array], **style: Any) -> None:
    """Draw what :meth:`Globe.lines` gives, within the map."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Ellipse

    collection = LineCollection(lines, zorder=3, **style)
    ax.add_collection(collection, autolim=False)
    collection.set_clip_path(Ellipse((0, 0), 4, 2, transform=ax.transData))


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two points in degrees (latitude, longitude), by the haversine formula."""
    (p, q), (r, s) = np.deg2rad(a), np.deg2rad(b)
    h = np.sin((r - p) / 2) ** 2 + np.cos(p) * np.cos(r) * np.sin((s - q) / 2) ** 2
    return float(2 * EARTH_KM * np.arcsin(np.sqrt(min(1.0, h))))
