"""Quantizers: Q and emb of eq. 15 and 19. One interface, three kinds: VQ (:mod:`refine.codes.vq`; several
codes a site: :mod:`refine.codes.composite_vq`), FSQ and bitwise here; and none, as a control.

Codes are int64 in [0, V_k), but for the control, where they are the residuals themselves. Quantizers never see the
loop: straight-through gradients are taken once, on the finished latent
(:meth:`refine.models.tokenizer.Tokenizer.forward`), so every kind behaves alike inside any pyramid.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from refine.errors import RefineError, require


class Quantizer(nn.Module, abc.ABC):
    """Pointwise map between residual vectors and codes, one per scale or shared.

    Attributes:
        num_scales: K.
        channels: C.
        sizes: V_k, the number of codes of each scale; 0 where they are not discrete.
        discrete: whether codes are numbers (...,) that can be counted; else they are residuals (..., C).
        bits: d when codes are d independent bits, else 0 (a :mod:`refine.codes.head` is chosen by it).
        shared: whether all scales use the same codes, so that one head serves them all.
        fitted: whether :meth:`fit` has run (a buffer, so that it is saved).
    """

    discrete: bool = True
    bits: int = 0
    fitted: Tensor

    def __init__(self, num_scales: int, channels: int, sizes: Sequence[int], shared: bool) -> None:
        super().__init__()
        self.num_scales, self.channels, self.sizes, self.shared = num_scales, channels, list(sizes), shared
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @abc.abstractmethod
    def encode(self, x: Tensor, k: int) -> Tensor:
        """(..., C) residuals of scale k to (...,) codes, the nearest in the quantizer's sense; eq. 15."""

    @abc.abstractmethod
    def embed(self, codes: Tensor, k: int) -> Tensor:
        """(...,) codes of scale k to (..., C) values; eq. 19."""

    @abc.abstractmethod
    def fit(self, x: Tensor, k: int) -> None:
        """Start scale k from residuals (..., C) of a trained encoder. Random starts collapse; this one does not."""

    def expected(self, probabilities: Tensor, k: int) -> Tensor:
        """(..., C) the mean of the values under ``probabilities`` (..., P, V) of each of the P parts of a code.

        Raises:
            RefineError: a kind without codebooks.
        """
        raise RefineError(
            "sampler.gain needs codebooks: model.quantizer.kind=vq; accepted here: 1 (and sampler.smooth=false)"
        )

    def usage(self, codes: Tensor, k: int) -> tuple[float, float]:
        """Share of the codes of scale k that occur in ``codes``, and perplexity; see :func:`usage`."""
        return usage(codes, self.sizes[k])

    def penalty(self, x: Tensor, codes: Tensor, k: int) -> Tensor:
        """A term of the training loss that this kind needs beside eq. 1."""
        return x.new_zeros(())

    def observe(self, x: Tensor, codes: Tensor, k: int) -> None:
        """Gather what :meth:`update` needs from a training batch; called once per scale."""

    def update(self) -> None:
        """Learn from what was observed since the last call (outside of the optimiser), on all processes alike."""


def all_reduce_(x: Tensor) -> Tensor:
    """Sum over processes, in place; does nothing with one process."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
    return x


def broadcast_(x: Tensor) -> Tensor:
    """Take rank 0's values, in place; does nothing with one process."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(x, 0)
    return x


class ScaledQuantizer(Quantizer):
    """A code grid that is fixed, if there is one, stretched at each scale to the size that residuals have there."""

    amplitude: Tensor

    def __init__(self, num_scales: int, channels: int, sizes: Sequence[int]) -> None:
        super().__init__(num_scales, channels, sizes, shared=False)
        self.register_buffer("amplitude", torch.ones(num_scales))
        self._measured: dict[int, Tensor] = {}

    @abc.abstractmethod
    def measure(self, x: Tensor) -> Tensor:
        """The amplitude that suits residuals (..., C)."""

    def fit(self, x: Tensor, k: int) -> None:
        self.amplitude[k] = broadcast_(self.measure(x.detach()))

    def observe(self, x: Tensor, codes: Tensor, k: int) -> None:
        self._measured[k] = self.measure(x.detach())

    def update(self) -> None:
        for k, mean in self._measured.items():
            all_reduce_(mean)
            if dist.is_available() and dist.is_initialized():
                mean /= dist.get_world_size()
            self.amplitude[k] = torch.lerp(self.amplitude[k], mean, 0.01)
        self._measured.clear()


def root_mean_square(x: Tensor) -> Tensor:
    """Of all numbers of ``x``, and no less than 1e-6."""
    return x.square().mean().sqrt().clamp_min(1e-6)


class Unquantized(ScaledQuantizer):
    """No quantisation, the control: the "codes" (..., C) of a scale are its residuals themselves.

    Its amplitudes, the root mean squares of the residuals of each scale, are what :class:`refine.codes.head.GaussianHead`
    starts from.
    """

    discrete = False

    def __init__(self, num_scales: int, channels: int) -> None:
        super().__init__(num_scales, channels, [0] * num_scales)

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


def pack_bits(bits: Tensor) -> Tensor:
    """(..., d) bool to (...,) int64, bit i worth 2^i."""
    weights = 2 ** torch.arange(bits.shape[-1], device=bits.device)
    return (bits.long() * weights).sum(-1)


def unpack_bits(codes: Tensor, d: int) -> Tensor:
    """(...,) int64 to (..., d) bool."""
    return (codes[..., None] >> torch.arange(d, device=codes.device)) & 1 == 1


def usage(codes: Tensor, size: int) -> tuple[float, float]:
    """Share of the ``size`` codes that occur in ``codes``, and perplexity exp(H) of their distribution."""
    require(codes.numel() > 0 and size > 0, "no codes were counted")
    _, counts = codes.flatten().unique(return_counts=True)
    p = counts.double() / counts.sum()
    return len(counts) / size, float((-(p * p.log()).sum()).exp())
