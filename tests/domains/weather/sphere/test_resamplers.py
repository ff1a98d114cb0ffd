"""Scales on the sphere: nothing is lost, no pole is favoured, and turnings of the globe are not noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.sphere import resamplers as sphere
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import at_points
from refine.domains.weather.sphere.resamplers import HarmonicResampler, NestedResampler, SphereResampler, points_of
from refine.errors import RefineError
from refine.scales.laplacian import LaplacianPyramid

from ..rotations import precision, some_rotations, wigner

GRID = Grid.parse("gaussian:12x24")
TRUNCATIONS, NSIDES = [2, 4, 7], [1, 2, 4]
KINDS = ["healpix", "gaussian", "nested"]
all_kinds = pytest.mark.parametrize("kind", KINDS)


def build(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    with precision(dtype):
        made = NestedResampler(NSIDES, GRID) if kind == "nested" else HarmonicResampler(TRUNCATIONS, kind, 1.3, GRID)
        return made.to(dtype)


def latents(resampler: SphereResampler, batch: int = 3, truncation: int = 7) -> tuple[Tensor, Tensor]:
    """(B, N, 1) band-limited latents on the finest sites, and their coefficients (D, B)."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn((truncation + 1) ** 2, batch, generator=generator, dtype=torch.float64)
    values = torch.from_numpy(at_points(resampler.points[-1], truncation)) @ c
    return values.T[..., None], c


def walked(pyramid: LaplacianPyramid, latent: Tensor, noise_at: int = -1) -> list[Tensor]:
    """What is known after each scale; unit noise is added to the values of one."""
    target, state, seen = pyramid.target(latent), pyramid.start(len(latent)), []
    for k in range(pyramid.num_levels):
        context = pyramid.context(state, k)
        values = pyramid.residual(target, state, context, k)
        if k == noise_at:
            values = values + torch.randn(values.shape, generator=torch.Generator().manual_seed(9), dtype=values.dtype)
        state = pyramid.refine(state, context, values, k)
        assert state.value is not None
        seen.append(state.value)
    return seen


