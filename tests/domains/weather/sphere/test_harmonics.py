"""Spherical harmonics: exact both ways on every grid, and winds are vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import HarmonicTransform, at_points, degrees
from refine.errors import RefineError

from ..rotations import e3nn_harmonics, precision, some_rotations, wigner

T = 5
GRIDS = ["gaussian:12x24", "regular:12x24", "regular:13x24", "regular:12x24:7.5", "gaussian:8x13"]
all_grids = pytest.mark.parametrize("name", GRIDS)


def transform(name: str, truncation: int = T, dtype: torch.dtype = torch.float64) -> HarmonicTransform:
    with precision(dtype):
        return HarmonicTransform(Grid.parse(name), truncation)


def coefficients(*shape: int, truncation: int = T, wind: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    out = torch.randn(*shape, (truncation + 1) ** 2, generator=generator, dtype=torch.float64)
    return out * (torch.from_numpy(degrees(truncation)) > 0) if wind else out


def close(a: Tensor, b: Tensor, atol: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def wind_at(points: np.ndarray, div: Tensor, rot: Tensor) -> Tensor:
    """(N, 3) tangent vectors: gradients of e3nn's harmonics, by automatic differentiation."""
    x = torch.from_numpy(points).requires_grad_()
    number = torch.from_numpy(degrees(T))
    length = (number * (number + 1)).clamp_min(1).double().sqrt()
    radial = x / x.norm(dim=1, keepdim=True)
    out = []
    for part in (div, rot):
        potential = e3nn_harmonics(radial, T) @ (part / length)
        (gradient,) = torch.autograd.grad(potential.sum(), x, retain_graph=True)
        out.append(gradient)
    return out[0] + torch.linalg.cross(x.detach(), out[1])


