"""Pyramids: what they take apart they put together again, in the paper's way and in VAR's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy import ExactQuantizer, RoundingQuantizer, all_kinds, all_schedules

from refine.codes.quantizer import Quantizer
from refine.codes.vq import VQ
from refine.errors import RefineError
from refine.models.codec import IdentityCodec
from refine.models.tokenizer import Tokenizer
from refine.scales.laplacian import LaplacianPyramid
from refine.scales.pyramid import Pyramid, build_pyramid
from refine.scales.resample import GridResampler, Resampler, grid_shape
from refine.scales.residual import ResidualPyramid, phi_index
from refine.settings.config import PyramidConfig
from refine.types import Level, Step

CONFIGS = {
    "closed": PyramidConfig("laplacian", "closed"),
    "open": PyramidConfig("laplacian", "open"),
    "residual": PyramidConfig("residual", phi=0),
    "projected": PyramidConfig("laplacian", "projected"),
}
all_pyramids = pytest.mark.parametrize("kind", ["closed", "open", "residual"])
VAR_SCALES = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]


def build(kind: str, shapes: list[Any], down: str = "area", up: str = "bicubic", channels: int = 3) -> Pyramid:
    return build_pyramid(CONFIGS[kind], GridResampler(shapes, down, up), channels)


def latent_of(pyramid: Pyramid, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, pyramid.num_sites(pyramid.num_levels - 1), pyramid.channels, generator=generator)


def take_apart(pyramid: Pyramid, quantizer: Quantizer, latent: Tensor, base: Tensor | None = None) -> list[Step]:
    tokenizer = Tokenizer(IdentityCodec(pyramid.channels), pyramid, quantizer)
    return list(tokenizer.forward_process(latent, base))


def result(pyramid: Pyramid, steps: list[Step]) -> Tensor:
    return pyramid.latent(steps[-1].state, steps[-1].k)


@all_pyramids
@all_kinds
@all_schedules
def test_reconstruction_is_perfect_without_quantisation(kind: str, shapes: list[Any], down: str, up: str) -> None:
    pyramid = build(kind, shapes, down, up)
    latent = latent_of(pyramid)
    for base in (None, latent_of(pyramid, seed=1)):
        steps = take_apart(pyramid, ExactQuantizer(pyramid.num_levels, 3), latent, base)
        torch.testing.assert_close(result(pyramid, steps), latent, rtol=0, atol=2e-6 if base is not None else 1e-6)


@all_pyramids
@all_schedules
def test_what_the_base_knows_is_not_coded(kind: str, shapes: list[Any]) -> None:
    pyramid = build(kind, shapes)
    latent = latent_of(pyramid)
    for step in take_apart(pyramid, ExactQuantizer(pyramid.num_levels, 3), latent, base=latent):
        torch.testing.assert_close(step.values, torch.zeros_like(step.values), rtol=0, atol=2e-6)


@all_pyramids
def test_a_base_of_zeros_is_no_base(kind: str) -> None:
    pyramid = build(kind, [1, 2, 4])
    latent, quantizer = latent_of(pyramid), RoundingQuantizer(3, 3)
    plain, based = (take_apart(pyramid, quantizer, latent, base) for base in (None, torch.zeros_like(latent)))
    for a, b in zip(plain, based, strict=True):
        torch.testing.assert_close(a.values, b.values)
        torch.testing.assert_close(a.context, b.context)


def divide(shapes: list[Any]) -> bool:
    """Whether each grid's sizes are multiples of those of the one before."""
    pairs = itertools.pairwise([grid_shape(s) for s in shapes])
    return all(n % m == 0 for coarse, fine in pairs for m, n in zip(coarse, fine, strict=True))


@all_kinds
@all_schedules
def test_projected_reconstruction_is_perfect_where_it_is_accepted(shapes: list[Any], down: str, up: str) -> None:
    accepted = len(shapes) == 1 or ((down, up) == ("area", "nearest") and divide(shapes))
    try:
        pyramid = build("projected", shapes, down, up)
    except RefineError as error:
        assert not accepted and "loop=projected needs a way down that undoes the way up" in str(error)
        return
    for base in (None, latent_of(pyramid, seed=1)):
        latent = latent_of(pyramid)
        steps = take_apart(pyramid, ExactQuantizer(pyramid.num_levels, 3), latent, base)
        torch.testing.assert_close(result(pyramid, steps), latent, rtol=0, atol=1e-5)