def close(a: Tensor, b: Tensor, atol: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@all_kinds
@pytest.mark.parametrize("loop", ["closed", "open", "projected"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reconstruction_is_perfect_without_quantisation(kind: str, loop: str, dtype: torch.dtype) -> None:
    resampler = build(kind, dtype)
    latent = latents(resampler)[0].to(dtype)
    close(walked(LaplacianPyramid(resampler, 1, loop), latent)[-1], latent, 1e-4 if dtype == torch.float32 else 1e-10)


@all_kinds
def test_mixed_precision_changes_nothing(kind: str) -> None:
    resampler, fresh = build(kind, torch.float32), build(kind, torch.float32)
    latent = latents(resampler)[0].float().requires_grad_()
    plain = resampler.up(resampler.down(latent, 2, 0), 0, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for one in (resampler, fresh):  # whether what it keeps was made in full precision or is made here
            assert torch.equal(one.up(one.down(latent, 2, 0), 0, 2), plain)
    (gradient,) = torch.autograd.grad(plain.square().sum(), latent)
    assert gradient.abs().max() > 0


@all_kinds
def test_noise_of_a_fine_scale_stays_in_its_band(kind: str) -> None:
    resampler = build(kind)
    latent, _ = latents(resampler)
    for at in (1, 2):
        clean, noisy = (walked(LaplacianPyramid(resampler, 1, "projected"), latent, n)[-1] for n in (-1, at))
        assert (noisy - clean).abs().max() > 0.5
        for coarser in range(at):
            before, after = (resampler.down(x, 2, coarser) for x in (clean, noisy))
            close(before, after, 1e-10)
        leaky = walked(LaplacianPyramid(resampler, 1, "open"), latent, at)[-1]
        assert resampler.down(leaky - clean, 2, at - 1).abs().max() > 0.1  # the double: without the projection


@pytest.mark.parametrize("kind", ["healpix", "gaussian"])
def test_the_gain_restores_what_redundant_sites_lose(kind: str) -> None:
    """Fields drawn independently at N sites with d degrees of freedom keep d / N of the variance, to within what least
    squares on uneven sites adds; gains make up for it."""
    resampler = build(kind)
    pyramid, generator = LaplacianPyramid(resampler, 1, "projected"), torch.Generator().manual_seed(0)
    for k, (sites, degrees) in enumerate(zip(map(len, resampler.points), (9, 25 - 9, 64 - 25), strict=True)):
        values = torch.randn(4000, sites, 1, generator=generator, dtype=torch.float64)
        state = pyramid.refine(pyramid.start(4000), torch.zeros_like(values), values, k)
        c = resampler.get_buffer(f"analysis_{k}") @ state.value
        kept = float(c.square().sum((1, 2)).mean() / (4 * torch.pi))  # mean square over the sphere
        assert kept == pytest.approx(degrees / sites, rel=0.17 if kind == "gaussian" else 0.1)
        assert kept < 0.85
        assert pyramid.gain(k) ** 2 * kept == pytest.approx(1, rel=0.17 if kind == "gaussian" else 0.1)


def test_nested_cells_ask_for_what_projection_takes() -> None:
    pyramid = LaplacianPyramid(build("nested"), 1, "projected")
    assert [pyramid.gain(k) ** 2 for k in range(3)] == pytest.approx([1, 4 / 3, 4 / 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["healpix", "gaussian"])
def test_truncation_commutes_with_every_rotation(kind: str, dtype: torch.dtype) -> None:
    """Turning a field and going down and up again is going down and up, and turning: at the sites, as values."""
    resampler, limit = build(kind, dtype), 2e-6 if dtype == torch.float32 else 1e-12
    synthesis = torch.from_numpy(at_points(resampler.points[-1], 7))
    _, c = latents(resampler)

    def there_and_back(coefficients: Tensor, k: int) -> Tensor:
        latent = (synthesis @ coefficients).T[..., None].to(dtype)
        return resampler.up(resampler.down(latent, 2, k), k, 2)[..., 0].T.double()

    for rotation in some_rotations(4):
        matrix = wigner(rotation, 7)
        for k, kept in enumerate([9, 25]):
            low = c * (torch.arange(64) < kept)[:, None]
            error = there_and_back(matrix @ c, k) - synthesis @ matrix @ low
            assert error.norm() < limit * (synthesis @ low).norm()


def test_cells_commute_with_rotations_the_better_the_finer_they_are() -> None:
    """Relative error of means over cells and smooth interpolation, for fields with the power of daily changes."""
    resampler = build("nested")
    synthesis = torch.from_numpy(at_points(resampler.points[-1], 7))
    inverse = torch.linalg.pinv(synthesis)
    _, c = latents(resampler, 16)
    errors = []
    for k in (0, 1):

        def there_and_back(coefficients: Tensor, k: int = k) -> Tensor:
            latent = (synthesis @ coefficients).T[..., None]
            return inverse @ resampler.up(resampler.down(latent, 2, k), k, 2)[..., 0].T

        found = []
        for rotation in some_rotations(4):
            matrix = wigner(rotation, 7)
            found.append((there_and_back(matrix @ c) - matrix @ there_and_back(c)).norm() / there_and_back(c).norm())
        errors.append(float(torch.stack(found).mean()))
    assert 0.3 < errors[1] < errors[0] < 1.3
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    matrix = wigner(quarter, 7)
    close(there_and_back(matrix @ c), matrix @ there_and_back(c), 1e-9)  # but quarter turns are exact


@all_kinds
def test_no_pole_is_favoured(kind: str) -> None:
    """The expected squared error of white fields on a scale, exactly, is about the same at all latitudes."""
    resampler = build(kind)
    where = torch.from_numpy(resampler.points[-1])
    synthesis = torch.from_numpy(at_points(resampler.points[-1], 7))
    band = (where[:, 2].abs() * 4).long().clamp_max(3)  # of equal areas
    for k in (0, 1):
        lost = synthesis - resampler.up(resampler.down(synthesis.T[..., None], 2, k), k, 2)[..., 0].T
        error = lost.square().sum(1)
        by_band = torch.stack([error[band == b].mean() for b in range(4)])
        uneven = float(by_band.max() / by_band.min() - 1)
        assert uneven < (0.35 if kind == "nested" else 1e-9)


def test_latitudes_and_longitudes_would_favour_them() -> None:
    """The double that must fail: means over every second latitude and longitude."""
    grid = Grid.parse("gaussian:16x32")
    fields = torch.from_numpy(at_points(grid.points, 7)).view(16, 32, -1)
    coarse = fields.unflatten(1, (8, 4)).unflatten(0, (4, 4)).mean((1, 3))
    back = coarse.repeat_interleave(4, 0).repeat_interleave(4, 1)
    error = (fields - back).square().sum(-1).mean(1)
    assert error.max() / error.min() > 1.7


@pytest.mark.parametrize(("truncation", "oversample"), [(5, 1.3), (7, 1.0), (12, 1.3), (21, 1.3), (31, 1.3), (4, 2.5)])
def test_sites_are_the_fewest_that_are_enough(truncation: int, oversample: float) -> None:
    (rings,) = sphere.harmonic_names([truncation], "healpix", oversample)
    nside, least = int(rings.removeprefix("rings:")), oversample * (truncation + 1) ** 2
    assert 12 * (nside - 1) ** 2 < least <= 12 * nside**2
    assert len(points_of(rings)) == 12 * nside**2
    (gauss,) = sphere.harmonic_names([truncation], "gaussian", oversample)
    rows, columns = Grid.parse(gauss).shape
    assert columns == 2 * rows and rows % 2 == 0
    assert rows - 2 < (3 * truncation + 1) / 2 <= rows  # a quadratic grid


@all_kinds
def test_scales_know_their_sites(kind: str) -> None:
    resampler = build(kind)
    sites = {"healpix": [12, 48, 108], "gaussian": [32, 128, 288], "nested": [12, 48, 192]}[kind]
    assert [resampler.num_sites(k) for k in range(3)] == sites
    assert [resampler.degrees(k) for k in range(3)] == (sites if kind == "nested" else [9, 25, 64])
    for k, n in enumerate(sites):
        np.testing.assert_allclose(np.linalg.norm(resampler.points[k], axis=1), 1, atol=1e-12)
        assert resampler.level(k).num_sites == n
        field = resampler.field(torch.randn(2, 6 * 12, 5, dtype=torch.float64), k)
        assert field.shape == (2, n, 5)


def test_large_truncations_have_rings_to_spare() -> None:
    """T88, the default at 120 x 240, has a condition of 33 on 30 rings, and of 9.3 on 31."""
    names = sphere.harmonic_names([35, 63, 80, 88], "healpix", 1.3)
    assert names == ["rings:12", "rings:22", "rings:27", "rings:31"]
    assert sphere.harmonic_names([88], "healpix", 1.5) == ["rings:32"]


@pytest.mark.parametrize(
    ("scales", "options", "message"),
    [
        (
            [9],
            ("healpix", 1.0),
            r"108 sites of rings:3 do not determine T9 \(condition .*; more are needed: see domain",
        ),
        ([12], ("healpix", 1.0), "192 sites of rings:4 do not determine T12"),
        ([4, 4], ("healpix", 1.3), r"scales=\['T4', 'T4'\] is not accepted; accepted: growing"),
        ([], ("healpix", 1.3), "scales"),
        ([0, 1, 2], ("healpix", 1.3), r"sites \[12, 12, 12\] must grow strictly"),
        ([4], ("fibonacci", 1.3), "points='fibonacci' is not accepted; accepted: healpix, gaussian"),
        ([4], ("healpix", 0.5), "oversample=0.5 is not accepted"),
        (
            [5, 35],
            ("healpix", 100.0),
            "domain.oversample, ask for 129,792 sites, and a table of 16,845,963,264 numbers",
        ),
        ([10_000], ("healpix", 1.3), "ask for 133,466,700 sites"),
        ([35], ("healpix", 1e9), "sites, and a table of"),
    ],
)
def test_scales_that_cannot_be_are_refused(scales: list[int], options: tuple[str, float], message: str) -> None:
    with pytest.raises(RefineError, match=message):
        HarmonicResampler(scales, *options, GRID)


@pytest.mark.parametrize("loop", ["closed", "projected"])
@pytest.mark.parametrize(("nsides", "truncation"), [([1, 2, 4], 8), ([1, 2, 4, 8], 20)])
def test_draws_on_cells_keep_their_variance_through_truncation(nsides: list[int], truncation: int, loop: str) -> None:
    """Independent draws at one scale, times its gain, have as means of its cells the variance that they were drawn
    with: nearly at scales that harmonics can hold, exactly where they cannot and are decoded as fewer harmonics."""
    resampler = NestedResampler(nsides, GRID, truncation)
    synthesis, analysis = (torch.tensor(b, dtype=torch.float32) for b in sphere.basis(resampler.names[-1], truncation))
    pyramid, generator = LaplacianPyramid(resampler, 1, loop), torch.Generator().manual_seed(0)
    last, cells, harmonics = len(nsides) - 1, resampler.num_sites(len(nsides) - 1), (truncation + 1) ** 2
    kept = []
    for k in range(last + 1):
        values = pyramid.gain(k) * torch.randn(600, resampler.num_sites(k), 1, generator=generator)
        state = pyramid.refine(pyramid.start(600), torch.zeros_like(values), values, k)
        decoded = synthesis @ (analysis @ pyramid.latent(state, k))
        kept.append(float(resampler.down(decoded, last, k).var()))
    assert kept[-1] == pytest.approx(1, rel=0.02)
    for k, variance in enumerate(kept[:-1]):  # closer to the truncation, more of a smooth field lies beyond it
        assert variance == pytest.approx(1, rel=0.1 if 3 * resampler.num_sites(k) < harmonics else 0.25)
    if loop == "closed":
        assert [pyramid.gain(k) for k in range(last)] == [1.0] * last
        assert pyramid.gain(last) == pytest.approx((cells / harmonics) ** 0.5)


def test_cells_without_a_truncation_are_as_many_degrees() -> None:
    pyramids = [LaplacianPyramid(NestedResampler([1, 2, 4], GRID), 1, loop) for loop in ("closed", "projected")]
    assert [pyramids[0].gain(k) for k in range(3)] == [1.0] * 3
    assert [pyramids[1].gain(k) for k in range(3)] == pytest.approx([1, (4 / 3) ** 0.5, (4 / 3) ** 0.5])


@pytest.mark.parametrize("nsides", [[1, 3], [2, 1], [1, 1]])
def test_cells_that_do_not_nest_are_refused(nsides: list[int]) -> None:
    with pytest.raises(RefineError, match=r"power of two|must grow"):
        NestedResampler(nsides, GRID)


def turned(points: np.ndarray) -> Tensor:
    """(N,) the site that each comes from when the globe turns by a quarter."""
    back = points @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return torch.from_numpy((back @ points.T).argmax(1))


@all_kinds
@pytest.mark.parametrize("dense", [0, 10**6])
def test_geometry_does_not_notice_a_quarter_turn(kind: str, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sphere, "DENSE", dense)
    resampler = build(kind)
    for k in range(3):
        level, p = resampler.level(k), turned(resampler.points[k])
        close(level.pos[:, p], level.pos, 1e-12)
        if dense:
            close(level.pair[:, p][:, :, p], level.pair, 1e-9)
            continue
        table = torch.zeros(len(p), len(p), level.edge_features.shape[1], dtype=torch.float64)
        table[level.edges[0], level.edges[1]] = 1 + level.edge_features
        close(table[p][:, p], table, 1e-9)  # the same edges, and the same features


def test_pairs_see_directions_and_distances() -> None:
    points = points_of("rings:3")
    query, key = (i.ravel() for i in np.indices((len(points), len(points))))
    features = sphere.pair_features(points, query, key)
    angle = np.arccos((points[query] * points[key]).sum(1).clip(-1, 1))
    spacing = (4 * np.pi / len(points)) ** 0.5
    np.testing.assert_allclose(features[:, -sphere.RINGS], np.exp(-((angle / spacing) ** 2)), atol=1e-6)
    frames = sphere.local_frames(points)
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.broadcast_to(np.eye(3), frames.shape), atol=1e-12)
    assert (np.linalg.det(frames) > 0.99).all()
    east_of = (frames[query, 0] * points[key]).sum(1)  # degree 1 of the harmonics holds the direction itself
    assert np.abs(np.corrcoef(features[:, 1], east_of)[0, 1]) > 0.999
    poles = sphere.local_frames(np.array([[0.0, 0, 1], [0, 0, -1]]))
    np.testing.assert_allclose(poles[:, 0], [[0, 1, 0]] * 2)


def test_neighbours_keep_ties_together() -> None:
    points = points_of("rings:4")
    query, key = sphere.nearest(points, 9)
    counts = np.bincount(query)
    assert counts.min() >= 9 and counts.max() <= 16
    pairs = set(zip(query.tolist(), key.tolist(), strict=True))
    assert all((i, i) in pairs for i in range(len(points)))
    closeness = points @ points.T
    last = np.full(len(points), 2.0)
    np.minimum.at(last, query, closeness[query, key])
    outside = np.ones_like(closeness, bool)
    outside[query, key] = False
    assert (np.where(outside, closeness, -2).max(1) < last - 1e-9).all()


@pytest.mark.parametrize("name", ["rings:2", "gaussian:8x16", "healpix:4"])
def test_fields_are_seen_as_averages_around_sites(name: str) -> None:
    points = points_of(name)
    weights = sphere.seen_from(points, GRID)
    assert weights.shape == (len(points), 6 * 12) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1)
    centre = np.stack([weights @ GRID.points[:, i].reshape(6, 2, 12, 2).mean((1, 3)).ravel() for i in range(3)], 1)
    towards = (centre * points).sum(1) / np.linalg.norm(centre, axis=1)
    assert towards.min() > 0.9  # around the site, not elsewhere
    p = turned(points).numpy()
    moved = weights.reshape(-1, 6, 12)
    np.testing.assert_allclose(np.roll(moved[p], 3, 2), moved, atol=1e-12)
