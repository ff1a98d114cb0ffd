"""Areas that the cells of two grids share, exactly: what conservative regridding is made of.

HEALPix follows Gorski et al. (2005), "HEALPix: a framework for high-resolution discretization and fast analysis of data
distributed on the sphere", section 5. In a base cell with the coordinates u, v in [0, 1] measured from its corner at
the pole (its northern corner, of the four cells on the equator) and s = u + v, parallels are lines of constant s:

    polar cap    s <= 1 of a polar base cell:   |z| = 1 - s**2 / 3,                    longitude = w + pi/2 * u / s
    belt         all else:                      z is linear in s with slope 2/3,       longitude = c + pi/4 * (u - v)

so a cell [u0, u0 + h] x [v0, v0 + h] lies, above and below its widest parallel, between two curves that are linear in
1 / s or in s, and its share of a latitude-longitude cell is an integral over s that can be written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.sphere.grids import Grid

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NOTHING = 1e-12  # of the smaller cell: overlaps that rounding makes
AT_ONCE = 1 << 20  # overlaps in memory

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


def overlaps(target: Grid, source: Grid) -> csr_matrix:
    """(cells of target, cells of source): areas shared, as fractions of the sphere."""
    from scipy.sparse import kron

    kinds = target.kind == "healpix", source.kind == "healpix"
    if kinds == (True, True):
        shared = _healpix_healpix(target, source)
    elif kinds == (True, False):
        shared = _healpix_lat_lon(target, source)
    elif kinds == (False, True):
        shared = _healpix_lat_lon(source, target).T
    else:
        shared = kron(_rows(target, source), _columns(target, source))
    shared = shared.tocsr()
    shared.sum_duplicates()
    shared.data[shared.data < NOTHING / max(target.num_cells, source.num_cells)] = 0
    shared.eliminate_zeros()
    return shared


def _healpix_healpix(target: Grid, source: Grid) -> Any:
    """Nested cells: the finer ones lie in the coarser."""
    from scipy.sparse import coo_matrix

    cells = max(target.num_cells, source.num_cells)
    fine = np.arange(cells)
    places = fine // (cells // target.num_cells), fine // (cells // source.num_cells)
    return coo_matrix((np.full(cells, 1 / cells), places), shape=(target.num_cells, source.num_cells))


def _rows(target: Grid, source: Grid) -> Any:
    """(H of target, H of source): shares of the sphere between the latitudes of both."""
    ends = [np.sin(np.deg2rad(grid.latitude_bounds)) for grid in (target, source)]
    cuts = np.union1d(*ends)
    return _pieces(np.diff(cuts) / 2, [np.searchsorted(e, cuts[:-1], "right") - 1 for e in ends], (target, source), 0)


def _columns(target: Grid, source: Grid) -> Any:
    """(W of target, W of source): shares of the circle between the longitudes of both."""
    widths = [len(grid.longitude) for grid in (target, source)]
    starts = [grid.longitude[0] / 360 - 0.5 / w for grid, w in zip((target, source), widths, strict=True)]
    marks = [(start + np.arange(w) / w) % 1 for start, w in zip(starts, widths, strict=True)]
    cuts = np.union1d(np.concatenate([[0.0, 1.0], marks[0]]), marks[1])
    middle = (cuts[:-1] + cuts[1:]) / 2
    places = [np.floor((middle - start) * w).astype(np.int64) % w for start, w in zip(starts, widths, strict=True)]
    return _pieces(np.diff(cuts), places, (target, source), 1)


def _pieces(sizes: Array, places: list[Index], grids: tuple[Grid, Grid], axis: int) -> Any:
    from scipy.sparse import coo_matrix

    return coo_matrix((sizes, tuple(places)), shape=tuple(grid.shape[axis] for grid in grids)).tocsr()


class _Curve(NamedTuple):
    """A side of cells: its longitude in columns of the grid, alpha + beta * g(s) with g = 1 / s in the cap, else s."""

    alpha: Array
    beta: Array

    def at(self, s: Array, cap: Mask) -> Array:
        slope: Array = np.where(cap, 1 / np.maximum(s, 1e-300), s)
        return self.alpha + self.beta * slope

    def west_of(self, edge: Index, halves: _Halves) -> Array:
        """(n,) integrals over the area of min(curve - edge, 0), between the parallels of each half."""
        cap, s = halves.cap, halves.s
        below = self.at(s[0], cap) < edge, self.at(s[1], cap) < edge
        with np.errstate(divide="ignore", invalid="ignore"):
            g = (edge - self.alpha) / self.beta
            crossing = np.clip(np.where(cap, 1 / g, g), *s)
        first = np.where(below[0], s[0], np.where(below[1], crossing, s[1]))
        last = np.where(below[1], s[1], np.where(below[0], crossing, s[1]))
        linear, square = last - first, (last - first) * (last + first) / 2
        level, tilt = np.where(cap, square, linear), np.where(cap, linear, square)
        area: Array = ((self.alpha - edge) * level + self.beta * tilt) * (2 / 3)
        return area


class _Halves(NamedTuple):
    """Upper and lower halves of HEALPix cells, each between two parallels and two curves."""

    cell: Index
    cap: Mask
    sign: Array  # of z
    z0: Array  # |z| = z0 - 2/3 * s in the belt
    s: tuple[Array, Array]
    west: _Curve
    east: _Curve

    def take(self, i: Index) -> _Halves:
        west, east = (_Curve(c.alpha[i], c.beta[i]) for c in (self.west, self.east))
        s = self.s[0][i], self.s[1][i]
        return _Halves(self.cell[i], self.cap[i], self.sign[i], self.z0[i], s, west, east)

    def z(self, s: Array) -> Array:
        up: Array = np.where(self.cap, 1 - s**2 / 3, self.z0 - 2 / 3 * s)
        return self.sign * up

    def parallel(self, z: Array) -> Array:
        up = self.sign * z
        s: Array = np.where(self.cap, np.sqrt(3 * np.maximum(1 - up, 0)), 1.5 * (self.z0 - up))
        return s


def _halves(healpix: Grid, columns: float, start: float) -> _Halves:
    """All halves; longitudes in columns of a grid with so many of them, the first of which begins at ``start``."""
    import healpy

    nside = healpix.nside
    assert nside is not None
    cell, half = np.tile(np.arange(healpix.num_cells), 2), np.repeat([0, 1], healpix.num_cells)
    x, y, base = healpy.pix2xyf(nside, cell, nest=True)
    south, polar = base >= 8, (base < 4) | (base >= 8)
    u, v = np.where(south, x, nside - 1 - y), np.where(south, y, nside - 1 - x)
    centre = (base % 4) * np.pi / 2 + np.where(polar, np.pi / 4, 0)
    first = u + v + half  # parallels in steps of 1 / nside: whole numbers, so that neighbours meet exactly
    cap = polar & (first < nside)
    # the upper half lies between the sides u = u0 and v = v0, the lower one between v = v0 + h and u = u0 + h
    u, v = (u + half) / nside, (v + half) / nside
    unit = 2 * np.pi / columns
    on_u = centre + np.where(cap, -np.pi / 4, np.pi / 2 * u) - start, np.where(cap, np.pi / 2 * u, -np.pi / 4)
    on_v = centre + np.where(cap, np.pi / 4, -np.pi / 2 * v) - start, np.where(cap, -np.pi / 2 * v, np.pi / 4)
    west, east = (
        _Curve(*(np.where(half == swap, a, b) / unit for a, b in zip(on_u, on_v, strict=True))) for swap in (0, 1)
    )
    sign, z0 = np.where(south, -1.0, 1.0), np.where(polar, 4 / 3, 2 / 3)
    return _Halves(cell, cap, sign, z0, (first / nside, (first + 1) / nside), west, east)


def _healpix_lat_lon(healpix: Grid, lat_lon: Grid) -> Any:
    from scipy.sparse import coo_matrix

    width = len(lat_lon.longitude)
    ends = np.sin(np.deg2rad(lat_lon.latitude_bounds))
    halves = _halves(healpix, width, np.deg2rad(lat_lon.longitude[0] - 180 / width))
    z = np.sort([halves.z(halves.s[0]), halves.z(halves.s[1])], axis=0)
    first = np.clip(np.searchsorted(ends, z[0], "right") - 1, 0, len(ends) - 2)
    last = np.clip(np.searchsorted(ends, z[1], "left"), 1, len(ends) - 1)
    which, row = _spread(first, last - first)
    halves = halves.take(which)  # now one for each row of the grid that it crosses
    cuts = np.sort([halves.parallel(ends[row]), halves.parallel(ends[row + 1])], axis=0)
    s = np.clip(cuts[0], *halves.s), np.clip(cuts[1], *halves.s)
    halves = halves._replace(s=s)
    west = np.minimum(*(halves.west.at(end, halves.cap) for end in s))
    east = np.maximum(*(halves.east.at(end, halves.cap) for end in s))
    first = np.floor(west - 1e-9).astype(np.int64)
    columns = np.ceil(east + 1e-9).astype(np.int64) - first
    shape = healpix.num_cells, lat_lon.num_cells
    total = coo_matrix(shape).tocsr()
    ends_of_blocks = np.searchsorted(np.cumsum(columns), np.arange(AT_ONCE, columns.sum(), AT_ONCE))
    for block in np.split(np.arange(len(row)), ends_of_blocks):
        which, column = _spread(first[block], columns[block])
        part = halves.take(block[which])
        # min(curve, edge) = edge + min(curve - edge, 0), and the edges cancel between east and west
        inside = [part.east.west_of(column + n, part) - part.west.west_of(column + n, part) for n in (0, 1)]
        places = part.cell, row[block[which]] * width + column % width
        total += coo_matrix(((inside[1] - inside[0]) / (2 * width), places), shape=shape).tocsr()
    return total


def _spread(first: Index, counts: Index) -> tuple[Index, Index]:
    """Item i counts[i] times, with the numbers first[i], first[i] + 1, ..."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
