"""Rotations of the sphere, of points on it and of harmonic coefficients; e3nn has the matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch import Tensor

AXES = [1, 2, 0]  # e3nn measures longitudes about its second axis


def some_rotations(count: int, seed: int = 0) -> list[np.ndarray]:
    """(3, 3) each."""
    return list(Rotation.random(count, random_state=seed).as_matrix())


def signs(truncation: int) -> Tensor:
    """(D,) ours over e3nn's: scipy's harmonics alternate with the order, as Condon and Shortley had it."""
    orders = [m for degree in range(truncation + 1) for m in range(-degree, degree + 1)]
    return torch.tensor([(-1.0) ** m for m in orders], dtype=torch.float64)


def e3nn_harmonics(points: Tensor, truncation: int) -> Tensor:
    """(N, D) at points (N, 3), in our order and with our signs."""
    degrees = list(range(truncation + 1))
    values = o3.spherical_harmonics(degrees, points[:, AXES], normalize=False, normalization="integral")
    return values * signs(truncation).to(points)


def wigner(rotation: np.ndarray, truncation: int) -> Tensor:
    """(D, D) float64: what a rotation of a field, f(x) to f(R^-1 x), does to its coefficients."""
    turned = torch.from_numpy(rotation[np.ix_(AXES, AXES)].copy())
    irreps = o3.Irreps([(1, (degree, 1)) for degree in range(truncation + 1)])
    sign = signs(truncation)
    with precision(torch.float64):
        return sign[:, None] * irreps.D_from_matrix(turned) * sign


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Tables and weights of what is made meanwhile have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
