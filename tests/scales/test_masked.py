"""Pyramids over the sites that exist: what a scale sees of a mask, and what comes back without quantisation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ragged import RaggedConfig, RaggedDomain
from torch import Tensor
from toy import ExactQuantizer

from refine.errors import RefineError
from refine.models.codec import IdentityCodec
from refine.models.tokenizer import Tokenizer
from refine.scales.laplacian import LOOPS, LaplacianPyramid
from refine.scales.masked import Masked, choose_existing
from refine.scales.pyramid import Pyramid
from refine.scales.resample import GridResampler
from refine.scales.residual import ResidualPyramid
from refine.types import Level

SHAPES = [(1,), (2,), (4,), (8,)]


def pyramid(kind: str, up: str = "linear", shapes: Any = SHAPES) -> Pyramid:
    grid = GridResampler(shapes, up=up)
    return ResidualPyramid(grid, 2, 0) if kind == "residual" else LaplacianPyramid(grid, 2, kind)


def lengths(*numbers: int, sites: int = 8) -> Tensor:
    return torch.arange(sites) < torch.tensor(numbers)[:, None]


@pytest.mark.parametrize("down", ["area", "blur"])
@pytest.mark.parametrize("shapes", [SHAPES, [(1,), (3,), (7,)], [(2,), (5,), (16,)], [(1, 1), (3, 2), (5, 7)]], ids=str)
def test_a_site_exists_where_any_of_what_it_stands_for_does(shapes: Any, down: str) -> None:
    grid = GridResampler(shapes, down)
    finest = len(shapes) - 1
    n = grid.num_sites(finest)
    some = torch.rand(50, n, generator=torch.Generator().manual_seed(0)) < 0.2
    mask = torch.cat([some, torch.eye(n) > 0])
    mask = mask[mask.any(1)]
    found = Masked(LaplacianPyramid(grid, 2), mask).masks
    for k in range(len(shapes)):
        weight = grid.down(torch.eye(n)[None], finest, k)[0]  # (N_k, N) of each finest site in each of scale k
        wanted = ((weight.abs() > 1e-6)[None] & mask[:, None]).any(-1)
        assert torch.equal(found[k], wanted)
        assert found[k].any(1).all()
    assert torch.equal(found[-1], mask)


def test_a_scale_that_does_not_see_an_item_is_refused() -> None:
    """Sampling four of sixteen sites by cubic interpolation sees nothing of the others."""
    pyramid = LaplacianPyramid(GridResampler([(1,), (16,)], "bicubic"), 2)
    Masked(pyramid, lengths(16, 9, sites=16))
    with pytest.raises(RefineError, match=r"mask of item 1 cannot be seen at scale 0.*area"):
        Masked(pyramid, lengths(16, 2, sites=16))


def test_levels_have_the_mask_and_what_the_geometry_lacks() -> None:
    inner = pyramid("closed")
    masked = Masked(inner, lengths(3, 8))
    assert masked.num_levels == 4
    assert [masked.level(k, None).mask.sum(1).tolist() for k in range(4)] == [[1, 1], [1, 2], [2, 4], [3, 8]]  # type: ignore[union-attr]

    class Holed(GridResampler):
        def level(self, k: int) -> Level:
            return Level(super().level(k).pos, mask=torch.arange(self.num_sites(k))[None] != 0)

    both = Masked(LaplacianPyramid(Holed(SHAPES), 2), lengths(3, 8)).level(3, None).mask
    assert both is not None and both.sum(1).tolist() == [2, 7]


def test_codes_of_sites_that_do_not_exist_are_zero() -> None:
    level = Level(torch.zeros(1, 3, 0), mask=torch.tensor([[True, False, True], [True, True, False]]))
    ones = choose_existing(lambda *_: torch.ones(2, 3, dtype=torch.int64))
    assert ones(0, level, None, None).tolist() == [[1, 0, 1], [1, 1, 0]]
    real = choose_existing(lambda *_: torch.full((2, 3, 4), 5.0))
    assert real(0, level, None, None).sum(-1).tolist() == [[20, 0, 20], [20, 20, 0]]
    assert (choose_existing(lambda *_: torch.full((2, 3), 7))(0, Level(torch.zeros(1, 3, 0)), None, None) == 7).all()


def through(pyramid: Pyramid, x: Tensor, mask: Tensor, base: Tensor | None = None) -> Tensor:
    """What comes back of latents where nothing is quantised."""
    tokenizer = Tokenizer(IdentityCodec(2), pyramid, ExactQuantizer(pyramid.num_levels, 2))
    *_, last = tokenizer.forward_process(x, base, mask=mask)
    return pyramid.latent(last.state, last.k)


@pytest.mark.parametrize("based", [False, True], ids=["no base", "base"])
@pytest.mark.parametrize("up", ["linear", "bicubic", "nearest"])
@pytest.mark.parametrize("kind", ["closed", "residual"])
def test_without_quantisation_what_exists_comes_back(kind: str, up: str, based: bool) -> None:
    """The finest residual is taken against what the coarser scales gave, so it holds all that is missing."""
    x, mask = torch.randn(8, 8, 2), lengths(*range(1, 9))
    base = torch.randn_like(x) if based else None
    error = (through(pyramid(kind, up), x, mask, base) - x)[mask]
    assert error.abs().max() < 1e-5


def test_open_loops_bring_back_what_they_can() -> None:
    """Residuals against exact coarser levels need those: nearest neighbours read no site that does not exist; other
    interpolation does, and so does the projection of a band, unless all sites exist."""
    x, mask = torch.randn(8, 8, 2, generator=torch.Generator().manual_seed(0)), lengths(*range(1, 9))
    for kind in ("open", "projected"):
        torch.testing.assert_close(through(pyramid(kind, "nearest"), x, lengths(*[8] * 8)), x)
    assert (through(pyramid("open", "nearest"), x, mask) - x)[mask].abs().max() < 1e-5
    assert (through(pyramid("projected", "nearest"), x, mask) - x)[mask].abs().max() > 0.02
    assert (through(pyramid("open", "linear"), x, mask) - x)[mask].abs().max() > 0.02


@pytest.mark.parametrize("kind", [*LOOPS, "residual"])
def test_what_stands_where_nothing_exists_does_not_matter(kind: str) -> None:
    """Nor that of a base; not even where it is no number."""
    x, mask = torch.randn(8, 8, 2), lengths(*range(1, 9))
    base = torch.randn_like(x)
    one = through(pyramid(kind, "nearest"), x, mask, base)
    for junk in (1e3, torch.nan):
        other, ground = (t.masked_fill(~mask[..., None], junk) for t in (x, base))
        assert torch.equal(through(pyramid(kind, "nearest"), other, mask, ground), one)


def test_the_domain_of_these_tests_has_every_length() -> None:
    mask = RaggedDomain(RaggedConfig()).dataset("train").tensors["mask"]
    assert mask.sum(1).unique().tolist() == list(range(1, 9))