POWERS = [(1, 2), (2, 4), (4, 4), (8, 12)]


def disturbed(pyramid: Pyramid, at: int) -> tuple[Tensor, Tensor]:
    """The latent before and after noise was added to the values of scale ``at``."""
    latent, states = latent_of(pyramid, batch=4), []
    for size in (0.0, 1.0):
        state, target = pyramid.start(4), pyramid.target(latent)
        for k in range(pyramid.num_levels):
            context = pyramid.context(state, k)
            values = pyramid.residual(target, state, context, k)
            values = values + size * (k == at) * torch.randn(values.shape, generator=torch.Generator().manual_seed(k))
            state = pyramid.refine(state, context, values, k)
        states.append(pyramid.latent(state, pyramid.num_levels - 1))
    return states[0], states[1]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_noise_of_a_scale_stays_in_its_band(at: int) -> None:
    """Projected: coarser levels are not touched, and finer scales see no more of it than their level tells."""
    pyramid = build("projected", POWERS, up="nearest")
    grid, last = GridResampler(POWERS, up="nearest"), len(POWERS) - 1
    clean, noisy = disturbed(pyramid, at)
    assert (noisy - clean).abs().max() > 0.5
    for coarser in range(at):
        before, after = (grid.down(x, last, coarser) for x in (clean, noisy))
        torch.testing.assert_close(before, after, rtol=0, atol=2e-6)
    open_clean, open_noisy = disturbed(build("open", POWERS, up="nearest"), at)
    moved = grid.down(open_noisy - open_clean, last, at - 1)
    assert moved.abs().max() > 0.2  # the test has teeth: without the projection the coarse level moves


def test_what_is_not_a_projection_would_not_reconstruct() -> None:
    """Why other ways up are refused: with bicubic ones R - U(S(R)) loses some of R."""
    pyramid = build("open", POWERS, up="bicubic")
    pyramid.loop = "projected"  # behind the check
    latent = latent_of(pyramid)
    steps = take_apart(pyramid, ExactQuantizer(4, 3), latent)
    assert (result(pyramid, steps) - latent).abs().max() > 1e-2


def test_the_gain_restores_what_projection_takes() -> None:
    """Independent values on N sites keep d / N of their variance, and sqrt(N / d) times as much keeps all of it."""
    pyramid = build("projected", POWERS, up="nearest", channels=1)
    generator = torch.Generator().manual_seed(0)
    for k in range(len(POWERS)):
        sites, coarser = pyramid.num_sites(k), pyramid.num_sites(k - 1) if k else 0
        values = torch.randn(4000, sites, 1, generator=generator)
        state = pyramid.refine(pyramid.start(4000), torch.zeros_like(values), values, k)
        kept = float(pyramid.latent(state, k).square().mean())
        assert kept == pytest.approx((sites - coarser) / sites, rel=0.05)
        assert kept * pyramid.gain(k) ** 2 == pytest.approx(1, rel=0.05)
    assert pyramid.gain(0) == 1 and pyramid.gain(2) == pytest.approx(2**0.5)


@pytest.mark.parametrize("kind", ["closed", "open", "residual"])
def test_other_pyramids_ask_for_no_gain(kind: str) -> None:
    assert [build(kind, POWERS).gain(k) for k in range(4)] == [1.0] * 4


