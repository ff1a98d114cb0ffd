"""Figures of every domain of latents: code usage, likelihood, token accuracy, and the variance of bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from refine.items import Items, in_batches
from refine.models.likelihood import LogProb
from refine.models.tokenizer import Tokenizer, existing, rows
from refine.progress import track
from refine.types import Codes, Condition, ConditionSpec


class Scored(Protocol):
    """What scoring needs of a model; :class:`refine.Refiner` is one."""

    spec: ConditionSpec
    tokenizer: Tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def log_prob(
        self, codes: Codes, condition: Condition | None = None, orders: Sequence[int] = (0,), first: int = 0
    ) -> LogProb:
        """Log-likelihood of codes."""

    def accuracy(self, codes: Codes, condition: Condition | None = None) -> Tensor:
        """(B, K) share of each scale's codes that the most likely code gets right."""


@dataclass
class BandVariance:
    """Running variance, over samples, of what each scale adds to the latent; summed over sites and channels."""

    count: int = 0
    sums: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, tokenizer: Tokenizer, codes: Codes, condition: Condition) -> None:
        """Account for one batch of codes."""
        pyramid, base, mask = tokenizer.pyramid, condition.base, condition.mask
        before = None if base is None else existing(base, mask).double()
        for step in tokenizer.replay(codes, base, mask):
            latent = existing(pyramid.latent(step.state, step.k), mask).double()
            band = latent if before is None else latent - before
            before = latent
            first, second = self.sums.get(step.k, (torch.zeros_like(band[0]), torch.zeros_like(band[0])))
            self.sums[step.k] = first + band.sum(0), second + band.square().sum(0)
            batch = len(band)
        self.count += batch

    def values(self) -> list[float]:
        """One variance for each scale."""
        n = self.count
        return [float((second / n - (first / n).square()).sum()) for _, (first, second) in sorted(self.sums.items())]


@torch.no_grad()
def score_codes(refiner: Scored, items: Items, batch_size: int) -> tuple[dict[str, Any], BandVariance]:
    """Encode held-out items and score the codes.

    Returns:
        usage, perplexity and token accuracy by scale, where codes can be counted; bits per dimension by scale and in
        all; and the variance of the encoded bands.
    """
    quantizer, codes_seen = refiner.tokenizer.quantizer, list[Codes]()
    bits: list[Tensor] = []
    hits: list[Tensor] = []
    variance = BandVariance()
    for batch in track(in_batches(items, batch_size), "Encoding"):
        condition = refiner.spec.only(Condition.from_batch(batch)).to(refiner.device)
        codes = refiner.tokenizer.encode(batch["x"].to(refiner.device), condition.base, condition.mask)
        variance.add(refiner.tokenizer, codes, condition)
        first = sum(len(b) for b in bits)
        score = refiner.log_prob(codes, condition, first=first)
        bits.append(score.bits_per_dim.cpu())
        if quantizer.discrete:
            hits.append(refiner.accuracy(codes, condition).cpu())
            steps = refiner.tokenizer.replay(codes, condition.base, condition.mask)
            codes_seen.append([rows(s.codes, s.level, condition.mask).cpu() for s in steps])
    figures: dict[str, Any] = {"items": sum(map(len, bits)), "sites_by_scale": [c.shape[1] for c in codes]}
    if quantizer.discrete:
        used = [quantizer.usage(torch.cat(parts), k) for k, parts in enumerate(zip(*codes_seen, strict=True))]
        figures |= {
            "codes_by_scale": quantizer.sizes,
            "usage_by_scale": [u for u, _ in used],
            "perplexity_by_scale": [p for _, p in used],
            "accuracy_by_scale": torch.cat(hits).mean(0).tolist(),
        }
    by_scale = torch.cat(bits).mean(0)
    of = "" if quantizer.discrete else "density of latents, "
    return figures | {
        "likelihood": of + ("exact" if score.exact else "lower bound, one order of rounds an item"),
        "bits_per_dim": float(by_scale.sum()),
        "bits_per_dim_by_scale": by_scale.tolist(),
    }, variance
