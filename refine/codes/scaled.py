"""Code grids that are fixed, or none, stretched to the size of the residuals of each scale."""

from __future__ import annotations

import abc
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from refine.codes.gaussian_head import GaussianHead
from refine.codes.head import BitwiseHead, Head
from refine.codes.packing import pack_bits, unpack_bits
from refine.codes.quantizer import Quantizer, all_reduce_, broadcast_
from refine.errors import require
from refine.settings.config import QuantizerConfig


class ScaledQuantizer(Quantizer):
    """A code grid that is fixed, if there is one, stretched at each scale to the size that residuals have there."""

    amplitude: Tensor

    def __init__(self, num_scales: int, channels: int, sizes: Sequence[int]) -> None:
        super().__init__(num_scales, channels, sizes, shared=False)
        self.register_buffer("amplitude", torch.ones(num_scales))
        self._measured = defaultdict[int, list[Tensor]](list)  # by scale, one of each batch since the last update

    @abc.abstractmethod
    def measure(self, x: Tensor) -> Tensor:
        """The amplitude that suits residuals (..., C)."""

    def fit(self, x: Tensor, k: int) -> None:
        self.amplitude[k] = broadcast_(self.measure(x.detach()))

    def observe(self, x: Tensor, codes: Tensor, k: int) -> None:
        self._measured[k].append(self.measure(x.detach()))

    def update(self) -> None:
        for k, measured in self._measured.items():
            mean = torch.stack(measured).mean(0)
            all_reduce_(mean)
            if dist.is_available() and dist.is_initialized():
                mean /= dist.get_world_size()
            self.amplitude[k] = torch.lerp(self.amplitude[k], mean, 0.01)
        self._measured.clear()


def one_code_a_site(options: QuantizerConfig) -> None:
    """Refuse what only codebooks have.

    Raises:
        RefineError: stages, groups, or codes that all scales share.
    """
    single, kind = options.stages == 1 and options.groups is None, options.kind
    require(single, f"model.quantizer.stages and groups are not accepted for kind={kind}; accepted: kind=vq")
    require(not options.shared, f"model.quantizer.shared=true is not accepted for kind={kind}; accepted: false")


def root_mean_square(x: Tensor) -> Tensor:
    """Of all numbers of ``x``, and no less than 1e-6."""
    return x.square().mean().sqrt().clamp_min(1e-6)


class Unquantized(ScaledQuantizer):
    """No quantisation, the control: the "codes" (..., C) of a scale are its residuals themselves.

    Its amplitudes, the root mean squares of the residuals of each scale, are what
    :class:`refine.codes.gaussian_head.GaussianHead` starts from.
    """

    discrete = False

    def __init__(self, num_scales: int, channels: int) -> None:
        super().__init__(num_scales, channels, [0] * num_scales)

    @classmethod
    def build(cls, options: QuantizerConfig, num_scales: int, channels: int) -> Quantizer:
        one_code_a_site(options)
        return cls(num_scales, channels)

    def head(self, width: int) -> Head:
        return GaussianHead(width, self)

    def measure(self, x: Tensor) -> Tensor:
        return root_mean_square(x)

    def encode(self, x: Tensor, k: int) -> Tensor:
        return x.detach()

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return codes


class FSQ(ScaledQuantizer):
    """Finite scalar quantisation (arXiv 2309.15505): channel i takes one of ``levels[i]`` evenly spaced values.

    The source bounds channels with a tanh so that the encoder learns the range. Here a code has to approximate a
    residual, so values are rounded and clamped instead. The amplitude is the scale's standard deviation, and a channel
    of L levels spans (log2 L + 1) / 2 of it to either side: what is best for a Gaussian, to within a few per cent for
    L = 4 to 32 (Max, 1960).
    """

    span: Tensor

    def __init__(self, num_scales: int, levels: Sequence[int]) -> None:
        require(len(levels) > 0 and min(levels) >= 2, f"model.quantizer.levels={list(levels)}: each must be 2 or more")
        size = math.prod(levels)
        require(size <= 2**24, f"model.quantizer.levels={list(levels)} make {size} codes; accepted: up to {2**24}")
        super().__init__(num_scales, len(levels), [size] * num_scales)
        base = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(list(levels)), persistent=False)
        self.register_buffer("base", torch.tensor(base), persistent=False)
        self.register_buffer("span", (torch.tensor(list(levels)).log2() + 1) / 2, persistent=False)

    @classmethod
    def build(cls, options: QuantizerConfig, num_scales: int, channels: int) -> Quantizer:
        one_code_a_site(options)
        fits = len(options.levels) == channels
        require(fits, f"model.quantizer.levels={list(options.levels)}: {channels} latent channels need as many levels")
        return cls(num_scales, options.levels)

    def measure(self, x: Tensor) -> Tensor:
        return root_mean_square(x)

    def encode(self, x: Tensor, k: int) -> Tensor:
        levels, base = cast(Tensor, self.levels), cast(Tensor, self.base)
        top = levels - 1
        digits = ((x / (self.amplitude[k] * self.span) + 1) * top / 2).round().clamp_min(0).minimum(top.to(x.dtype))
        return (digits.long() * base).sum(-1)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        levels, base = cast(Tensor, self.levels), cast(Tensor, self.base)
        digits = (codes[..., None] // base % levels).to(self.amplitude.dtype)
        return (digits * 2 / (levels - 1) - 1) * self.amplitude[k] * self.span


class Bitwise(ScaledQuantizer):
    """Sign quantisation: d = C bits a code, V = 2^d, no codebook (LFQ, arXiv 2310.05737; BSQ, arXiv 2406.07548).

    ``sphere=True`` is BSQ: the value is the nearest corner of the cube in the sphere of the scale's mean radius;
    ``False`` is LFQ: each channel is plus or minus the scale's mean magnitude. The codes are the same signs; value
    and entropy term differ.

    The entropy term is mean_i H(p(bit | x_i)) - H(mean_i p(bit | x_i)), summed over bits: confident bits, all used.
    """

    def __init__(self, num_scales: int, channels: int, sphere: bool = True, entropy: float = 0.1) -> None:
        require(channels <= 48, f"bitwise codes hold up to 48 bits; the latent has {channels} channels")
        super().__init__(num_scales, channels, [2**channels] * num_scales)
        self.bits, self.sphere, self.entropy = channels, sphere, entropy

    @classmethod
    def build(cls, options: QuantizerConfig, num_scales: int, channels: int) -> Quantizer:
        one_code_a_site(options)
        return cls(num_scales, channels, options.sphere, options.entropy)

    def head(self, width: int) -> Head:
        return BitwiseHead(width, self.bits, self.num_scales)

    def measure(self, x: Tensor) -> Tensor:
        size = x.norm(dim=-1).mean() / math.sqrt(self.channels) if self.sphere else x.abs().mean()
        return size.clamp_min(1e-6)

    def encode(self, x: Tensor, k: int) -> Tensor:
        return pack_bits(x > 0)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return (unpack_bits(codes, self.bits).to(self.amplitude.dtype) * 2 - 1) * self.amplitude[k]

    def penalty(self, x: Tensor, codes: Tensor, k: int) -> Tensor:
        # on the unit sphere a channel has size 1/sqrt(d); bring both kinds to order one
        x = F.normalize(x, dim=-1) * math.sqrt(self.channels) if self.sphere else x / self.amplitude[k]
        p = torch.sigmoid(2 * x.reshape(-1, self.channels))
        return self.entropy * (_bernoulli_entropy(p).mean(0) - _bernoulli_entropy(p.mean(0))).sum()


def _bernoulli_entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log() + (1 - p) * (1 - p).log())
