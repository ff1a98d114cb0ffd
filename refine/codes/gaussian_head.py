"""The head of residuals that nothing quantised: independent normal distributions, as a control."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn, Protocol

import torch
from torch import Tensor

from refine.codes.head import Head
from refine.codes.laws import ScaleSampler
from refine.errors import RefineError, require

LOG_VARIANCE = 2 * math.log(100)  # of a Gaussian, at most, either way: deviations of 1/100 to 100 amplitudes


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


class Amplitudes(Protocol):
    """What the head reads of a quantizer: ``amplitude`` (K,), and how many scales and channels there are."""

    num_scales: int
    channels: int
    amplitude: Tensor


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

    def __init__(self, width: int, quantizer: Amplitudes) -> None:
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
