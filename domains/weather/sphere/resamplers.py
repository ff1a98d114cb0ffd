"""Scales on the sphere: spherical-harmonic truncations or nested HEALPix cells, and what attention knows of sites.

Everything that an attention network learns of a site is unchanged when the globe is turned about its axis: functions of
the latitude, and of pairs of sites their distance and the direction from one to the other in the local frame of east,
north and up. Turnings that map the sites to themselves therefore permute what the network says, exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import at_points
from refine.domains.weather.sphere.sparse import SparseMap
from refine.errors import not_accepted, require
from refine.scales.resample import Resampler
from refine.types import Level

Array = NDArray[np.float64]
ZONAL = 5  # Legendre polynomials of the sine of latitude, as features of a site
LOCAL = 3  # highest degree of the spherical harmonics of a neighbour's direction, as features of a pair
RINGS = 6  # radial features of a pair
DENSE = 320  # sites up to which all attend to all
LARGEST = 2**30  # numbers of a table, 8 GiB while it is made
FEW_RINGS = 80  # T up to which 1.3 sites a coefficient are enough
CONDITION = 30  # of a basis at its sites: how much it may magnify noise
NEIGHBOURS = 9  # otherwise: itself and the eight nearest, and those as near as the last of them


class SphereResampler(Resampler):
    """Sites on the sphere by scale, their geometry, and fields on a latitude-longitude grid seen from them.

    Args:
        names: of the sites of each scale (:func:`points_of`), coarsest first.
        grid: condition fields live on half its resolution.
    """

    def __init__(self, names: Sequence[str], grid: Grid) -> None:
        super().__init__()
        sizes = [sites_of(name) for name in names]
        grows = len(sizes) > 0 and all(a < b for a, b in itertools.pairwise(sizes))
        require(grows, f"domain.scales: sites {sizes} must grow strictly")
        _small_enough(sizes[-1], max(sizes[-1], grid.num_cells))
        self.names, self.grid, self.points = list(names), grid, [points_of(name) for name in names]
        self.num_levels = len(self.names)
        for k, p in enumerate(self.points):
            self.register_buffer(f"pos_{k}", _table(site_features(p))[None], persistent=False)
            self.register_buffer(f"seen_{k}", _table(seen_from(p, grid)), persistent=False)
            if len(p) <= DENSE:
                pair = pair_features(p, *(i.ravel() for i in np.indices((len(p), len(p)))))
                self.register_buffer(f"pair_{k}", _table(pair).view(1, len(p), len(p), -1), persistent=False)
            else:
                query, key = nearest(p, NEIGHBOURS)
                self.register_buffer(f"edges_{k}", torch.from_numpy(np.stack([query, key])), persistent=False)
                features = _table(pair_features(p, query, key))
                self.register_buffer(f"edge_features_{k}", features, persistent=False)

    def num_sites(self, k: int) -> int:
        return len(self.points[k])

    def level(self, k: int) -> Level:
        position = self.get_buffer(f"pos_{k}")
        if self.num_sites(k) <= DENSE:
            return Level(pos=position, pair=self.get_buffer(f"pair_{k}"))
        return Level(
            pos=position, edges=self.get_buffer(f"edges_{k}"), edge_features=self.get_buffer(f"edge_features_{k}")
        )

    @property
    def field_sites(self) -> int:
        """H W / 4, half the resolution of the grid."""
        return self.get_buffer("seen_0").shape[1]

    def field(self, field: Tensor, k: int) -> Tensor:
        """Fields (B, H W / 4, F) at half the resolution of the grid as averages around each site, (B, N_k, F)."""
        return self.get_buffer(f"seen_{k}").to(field.dtype) @ field


class HarmonicResampler(SphereResampler):
    """Truncations T_0 < T_1 < ... of a spherical-harmonic series, each as values at sites that determine it.

    Going down is a projection and going up loses nothing, so both commute with every rotation of the sphere.

    Args:
        truncations: T_k, coarsest first.
        points: ``healpix`` (rings of any nside, the least that has ``oversample`` sites for each coefficient) or
            ``gaussian`` (latitudes and longitudes, more than two sites for each).
        oversample: see there.
        grid: condition fields live on half its resolution.

    Raises:
        RefineError: scales that do not grow, or sites that do not determine their truncation well.
    """

    def __init__(self, truncations: Sequence[int], points: str, oversample: float, grid: Grid) -> None:
        names = harmonic_names(truncations, points, oversample)
        super().__init__(names, grid)
        self.truncations = list(truncations)
        for k, (t, name) in enumerate(zip(truncations, names, strict=True)):
            synthesis, analysis = basis(name, t)
            self.register_buffer(f"synthesis_{k}", _table(synthesis), persistent=False)
            self.register_buffer(f"analysis_{k}", _table(analysis), persistent=False)
        self._maps: dict[tuple[int, int], Tensor] = {}

    def degrees(self, k: int) -> int:
        return int((self.truncations[k] + 1) ** 2)

    def down(self, x: Tensor, source: int, target: int) -> Tensor:
        return self._map(x, source, target)

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        return self._map(x, source, target)

    def _map(self, x: Tensor, source: int, target: int) -> Tensor:
        if source == target:
            return x
        key = (source, target)
        synthesis, analysis = self.get_buffer(f"synthesis_{target}"), self.get_buffer(f"analysis_{source}")
        with torch.autocast(x.device.type, enabled=False):  # also the product: it is kept for calls in full precision
            if key not in self._maps or (self._maps[key].device, self._maps[key].dtype) != (x.device, synthesis.dtype):
                common = min(self.degrees(source), self.degrees(target))
                self._maps[key] = synthesis[:, :common] @ analysis[:common]
            return self._maps[key].to(x.dtype) @ x


class NestedResampler(SphereResampler):
    """HEALPix cells of equal area, each of 4 within one of the scale before; latents are cell values.

    Down is the mean over the cells within, up is a smooth interpolation that keeps those means: fields on N cells
    differ in N ways, unless what is decoded is truncated to fewer harmonics than there are cells.

    Args:
        nsides: powers of two, coarsest first.
        grid: condition fields live on half its resolution.
        truncation: T of the harmonics that are read from cells of the finest scale; None for no truncation.
    """

    def __init__(self, nsides: Sequence[int], grid: Grid, truncation: int | None = None) -> None:
        from refine.domains.weather.sphere.healpix import prolongation

        super().__init__(nested_names(nsides), grid)
        self.nsides, self.truncation = list(nsides), truncation
        self._finer = [SparseMap(prolongation(a, b)) for a, b in itertools.pairwise(nsides)]

    def degrees(self, k: int) -> int:
        return self.num_sites(k) if self.truncation is None else min(self.num_sites(k), (self.truncation + 1) ** 2)

    def new_degrees(self, k: int) -> float:
        """Of a scale that is truncated, the trace of what truncation leaves of a band: coarser fields, interpolated,
        are no harmonics, so the degrees of both do not just differ."""
        if k == 0 or self.truncation is None or self.degrees(k) == self.num_sites(k):
            return super().new_degrees(k)
        kept = np.linalg.qr(at_points(self.points[k], self.truncation))[0].T  # (D, N)
        coarse = (self._finer[k - 1].matrix.T @ kept.T).T  # (D, N_{k-1})
        within = self.num_sites(k) // self.num_sites(k - 1)
        return float(((kept - np.repeat(coarse, within, 1) / within) ** 2).sum())

    def down(self, x: Tensor, source: int, target: int) -> Tensor:
        batch, sites, channels = x.shape
        return x.view(batch, self.num_sites(target), sites // self.num_sites(target), channels).mean(2)

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        for finer in self._finer[source:target]:
            x = finer(x.transpose(1, 2)).transpose(1, 2)
        return x


def harmonic_names(truncations: Sequence[int], points: str, oversample: float) -> list[str]:
    """Names of the sites of each truncation; see :class:`HarmonicResampler`."""
    grows = len(truncations) > 0 and all(a < b for a, b in itertools.pairwise([-1, *truncations]))
    require(grows, f"domain.scales={[f'T{t}' for t in truncations]} is not accepted; accepted: growing, from T0 on")
    if points not in ("healpix", "gaussian"):
        raise not_accepted("domain.points", points, ("healpix", "gaussian"))
    require(oversample >= 1, f"domain.oversample={oversample} is not accepted; accepted: 1 or more")
    return [_rings(t, oversample) if points == "healpix" else _gauss(t) for t in truncations]


def nested_names(nsides: Sequence[int]) -> list[str]:
    """Names of the sites of nested scales."""
    return [f"healpix:{nside}" for nside in nsides]


def _table(array: Array) -> Tensor:
    """In torch's default precision."""
    return torch.tensor(array, dtype=torch.get_default_dtype())


