"""The convolutional codec of VQGAN and latent diffusion, which VAR's tokenizer is one of: attention at the coarsest
resolution, wider layers at coarser ones (Esser, Rombach & Ommer 2021, https://arxiv.org/abs/2012.09841)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.image.codecs.codec import GridCodec
from refine.errors import require


class VQGANCodec(GridCodec):
    """Encoder and decoder of as many levels as ``multipliers`` says, one halving or doubling between two levels.

    The last level and the middle attend over all their sites. The 3x3 convolutions on either side of the quantizer that
    other implementations keep apart (``quant_conv``, ``post_quant_conv``) end the encoder and begin the decoder.

    Args:
        image: (C, H, W).
        channels: of the latent.
        factor: pixels of a latent site along each side; 2 ** (levels - 1).
        width: of the finest level; a multiple of 32 where GroupNorm is to have its 32 groups.
        multipliers: width of each level in ``width``, finest first.
        blocks: residual blocks of a level of the encoder; the decoder has one more.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        channels: int,
        factor: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
    ) -> None:
        good = len(multipliers) > 0 and all(isinstance(m, int) and m >= 1 for m in multipliers)
        require(good, f"domain.multipliers={multipliers!r} is not accepted; accepted: a list of whole numbers from 1")
        levels, found = len(multipliers), 2 ** (len(multipliers) - 1)
        require(
            factor == found,
            f"domain.factor={factor} does not go with domain.multipliers={list(multipliers)}: {levels} levels have "
            f"factor={found}",
        )
        require(width >= 1, f"domain.width={width} is not accepted; accepted: 1 or more")
        require(blocks >= 1, f"domain.blocks={blocks} is not accepted; accepted: 1 or more")
        widths = [width * m for m in multipliers]
        encoder = encoder_layers(image[0], channels, widths, blocks)
        decoder = decoder_layers(image[0], channels, widths, blocks)
        super().__init__(image, channels, factor, nn.Sequential(*encoder), nn.Sequential(*decoder))
        # the layout that convolutions are fastest in, of activations too
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def encoder_layers(inputs: int, channels: int, widths: Sequence[int], blocks: int) -> list[nn.Module]:
    """From pixels (B, inputs, H, W) to a latent (B, channels, h, w), in the order of their application."""
    layers: list[nn.Module] = [conv(inputs, widths[0])]
    before, last = widths[0], len(widths) - 1
    for level, width in enumerate(widths):
        for _ in range(blocks):
            layers += [Residual(before, width), *([SelfAttention(width)] if level == last else [])]
            before = width
        layers += [Halve(width)] if level < last else []
    return [*layers, *middle(before), NormSiLU(before), conv(before, channels), conv(channels, channels)]


def decoder_layers(outputs: int, channels: int, widths: Sequence[int], blocks: int) -> list[nn.Module]:
    """From a latent (B, channels, h, w) to pixels (B, outputs, H, W), in the order of their application."""
    before, last = widths[-1], len(widths) - 1
    layers: list[nn.Module] = [conv(channels, channels), conv(channels, before), *middle(before)]
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(blocks + 1):
            layers += [Residual(before, width), *([SelfAttention(width)] if level == last else [])]
            before = width
        layers += [Double(width)] if level else []
    return [*layers, NormSiLU(before), conv(before, outputs)]


def middle(width: int) -> list[nn.Module]:
    """What stands between the levels and the latent, on either side."""
    return [Residual(width, width), SelfAttention(width), Residual(width, width)]


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Norm(nn.GroupNorm):
    """GroupNorm of 32 groups, fewer where 32 does not divide the width."""

    def __init__(self, width: int) -> None:
        super().__init__(math.gcd(32, width), width, eps=1e-6)


class NormSiLU(Norm):
    """SiLU of that."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x), inplace=not torch.is_grad_enabled())


class Residual(nn.Module):
    """shortcut(x) + conv(SiLU(norm(conv(SiLU(norm(x)))))); the shortcut is 1x1 where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = NormSiLU(inputs), conv(inputs, outputs)
        self.norm2, self.conv2 = NormSiLU(outputs), conv(outputs, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return out


class SelfAttention(nn.Module):
    """x + projection of one head's attention over all sites of GroupNorm(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = Norm(width), nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).mT.contiguous().chunk(3, dim=-1)  # (B, N, width) each
        h = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.proj(h.mT.unflatten(2, x.shape[2:]))
        return out


class Halve(nn.Module):
    """A 3x3 convolution of stride 2; zeros beyond the right and lower borders only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Double(nn.Module):
    """Each pixel twice along both sides, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out
