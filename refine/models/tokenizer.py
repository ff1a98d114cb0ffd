"""The tokenizer: codec, pyramid and quantizer as one map between items and codes (eq. 12-16 and 19-20)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.quantizer import Quantizer
from refine.models.codec import Codec
from refine.models.inference import inference
from refine.scales.masked import Masked, choose_existing
from refine.scales.pyramid import Pyramid
from refine.scales.walk import Embedding, Scales, walk
from refine.types import Codes, Level, Step


@dataclass(frozen=True)
class TokenizerLoss:
    """Terms of the training loss, and what they were computed with.

    Attributes:
        reconstruction: the codec's own loss.
        rest: all other terms, as they enter the total.
        commitment: one of them before it was weighted, for the record.
        output: (B, ...) what the codec decoded.
        codes: of the sites that exist, by scale; empty before the quantizer was fitted.
    """

    reconstruction: Tensor
    rest: Tensor
    commitment: Tensor
    output: Tensor
    codes: Codes

    @property
    def total(self) -> Tensor:
        """What training minimises."""
        return self.reconstruction + self.rest


class Tokenizer(nn.Module):
    """Items to codes and back.

    Args:
        codec: between items and latents.
        pyramid: takes latents apart.
        quantizer: codes for its residuals.
        commitment: beta of eq. 1.
    """

    def __init__(self, codec: Codec, pyramid: Pyramid, quantizer: Quantizer, commitment: float = 0.25) -> None:
        super().__init__()
        self.codec, self.pyramid, self.quantizer, self.commitment = codec, pyramid, quantizer, commitment

    def walk(
        self,
        choose: Callable[..., Tensor],
        batch: int,
        base: Tensor | None = None,
        mask: Tensor | None = None,
        embedding: Embedding | None = None,
    ) -> Iterator[Step]:
        """The scale loop over B items, with a ``base`` that is known, over the sites that a ``mask`` says exist.

        Codes get their values from the quantizer, or from another ``embedding``.
        """
        scales: Scales = self.pyramid if mask is None else Masked(self.pyramid, mask)
        choose = choose if mask is None else choose_existing(choose)
        return walk(scales, embedding or self.quantizer, self.pyramid.start(batch, existing(base, mask)), choose)

    def forward_process(
        self, latent: Tensor, base: Tensor | None = None, learn: bool = False, mask: Tensor | None = None
    ) -> Iterator[Step]:
        """The deterministic forward process q of eq. 16: quantise every residual, coarse to fine.

        Args:
            latent: (B, N_{K-1}, C).
            base: (B, N_{K-1}, C) what of it is known already.
            learn: whether the quantizer observes the residuals (its statistics change at the next ``update``).
            mask: (B, N_{K-1}) bool, the sites that exist.
        """
        target = self.pyramid.target(existing(latent, mask), existing(base, mask))

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            residual = self.pyramid.residual(target, state, context, k)
            codes = self.quantizer.encode(residual, k)
            if learn:
                self.quantizer.observe(rows(residual, level, mask), rows(codes, level, mask), k)
            return codes

        return self.walk(choose, len(latent), base, mask)

    def replay(self, codes: Codes, base: Tensor | None = None, mask: Tensor | None = None) -> Iterator[Step]:
        """Walk along given codes."""
        return self.walk(lambda k, level, context, state: codes[k], len(codes[0]), base, mask)

    @inference
    def fit(self, latent: Tensor, base: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Start the quantizer from latents (B, N_{K-1}, C): scale by scale, on what the fitted coarser ones leave.

        It takes latents, ``tokenizer.codec.encode(x)``, not items. Arguments as in :meth:`forward_process`.
        """
        target = self.pyramid.target(existing(latent, mask), existing(base, mask))

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            residual = self.pyramid.residual(target, state, context, k)
            self.quantizer.fit(rows(residual, level, mask), k)
            return self.quantizer.encode(residual, k)

        for _ in self.walk(choose, len(latent), base, mask):
            pass
        self.quantizer.fitted.fill_(True)

    @inference
    def encode(self, x: Tensor, base: Tensor | None = None, mask: Tensor | None = None) -> Codes:
        """Items (B, ...) to codes; eq. 12-15. The codec is in evaluation mode, whatever mode it was in before."""
        return [step.codes for step in self.forward_process(self.codec.encode(x), base, mask=mask)]

    @inference
    def decode(self, codes: Codes, base: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Codes to items (B, ...); eq. 19-20. In evaluation mode, as :meth:`encode`."""
        *_, last = self.replay(codes, base, mask)
        return self.decode_state(last, mask)

    def decode_state(self, step: Step, mask: Tensor | None = None) -> Tensor:
        """The items as they stand after a step; eq. 20."""
        return self.codec.decode(existing(self.pyramid.latent(step.state, step.k), mask))

    def forward(self, x: Tensor, base: Tensor | None = None, mask: Tensor | None = None) -> TokenizerLoss:
        """The VQ-VAE objective (eq. 1) on the finished latent; a plain autoencoder until the quantizer was fitted.

        Gradients pass straight through from the quantised latent to the encoder's. Sites that do not exist are zero in
        both.
        """
        latent = existing(self.codec.encode(x).to(x.dtype), mask)  # autocast ends here
        if not self.quantizer.fitted:
            output = self.codec.decode(latent)
            reconstruction = self.codec.reconstruction_loss(output, x)
            return TokenizerLoss(reconstruction, self._idle(), torch.zeros_like(reconstruction), output, [])
        steps = list(self.forward_process(latent.detach(), base, self.training, mask))
        quantised = existing(self.pyramid.latent(steps[-1].state, steps[-1].k), mask)
        output = self.codec.decode(latent + (quantised - latent).detach())
        reconstruction = self.codec.reconstruction_loss(output, x)
        codebook = F.mse_loss(quantised, latent.detach())
        commitment = F.mse_loss(latent, quantised.detach())
        penalty = self._penalty(latent, steps, base, mask)
        rest = codebook + self.commitment * commitment + penalty + self._idle()
        codes = [rows(s.codes, s.level, mask) for s in steps]
        return TokenizerLoss(reconstruction, rest, commitment.detach(), output, codes)

    def _idle(self) -> Tensor:
        """Zero, made of all that learns here: distributed training wants every parameter in the graph of every step."""
        learned = [p for part in (self.pyramid, self.quantizer) for p in part.parameters() if p.requires_grad]
        return torch.stack([0 * p.sum() for p in learned]).sum() if learned else torch.zeros(())

    def _penalty(self, latent: Tensor, steps: list[Step], base: Tensor | None, mask: Tensor | None) -> Tensor:
        """The quantizer's own terms, with gradients into the latent through every residual."""
        base = existing(base, mask)
        target, state = self.pyramid.target(latent, base), self.pyramid.start(len(latent), base)
        total = latent.new_zeros(())
        for step in steps:
            residual = self.pyramid.residual(target, state, step.context.detach(), step.k)
            codes = rows(step.codes, step.level, mask)
            total = total + self.quantizer.penalty(rows(residual, step.level, mask), codes, step.k)
            state = step.state
        return total / len(steps)


L = TypeVar("L", Tensor, Tensor | None)


def existing(latent: L, mask: Tensor | None) -> L:
    """A latent (B, N, C) with zeros where a site does not exist, whatever stood there."""
    return latent if mask is None or latent is None else latent.masked_fill(~mask[..., None], 0)


def rows(values: Tensor, level: Level, mask: Tensor | None) -> Tensor:
    """Values (B, N, ...) of the sites that exist, (M, ...); all of them, as they are, without a mask of the items."""
    return values if mask is None or level.mask is None else values[level.mask.expand(values.shape[:2])]
