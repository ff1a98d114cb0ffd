"""Between images (B, C, H, W) and latents (B, N, channels) on the grid of the finest scale, sites row by row."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.image.codecs.discriminator import PatchDiscriminator
from refine.domains.image.codecs.losses import perceptual_loss
from refine.errors import not_accepted, require
from refine.models.codec import Codec

CONV_FACTORS = (1, 2, 4, 8, 16)


class GridCodec(Codec):
    """An encoder (B, C, H, W) -> (B, channels, h, w) and a decoder back, with h = H / factor and w = W / factor.

    Attributes:
        grid: (h, w).
    """

    def __init__(
        self, image: tuple[int, int, int], channels: int, factor: int, encoder: nn.Module, decoder: nn.Module
    ) -> None:
        super().__init__()
        self.image, self.channels = image, channels
        self.grid = latent_grid(image[1:], factor)
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> Tensor:
        require(
            tuple(x.shape[1:]) == self.image,
            f"images of shape {tuple(x.shape[1:])} do not fit a codec for (channels, height, width) = {self.image}",
        )
        latent: Tensor = self.encoder(x)
        return latent.flatten(2).transpose(1, 2)

    def decode(self, latent: Tensor) -> Tensor:
        image: Tensor = self.decoder(latent.transpose(1, 2).unflatten(2, self.grid))
        return image

    def perceptual_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        return perceptual_loss(self.image)

    def discriminator(self, width: int) -> nn.Module:
        return PatchDiscriminator(self.image, width)

    def last_layer(self) -> nn.Parameter:
        weights = [p for p in self.decoder.parameters() if p.dim() > 1]
        require(bool(weights), "train.loss.adversarial needs a codec that learns; accepted with this one: 0")
        return weights[-1]


def latent_grid(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """(h, w) of the latent of images of ``size``.

    Raises:
        RefineError: ``factor`` does not divide both sides.
    """
    h, w = size
    require(
        factor >= 1 and h % factor == 0 and w % factor == 0,
        f"factor={factor} does not divide images of {h}x{w}; accepted: common divisors of {h} and {w}",
    )
    return h // factor, w // factor


class PixelCodec(GridCodec):
    """No latent: the pixels themselves are the sites of the finest scale (the control of the paper's section 6)."""

    def __init__(self, image: tuple[int, int, int]) -> None:
        super().__init__(image, image[0], 1, nn.Identity(), nn.Identity())


class PatchExpansion(nn.ConvTranspose2d):
    """A transposed convolution whose kernel is its stride, as the linear layer of patches that it is.

    Libraries need ten times as long for it, and PyTorch starts its weights too small: a pixel has ``in_channels``
    inputs.
    """

    def reset_parameters(self) -> None:
        bound = self.in_channels**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        patches = input.permute(0, 2, 3, 1) @ self.weight.flatten(1)
        image = F.pixel_shuffle(patches.permute(0, 3, 1, 2), self.stride[0])
        return image if self.bias is None else image + self.bias[:, None, None]


class LinearCodec(GridCodec):
    """A linear autoencoder with bias, the same for every patch of factor x factor pixels.

    With ``factor`` the side of a square image it is the paper's autoencoder of whole images (section 4).
    """

    def __init__(self, image: tuple[int, int, int], channels: int, factor: int) -> None:
        encoder = nn.Conv2d(image[0], channels, factor, factor)
        decoder = PatchExpansion(channels, image[0], factor, factor)
        super().__init__(image, channels, factor, encoder, decoder)


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(GroupNorm(x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return out


class ConvCodec(GridCodec):
    """Encoder and decoder of a convolutional VQ-VAE.

    Each halving is a 4x4 convolution of stride 2 and each doubling a sub-pixel convolution, every one followed or
    preceded by ``blocks`` residual blocks. Latents have mean zero and variance one in every channel (in evaluation, as
    it was in training). The output is not squashed into [-1, 1]; pictures cut what is beyond.

    Args:
        image: (C, H, W).
        channels: of the latent.
        factor: pixels of a latent site along each side: 1, 2, 4, 8 or 16.
        width: of all hidden layers; even.
        blocks: residual blocks at each resolution.
    """

    def __init__(self, image: tuple[int, int, int], channels: int, factor: int, width: int, blocks: int) -> None:
        if factor not in CONV_FACTORS:
            raise not_accepted("factor", factor, CONV_FACTORS)
        require(width >= 2 and width % 2 == 0, f"width={width} is not accepted; accepted: even numbers from 2")
        require(blocks >= 0, f"blocks={blocks} is not accepted; accepted: 0 or more")
        halvings = factor.bit_length() - 1

        def stack() -> list[nn.Module]:
            return [ResidualBlock(width) for _ in range(blocks)]

        down: list[nn.Module] = [] if halvings else [nn.Conv2d(image[0], width, 3, padding=1), *stack()]
        for i in range(halvings):
            down += [nn.Conv2d(width if i else image[0], width, 4, 2, 1), *stack()]
        up: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), *stack()]
        for i in range(halvings):
            last = i == halvings - 1
            up += [nn.Conv2d(width, (2 if last else 4) * width, 3, padding=1), nn.PixelShuffle(2)]
            up += [] if last else stack()
        out = width // 2 if halvings else width
        # unit variance: without it, latents outgrow the codebooks that follow them, and training diverges
        encoder = nn.Sequential(*down, nn.Conv2d(width, channels, 1), nn.BatchNorm2d(channels, affine=False))
        decoder = nn.Sequential(*up, nn.SiLU(), nn.Conv2d(out, image[0], 3, padding=1))
        super().__init__(image, channels, factor, encoder, decoder)