def _rings(truncation: int, oversample: float) -> str:
    """The coarsest HEALPix rings (of any whole nside) with at least so many sites for each coefficient. They hold less
    than T = 3 nside: above T80 so many sites do not determine the coefficients well, and there are some more rings."""
    nside = max(1, int(np.ceil((oversample * (truncation + 1) ** 2 / 12) ** 0.5 - 1e-9)))
    return f"rings:{max(nside, -(-(truncation + 4) // 3)) if truncation > FEW_RINGS else nside}"


def _gauss(truncation: int) -> str:
    """A Gaussian grid on which products of two fields of this truncation are integrated exactly."""
    rows = max(2, (3 * truncation + 1) // 4 * 2 + 2 if truncation % 2 == 0 else (3 * truncation + 3) // 4 * 2)
    return f"gaussian:{rows}x{2 * rows}"


def sites_of(name: str) -> int:
    """How many sites :func:`points_of` gives."""
    if not name.startswith("rings:"):
        return Grid.parse(name).num_cells
    return 12 * int(name.removeprefix("rings:")) ** 2


@lru_cache(maxsize=32)
def points_of(name: str) -> Array:
    """(N, 3) unit vectors of named sites: of a :class:`Grid`, or ``rings:NSIDE``, centres of HEALPix cells of any
    nside, row by row from the north; a quarter turn maps them to themselves."""
    if not name.startswith("rings:"):
        return Grid.parse(name).points
    import healpy

    nside = int(name.removeprefix("rings:"))
    return np.stack(healpy.pix2vec(nside, np.arange(12 * nside**2)), 1)


@lru_cache(maxsize=32)
def basis(name: str, truncation: int) -> tuple[Array, Array]:
    """The maps from coefficients (D) to named sites (N), (N, D), and back, (D, N), by least squares.

    Raises:
        RefineError: sites that do not determine the coefficients well.
    """
    _small_enough(sites_of(name), (truncation + 1) ** 2)
    values = at_points(points_of(name), truncation)
    gram = values.T @ values
    size = np.linalg.eigvalsh(gram)
    worst = (size[-1] / max(size[0], 1e-30)) ** 0.5 if values.shape[0] >= values.shape[1] else np.inf
    require(
        worst < CONDITION,
        f"the {len(values)} sites of {name} do not determine T{truncation} (condition {worst:.0f}); more are needed: "
        "see domain.oversample and domain.scales",
    )
    inverse: Array = np.asarray(np.linalg.solve(gram, values.T), dtype=np.float64)
    return values, inverse


def _small_enough(sites: int, others: int) -> None:
    """Refuse a table of ``sites`` with each other, with cells of a grid, or with coefficients, before it is made."""
    asked = f"domain.scales, with domain.oversample, ask for {sites:,} sites, and a table of {sites * others:,} numbers"
    require(sites * others <= LARGEST, f"{asked}; accepted: {LARGEST:,} numbers at most")


def site_features(points: Array) -> Array:
    """(N, ZONAL) Legendre polynomials P_1 ... of the sine of latitude: the harmonics that know no longitude."""
    return np.asarray(np.polynomial.legendre.legvander(points[:, 2], ZONAL)[:, 1:], dtype=np.float64)


def nearest(points: Array, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(query, key), (E,) each: every site with all that are as near as its ``count``-th neighbour, itself among them.

    Ties are kept together, or the choice would not turn with the globe.
    """
    closeness = points @ points.T
    last = -np.sort(-closeness, axis=1)[:, min(count, len(points)) - 1 : min(count, len(points))]
    query, key = np.nonzero(closeness >= last - 1e-9)
    return query, key


def pair_features(points: Array, query: Any, key: Any) -> Array:
    """(E, R) of pairs: spherical harmonics (e3nn's) of the direction to the key in the local frame of the query, with
    distance (they hold cos of the angle), and bumps at distances in steps of the mean spacing of sites."""
    from e3nn import o3

    frame = local_frames(points)[query]
    direction = torch.from_numpy(np.einsum("eij,ej->ei", frame, points[key]))
    harmonics = o3.spherical_harmonics(list(range(LOCAL + 1)), direction, normalize=True).numpy()
    spacing = (4 * np.pi / len(points)) ** 0.5
    sine = np.linalg.norm(np.cross(points[query], points[key]), axis=1)
    angle = np.arctan2(sine, np.einsum("ei,ei->e", points[query], points[key]))  # an arc cosine is inexact near 1
    bumps = np.exp(-((angle[:, None] / spacing - np.arange(RINGS)) ** 2))
    return np.concatenate([harmonics, bumps], 1)


def local_frames(points: Array) -> Array:
    """(N, 3, 3) rows east, north and up at each site; at a pole, as on the meridian of 0 E."""
    east = np.cross([0.0, 0.0, 1.0], points)
    size = np.linalg.norm(east, axis=1, keepdims=True)
    east = np.where(size > 1e-9, east / np.maximum(size, 1e-9), [0.0, 1.0, 0.0])
    return np.stack([east, np.cross(points, east), points], 1)


def seen_from(points: Array, grid: Grid) -> Array:
    """(N, H W / 4) averages, around each site, of fields on a grid at half its resolution: weights fall with distance,
    within about the site's own cell."""
    height, width = grid.shape
    area = grid.area.ravel()
    spacing = max((4 * np.pi / len(points)) ** 0.5, 2 * (4 * np.pi / area.size) ** 0.5)
    chord = 2 * (1 - points @ grid.points.T)
    weight = (np.exp(-2 * chord / spacing**2) * area).reshape(-1, height // 2, 2, width // 2, 2).sum((2, 4))
    return np.asarray(weight / weight.sum((1, 2), keepdims=True)).reshape(len(points), -1)
