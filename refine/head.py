"""Heads: the distribution over codes that belongs to a quantizer; Cat(psi(C)_i) of eq. 18."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.composite_vq import CompositeVQ, pack_digits, unpack_digits
from refine.errors import RefineError
from refine.quantizer import Quantizer, pack_bits, unpack_bits
from refine.sampler import ScaleSampler


class Head(nn.Module, abc.ABC):
    """A linear map from hidden states to the parameters of independent distributions over codes.

    It is linear on purpose: guidance may then mix hidden states instead of logits, which halves the cost.

    Attributes:
        draws: uniform numbers that a site needs.
    """

    draws: int

    def __init__(self, width: int, outputs: list[int], shared: bool) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(width, n) for n in (outputs[:1] if shared else outputs))
        for linear in self.linears:
            nn.init.trunc_normal_(linear.weight, std=0.02 / width**0.5)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, k: int) -> Tensor:
        """(B, N, D) hidden states of scale k to (B, N, n) logits in float32."""
        linear = self.linears[k if len(self.linears) > 1 else 0]
        return linear(hidden).float()  # type: ignore[no-any-return]

    @abc.abstractmethod
    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        """(B, N) log-probabilities, in nats, of codes (B, N)."""

    @abc.abstractmethod
    def sample(self, logits: Tensor, uniform: Tensor, sampler: ScaleSampler) -> Tensor:
        """Codes (B, N) from ``uniform`` (B, N, draws)."""

    def probabilities(self, logits: Tensor, sampler: ScaleSampler) -> Tensor:
        """(B, N, P, V): how the sampler draws each of the P parts of a code.

        Raises:
            RefineError: codes that are not drawn part by part.
        """
        raise RefineError("sampler.gain needs codebooks: model.quantizer.kind=vq; accepted here: 1")


class CategoricalHead(Head):
    """A softmax over the V_k codes of each site."""

    draws = 1

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        return -F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view(codes.shape)

    def sample(self, logits: Tensor, uniform: Tensor, sampler: ScaleSampler) -> Tensor:
        return sampler.draw(logits, uniform[..., 0])

    def probabilities(self, logits: Tensor, sampler: ScaleSampler) -> Tensor:
        return sampler.probabilities(logits)[..., None, :]


class FactorisedHead(Head):
    """A softmax over each of the P independent parts of a code (:class:`refine.composite_vq.CompositeVQ`)."""

    def __init__(self, width: int, quantizer: CompositeVQ) -> None:
        outputs = [v * quantizer.num_parts for v in quantizer.parts_of]
        super().__init__(width, outputs, quantizer.shared)
        self.draws = quantizer.num_parts

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        parts = self._parts(logits)
        index = unpack_digits(codes, parts.shape[-1], self.draws)
        nats = -F.cross_entropy(parts.flatten(0, -2), index.flatten(), reduction="none")
        return nats.view(index.shape).sum(-1)

    def sample(self, logits: Tensor, uniform: Tensor, sampler: ScaleSampler) -> Tensor:
        parts = self._parts(logits)
        return pack_digits(sampler.draw(parts, uniform), parts.shape[-1])

    def probabilities(self, logits: Tensor, sampler: ScaleSampler) -> Tensor:
        return sampler.probabilities(self._parts(logits))

    def _parts(self, logits: Tensor) -> Tensor:
        parts: Tensor = logits.unflatten(-1, (self.draws, -1))
        return parts


class BitwiseHead(Head):
    """d independent bits for each site: V = 2^d codes at the cost of d outputs (section 4, setup B; Infinity)."""

    def __init__(self, width: int, bits: int, num_scales: int) -> None:
        super().__init__(width, [bits] * num_scales, shared=False)
        self.draws = bits

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        sign = unpack_bits(codes, self.draws).to(logits.dtype) * 2 - 1
        return F.logsigmoid(logits * sign).sum(-1)

    def sample(self, logits: Tensor, uniform: Tensor, sampler: ScaleSampler) -> Tensor:
        pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1)  # a bit is a two-way choice
        return pack_bits(sampler.draw(pairs, uniform).bool())


def build_head(quantizer: Quantizer, width: int) -> Head:
    """Bits for bitwise quantizers, categories for the rest: of one codebook, or of each of several."""
    if quantizer.bits:
        return BitwiseHead(width, quantizer.bits, quantizer.num_scales)
    if isinstance(quantizer, CompositeVQ):
        return FactorisedHead(width, quantizer)
    return CategoricalHead(width, quantizer.sizes, quantizer.shared)
