"""Heads: the distribution over codes that belongs to a quantizer; Cat(psi(C)_i) of eq. 18, or what stands in for it."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.composite_vq import CompositeVQ, pack_digits, unpack_digits
from refine.codes.quantizer import Quantizer, Unquantized, pack_bits, unpack_bits
from refine.drawing.sampler import Law, ScaleSampler
from refine.errors import RefineError, require
from refine.network.linear import Linear

LOG_VARIANCE = 2 * math.log(100)  # of a Gaussian, at most, either way: deviations of 1/100 to 100 amplitudes


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
    """A softmax over each of the P independent parts of a code (:class:`refine.codes.composite_vq.CompositeVQ`)."""

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


@dataclass(frozen=True)
class GaussianLaw:
    """Independent normal distributions.

    Attributes:
        mean: (B, N, C).
        deviation: (B, N, C), 0 for none.
    """

    mean: Tensor
    deviation: Tensor

    def draw(self, uniform: Tensor) -> Tensor:
        """(B, N, C) by inverse CDF of ``uniform`` (B, N, C) in [0, 1), whose steps are 2^-24: 0 counts as half a step,
        so that draws are finite, within 5.5 deviations."""
        normal: Tensor = torch.special.ndtri(uniform.clamp_min(2**-25))
        return self.mean + self.deviation * normal

    def probabilities(self) -> NoReturn:
        """There are none.

        Raises:
            RefineError: always.
        """
        raise RefineError("sampler.gain needs codebooks: model.quantizer.kind=vq; accepted here: 1")


class GaussianHead(Head):
    """C independent normal distributions of the residuals of a site, which nothing quantised: the "Gaussian regression
    head to test quantisation" that the paper asks for (section 6, "Scale of experiments").

    The unit of a scale is the amplitude of its residuals, so that training starts from a mean of about 0 and from their
    own variance. Deviations stay between 1/100 and 100 of it by a smooth bound, b tanh(v / b) of the log-variance v:
    without one the density of a channel that is constant would grow without end.

    Args:
        width: D.
        quantizer: knows the amplitudes. It is no part of the head, but of the tokenizer.
    """

    def __init__(self, width: int, quantizer: Unquantized) -> None:
        super().__init__(width, [2 * quantizer.channels] * quantizer.num_scales, shared=False)
        self.draws = quantizer.channels
        self._quantizer = (quantizer,)  # in a tuple, modules are not registered, and still are copied together

    def forward(self, hidden: Tensor, k: int) -> Tensor:
        """(B, N, D) hidden states of scale k to (B, N, 2 C) means and log-variances of residuals in float32."""
        mean, log_variance = super().forward(hidden, k).chunk(2, -1)
        amplitude = self._quantizer[0].amplitude[k]
        bounded = LOG_VARIANCE * (log_variance / LOG_VARIANCE).tanh()
        return torch.cat([mean * amplitude, bounded + 2 * amplitude.log()], -1)

    def log_prob(self, logits: Tensor, codes: Tensor) -> Tensor:
        """(B, N) log-densities, in nats, of residuals (B, N, C)."""
        mean, log_variance = logits.chunk(2, -1)
        squared = (codes - mean).square() * (-log_variance).exp()
        return -(squared + log_variance + math.log(2 * math.pi)).sum(-1) / 2

    def law(self, logits: Tensor, sampler: ScaleSampler) -> GaussianLaw:
        """The temperature is a factor of the deviation; greedy draws are means."""
        unused = {
            "top_k": (sampler.top_k, 0),
            "top_p": (sampler.top_p, 1),
            "min_p": (sampler.min_p, 0),
            "gain": ("auto" if sampler.gain is None else sampler.gain, 1),
            "smooth": ("false" if sampler.smooth is None else "true", "false"),
        }
        for name, (value, neutral) in unused.items():
            text = f"sampler.{name}={value} is not accepted for model.quantizer.kind=none, which has no codes to choose"
            require(value == neutral, f"{text} among; accepted: {neutral}")
        mean, log_variance = logits.chunk(2, -1)
        return GaussianLaw(mean, (0 if sampler.greedy else sampler.temperature) * (log_variance / 2).exp())

    def draw(self, law: GaussianLaw, uniform: Tensor) -> Tensor:
        return law.draw(uniform)

    def blank(self, batch: int, sites: int, device: torch.device) -> Tensor:
        return torch.zeros(batch, sites, self.draws, device=device)


def build_head(quantizer: Quantizer, width: int) -> Head:
    """Gaussians where nothing is quantised, bits for bitwise quantizers, categories for the rest: of one codebook, or
    of each of several."""
    if isinstance(quantizer, Unquantized):
        return GaussianHead(width, quantizer)
    if quantizer.bits:
        return BitwiseHead(width, quantizer.bits, quantizer.num_scales)
    if isinstance(quantizer, CompositeVQ):
        return FactorisedHead(width, quantizer)
    return CategoricalHead(width, quantizer.sizes, quantizer.shared)
