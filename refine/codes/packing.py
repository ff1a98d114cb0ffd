"""Numbers made of bits or digits, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def pack_bits(bits: Tensor) -> Tensor:
    """(..., d) bool to (...,) int64, bit i worth 2^i."""
    weights = 2 ** torch.arange(bits.shape[-1], device=bits.device)
    return (bits.long() * weights).sum(-1)


def unpack_bits(codes: Tensor, d: int) -> Tensor:
    """(...,) int64 to (..., d) bool."""
    return (codes[..., None] >> torch.arange(d, device=codes.device)) & 1 == 1


def pack_digits(digits: Tensor, base: int) -> Tensor:
    """(..., P) int64 digits to (...,) numbers; the first digit counts ones."""
    return (digits * base ** torch.arange(digits.shape[-1], device=digits.device)).sum(-1)


def unpack_digits(numbers: Tensor, base: int, count: int) -> Tensor:
    """(...,) int64 numbers to their ``count`` digits (..., P)."""
    return numbers[..., None] // base ** torch.arange(count, device=numbers.device) % base
