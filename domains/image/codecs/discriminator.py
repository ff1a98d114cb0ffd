"""A network that tells images from their reconstructions, patch by patch."""

from __future__ import annotations

import math

from torch import Tensor, nn

HALVINGS = 3  # at most: patches of 38 pixels


class PatchDiscriminator(nn.Module):
    """Logits (B, 1, h, w) for overlapping patches of images (B, C, H, W) of any size, high where they look real.

    The patch discriminator of Isola et al. 2017 (arXiv 1611.07004) with GroupNorm, which treats every image alone.
    Small images are halved less often, so that two logits are left along their shorter side where it has two pixels.

    Args:
        image: (C, H, W).
        width: channels of the first layer, twice as many after each halving.
    """

    def __init__(self, image: tuple[int, int, int], width: int) -> None:
        super().__init__()
        halvings = max(0, min(HALVINGS, int(math.log2(min(image[1:]))) - 1))
        layers: list[nn.Module] = [nn.Conv2d(image[0], width, 3, padding=1), nn.LeakyReLU(0.2)]
        for i in range(halvings):
            before, after = width << i, width << (i + 1)
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(math.gcd(8, after), after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width << halvings, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits
