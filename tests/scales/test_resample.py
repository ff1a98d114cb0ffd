"""Going down and up between grids."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toy import all_kinds, all_schedules

from refine.errors import RefineError
from refine.scales.resample import DOWN, UP, GridResampler, axis_matrix

TORCH_MODE = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}}


def by_torch(x_BNC: Tensor, kind: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """The same with ``F.interpolate`` on (B, C, ...) grids, in double precision: torch's float weights are rough."""
    mode = TORCH_MODE.get(kind, {}).get(len(shape), kind)
    grid = x_BNC.transpose(1, 2).unflatten(2, shape)
    corners = {"align_corners": False} if kind in ("linear", "bicubic") else {}
    return F.interpolate(grid, size=wanted, mode=mode, **corners).flatten(2).transpose(1, 2)


@all_kinds
@all_schedules
def test_constants_stay_constant_between_all_scales(shapes: list[Any], down: str, up: str) -> None:
    grid = GridResampler(shapes, down, up)
    for low, high in itertools.combinations_with_replacement(range(grid.num_levels), 2):
        coarse, fine = torch.ones(2, grid.num_sites(low), 3), torch.ones(2, grid.num_sites(high), 3)
        torch.testing.assert_close(grid.down(fine, high, low), coarse, rtol=0, atol=1e-6)
        torch.testing.assert_close(grid.up(coarse, low, high), fine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", sorted({*DOWN, *UP, "blur-up"}))
def test_rows_of_every_axis_matrix_sum_to_one(kind: str) -> None:
    for n, m in itertools.product(range(1, 20), repeat=2):
        if (kind in DOWN and m <= n) or (kind in (*UP, "blur-up") and kind != "blur" and m >= n):
            matrix = axis_matrix(kind, n, m)
            assert matrix.shape == (m, n)
            torch.testing.assert_close(matrix.sum(1), torch.ones(m, dtype=torch.float64))


@all_schedules
@pytest.mark.parametrize("kind", ["area", "bicubic", "linear", "nearest"])
def test_agrees_with_torch_interpolate(shapes: list[Any], kind: str) -> None:
    dimensions = 2 if isinstance(shapes[0], int) else len(shapes[0])
    if kind == "bicubic" and dimensions != 2:
        shapes = [(a, a + 1) for a in (1, 4, 6)]  # torch has it on images only
    grid = GridResampler(shapes, kind if kind in DOWN else "area", kind if kind in UP else "nearest").double()
    for low, high in itertools.combinations(range(grid.num_levels), 2):
        if kind in DOWN:
            x = torch.randn(2, grid.num_sites(high), 3, dtype=torch.float64)
            expected = by_torch(x, kind, grid.shapes[high], grid.shapes[low])
            torch.testing.assert_close(grid.down(x, high, low), expected, rtol=0, atol=1e-12)
        if kind in UP:
            x = torch.randn(2, grid.num_sites(low), 3, dtype=torch.float64)
            expected = by_torch(x, kind, grid.shapes[low], grid.shapes[high])
            torch.testing.assert_close(grid.up(x, low, high), expected, rtol=0, atol=1e-12)


KERNEL = torch.tensor([1.0, 4, 6, 4, 1]) / 16


@pytest.mark.parametrize("n", [8, 9, 16, 17])
def test_blur_is_burt_and_adelsons_reduce(n: int) -> None:
    """REDUCE by convolution: blur with the border reflected about its sample, keep every second one."""
    m = (n + 1) // 2
    image = torch.randn(2, n, n)
    kernel = torch.outer(KERNEL, KERNEL)[None, None]
    direct = F.conv2d(F.pad(image[:, None], (2, 2, 2, 2), mode="reflect"), kernel, stride=2)[:, 0]
    ours = GridResampler([m, n], "blur", "blur").down(image.flatten(1)[..., None], 1, 0)
    torch.testing.assert_close(ours[..., 0].unflatten(1, (m, m)), direct, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [8, 9, 16, 17])
def test_blur_up_is_expand(n: int) -> None:
    """EXPAND by convolution: zeros between the samples, blur with twice the kernel; away from the border."""
    m = (n + 1) // 2
    coarse = torch.randn(2, m)
    spread = torch.zeros(2, 1, 2 * m)
    spread[:, 0, ::2] = coarse
    direct = F.conv1d(spread, 2 * KERNEL[None, None], padding=2)[:, 0, :n]
    ours = GridResampler([(m,), (n,)], "blur", "blur").up(coarse[..., None], 0, 1)[..., 0]
    torch.testing.assert_close(ours[:, 3:-4], direct[:, 3:-4], rtol=0, atol=1e-6)


@all_schedules
def test_blur_up_is_the_normalised_adjoint_of_blur_down(shapes: list[Any]) -> None:
    grid = GridResampler(shapes, "blur", "blur").double()
    for low, high in itertools.combinations(range(grid.num_levels), 2):
        x = torch.zeros(1, grid.num_sites(high), 1, dtype=torch.float64, requires_grad=True)
        y = torch.randn(1, grid.num_sites(low), 1, dtype=torch.float64)
        (adjoint,) = torch.autograd.grad(grid.down(x, high, low), x, y)
        (of_ones,) = torch.autograd.grad(grid.down(x, high, low), x, torch.ones_like(y))
        torch.testing.assert_close(grid.up(y, low, high), adjoint / of_ones)


@pytest.mark.parametrize("shapes", [[2, 4, 8], [(1, 3), (2, 6)], [(4,), (8,)], [(1, 1, 2), (2, 2, 4)]])
def test_coordinates_and_values_number_sites_alike(shapes: list[Any]) -> None:
    """The mean of four cell centres is the centre of the cell they make."""
    grid = GridResampler(shapes, "area")
    d = len(grid.shapes[0])
    for k in range(1, grid.num_levels):
        fine, coarse = grid.level(k).pos[..., :d], grid.level(k - 1).pos[..., :d]
        torch.testing.assert_close(grid.down(fine, k, k - 1), coarse)


@all_schedules
def test_levels_tell_sites_apart(shapes: list[Any]) -> None:
    grid = GridResampler(shapes, frequencies=3)
    for k in range(grid.num_levels):
        level = grid.level(k)
        assert level.pos.shape == (1, grid.num_sites(k), len(grid.shapes[k]) * 7)
        assert level.num_sites == len(level.pos[0].unique(dim=0))
        assert level.pos.abs().max() <= 1
        assert level.mask is level.pair is level.edges is None


@all_kinds
def test_double_precision_is_kept(down: str, up: str) -> None:
    grid = GridResampler([3, 7], down, up).double()
    x = torch.randn(1, 49, 2, dtype=torch.float64)
    y = grid.up(grid.down(x, 1, 0), 0, 1)
    assert y.dtype == grid.level(0).pos.dtype == torch.float64
    torch.testing.assert_close(grid.float().down(x.float(), 1, 0).double(), grid.down(x, 1, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "at least one scale"),
        ([2, 2], "grow strictly"),
        ([4, 2], "grow strictly"),
        ([(1, 4), (4, 2)], "grow strictly"),
        ([(2,), (4, 4)], "grow strictly"),
        ([0, 4], "positive"),
        ([(-2, -2), (4, 4)], "positive"),
        ([1, "two"], "whole number"),
        ([1, 2.5], "whole number"),
        ([[1, 1], [2, None]], "whole number"),
        ([[], [1]], "whole number"),
        ("12", "a list of grids"),
        (8, "a list of grids"),
    ],
)
def test_scales_that_cannot_be_are_refused(shapes: Any, message: str) -> None:
    with pytest.raises(RefineError, match=message):
        GridResampler(shapes)


@pytest.mark.parametrize(("down", "up"), [("cubic", "bicubic"), ("area", "area"), ("nearest", "linear")])
def test_unknown_filters_are_refused(down: str, up: str) -> None:
    with pytest.raises(RefineError, match="accepted: "):
        GridResampler([1, 2], down, up)
