"""Laws over codes: what temperature, min-p, top-k, top-p and greedy choices make of logits, and draws from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Law:
    """Distributions over V codes.

    Attributes:
        p: (..., V') their probabilities.
        order: (..., V') the codes that these belong to, or None for all codes in order.
        size: V.
    """

    p: Tensor
    order: Tensor | None
    size: int

    def draw(self, uniform: Tensor) -> Tensor:
        """One code (...,) from each, by inverse CDF of ``uniform`` (...,) in [0, 1)."""
        cdf = self.p.cumsum(-1)
        # 1 - u lies in (0, 1]: the first index that reaches it always has positive probability
        threshold = (1 - uniform)[..., None] * cdf[..., -1:]
        index = torch.searchsorted(cdf, threshold).clamp_max(cdf.shape[-1] - 1)
        return (index if self.order is None else self.order.gather(-1, index))[..., 0]

    def mixture(self, uniform: Tensor, power: float, temperature: float) -> Law:
        """Weights of a mixture of codes instead of one code: Gumbel-softmax of p ** power (Jang et al. 2017,
        https://arxiv.org/abs/1611.01144), by ``uniform`` (..., V') in [0, 1). As the temperature goes to zero, all
        weight goes to one code, which is drawn with a probability in proportion to p ** power."""
        tiny = torch.finfo(uniform.dtype).tiny
        gumbel = -(-uniform.clamp_min(tiny).log()).log()
        return replace(self, p=((power * self.p.log() + gumbel) / temperature).softmax(-1))

    def probabilities(self) -> Tensor:
        """(..., V) of all codes in order."""
        if self.order is None:
            return self.p
        return self.p.new_zeros(*self.p.shape[:-1], self.size).scatter(-1, self.order, self.p)


@dataclass(frozen=True)
class ScaleSampler:
    """The sampler at one scale.

    A logits processor is a subclass with a :meth:`law` of its own; ``sample(sampler=[...])`` takes one for each scale.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: bool = False
    guidance: float = 1.0
    min_p: float = 0.0
    gain: float | None = 1.0
    smooth: tuple[float, float] | None = None  # power and temperature of mixtures (:meth:`Law.mixture`)
    guided: tuple[str, ...] = ("label", "vector", "field")  # conditions that guidance withholds

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """One index (...,) from each row of ``logits`` (..., V), by inverse CDF of ``uniform`` (...,) in [0, 1)."""
        return self.law(logits).draw(uniform)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., V) the distribution that :meth:`draw` draws from."""
        return self.law(logits).probabilities()

    def law(self, logits: Tensor) -> Law:
        """What rows of ``logits`` (..., V) say of their codes.

        Temperature first; then min-p (drop codes less probable than that, but never the likeliest), top-k, and top-p
        (keep a code while the mass before it is under p), each on what the one before has left.
        """
        size, order = logits.shape[-1], None
        if self.greedy:
            order = logits.argmax(-1, keepdim=True)
            return Law(torch.ones_like(order, dtype=torch.float32), order, size)
        logits = logits.float()
        logits = logits if self.temperature == 1 else logits / self.temperature
        if self.min_p > 0:
            p = logits.softmax(-1)
            logits = logits.masked_fill((p < self.min_p) & (p < p.amax(-1, keepdim=True)), -torch.inf)
        if 0 < self.top_k < size:
            logits, order = largest(logits, self.top_k)
        elif self.top_p < 1:
            logits, order = largest(logits, size)
        p = logits.softmax(-1)
        if self.top_p < 1:
            p = torch.where(p.cumsum(-1) - p < self.top_p, p, 0.0)
            p = p / p.sum(-1, keepdim=True)
        return Law(p, order, size)


def largest(x: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The ``num`` largest of (..., V), in falling order, and their places."""
    if x.device.type != "cpu":
        return x.topk(num, dim=-1)
    rising, some = -x, None  # NumPy selects and sorts with vector instructions, several times as fast as torch
    if num < x.shape[-1]:
        some = torch.from_numpy(np.argpartition(rising.numpy(), num - 1, axis=-1)[..., :num])
        rising = rising.gather(-1, some)
    order = torch.from_numpy(rising.numpy().argsort(axis=-1))
    return -rising.gather(-1, order), order if some is None else some.gather(-1, order)
