"""Grids on the sphere by name: Gaussian, regular latitude-longitude, HEALPix; centres, bounds and areas of their cells.

A grid is known by its name, a text that a configuration or a checkpoint can hold:

    gaussian:48x96                 latitudes x longitudes; Gauss-Legendre latitudes
    regular:180x360                even number of latitudes: centres of equal steps from pole to pole
    regular:181x360                odd number of latitudes: the poles themselves are the first and the last
    regular:720x1440:-89.75..90    any other equal steps: the first and the last latitude
    regular:180x360:0.5            after that the first longitude, where it is not 0
    healpix:16                     nside, a power of two: 12 * nside**2 cells of equal area in nested order

Latitudes ascend, longitudes ascend in [0, 360), so of a dataset in another order it is the grid after sorting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refine.errors import require, shown

if TYPE_CHECKING:
    import xarray as xr

FORMS = "healpix:NSIDE, gaussian:HxW or regular:HxW[:LAT..LAT][:LON]"
CELL = "cell"  # the dimension of HEALPix fields
TOLERANCE = 0.01  # of a step of the grid, by which coordinates in files may be off
ORDERS = ("indexing_scheme", "healpix_order")  # attributes of a grid mapping: CF 1.13, and what was usual before
ROWS = 4096  # most latitudes of a grid, and half of the longitudes
DIGITS = 5  # decimals of a degree in names

NUMBER = r"-?\d+(?:\.\d+)?"
LAT_LON = re.compile(rf"(gaussian|regular):(\d{{1,9}})x(\d{{1,9}})(?::({NUMBER})\.\.({NUMBER}))?(?::({NUMBER}))?")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Where the cells of a field are; made by :meth:`parse`, :meth:`of` or :meth:`on`. Equal names are equal grids.

    Attributes:
        name: the text that :meth:`parse` takes.
        kind: gaussian | regular | healpix.
        latitude: (H,), or (N,) of each HEALPix cell, degrees north.
        longitude: (W,), or (N,) of each HEALPix cell, degrees east in [0, 360).
        nside: of HEALPix; None of the others.
    """

    name: str
    kind: str = field(compare=False)
    latitude: Array = field(compare=False, repr=False)
    longitude: Array = field(compare=False, repr=False)
    nside: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.latitude.flags.writeable = False
        self.longitude.flags.writeable = False

    @staticmethod
    def parse(name: str) -> Grid:
        """The grid called ``name``; see this module.

        Raises:
            RefineError: not a name of a grid, or of one that does not go round the globe.
        """
        if match := re.fullmatch(r"healpix:(\d{1,9})", name):
            return _healpix(int(match[1]))
        match = LAT_LON.fullmatch(name)
        wrong = match is None or (match[1] == "gaussian" and match[4] is not None)
        require(not wrong, f"grid={shown(name)} is not accepted; accepted: {FORMS}, like healpix:16 or gaussian:48x96")
        assert match is not None
        height, width = int(match[2]), int(match[3])
        ends = None if match[4] is None else (float(match[4]), float(match[5]))
        return _lat_lon(match[1], height, width, ends, float(match[6] or 0))

    @staticmethod
    def of(ds: xr.Dataset | xr.DataArray) -> Grid:
        """The grid of a dataset with the coordinates ``latitude`` and ``longitude``, or the dimension ``cell``.

        Raises:
            RefineError: it has neither, HEALPix cells that are not in nested order, or a grid that has no name.
        """
        if CELL in ds.dims:
            return _healpix_of(ds)
        for name in ("latitude", "longitude"):
            found = ", ".join(map(str, ds.dims)) or "none"
            require(name in ds.dims, f"the data has no dimension {name!r} (nor {CELL!r} of HEALPix); it has {found}")
        return Grid.on(ds["latitude"].values, ds["longitude"].values)

    @staticmethod
    def on(latitude: ArrayLike, longitude: ArrayLike) -> Grid:
        """The grid on which these latitudes (H,) and longitudes (W,) lie, in any order, in degrees.

        Raises:
            RefineError: neither Gaussian nor regular, or not round the globe.
        """
        lat, lon = np.sort(np.asarray(latitude, float)), np.asarray(longitude, float)
        require(
            lat.ndim == lon.ndim == 1 and len(lat) > 1 and len(lon) > 1, "a grid has 2 or more latitudes, longitudes"
        )
        good = bool(np.isfinite(lat).all() and np.isfinite(lon).all() and abs(lat).max() <= 90.001)
        require(good, f"latitude={_ends(lat)} is not accepted; accepted: degrees from -90 to 90")
        step = 360 / len(lon)
        steps = (lon - lon.min()) / step
        even = len(set(np.round(steps % len(lon)) % len(lon))) == len(lon)
        even = even and bool((abs(steps - np.round(steps)) < TOLERANCE).all())
        require(even, f"longitude={_ends(lon)} is not accepted: {len(lon)} equal steps round the globe are")
        if bool((abs(lat - _gauss(len(lat))) < TOLERANCE * 180 / len(lat)).all()):
            return _lat_lon("gaussian", len(lat), len(lon), None, lon.min())
        line = np.linspace(lat[0], lat[-1], len(lat))
        regular = bool((abs(lat - line) < TOLERANCE * (lat[-1] - lat[0]) / len(lat)).all())
        message = f"latitude={_ends(lat)} is not accepted; accepted: {len(lat)} Gaussian latitudes or equal steps"
        require(regular, message)
        return _lat_lon("regular", len(lat), len(lon), (lat[0], lat[-1]), lon.min())

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of a field."""
        return (CELL,) if self.kind == "healpix" else ("latitude", "longitude")

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W), or (N,) of HEALPix."""
        return (len(self.latitude),) if self.kind == "healpix" else (len(self.latitude), len(self.longitude))

    @property
    def num_cells(self) -> int:
        return int(np.prod(self.shape))

    @cached_property
    def latitude_bounds(self) -> Array:
        """(H + 1,) degrees: midway between the latitudes, closed at the poles (as WeatherBench2 has it).

        Raises:
            RefineError: HEALPix cells have none.
        """
        require(self.kind != "healpix", "cells of HEALPix have no bounds of latitude")
        return np.concatenate([[-90.0], (self.latitude[:-1] + self.latitude[1:]) / 2, [90.0]])

    @cached_property
    def area(self) -> Array:
        """Areas of the cells, of the shape of the grid, with mean 1."""
        if self.kind == "healpix":
            return np.ones(self.shape)
        rows = np.diff(np.sin(np.deg2rad(self.latitude_bounds)))
        return np.broadcast_to((rows / rows.mean())[:, None], self.shape).copy()

    @cached_property
    def points(self) -> Array:
        """(num_cells, 3) unit vectors of the centres of the cells, row by row: x to 0 E, y to 90 E, z to the north."""
        lat, lon = np.deg2rad(self.latitude), np.deg2rad(self.longitude)
        if self.kind != "healpix":
            lat, lon = (a.ravel() for a in np.meshgrid(lat, lon, indexing="ij"))
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)