def east_north(grid: Grid, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Components (H, W) of tangent vectors (H W, 3)."""
    lat, lon = np.meshgrid(np.deg2rad(grid.latitude), np.deg2rad(grid.longitude), indexing="ij")
    east = np.stack([-np.sin(lon), np.cos(lon), 0 * lon], -1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], -1)
    field = vectors.view(*grid.shape, 3)
    return (field * torch.from_numpy(east)).sum(-1), (field * torch.from_numpy(north)).sum(-1)


def test_they_are_the_harmonics_that_e3nn_has() -> None:
    points = np.concatenate([Grid.parse("healpix:2").points, np.eye(3), -np.eye(3)])
    close(torch.from_numpy(at_points(points, 7)), e3nn_harmonics(torch.from_numpy(points), 7))
    assert degrees(2).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2]


def test_they_are_orthonormal() -> None:
    grid, quadrature = Grid.parse("gaussian:12x24"), np.polynomial.legendre.leggauss(12)[1]
    weight = torch.from_numpy(quadrature)[:, None] * 2 * torch.pi / 24
    fields = transform(grid.name).synthesise(torch.eye((T + 1) ** 2, dtype=torch.float64))
    gram = torch.einsum("ahw,bhw,hw->ab", fields, fields, weight.expand(12, 24))
    close(gram, torch.eye(len(gram), dtype=torch.float64))
    close(fields.flatten(1).T, torch.from_numpy(at_points(grid.points, T)))


@all_grids
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_put_together_is_taken_apart(name: str, dtype: torch.dtype) -> None:
    turn, c = transform(name, dtype=dtype), coefficients(2, 3).to(dtype)
    atol = 1e-5 if dtype == torch.float32 else 1e-11
    fields = turn.synthesise(c)
    assert fields.shape == (2, 3, *Grid.parse(name).shape) and fields.dtype == dtype
    close(turn.analyse(fields), c, atol)
    div, rot = coefficients(2, wind=True).to(dtype), coefficients(2, 1, wind=True)[:, 0].to(dtype)
    for found, wanted in zip(turn.analyse_wind(*turn.synthesise_wind(div, rot)), (div, rot), strict=True):
        close(found, wanted, atol)


@pytest.mark.parametrize(("name", "most"), [("gaussian:8x16", 7), ("gaussian:12x13", 6), ("regular:9x24", 8)])
def test_every_truncation_that_is_accepted_is_exact(name: str, most: int) -> None:
    c = coefficients(2, truncation=most)
    turn = transform(name, most)
    close(turn.analyse(turn.synthesise(c)), c, 1e-9)
    with pytest.raises(RefineError, match=f"T{most + 1} is not accepted on {name}; accepted: T{most}"):
        transform(name, most + 1)


@pytest.mark.parametrize("name", ["gaussian:12x24", "regular:12x24"])
def test_what_lies_beyond_the_truncation_leaves_hardly_a_trace(name: str) -> None:
    higher = coefficients(1, truncation=6) * torch.from_numpy(degrees(6) > T)
    trace = transform(name).analyse(transform(name, 6).synthesise(higher))
    assert trace.norm() < 0.03 * higher.norm()


@all_grids
def test_winds_are_gradients_and_turned_gradients(name: str) -> None:
    grid, turn = Grid.parse(name), transform(name)
    div, rot = coefficients(1, wind=True)[0], coefficients(1, 1, wind=True)[0, 0]
    for d, r in [(div, 0 * rot), (0 * div, rot), (div, rot)]:
        u, v = east_north(grid, wind_at(grid.points, d, r))
        polar = 2e-5 if name == "regular:13x24" else 1e-11  # derivatives at poles are taken beside them
        for found, wanted in zip(turn.synthesise_wind(d, r), (u, v), strict=True):
            close(found, wanted, polar)


def test_energy_is_the_sum_of_squares() -> None:
    turn, quadrature = transform("gaussian:12x24"), np.polynomial.legendre.leggauss(12)[1]
    div, rot = coefficients(4, wind=True), coefficients(4, 1, wind=True)[:, 0]
    u, v = turn.synthesise_wind(div, rot)
    weight = torch.from_numpy(quadrature)[:, None] * 2 * torch.pi / 24
    close(((u.square() + v.square()) * weight).sum((1, 2)), (div.square() + rot.square()).sum(1), 1e-9)


@all_grids
def test_solid_body_rotation_is_rotational_of_degree_one(name: str) -> None:
    grid, turn = Grid.parse(name), transform(name)
    jet = torch.from_numpy(np.cos(np.deg2rad(grid.latitude)))[:, None].expand(grid.shape)
    size = (8 * torch.pi / 3) ** 0.5
    # from pole to pole, the gradient of the sine of latitude; and round the axis, that turned by a right angle
    for part, (u, v, wanted) in enumerate([(0 * jet, jet, size), (jet, 0 * jet, -size)]):
        found = torch.stack(turn.analyse_wind(u, v))
        assert float(found[part, 2]) == pytest.approx(wanted, rel=1e-9)
        found[part, 2] = 0
        close(found, torch.zeros_like(found), 1e-9)


@pytest.mark.parametrize("name", ["gaussian:12x24", "regular:12x24:7.5"])
def test_rotations_of_fields_are_rotations_of_coefficients(name: str) -> None:
    grid, turn, c = Grid.parse(name), transform(name), coefficients(1)[0]
    for rotation in some_rotations(3):
        field = torch.from_numpy(at_points(grid.points @ rotation, T)) @ c  # f(R^-1 x)
        close(turn.analyse(field.view(grid.shape)), wigner(rotation, T) @ c)


@pytest.mark.parametrize("name", ["gaussian:12x24", "regular:12x24:7.5"])
def test_both_parts_of_a_wind_are_scalars_under_rotations(name: str) -> None:
    grid, turn = Grid.parse(name), transform(name)
    div, rot = coefficients(1, wind=True)[0], coefficients(1, 1, wind=True)[0, 0]
    before = turn.synthesise_wind(div, rot)
    for rotation in some_rotations(3):
        vectors = wind_at(grid.points @ rotation, div, rot) @ torch.from_numpy(rotation).T  # R V(R^-1 x)
        u, v = east_north(grid, vectors)
        matrix = wigner(rotation, T)
        for found, part in zip(turn.analyse_wind(u, v), (div, rot), strict=True):
            close(found, matrix @ part)
        # the test has teeth: components taken for scalars do not rotate like that, by far
        as_scalars = turn.analyse(u) - matrix @ turn.analyse(before[0])
        assert as_scalars.norm() > 0.3 * turn.analyse(before[0]).norm()


def test_gradients_pass() -> None:
    turn, field = transform("gaussian:8x16", 3), torch.randn(8, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(turn.analyse, field)
    assert torch.autograd.gradcheck(turn.analyse_wind, (field, field.detach().clone().requires_grad_()))
