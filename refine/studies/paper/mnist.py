"""The data of section 4: MNIST in [0, 1], additive Gaussian noise, and the linear autoencoder's architecture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from refine.domain import Domain, load_domain
from refine.models.codec import Codec

SIDE = 28
LATENT = 64
SIGMA, SHIFTED_SIGMA = 0.2, 0.3


@dataclass(frozen=True)
class Digits:
    """Images in [0, 1].

    Attributes:
        train: (N, 1, 28, 28); of MNIST 60,000, in the published order.
        test: (M, 1, 28, 28); of MNIST 10,000.
    """

    train: Tensor
    test: Tensor


def _domain() -> Domain:
    """The image domain with whole images as single sites of a linear latent."""
    return load_domain(
        "image", data="mnist", label_conditional=False, codec="linear", factor=SIDE, latent=LATENT, scales=[1]
    )


def autoencoder() -> Codec:
    """A fresh linear autoencoder of whole images with d = 64 and biases: "Common setup" of section 4."""
    return _domain().codec()


@cache
def mnist() -> Digits:
    """MNIST out of ``REFINE_DATA``, or downloaded.

    Raises:
        RefineError: it cannot be had, or the image domain is not installed.
    """
    domain = _domain()

    def split(name: str) -> Tensor:
        items = domain.dataset(name)
        return torch.stack([items[i]["x"] for i in range(len(items))]).add_(1).div_(2)  # type: ignore[arg-type]

    return Digits(torch.cat([split("train"), split("val")]), split("test"))


@dataclass(frozen=True)
class FixedNoise:
    """One fixed draw of noise for the test images of a seed, the same for every model.

    Attributes:
        unit: standard normal numbers in the shape of the test images.
        shifted: others, for the noise shift.
    """

    unit: Tensor
    shifted: Tensor

    @classmethod
    def of(cls, images: Tensor, seed: int) -> FixedNoise:
        """The draw of a seed."""
        generator = torch.Generator().manual_seed(10_000 + seed)  # not the generator of any training
        return cls(*(torch.randn(images.shape, generator=generator) for _ in range(2)))