@pytest.mark.parametrize("loop", ["closed", "open"])
@all_schedules
def test_laplacian_telescopes(shapes: list[Any], loop: str) -> None:
    """Eq. 13, 14 and 19, each written out with the resampler alone."""
    pyramid = build(loop, shapes)
    assert isinstance(pyramid, LaplacianPyramid)
    grid, last, latent = pyramid.resampler, pyramid.num_levels - 1, latent_of(pyramid)
    levels = {last: latent}
    for k in range(last, 0, -1):
        levels[k - 1] = grid.down(levels[k], k, k - 1)
    total = torch.zeros(2, grid.num_sites(0), 3)
    for step in take_apart(pyramid, ExactQuantizer(last + 1, 3), latent):
        k = step.k
        known = grid.up(levels[k - 1], k - 1, k) if k else torch.zeros_like(levels[0])
        torch.testing.assert_close(step.context, known, rtol=0, atol=1e-5)
        torch.testing.assert_close(step.values, levels[k] - known, rtol=0, atol=1e-5)
        total = (grid.up(total, k - 1, k) if k else total) + step.values
        torch.testing.assert_close(step.state.value, levels[k], rtol=0, atol=1e-5)
    torch.testing.assert_close(total, latent, rtol=0, atol=1e-5)


@all_kinds
@all_schedules
def test_closed_loop_repairs_what_open_loop_keeps(shapes: list[Any], down: str, up: str) -> None:
    """Closed, the result is off by the last scale's error alone, whatever happened before."""
    step, errors = RoundingQuantizer.step, {}
    for loop in ("closed", "open"):
        pyramid = build(loop, shapes, down, up)
        latent = latent_of(pyramid, batch=8)
        steps = take_apart(pyramid, RoundingQuantizer(pyramid.num_levels, 3), latent)
        errors[loop] = (result(pyramid, steps) - latent).abs()
    assert errors["closed"].max() <= step / 2 + 1e-6
    if len(shapes) > 1:
        assert errors["closed"].square().mean() < errors["open"].square().mean()
    else:
        assert torch.equal(errors["closed"], errors["open"])


def test_closed_loop_is_at_least_as_good_with_codebooks() -> None:
    torch.manual_seed(0)
    errors = {}
    for loop in ("closed", "open"):
        pyramid = build(loop, [1, 2, 4, 8])
        coarse = torch.randn(256, 4, 3)
        latent = GridResampler([2, 8]).up(coarse, 0, 1) + 0.2 * torch.randn(256, 64, 3)
        tokenizer = Tokenizer(IdentityCodec(3), pyramid, VQ(4, 3, [16] * 4))
        tokenizer.fit(latent)
        errors[loop] = (tokenizer.decode(tokenizer.encode(latent)) - latent).square().mean()
    assert errors["closed"] < errors["open"]


@all_pyramids
@all_schedules
def test_shapes_are_those_of_the_scales(kind: str, shapes: list[Any]) -> None:
    """Every scale's shapes are those of its sites, and the latent as it stands is a finest-scale latent throughout."""
    pyramid = build(kind, shapes)
    for step in take_apart(pyramid, RoundingQuantizer(pyramid.num_levels, 3), latent_of(pyramid)):
        assert step.context.shape == step.values.shape == (2, pyramid.num_sites(step.k), 3)
        assert step.level.num_sites == pyramid.num_sites(step.k)
        assert pyramid.latent(step.state, step.k).shape == latent_of(pyramid).shape


