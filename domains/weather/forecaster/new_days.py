"""Errors of days that were not learned from: how large they are, and how long they last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refine.domains.weather.forecaster.codec import SphereCodec

LONGEST = 0.95  # most that the memory may be


class NewDays(nn.Module):
    """What draws that look like errors of training days need, to be like those of other days.

    A mean network that was trained for long fits its own days better than others: errors to learn from are too small,
    and what is left of them has less to do with that of the step before. So the structure of errors is learned, and
    their size and memory are measured on validation days. In white harmonics w of degree and channel, step by step,

        w(t) = memory * w(t - dt) + sqrt(1 - memory^2) * draw(t),

    which leaves the law of a single step as it is, and lets errors of successive steps add up as they do.

    Attributes:
        inflation: (C, H, 1) by latitude, how much larger errors of new days are than the codec has them.
        amplitude: (D, C) the same by harmonic, of what ``inflation`` leaves.
        memory: (D, C) correlation of the errors of two successive steps by harmonic; 0 for none.
    """

    inflation: Tensor
    amplitude: Tensor
    memory: Tensor

    def __init__(self, codec: SphereCodec) -> None:
        super().__init__()
        self.register_buffer("inflation", torch.ones_like(codec.profile))
        self.register_buffer("amplitude", torch.ones_like(codec.size[codec.degree]))
        self.register_buffer("memory", torch.zeros_like(codec.size[codec.degree]))

    def white(self, codec: SphereCodec, errors: Tensor) -> Tensor:
        """Errors of new days (B, C, H, W) as white harmonics (B, D, C), as large as those of training days are."""
        return codec.white(errors / self.inflation) / self.amplitude

    def colour(self, codec: SphereCodec, white: Tensor) -> Tensor:
        """The inverse of :meth:`white`."""
        return codec.colour(white * self.amplitude) * self.inflation

    def follow(self, draw: Tensor, last: Tensor | None) -> Tensor:
        """White errors (B, D, C) of a step from those drawn for it and those of the step before, if there is one."""
        if last is None:
            return draw
        return self.memory * last + (1 - self.memory.square()).sqrt() * draw

    @torch.no_grad()
    def fit(self, codec: SphereCodec, errors: Tensor, pairs: Tensor) -> None:
        """Learn all from errors of days.

        Args:
            codec: that training errors are white in.
            errors: (N, C, H, W).
            pairs: (P, 2) places of errors, the second of the step that follows the first's; none leaves no memory.
        """
        self.inflation.copy_(codec.profile_of(errors.square().mean((0, 3))) / codec.profile)
        self.amplitude.fill_(1)
        white = self.white(codec, errors)
        size = by_degree(codec, white.square().mean(0)).sqrt()
        size = torch.where(size > 1e-6 * size.amax(), size, 1.0)  # a wind has no degree 0
        self.amplitude.copy_(size[codec.degree])
        self.memory.fill_(0)
        if len(pairs):
            a, b = (white[pairs[:, i]] / self.amplitude for i in range(2))
            both, size = (codec.transform.smooth(x) for x in ((a * b).mean(0), (a.square() + b.square()).mean(0) / 2))
            self.memory.copy_((both / size).clamp(-LONGEST, LONGEST))


def by_degree(codec: SphereCodec, x: Tensor) -> Tensor:
    """(T + 1, C) means of harmonics (D, C) of the same degree."""
    total = x.new_zeros(codec.size.shape).index_add_(0, codec.degree, x)
    return total / torch.bincount(codec.degree)[:, None]
