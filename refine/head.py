"""Heads: the distribution over codes that belongs to a quantizer; Cat(psi(C)_i) of eq. 18."""

from __future__ import annotations

import abc
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.composite_vq import CompositeVQ, pack_digits, unpack_digits
from refine.errors import RefineError
from refine.linear import Linear
from refine.quantizer import Quantizer, pack_bits, unpack_bits
from refine.sampler import Law, ScaleSampler


class Head(nn.Module, abc.ABC):
    """A linear map from hidden states to the parameters of independent distributions over codes.

    It is linear on purpose: guidance may then mix hidden states instead of logits, which halves the cost.

    Attributes:
        draws: uniform numbers that a site needs.
    """

    draws: int

    def __init__(self, width: int, outputs: list[int], shared: bool) -> None:
        super().__init__()
        self.linears = nn.ModuleList(Linear(width, n) for n in (outputs[:1] if shared else outputs))
        for linear in self.linears:
            nn.init.trunc_normal_(linear.weight, std=0.02 / width**0.5)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, k: int) -> Tensor:
        """(B, N, D) hidden states of scale k to (B, N, n) logits in float32."""
        linear = cast(Linear, self.linears[k if len(self.linears) > 1 else 0])
        logits: Tensor = linear(hidden.to(linear.weight.dtype))
        return logits.float()

    @abc.abstractmethod
    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        """(B, N) log-probabilities, in nats, of codes (B, N)."""

    @abc.abstractmethod
    def parts(self, logits: Tensor) -> Tensor:
        """(B, N, P, V) logits of each of the P parts of a code, which are independent."""

    @abc.abstractmethod
    def pack(self, index: Tensor, size: int) -> Tensor:
        """Codes (B, N) of the indices (B, N, P), below ``size``, of their parts."""

    def law(self, logits: Tensor, sampler: ScaleSampler) -> Law:
        """How the sampler draws each part."""
        return sampler.law(self.parts(logits))

    def draw(self, law: Law, uniform: Tensor) -> Tensor:
        """Codes (B, N) from ``uniform`` (B, N, draws)."""
        return self.pack(law.draw(uniform), law.size)

    def sample(self, logits: Tensor, uniform: Tensor, sampler: ScaleSampler) -> Tensor:
        """Codes (B, N) from ``uniform`` (B, N, draws)."""
        return self.draw(self.law(logits, sampler), uniform)

    def probabilities(self, logits: Tensor, sampler: ScaleSampler) -> Tensor:
        """(B, N, P, V): how the sampler draws each of the P parts of a code.

        Raises:
            RefineError: codes that are not drawn part by part.
        """
        return self.law(logits, sampler).probabilities()


class CategoricalHead(Head):
    """A softmax over the V_k codes of each site."""

    draws = 1

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        return -F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view(codes.shape)

    def parts(self, logits: Tensor) -> Tensor:
        return logits[..., None, :]

    def pack(self, index: Tensor, size: int) -> Tensor:
        return index[..., 0]


class FactorisedHead(Head):
    """A softmax over each of the P independent parts of a code (:class:`refine.composite_vq.CompositeVQ`)."""

    def __init__(self, width: int, quantizer: CompositeVQ) -> None:
        outputs = [v * quantizer.num_parts for v in quantizer.parts_of]
        super().__init__(width, outputs, quantizer.shared)
        self.draws = quantizer.num_parts

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        parts = self.parts(logits)
        index = unpack_digits(codes, parts.shape[-1], self.draws)
        nats = -F.cross_entropy(parts.flatten(0, -2), index.flatten(), reduction="none")
        return nats.view(index.shape).sum(-1)

    def parts(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.draws, -1))  # type: ignore[no-any-return]

    def pack(self, index: Tensor, size: int) -> Tensor:
        return pack_digits(index, size)


class BitwiseHead(Head):
    """d independent bits for each site: V = 2^d codes at the cost of d outputs (section 4, setup B; Infinity)."""

    def __init__(self, width: int, bits: int, num_scales: int) -> None:
        super().__init__(width, [bits] * num_scales, shared=False)
        self.draws = bits

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        sign = unpack_bits(codes, self.draws).to(logits.dtype) * 2 - 1
        return F.logsigmoid(logits * sign).sum(-1)

    def parts(self, logits: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(logits), logits], dim=-1)  # a bit is a two-way choice

    def pack(self, index: Tensor, size: int) -> Tensor:
        return pack_bits(index.bool())

    def probabilities(self, logits: Tensor, sampler: ScaleSampler) -> Tensor:
        raise RefineError("sampler.gain needs codebooks: model.quantizer.kind=vq; accepted here: 1")


def build_head(quantizer: Quantizer, width: int) -> Head:
    """Bits for bitwise quantizers, categories for the rest: of one codebook, or of each of several."""
    if quantizer.bits:
        return BitwiseHead(width, quantizer.bits, quantizer.num_scales)
    if isinstance(quantizer, CompositeVQ):
        return FactorisedHead(width, quantizer)
    return CategoricalHead(width, quantizer.sizes, quantizer.shared)