@lru_cache(maxsize=16)
def _gauss(height: int) -> Array:
    sines: Array = np.polynomial.legendre.leggauss(height)[0]
    degrees: Array = np.rad2deg(np.arcsin(sines))
    return degrees


@lru_cache(maxsize=16)
def _lat_lon(kind: str, height: int, width: int, ends: tuple[float, float] | None, start: float) -> Grid:
    """A grid with its shortest name."""
    good = 1 < height <= ROWS and 1 < width <= 2 * ROWS
    accepted = f"2 to {ROWS:,} latitudes and 2 to {2 * ROWS:,} longitudes"
    require(good, f"grid={kind}:{height}x{width} is not accepted; accepted: {accepted}")
    usual = (-90.0, 90.0) if height % 2 else (-90 + 90 / height, 90 - 90 / height)
    first, last = usual if ends is None else ends
    if max(abs(first - usual[0]), abs(last - usual[1])) < TOLERANCE * 180 / height:
        first, last = usual
    else:
        first, last = max(round(first, DIGITS), -90.0), min(round(last, DIGITS), 90.0)
    step = (last - first) / (height - 1)
    globe = first < last and max(first + 90, 90 - last) <= step * (1 + TOLERANCE)
    globe = globe and (ends is None or max(map(abs, ends)) <= 90.001)
    span = f"{(ends or usual)[0]:g}..{(ends or usual)[1]:g}"
    require(globe, f"latitudes {span} in {height} steps are not accepted: not from pole to pole")
    start = round(start % (360 / width), DIGITS)
    if min(start, 360 / width - start) < TOLERANCE * 360 / width:
        start = 0.0
    name = f"{kind}:{height}x{width}"
    name += f":{_text(first)}..{_text(last)}" if (first, last) != usual else ""
    name += f":{_text(start)}" if start else ""
    latitude = _gauss(height).copy() if kind == "gaussian" else np.linspace(first, last, height, dtype=np.float64)
    return Grid(name, kind, latitude, start + np.arange(width) * 360 / width)


@lru_cache(maxsize=16)
def _healpix(nside: int) -> Grid:
    good = 0 < nside <= 8192 and nside & (nside - 1) == 0
    require(good, f"grid='healpix:{nside}' is not accepted; accepted: a power of two from 1 to 8192")
    import healpy

    longitude, latitude = healpy.pix2ang(nside, np.arange(12 * nside**2), nest=True, lonlat=True)
    return Grid(f"healpix:{nside}", "healpix", latitude, longitude % 360, nside)


def _healpix_of(ds: xr.Dataset | xr.DataArray) -> Grid:
    cells = ds.sizes[CELL]
    nside = round((cells / 12) ** 0.5)
    require(12 * nside**2 == cells, f"{CELL}={cells} is not accepted: HEALPix has 12 * nside**2 cells")
    grid = _healpix(nside)
    variables = [*ds.coords.values(), *getattr(ds, "data_vars", {}).values()]  # the grid mapping is one or the other
    nested = all(v.attrs.get(key, "nested") in ("nested", "nest") for v in variables for key in ORDERS)
    if "latitude" in ds.coords:
        nested = nested and bool(np.abs(ds["latitude"].values - grid.latitude).max() < 0.1 * 180 / (4 * nside))
    require(nested, f"the cells of {grid.name} are not accepted in another order than nested")
    return grid


def _ends(values: Array) -> str:
    return f"{values.min():g}..{values.max():g}" if values.size else "none"


def _text(degrees: float) -> str:
    return f"{degrees:.{DIGITS}f}".rstrip("0").rstrip(".")
