"""What needs no training: errors of linear filters, and floors of linear latents and of codebooks.

In the basis of principal components the training images have a diagonal covariance, so every filter here is one gain
for each component: Wiener's has lambda / (lambda + sigma^2), a projection ones and zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refine.codes.vq import VQ
from refine.studies.paper.mnist import LATENT, SHIFTED_SIGMA, SIGMA, Digits, FixedNoise


class Components(NamedTuple):
    """Principal components of images.

    Attributes:
        mean: (P,).
        variances: (P,), largest first.
        basis: (P, P), a component a column.
    """

    mean: Tensor
    variances: Tensor
    basis: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Components:
        """Of images (N, ...), in double precision."""
        rows = images.flatten(1).double()
        mean = rows.mean(0)
        variances, basis = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        return cls(mean, variances.flip(0).clamp_min(0), basis.flip(1))

    def filter(self, images: Tensor, gains: Tensor) -> Tensor:
        """Images (N, ...) with the coordinate of each component times its gain (P,)."""
        coordinates = (images.flatten(1).double() - self.mean) @ self.basis * gains
        return (self.mean + coordinates @ self.basis.T).view(images.shape).to(images.dtype)

    def latents(self, images: Tensor, dimensions: int) -> Tensor:
        """(N, dimensions) coordinates of the leading components."""
        return ((images.flatten(1).double() - self.mean) @ self.basis[:, :dimensions]).to(images.dtype)

    def kept(self, dimensions: int) -> Tensor:
        """Gains of the projection onto the leading components."""
        return (torch.arange(len(self.variances)) < dimensions).double()

    def wiener(self, sigma: float) -> Tensor:
        """Gains of the linear filter of least squared error under white noise of standard deviation ``sigma``."""
        return self.variances / (self.variances + sigma**2)


def mse(output: Tensor, target: Tensor) -> float:
    """Mean squared error."""
    return float((output - target).double().square().mean())


def linear_filters(pcs: Components, x: Tensor, seed: int) -> dict[str, float]:
    """Errors of the mean image, of nothing at all, and of filters on test images, with the noise of the seed."""
    draw = FixedNoise.of(x, seed)
    noisy, shifted = x + SIGMA * draw.unit, x + SHIFTED_SIGMA * draw.shifted
    wiener, kept = pcs.wiener(SIGMA), pcs.kept(LATENT)
    return {
        "mean_image": mse(pcs.filter(x, torch.zeros_like(kept)), x),
        "noisy_input": mse(noisy, x),
        "noisy_input_shifted": mse(shifted, x),
        "clamped_input": mse(noisy.clamp(0, 1), x),
        "clamped_input_shifted": mse(shifted.clamp(0, 1), x),
        "projection": mse(pcs.filter(noisy, kept), x),
        "projection_shifted": mse(pcs.filter(shifted, kept), x),
        "wiener": mse(pcs.filter(noisy, wiener), x),
        "wiener_shifted": mse(pcs.filter(shifted, wiener), x),
        "wiener_latent": mse(pcs.filter(noisy, wiener * kept), x),
        "wiener_latent_shifted": mse(pcs.filter(shifted, wiener * kept), x),
    }


def latent_floors(
    pcs: Components, x: Tensor, dimensions: Sequence[int] = (16, 32, LATENT, 128, 256)
) -> dict[str, float]:
    """Error of clean test images in the best linear latent of each number of dimensions."""
    return {f"pca_{d}": mse(pcs.filter(x, pcs.kept(d)), x) for d in dimensions}


def codebook(latents: Tensor, size: int, seed: int) -> VQ:
    """The core's quantizer with one codebook, by k-means on latents (N, C)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vq = VQ(1, latents.shape[1], [size])
        vq.fit(latents, 0)
    return vq.requires_grad_(False)


def quantised(vq: VQ, latents: Tensor) -> Tensor:
    """Latents (N, C) as their codes have them."""
    return vq.embed(vq.encode(latents, 0), 0)


def product_quantised(train: Tensor, latents: Tensor, groups: int, size: int, seed: int) -> Tensor:
    """Latents (N, C) with a codebook of their own for each of ``groups`` runs of channels, fitted to ``train``."""
    pairs = zip(train.chunk(groups, 1), latents.chunk(groups, 1), strict=True)
    return torch.cat([quantised(codebook(a.contiguous(), size, seed), b.contiguous()) for a, b in pairs], 1)


def codebook_floors(pcs: Components, data: Digits, seed: int) -> dict[str, float]:
    """Error of clean test images whose PCA latent is replaced by its nearest code: the least that any prediction of
    codes can reach."""
    train, test = pcs.latents(data.train, LATENT), pcs.latents(data.test, LATENT)
    # orthonormal components: what the latent loses and what it never had add up
    lost = mse(pcs.filter(data.test, pcs.kept(LATENT)), data.test)

    def floor(values: Tensor) -> float:
        return lost + float((values - test).double().square().sum(1).mean()) / data.test[0].numel()

    return {
        "kmeans_64": floor(quantised(codebook(train, 64, seed), test)),
        "kmeans_256": floor(quantised(codebook(train, 256, seed), test)),
        "product_16x64": floor(product_quantised(train, test, 16, 64, seed)),
        "product_32x64": floor(product_quantised(train, test, 32, 64, seed)),
    }
