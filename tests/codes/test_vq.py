"""Codebooks: they start from the data, follow it, and no code stays dead."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from refine.codes.quantizer import usage
from refine.codes.vq import VQ, kmeans

C = 3


def clusters(size: int, spread: float = 0.02, each: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(size * each, C) points in well separated groups, and the mean of each group."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.tensor(list(itertools.product(range(4), repeat=C)), dtype=torch.float32) - 1.5
    centres = grid[torch.randperm(len(grid), generator=generator)[:size]]
    points = centres[:, None] + spread * torch.randn(size, each, C, generator=generator)
    return points.flatten(0, 1), points.mean(1)


def matched(found: Tensor, wanted: Tensor) -> float:
    """Largest distance from a wanted row to the nearest found one."""
    return float(torch.cdist(wanted, found).min(1).values.max())


@pytest.mark.parametrize("shared", [False, True])
def test_ema_converges_to_cluster_means(shared: bool) -> None:
    x, means = clusters(6)
    quantizer = VQ(1, C, [6], shared=shared, decay=0.8)
    start = means + 0.2
    with torch.no_grad():
        quantizer.codebooks[0].copy_(start)
        quantizer.get_buffer("sum_0").copy_(start)
    for _ in range(60):
        quantizer.observe(x, quantizer.encode(x, 0), 0)
        quantizer.update()
    torch.testing.assert_close(quantizer.codebooks[0].detach(), means, rtol=0, atol=1e-4)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_come_back(update: str) -> None:
    torch.manual_seed(0)
    x, _ = clusters(8)
    quantizer = VQ(1, C, [8], update=update, decay=0.9)
    with torch.no_grad():
        quantizer.codebooks[0].copy_(100 + torch.randn(8, C))  # nothing is near any of them but one
    assert usage(quantizer.encode(x, 0), 8)[0] < 0.5
    for _ in range(300):
        quantizer.observe(x, quantizer.encode(x, 0), 0)
        quantizer.update()
    assert usage(quantizer.encode(x, 0), 8)[0] == 1


def test_codes_in_use_are_never_revived() -> None:
    torch.manual_seed(0)
    x, means = clusters(6)
    quantizer = VQ(1, C, [6], update="gradient", revive=0.5)
    with torch.no_grad():
        quantizer.codebooks[0].copy_(means)
    for _ in range(50):
        quantizer.observe(x, quantizer.encode(x, 0), 0)
        quantizer.update()
    assert torch.equal(quantizer.codebooks[0].detach(), means)


def test_shared_codes_come_back_where_any_scale_has_residuals() -> None:
    """A shared codebook is revived from the residuals of all scales, not of the first one that was observed."""
    torch.manual_seed(0)
    quantizer = VQ(2, C, [64, 64], shared=True, decay=0.0)
    coarse, fine = torch.full((10, C), 10.0), torch.full((90, C), -10.0)
    with torch.no_grad():
        quantizer.codebooks[0].fill_(100.0)
        quantizer.codebooks[0][0] = 0.0  # serves everybody; the others die
    for k, x in enumerate((coarse, fine)):
        quantizer.observe(x, quantizer.encode(x, k), k)
    quantizer.update()
    alive = quantizer.codebooks[0].detach()[1:, 0]
    assert set(alive.tolist()) == {10.0, -10.0}
    assert 0.7 < (alive < 0).double().mean() < 1


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("size", [4, 16, 48])
def test_start_uses_every_code(size: int, cosine: bool) -> None:
    """As many clusters as codes, or more: no code is left over."""
    torch.manual_seed(0)
    x, _ = clusters(min(64, size + 8))
    quantizer = VQ(1, C, [size], cosine=cosine)
    quantizer.fit(x, 0)
    assert usage(quantizer.encode(x, 0), size)[0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_start_finds_points_that_repeat(seed: int) -> None:
    """As many distinct points as codes: each becomes a code, however unevenly they repeat."""
    torch.manual_seed(seed)
    points = torch.randn(16, C)
    x = points[torch.cat([torch.arange(16), torch.randint(4, (400,))])]
    assert matched(kmeans(x, 16), points) < 1e-5


def test_start_with_fewer_points_than_codes_is_finite() -> None:
    for rows in (1, 2, 5):
        for channels in (1, C):
            quantizer = VQ(1, channels, [8])
            x = torch.randn(rows, channels)
            quantizer.fit(x, 0)
            assert torch.isfinite(quantizer.codebooks[0]).all()
            torch.testing.assert_close(quantizer.embed(quantizer.encode(x, 0), 0), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_cosine_start_does_not_depend_on_the_size_of_residuals(scale: float) -> None:
    x, _ = clusters(12)
    torch.manual_seed(0)
    quantizer = VQ(1, C, [12], cosine=True)
    quantizer.fit(x * scale, 0)
    values = quantizer.embed(quantizer.encode(x * scale, 0), 0) / scale
    angle = F.cosine_similarity(values, x, dim=-1)
    assert angle.mean() > 0.98
    assert (values - x).square().mean() < 0.25 * x.square().mean()


def test_shared_start_serves_all_scales() -> None:
    torch.manual_seed(0)
    quantizer = VQ(2, C, [32, 32], shared=True)
    coarse, fine = 5 * torch.randn(30, C), torch.randn(300, C)
    quantizer.fit(coarse, 0)
    quantizer.fit(fine, 1)
    for k, x in enumerate((coarse, fine)):
        assert (quantizer.embed(quantizer.encode(x, k), k) - x).square().mean() < 0.3 * x.square().mean()
