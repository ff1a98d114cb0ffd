"""Counter-based noise: every sample has its own stream, so sample 7 is the same alone, in any batch, on any worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refine.errors import require


@dataclass(frozen=True)
class Noise:
    """Uniform numbers keyed by (seed, sample index, scale, stream) through NumPy's Philox-4x64 generator.

    Attributes:
        seed: 0 <= seed < 2^64.
        index: the number of each sample of the batch, B of them; not its place in the batch.

    Raises:
        RefineError: a seed or an index outside that range.
    """

    seed: int
    index: Sequence[int]

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**64, f"seed={self.seed} is not accepted; accepted: 0 to 2^64 - 1")
        low = min(self.index, default=0)
        require(low >= 0, f"there is no sample number {low}; samples are numbered from 0")

    def uniform(self, k: int, shape: tuple[int, ...], device: torch.device | str = "cpu", stream: int = 0) -> Tensor:
        """``(B, *shape)`` float32 in [0, 1) for scale k.

        ``stream`` tells what for, where a scale draws more than once.
        """
        rows = [self._generator(i, k, stream).random(shape, dtype=np.float32) for i in self.index]
        return torch.from_numpy(np.stack(rows)).to(device)

    def normal(self, k: int, shape: tuple[int, ...], device: torch.device | str = "cpu", stream: int = 0) -> Tensor:
        """``(B, *shape)`` float32 normal numbers: those of :meth:`uniform`, by the inverse normal distribution."""
        uniform = self.uniform(k, shape, stream=stream).double() + 2**-25  # between the steps of 2^-24, so never 0
        out: Tensor = torch.special.ndtri(uniform).float().to(device)
        return out

    def ragged(
        self,
        k: int | Sequence[int],
        sizes: Sequence[int] | Tensor,
        device: torch.device | str = "cpu",
        stream: int = 0,
    ) -> Tensor:
        """(sum of sizes,) float32 in [0, 1) for scale k, or for a scale of each item: ``sizes[b]`` numbers for item b
        of the batch, one item after another; the numbers that :meth:`uniform` begins with."""
        counts = sizes.tolist() if isinstance(sizes, Tensor) else sizes
        scales = [k] * len(self.index) if isinstance(k, int) else k
        items = zip(self.index, scales, counts, strict=True)
        rows = [self._generator(i, own, stream).random(n, dtype=np.float32) for i, own, n in items]
        return torch.from_numpy(np.concatenate(rows)).to(device)

    def _generator(self, index: int, k: int, stream: int) -> np.random.Generator:
        key = np.array([self.seed, index], dtype=np.uint64)
        counter = np.array([0, 0, stream, k], dtype=np.uint64)  # streams are 2^128 draws apart
        return np.random.Generator(np.random.Philox(key=key, counter=counter))
