from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from refine.studies.paper.closed_forms import (
    Components,
    codebook,
    codebook_floors,
    latent_floors,
    linear_filters,
    mse,
    product_quantised,
    quantised,
)
from refine.studies.paper.mnist import Digits


def correlated(count: int, pixels: int, seed: int) -> Tensor:
    """Images of one row, with a covariance far from a multiple of the identity."""
    mixing = torch.randn(pixels, pixels, generator=torch.Generator().manual_seed(0)) / pixels**0.5
    mixing *= 0.92 ** torch.arange(pixels)[:, None]
    return torch.randn(count, pixels, generator=torch.Generator().manual_seed(seed))[:, None, None] @ mixing + 0.3


def test_the_wiener_filter_is_the_best_affine_map_of_noisy_images() -> None:
    x = correlated(200_000, 6, 1)
    noisy = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    inputs = torch.cat([noisy.flatten(1), torch.ones(len(x), 1)], 1).double()
    fitted = inputs @ torch.linalg.lstsq(inputs, x.flatten(1).double()).solution
    pcs = Components.of(x)
    closed = pcs.filter(noisy, pcs.wiener(0.5))
    torch.testing.assert_close(closed.flatten(1).double(), fitted, atol=0.02, rtol=0)
    expected = (pcs.variances * 0.25 / (pcs.variances + 0.25)).mean()
    assert (
        mse(closed, x) == pytest.approx(float(expected), rel=0.01) == pytest.approx(mse(fitted, x.flatten(1)), rel=0.01)
    )


def test_the_floor_of_a_linear_latent_is_what_the_svd_leaves() -> None:
    x = correlated(50, 12, 1)
    rows = x.flatten(1).double()
    left, values, right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    for d in (1, 5, 12):
        best = rows.mean(0) + left[:, :d] * values[:d] @ right[:d]
        floor = latent_floors(Components.of(x), x, [d])[f"pca_{d}"]
        left_over = float((values[d:] ** 2).sum()) / rows.numel()
        assert floor == pytest.approx(mse(best, rows), rel=1e-5, abs=1e-12) == pytest.approx(left_over, abs=1e-12)


def test_filters_of_the_study_are_in_the_order_that_theory_demands() -> None:
    x = correlated(4000, 100, 1).clamp(0, 1)
    found = linear_filters(Components.of(x[:3000]), x[3000:], seed=0)
    assert found["noisy_input"] == pytest.approx(0.04, rel=0.02)
    assert found["noisy_input_shifted"] == pytest.approx(0.09, rel=0.02)
    assert found["wiener"] < found["wiener_latent"] < found["projection"] < found["noisy_input"]
    assert found["clamped_input"] < found["noisy_input"] and found["wiener"] < found["mean_image"]
    assert found["mean_image"] == pytest.approx(float((x[3000:] - x[:3000].mean(0)).square().mean()), rel=1e-4)


def test_codebooks_are_means_of_what_is_nearest_to_them_and_the_same_for_a_seed() -> None:
    x = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
    vq = codebook(x, 16, seed=3)
    (centres,) = vq.codebooks
    assert torch.equal(vq.encode(x, 0), torch.cdist(x, centres).argmin(1))
    torch.testing.assert_close(quantised(vq, x), centres[torch.cdist(x, centres).argmin(1)])
    before = torch.random.get_rng_state()
    assert torch.equal(codebook(x, 16, 3).codebooks[0], centres)
    assert torch.equal(before, torch.random.get_rng_state())


def test_sub_vectors_lose_what_is_within_their_own_clusters() -> None:
    corners = torch.tensor(list(itertools.product([-5.0, 5.0], repeat=4)))
    x = corners.repeat(200, 1) + 0.1 * torch.randn(3200, 4, generator=torch.Generator().manual_seed(0))
    assert mse(product_quantised(x, x, 4, 2, seed=0), x) == pytest.approx(0.01, rel=0.05)


def test_floors_of_codebooks_are_errors_of_decoded_images() -> None:
    x = correlated(2000, 100, 1)
    data = Digits(x[:1500], x[1500:])
    pcs = Components.of(data.train)
    train, test = pcs.latents(data.train, 64), pcs.latents(data.test, 64)
    values = quantised(codebook(train, 64, 0), test)
    decoded = pcs.mean + values.double() @ pcs.basis[:, :64].T
    floors = codebook_floors(pcs, data, seed=0)
    assert floors["kmeans_64"] == pytest.approx(mse(decoded, data.test.flatten(1)), rel=1e-5)
    assert floors["kmeans_64"] > floors["kmeans_256"] > floors["product_16x64"] > floors["product_32x64"]
    assert floors["product_32x64"] > latent_floors(pcs, data.test)["pca_64"]
