"""Spherical harmonics: analysis and synthesis of scalars and winds on latitude-longitude grids, values at any points.

Real and orthonormal over the sphere, in the order of (l, m) = (0, 0), (1, -1), (1, 0), (1, 1), (2, -2), ...; m > 0 goes
with cos(m longitude), m < 0 with sin(|m| longitude). Truncation T keeps l <= T, which is D = (T + 1)^2 coefficients.

A wind is a tangent vector, not two scalars. Its coefficients are those of vector spherical harmonics,

    (u, v) = sum_lm (div_lm grad Y_lm + rot_lm r x grad Y_lm) / sqrt(l (l + 1)),

whose divergent and rotational parts div and rot are scalars under every rotation, and of which no pole knows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.weather.sphere.grids import Grid
from refine.errors import require

Array = NDArray[np.float64]
SMOOTH = 2  # degrees and orders on either side over which is averaged
POLE = 1e-6  # radians; derivatives are taken this far from a pole, not on it


def degrees(truncation: int) -> Array:
    """(D,) l of each coefficient."""
    return np.repeat(np.arange(truncation + 1), 2 * np.arange(truncation + 1) + 1)


def at_points(points: Array, truncation: int) -> Array:
    """(N, D) values of the harmonics at unit vectors (N, 3)."""
    from scipy.special import sph_legendre_p_all

    colatitude, longitude = np.arccos(points[:, 2].clip(-1, 1)), np.arctan2(points[:, 1], points[:, 0])
    table = sph_legendre_p_all(truncation, truncation, colatitude)[0]
    columns = []
    for order in range(truncation + 1):
        for m in range(-order, order + 1):
            wave = np.cos(m * longitude) if m >= 0 else np.sin(-m * longitude)
            columns.append(table[order, abs(m)] * wave * (2**0.5 if m else 1.0))
    return np.stack(columns, 1)


class HarmonicTransform(nn.Module):
    """Between fields on a latitude-longitude grid and their coefficients up to a truncation.

    Along latitudes the analysis is the least-squares fit, weighted by area: exact wherever a field is band-limited, on
    Gaussian and on regular latitudes alike.

    Raises:
        RefineError: a grid that is too coarse for the truncation.
    """

    indices: Tensor
    table: Tensor
    inverse: Tensor
    wind: Tensor
    wind_inverse: Tensor
    waves: Tensor
    waves_inverse: Tensor

    def __init__(self, grid: Grid, truncation: int) -> None:
        super().__init__()
        from scipy.special import sph_legendre_p_all

        height, width = grid.shape
        self.truncation, orders = truncation, truncation + 1
        fits = height > truncation and width > 2 * truncation
        require(fits, f"T{truncation} is not accepted on {grid.name}; accepted: T{min(height - 1, (width - 1) // 2)}")
        colatitude = np.deg2rad(90 - grid.latitude).clip(POLE, np.pi - POLE)
        value, slope = (t[:, :orders] for t in sph_legendre_p_all(truncation, truncation, colatitude, diff_n=1))
        # (order m, degree l, latitude); a cosine or a sine of unit mean square on the circle comes with m > 0
        unit = np.where(np.arange(orders) > 0, 2**0.5, 1.0)[:, None, None]
        value, slope = value.transpose(1, 0, 2) * unit, slope.transpose(1, 0, 2) * unit
        number = np.arange(orders)  # of a degree, or of an order
        length = np.sqrt(np.maximum(number * (number + 1), 1))[:, None]
        north = -slope / length  # the derivative to the north of Y / sqrt(l (l + 1))
        east = value * number[:, None, None] / np.sin(colatitude) / length
        weight = np.sqrt(grid.area[:, 0])
        wind = np.concatenate(  # rows (u, v) at each latitude, columns (div, rot) of each degree
            [np.concatenate([east, -north], 1), np.concatenate([north, -east], 1)], 2
        )
        longitude = np.deg2rad(grid.longitude)
        phase = np.arange(orders)[:, None] * longitude
        waves = np.stack([np.cos(phase), np.sin(phase)])
        norm = np.where(np.arange(orders) > 0, 2.0, 1.0)[None, :, None] / width
        flat = np.full((2, orders, orders), -1)
        for degree in range(orders):
            for m in range(degree + 1):
                flat[0, m, degree] = degree * degree + degree + m
                if m:
                    flat[1, m, degree] = degree * degree + degree - m
        # a degree that a given order does not have points behind the last coefficient, where a zero is put
        self.register_buffer("indices", torch.from_numpy(np.where(flat < 0, orders * orders, flat)), persistent=False)
        tables = {
            "table": value,
            "inverse": _least_squares(value, weight),
            "wind": wind,
            "wind_inverse": _least_squares(wind, np.concatenate([weight, weight])),
            "waves": waves,
            "waves_inverse": waves * norm,
        }
        for name, array in tables.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.get_default_dtype()), persistent=False)

    @property
    def num_coefficients(self) -> int:
        """D."""
        return (self.truncation + 1) ** 2

    def analyse(self, fields: Tensor) -> Tensor:
        """Fields (..., H, W) to coefficients (..., D)."""
        return self._flat(torch.einsum("...pmh,mhl->...pml", self._to_waves(fields), self.inverse))

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Coefficients (..., D) to fields (..., H, W)."""
        return self._from_waves(torch.einsum("...pml,mlh->...pmh", self._by_order(coefficients), self.table))

    def analyse_wind(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Eastward and northward wind (..., H, W) to divergent and rotational coefficients (..., D)."""
        u_cos, u_sin = self._to_waves(u).unbind(-3)
        v_cos, v_sin = self._to_waves(v).unbind(-3)
        size = self.truncation + 1
        rows = torch.stack([torch.cat([u_cos, v_sin], -1), torch.cat([-u_sin, v_cos], -1)], -3)
        both = torch.einsum("...pmh,mhl->...pml", rows, self.wind_inverse)
        (div_sin, div_cos), (rot_cos, minus_rot_sin) = both[..., :size].unbind(-3), both[..., size:].unbind(-3)
        return self._flat(torch.stack([div_cos, div_sin], -3)), self._flat(torch.stack([rot_cos, -minus_rot_sin], -3))

    def synthesise_wind(self, div: Tensor, rot: Tensor) -> tuple[Tensor, Tensor]:
        """Divergent and rotational coefficients (..., D) to eastward and northward wind (..., H, W)."""
        div_cos, div_sin = self._by_order(div).unbind(-3)
        rot_cos, rot_sin = self._by_order(rot).unbind(-3)
        height = self.table.shape[-1]
        columns = torch.stack([torch.cat([div_sin, rot_cos], -1), torch.cat([div_cos, -rot_sin], -1)], -3)
        both = torch.einsum("...pml,mlh->...pmh", columns, self.wind)
        (u_cos, minus_u_sin), (v_sin, v_cos) = both[..., :height].unbind(-3), both[..., height:].unbind(-3)
        u, v = torch.stack([u_cos, -minus_u_sin], -3), torch.stack([v_cos, v_sin], -3)
        return self._from_waves(u), self._from_waves(v)

    def _to_waves(self, fields: Tensor) -> Tensor:
        """(..., H, W) to the cosines and sines of each latitude: (..., 2, M, H)."""
        return torch.einsum("...hw,pmw->...pmh", fields, self.waves_inverse)

    def _from_waves(self, waves: Tensor) -> Tensor:
        return torch.einsum("...pmh,pmw->...hw", waves, self.waves)

    def _by_order(self, coefficients: Tensor) -> Tensor:
        """(..., D) to (..., 2, M, L), zero where an order has no such degree."""
        padded = torch.cat([coefficients, torch.zeros_like(coefficients[..., :1])], -1)
        return padded[..., self.indices]

    def _flat(self, by_order: Tensor) -> Tensor:
        """(..., 2, M, L) to (..., D)."""
        out = by_order.new_zeros(*by_order.shape[:-3], self.num_coefficients + 1)
        index = self.indices.flatten()
        out = out.index_copy(-1, index.clamp_max(self.num_coefficients), by_order.flatten(-3))
        return out[..., :-1]


class FieldTransform(nn.Module):
    """The same for all channels of a state together: scalars as scalars, winds as tangent vectors.

    Args:
        channels: C.
        winds: pairs of channel numbers (eastward, northward).
        grid: of the fields.
        truncation: T.

    Attributes:
        degree, order: (D,) l and |m| of each coefficient.
    """

    degree: Tensor
    order: Tensor

    def __init__(self, channels: int, winds: list[tuple[int, int]], grid: Grid, truncation: int) -> None:
        super().__init__()
        self.shape, self.channels, self.winds = grid.shape, channels, winds
        self.scalars = [i for i in range(channels) if all(i not in pair for pair in winds)]
        self.scalar = HarmonicTransform(grid, truncation)
        degree = torch.from_numpy(degrees(truncation))
        self.register_buffer("degree", degree, persistent=False)
        order = (torch.arange(len(degree)) - degree * (degree + 1)).abs()
        self.register_buffer("order", order, persistent=False)

    @property
    def num_coefficients(self) -> int:
        """D."""
        return self.scalar.num_coefficients

    def analyse(self, x: Tensor) -> Tensor:
        """(B, D, C) harmonics of fields (B, C, H, W); of a wind, the divergent part in its first channel, the
        rotational in the second."""
        out = x.new_zeros(len(x), self.num_coefficients, self.channels)
        out[..., self.scalars] = self.scalar.analyse(x[:, self.scalars]).transpose(1, 2)
        for u, v in self.winds:
            out[..., u], out[..., v] = self.scalar.analyse_wind(x[:, u], x[:, v])
        return out

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """The inverse of :meth:`analyse`."""
        out = coefficients.new_zeros(len(coefficients), self.channels, *self.shape)
        out[:, self.scalars] = self.scalar.synthesise(coefficients[..., self.scalars].transpose(1, 2))
        for u, v in self.winds:
            out[:, u], out[:, v] = self.scalar.synthesise_wind(coefficients[..., u], coefficients[..., v])
        return out

    def smooth(self, x: Tensor) -> Tensor:
        """(D, C) means of what harmonics (D, C) have, over those whose degree l and whose |m| are about the same.

        Functions of l and |m| are what turning the globe about its axis leaves alone. Fields are not isotropic: errors
        of the zonal wind are larger than those of the meridional one, which a function of l alone cannot say.
        """
        size = int(self.degree.max()) + 1
        place = self.degree * size + self.order
        table = x.new_zeros(size * size, 1 + x.shape[1])
        table.index_add_(0, place, torch.cat([torch.ones_like(x[:, :1]), x], 1))
        width = 2 * SMOOTH + 1
        near = F.avg_pool2d(table.T.unflatten(1, (size, size)), width, 1, SMOOTH).flatten(1).T
        return near[place, 1:] / near[place, :1]


def _least_squares(table: Array, weight: Array) -> Array:
    """(M, H, L) the weighted pseudo-inverse of each (L, H) table, as a map from latitudes to degrees."""
    return np.stack([np.linalg.pinv(t.T * weight[:, None]).T * weight[:, None] for t in table])
