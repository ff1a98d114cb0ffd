"""Nested HEALPix: who lies in whom, which symmetries there are, and ways up and down that keep means."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
import torch

from refine.domains.weather.sphere import healpix
from refine.domains.weather.sphere.sparse import SparseMap
from refine.errors import RefineError

SIDES = [1, 2, 4, 8]


@pytest.mark.parametrize("nside", SIDES)
def test_children_lie_in_their_parents(nside: int) -> None:
    fine = 4 * nside
    children = healpix.children(nside, fine)
    assert children.shape == (12 * nside**2, 16)
    assert np.array_equal(healpix.parents(fine, nside)[children], np.arange(len(children))[:, None].repeat(16, 1))
    found = healpy.vec2pix(nside, *healpix.centres(fine).T, nest=True)
    assert np.array_equal(found, healpix.parents(fine, nside))


@pytest.mark.parametrize("nside", SIDES)
def test_neighbours_are_mutual_and_near(nside: int) -> None:
    beside, centres = healpix.neighbours(nside), healpix.centres(nside)
    cell, slot = np.nonzero(beside >= 0)
    pairs = set(zip(cell.tolist(), beside[cell, slot].tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs} and all(a != b for a, b in pairs)
    distance = np.linalg.norm(centres[cell] - centres[beside[cell, slot]], axis=1)
    assert distance.max() < 2.5 * (4 * np.pi / len(centres)) ** 0.5
    if nside > 1:
        assert (beside < 0).sum() == 24  # at the 8 corners where only three base cells meet, three cells miss one


@pytest.mark.parametrize("nside", SIDES)
def test_symmetries_move_the_centres(nside: int) -> None:
    x, y, z = healpix.centres(nside).T
    for permutation, expected in [
        (healpix.turned(nside), (-y, x, z)),
        (healpix.turned(nside, 3), (y, -x, z)),
        (healpix.mirrored(nside), (x, y, -z)),
    ]:
        np.testing.assert_allclose(healpix.centres(nside)[permutation], np.stack(expected, 1), atol=1e-12)
        assert np.array_equal(np.sort(permutation), np.arange(len(x)))


@pytest.mark.parametrize("nside", SIDES)
def test_prolongation_keeps_means_and_constants(nside: int) -> None:
    for fine in (nside, 2 * nside, 4 * nside):
        up, down = healpix.prolongation(nside, fine), healpix.restriction(fine, nside)
        np.testing.assert_allclose((down @ up).toarray(), np.eye(12 * nside**2), atol=1e-12)
        np.testing.assert_allclose(np.asarray(up.sum(1)), 1, atol=1e-12)


def interpolation(coarse: int, fine: int) -> np.ndarray:
    """healpy's bilinear one, as a matrix."""
    at = healpy.pix2ang(fine, np.arange(12 * fine**2), nest=True)
    index, weight = healpy.get_interp_weights(coarse, *at, nest=True)
    matrix = np.zeros((12 * fine**2, 12 * coarse**2))
    np.add.at(matrix, (np.arange(len(matrix)), index), weight)
    return matrix


def test_interpolation_does_not_keep_means() -> None:
    kept = healpix.restriction(8, 4) @ interpolation(4, 8)
    assert np.abs(kept - np.eye(192)).max() > 0.1


@pytest.mark.parametrize("nside", SIDES)
def test_prolongation_has_the_symmetries_of_the_cells(nside: int) -> None:
    up = healpix.prolongation(nside, 2 * nside).toarray()
    for symmetry in (healpix.turned, healpix.mirrored):
        moved = up[symmetry(2 * nside)][:, symmetry(nside)]
        np.testing.assert_allclose(moved, up, atol=1e-11)
    broken = up.copy()
    broken[0, 0] += 1e-3
    assert np.abs(broken[healpix.turned(2 * nside)][:, healpix.turned(nside)] - broken).max() > 1e-4


def test_prolongation_is_smoother_than_what_else_there_is() -> None:
    x, y, z = healpix.centres(16).T
    fields = np.stack([x * y * z, x**3 - 2 * y * z**2, z**4 - x * y, np.sin(5 * x + 2), np.cos(6 * z) * y], 1)
    mean = healpix.restriction(16, 8) @ fields
    ways = {
        "smooth": healpix.prolongation(8, 16),
        "bilinear": interpolation(8, 16),
        "blocks": healpix.injection(8, 16),
    }
    lost = {name: float(np.sqrt(((way @ mean - fields) ** 2).mean() / fields.var())) for name, way in ways.items()}
    assert lost["smooth"] < 0.02 and lost["smooth"] < 0.5 * lost["bilinear"] < 0.5 * lost["blocks"]


def test_both_poles_and_the_equator_are_served_alike() -> None:
    """The error of a rotated bump does not know where it is."""
    up, down, centres = healpix.prolongation(8, 16), healpix.restriction(16, 8), healpix.centres(16)
    lost = []
    for place in ([0, 0, 1], [0, 0, -1], [1, 0, 0], [0.6, 0, 0.8], [0.5, 0.5, 0.5**0.5]):
        bump = np.exp(12 * (centres @ np.array(place) - 1))
        lost.append(float(np.sqrt(((up @ (down @ bump) - bump) ** 2).sum())))
    assert max(lost) < 1.5 * min(lost)


def test_sides_that_do_not_nest_are_refused() -> None:
    for fine, coarse in [(4, 8), (6, 2), (4, 0)]:
        with pytest.raises(RefineError, match=f"nside={fine} is not accepted beside nside={coarse}"):
            healpix.restriction(fine, coarse)


def test_as_maps_of_tensors() -> None:
    up = SparseMap(healpix.prolongation(2, 8))
    x = torch.randn(3, 48, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(up(x).reshape(3, 48, 16).mean(-1), x)
    up(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.from_numpy(up.matrix.sum(0)).expand(3, -1))
    with torch.autocast("cpu", torch.bfloat16):
        assert up(x.float()).dtype == torch.float32
    with pytest.raises(RefineError, match=r"takes tensors \(..., 48\), not \(3, 47\)"):
        up(x[:, 1:])
