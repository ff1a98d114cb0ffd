"""Nested HEALPix: parents, children, neighbours, symmetries, and smooth ways between the resolutions.

Cells in nested order: those of ``nside`` that lie in cell i of ``nside / 2`` are 4 i to 4 i + 3. All areas are equal.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.sphere.grids import Grid
from refine.errors import require

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

AT_ONCE = 128  # parents whose systems are solved together

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def num_cells(nside: int) -> int:
    """12 * nside**2."""
    return 12 * nside**2


def centres(nside: int) -> Array:
    """(N, 3) unit vectors: x to 0 E, y to 90 E, z to the north."""
    return Grid.parse(f"healpix:{nside}").points


def parents(nside: int, coarse: int) -> Index:
    """(N,) the cell of ``coarse`` that each cell of ``nside`` lies in."""
    return np.arange(num_cells(nside)) // _ratio(nside, coarse)


def children(nside: int, fine: int) -> Index:
    """(N, n) the cells of ``fine`` that lie in each cell of ``nside``."""
    return np.arange(num_cells(fine)).reshape(num_cells(nside), _ratio(fine, nside))


def neighbours(nside: int) -> Index:
    """(N, 8) the cells that share a side or a corner: SW, W, NW, N, NE, E, SE, S; -1 where there is none."""
    import healpy

    return np.asarray(healpy.get_all_neighbours(nside, np.arange(num_cells(nside)), nest=True), np.int64).T


def turned(nside: int, quarters: int = 1) -> Index:
    """(N,) the cell that each cell falls on when the sphere turns east by so many quarters about its axis."""
    import healpy

    x, y, base = healpy.pix2xyf(nside, np.arange(num_cells(nside)), nest=True)
    base = base // 4 * 4 + (base + quarters) % 4
    return np.asarray(healpy.xyf2pix(nside, x, y, base, nest=True), np.int64)


def mirrored(nside: int) -> Index:
    """(N,) the cell that each cell falls on when north and south change places."""
    import healpy

    x, y, base = healpy.pix2xyf(nside, np.arange(num_cells(nside)), nest=True)
    base = np.where(base < 4, base + 8, np.where(base >= 8, base - 8, base))
    return np.asarray(healpy.xyf2pix(nside, nside - 1 - y, nside - 1 - x, base, nest=True), np.int64)


def restriction(fine: int, coarse: int) -> csr_matrix:
    """(cells of coarse, cells of fine): means over the cells that lie in each."""
    return injection(coarse, fine).T.tocsr() / _ratio(fine, coarse)


def injection(coarse: int, fine: int) -> csr_matrix:
    """(cells of fine, cells of coarse): each cell has the value of the one that it lies in. Blocks, not smooth."""
    from scipy.sparse import csr_matrix

    cells = num_cells(fine)
    shape = cells, num_cells(coarse)
    return csr_matrix((np.ones(cells), (np.arange(cells), parents(fine, coarse))), shape=shape)


def prolongation(coarse: int, fine: int) -> csr_matrix:
    """(cells of fine, cells of coarse): smooth, with means kept: ``restriction @ prolongation`` is the identity.

    Each doubling of nside is ordinary kriging (Matheron 1963; Cressie, "Statistics for spatial data", 3.2): the best
    linear estimate of the means of four children given those of their parent and of its neighbours two rings around,
    for a field with the Matern-3/2 covariance (1 + d) exp(-d), d = sqrt(3) * distance / side of a coarse cell. It only
    knows distances, so it has every symmetry that the cells have, and favours no pole.
    """
    _ratio(fine, coarse)
    matrix = injection(coarse, coarse)
    while coarse < fine:
        matrix = _doubling(coarse) @ matrix
        coarse *= 2
    return matrix.tocsr()


@lru_cache(maxsize=16)
def _doubling(nside: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    around = two_rings(nside)
    points = centres(2 * nside).reshape(-1, 4, 3)
    unit = 3**0.5 / (4 * np.pi / num_cells(nside)) ** 0.5
    sizes = np.diff(around.indptr)
    places, weights = [], []
    for n in np.unique(sizes):  # fewer at the corners of base cells, where only three of them meet
        parent = np.flatnonzero(sizes == n)
        for some in np.array_split(parent, -(-len(parent) // AT_ONCE)):
            near = around.indices[around.indptr[some][:, None] + np.arange(n)]  # (P, n)
            known, wanted = points[near].reshape(len(some), 4 * n, 3), points[some]
            system = np.ones((len(some), n + 1, n + 1))
            system[:, :n, :n] = _covariance(known, known, unit).reshape(-1, n, 4, n, 4).mean((2, 4))
            system[:, n, n] = 0  # the last row has the weights add up to 1
            right = np.ones((len(some), n + 1, 4))
            right[:, :n] = _covariance(known, wanted, unit).reshape(-1, n, 4, 4).mean(2)
            solved = np.linalg.solve(system, right)[:, :n].transpose(0, 2, 1)  # (P, 4, n)
            rows = np.broadcast_to(children(nside, 2 * nside)[some][:, :, None], solved.shape)
            columns = np.broadcast_to(near[:, None], solved.shape)
            places.append(np.stack([rows.ravel(), columns.ravel()]))
            weights.append(solved.ravel())
    shape = num_cells(2 * nside), num_cells(nside)
    return csr_matrix((np.concatenate(weights), np.concatenate(places, 1)), shape=shape)


def two_rings(nside: int) -> csr_matrix:
    """(N, N) pattern: each cell, its neighbours, and theirs."""
    from scipy.sparse import csr_matrix, identity

    beside = neighbours(nside)
    cell, slot = np.nonzero(beside >= 0)
    one = csr_matrix((np.ones(len(cell)), (cell, beside[cell, slot])), shape=(len(beside), len(beside)))
    near = one + identity(len(beside), format="csr")
    both = (near @ near).tocsr()
    both.sort_indices()
    return both


def _covariance(a: Array, b: Array, unit: float) -> Array:
    """(P, m, 3), (P, n, 3) -> (P, m, n)."""
    squared = 2 - 2 * np.einsum("pmi,pni->pmn", a, b)
    d = unit * np.sqrt(np.maximum(squared, 0))
    covariance: Array = (1 + d) * np.exp(-d)
    return covariance


def _ratio(fine: int, coarse: int) -> int:
    message = f"nside={fine} is not accepted beside nside={coarse}; accepted: the same or more, powers of two"
    require(fine >= coarse > 0 and all(n & (n - 1) == 0 for n in (fine, coarse)), message)
    return (fine // coarse) ** 2
