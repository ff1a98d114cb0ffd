"""What is known of the likelihood of codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogProb:
    """Log-likelihood of codes, log p(codes) = sum_k sum_i log Cat(r_i; psi(C)_i) (eq. 17, 18).

    Attributes:
        nats: (B, K) by scale.
        dimensions: real numbers in an item; (B, 1), where items are masked, of those that exist.
        exact: whether that is the log-likelihood itself. Where a scale has several rounds it is the mean, over the
            orders that were asked for, of the exact log-probability of the codes in that order: in expectation over
            orders, a lower bound of the log-likelihood.
    """

    nats: Tensor
    dimensions: int | Tensor
    exact: bool = True

    @property
    def total(self) -> Tensor:
        """(B,) nats."""
        return self.nats.sum(1)

    @property
    def bits_per_dim(self) -> Tensor:
        """(B, K) bits that each scale spends on one dimension of an item; they add up over scales."""
        return -self.nats / (self.dimensions * torch.log(torch.tensor(2.0)).item())
