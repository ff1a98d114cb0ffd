"""Heads: the distribution over codes that belongs to a quantizer; Cat(psi(C)_i) of eq. 18, or what stands in for it."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.laws import Law, ScaleSampler
from refine.codes.packing import pack_bits, pack_digits, unpack_bits, unpack_digits
from refine.errors import RefineError
from refine.linear import Linear


class Head(nn.Module, abc.ABC):
    """A map from hidden states to the parameters of independent distributions over codes.

    It is linear, so that guidance may mix hidden states instead of logits, which halves the cost. A subclass whose
    :meth:`forward` is not linear sets ``linear = False``; guidance then mixes what it gives.

    Attributes:
        linear: whether :meth:`forward` is linear in the hidden states.
        draws: uniform numbers that a site needs.
    """

    linear: bool = True
    draws: int

    def __init__(self, width: int, outputs: list[int], shared: bool) -> None:
        super().__init__()
        self.linears = nn.ModuleList(Linear(width, n) for n in (outputs[:1] if shared else outputs))
        for linear in self.linears:
            nn.init.trunc_normal_(linear.weight, std=0.02 / width**0.5)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, k: int) -> Tensor:
        """(B, N, D) hidden states of scale k to (B, N, n) parameters (logits, say) in float32."""
        linear = cast(Linear, self.linears[k if len(self.linears) > 1 else 0])
        logits: Tensor = linear(hidden.to(linear.weight.dtype))
        return logits.float()

    @abc.abstractmethod
    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        """(B, N) log-probabilities, or densities, in nats, of codes (B, N, ...)."""

    @abc.abstractmethod
    def law(self, logits: Tensor, sampler: ScaleSampler) -> Any:
        """How the sampler draws: what :meth:`draw` takes.

        Raises:
            RefineError: a setting of the sampler that means nothing for such codes.
        """

    @abc.abstractmethod
    def draw(self, law: Any, uniform: Tensor) -> Tensor:
        """Codes (B, N, ...) from ``uniform`` (B, N, draws)."""

    def blank(self, batch: int, sites: int, device: torch.device) -> Tensor:
        """Codes (B, N, ...) that say nothing yet."""
        return torch.zeros(batch, sites, dtype=torch.int64, device=device)

    def sample(self, logits: Tensor, uniform: Tensor, sampler: ScaleSampler) -> Tensor:
        """Codes (B, N, ...) from ``uniform`` (B, N, draws)."""
        return self.draw(self.law(logits, sampler), uniform)

    def probabilities(self, logits: Tensor, sampler: ScaleSampler) -> Tensor:
        """(B, N, P, V): how the sampler draws each of the P parts of a code.

        Raises:
            RefineError: codes that are not drawn part by part.
        """
        return self.law(logits, sampler).probabilities()  # type: ignore[no-any-return]


class CodeHead(Head):
    """Of whole numbers, whose parts are drawn independently."""

    @abc.abstractmethod
    def parts(self, logits: Tensor) -> Tensor:
        """(B, N, P, V) logits of each of the P parts of a code, which are independent."""

    @abc.abstractmethod
    def pack(self, index: Tensor, size: int) -> Tensor:
        """Codes (B, N) of the indices (B, N, P), below ``size``, of their parts."""

    def law(self, logits: Tensor, sampler: ScaleSampler) -> Law:
        return sampler.law(self.parts(logits))

    def draw(self, law: Law, uniform: Tensor) -> Tensor:
        return self.pack(law.draw(uniform), law.size)


class CategoricalHead(CodeHead):
    """A softmax over the V_k codes of each site."""

    draws = 1

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        return -F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view(codes.shape)

    def parts(self, logits: Tensor) -> Tensor:
        return logits[..., None, :]

    def pack(self, index: Tensor, size: int) -> Tensor:
        return index[..., 0]


class FactorisedHead(CodeHead):
    """A softmax over each of the P independent parts of a code (:class:`refine.codes.composite_vq.CompositeVQ`).

    Args:
        width: D.
        sizes: values of a part, by scale.
        parts: P.
        shared: whether all scales share one map.
    """

    def __init__(self, width: int, sizes: Sequence[int], parts: int, shared: bool) -> None:
        super().__init__(width, [v * parts for v in sizes], shared)
        self.draws = parts

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        parts = self.parts(logits)
        index = unpack_digits(codes, parts.shape[-1], self.draws)
        nats = -F.cross_entropy(parts.flatten(0, -2), index.flatten(), reduction="none")
        return nats.view(index.shape).sum(-1)

    def parts(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.draws, -1))  # type: ignore[no-any-return]

    def pack(self, index: Tensor, size: int) -> Tensor:
        return pack_digits(index, size)


class BitwiseHead(CodeHead):
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
