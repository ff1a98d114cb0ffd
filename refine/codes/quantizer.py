"""Quantizers: Q and emb of eq. 15 and 19. One interface; the kinds that ship are codebooks (:mod:`refine.codes.vq`;
several codes a site: :mod:`refine.codes.composite_vq`), and FSQ, bitwise and none at all (:mod:`refine.codes.scaled`).

Codes are int64 in [0, V_k), but for the control, where they are the residuals themselves. Quantizers never see the
loop: straight-through gradients are taken once, on the finished latent
(:meth:`refine.models.tokenizer.Tokenizer.forward`), so every kind behaves alike inside any pyramid.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from refine.codes.head import CategoricalHead, Head
from refine.errors import RefineError, require
from refine.kinds import QUANTIZERS
from refine.settings.config import QuantizerConfig
from refine.settings.options import options_of


@QUANTIZERS.base
class Quantizer(nn.Module, abc.ABC):
    """Pointwise map between residual vectors and codes, one per scale or shared.

    A kind of your own is a subclass, announced as an entry point of ``refine.quantizers``. Its dataclass ``Options``
    has the keys ``model.quantizer.options.*``; it is made by :meth:`build` and predicted by its :meth:`head`.

    Attributes:
        Options: dataclass of plain options; for the kinds that ship it is the section ``model.quantizer`` itself.
        num_scales: K.
        channels: C.
        sizes: V_k, the number of codes of each scale; 0 where they are not discrete.
        discrete: whether codes are numbers (...,) that can be counted; else they are residuals (..., C).
        shared: whether all scales use the same codes, so that one head serves them all.
        fitted: whether :meth:`fit` has run (a buffer, so that it is saved).
    """

    Options: ClassVar[type] = QuantizerConfig
    discrete: bool = True
    fitted: Tensor

    def __init__(self, num_scales: int, channels: int, sizes: Sequence[int], shared: bool) -> None:
        super().__init__()
        self.num_scales, self.channels, self.sizes, self.shared = num_scales, channels, list(sizes), shared
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @classmethod
    def build(cls, options: Any, num_scales: int, channels: int) -> Quantizer:
        """The quantizer of K scales and C channels that ``options``, an instance of ``Options``, describe.

        By default ``cls(num_scales, channels, options)``.
        """
        return cls(num_scales, channels, options)  # type: ignore[call-arg]

    def head(self, width: int) -> Head:
        """A fresh head, from hidden states of ``width`` D to laws over these codes: a softmax unless a kind knows
        better."""
        return CategoricalHead(width, self.sizes, self.shared)

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


def usage(codes: Tensor, size: int) -> tuple[float, float]:
    """Share of the ``size`` codes that occur in ``codes``, and perplexity exp(H) of their distribution."""
    require(codes.numel() > 0 and size > 0, "no codes were counted")
    _, counts = codes.flatten().unique(return_counts=True)
    p = counts.double() / counts.sum()
    return len(counts) / size, float((-(p * p.log()).sum()).exp())


def build_quantizer(config: QuantizerConfig, num_scales: int, channels: int) -> Quantizer:
    """The quantizer that a configuration asks for.

    Raises:
        RefineError: a kind that is not installed, or options that it does not accept.
    """
    cls = QUANTIZERS.load(config.kind)
    quantizer: Quantizer = cls.build(options_of(cls, config, "model.quantizer"), num_scales, channels)
    return quantizer