def test_phi_index_is_vars_table() -> None:
    assert [phi_index(k, 10, 4) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [phi_index(k, 10, 1) for k in range(10)] == [0] * 10
    assert [phi_index(k, 10, 10) for k in range(10)] == list(range(10))
    assert phi_index(0, 1, 4) == 0
    for n, num_levels in itertools.product(range(1, 8), range(1, 12)):
        indices = [phi_index(k, num_levels, n) for k in range(num_levels)]
        assert indices == sorted(indices)
        assert set(indices) <= set(range(n))


def restated_var(latent: Tensor, codebook: Tensor, phis: list[nn.Conv2d]) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """VAR's multi-scale quantiser from its formulas, on (B, C, 16, 16): codes, inputs of the scales, reconstruction."""
    table = [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    rest, total, codes, inputs = latent.clone(), torch.zeros_like(latent), [], []
    for k, n in enumerate(VAR_SCALES):
        inputs.append(F.interpolate(total, (n, n), mode="area").flatten(2).mT)
        z = rest if n == 16 else F.interpolate(rest, (n, n), mode="area")
        index = torch.cdist(z.flatten(2).mT, codebook[None]).argmin(-1)
        h = codebook[index].mT.unflatten(2, (n, n))
        h = h if n == 16 else F.interpolate(h, (16, 16), mode="bicubic")
        h = 0.5 * h + 0.5 * phis[table[k]](h)
        total, rest = total + h, rest - h
        codes.append(index)
    return codes, inputs, total


@torch.no_grad()
def test_residual_pyramid_is_vars() -> None:
    torch.manual_seed(0)
    pyramid = ResidualPyramid(GridResampler(VAR_SCALES, "area", "bicubic"), 6, num_phi=4)
    quantizer = VQ(10, 6, [32] * 10, shared=True, update="gradient")
    latent = latent_of(pyramid)
    steps = take_apart(pyramid, quantizer, latent)
    grid = latent.mT.unflatten(2, (16, 16))
    codes, inputs, total = restated_var(grid, quantizer.codebooks[0], [phi.conv for phi in pyramid.phis])
    for step, expected, seen in zip(steps, codes, inputs, strict=True):
        assert torch.equal(step.codes, expected)
        torch.testing.assert_close(step.context, seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(result(pyramid, steps), total.flatten(2).mT, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shapes", [[(2,), (5,)], [(2, 3), (4, 5)], [(1, 2, 2), (2, 3, 4)]])
def test_phi_works_on_grids_of_any_dimension(shapes: list[Any]) -> None:
    pyramid = ResidualPyramid(GridResampler(shapes, up="linear" if len(shapes[0]) < 3 else "nearest"), 3, num_phi=2)
    for step in take_apart(pyramid, RoundingQuantizer(2, 3), latent_of(pyramid)):
        assert torch.isfinite(step.state).all()


@all_pyramids
def test_a_field_is_seen_at_every_scale(kind: str) -> None:
    pyramid = build(kind, [2, 4, 8])
    field = torch.randn(2, 64, 5)
    assert torch.equal(pyramid.field(field, 2), field)
    torch.testing.assert_close(pyramid.field(field, 0), GridResampler([2, 8]).down(field, 1, 0))


@all_pyramids
def test_double_precision_is_kept(kind: str) -> None:
    pyramid = build(kind, [1, 3, 6]).double()
    steps = take_apart(pyramid, ExactQuantizer(3, 3), latent_of(pyramid).double())
    assert result(pyramid, steps).dtype == torch.float64
    torch.testing.assert_close(result(pyramid, steps), latent_of(pyramid).double(), rtol=0, atol=1e-13)


class Line(Resampler):
    """Two scales that are no grid: the mean of two sites, and its copies."""

    num_levels = 2

    def num_sites(self, k: int) -> int:
        return k + 1

    def down(self, x: Tensor, source: int, target: int) -> Tensor:
        return x if source == target else x.mean(1, keepdim=True)

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        return x if source == target else x.expand(-1, 2, -1)

    def level(self, k: int) -> Level:
        return Level(torch.zeros(1, k + 1, 0))


@pytest.mark.parametrize("kind", CONFIGS)
def test_any_resampler_will_do(kind: str) -> None:
    pyramid = build_pyramid(CONFIGS[kind], Line(), 3)
    latent = latent_of(pyramid)
    torch.testing.assert_close(result(pyramid, take_apart(pyramid, ExactQuantizer(2, 3), latent)), latent)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PyramidConfig("gaussian"), "model.pyramid.kind.*laplacian, residual"),
        (PyramidConfig("laplacian", "half-open"), "model.pyramid.loop.*closed, open, projected"),
        (PyramidConfig("residual", phi=-1), "model.pyramid.phi=-1"),
        (PyramidConfig("residual", phi=4), "needs a grid"),
    ],
)
def test_configurations_that_cannot_be_are_refused(config: PyramidConfig, message: str) -> None:
    with pytest.raises(RefineError, match=message):
        build_pyramid(config, Line(), 3)


def test_a_pyramid_that_was_not_walked_has_no_latent() -> None:
    pyramid = build("closed", [1, 2])
    with pytest.raises(RefineError, match="not been walked"):
        pyramid.latent(pyramid.start(2), 0)
