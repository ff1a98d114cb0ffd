"""The tokenizer: codec, pyramid and quantizer as one map between items and codes (eq. 12-16 and 19-20)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.quantizer import Quantizer
from refine.models.codec import Codec
from refine.scales.pyramid import Pyramid
from refine.scales.walk import walk
from refine.types import Codes, Level, Step


@dataclass(frozen=True)
class TokenizerLoss:
    """Terms of the training loss, and what they were computed with.

    Attributes:
        reconstruction: the codec's own loss.
        rest: all other terms, as they enter the total.
        commitment: one of them before it was weighted, for the record.
        output: (B, ...) what the codec decoded.
        codes: empty before the quantizer was fitted.
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

    def forward_process(self, latent: Tensor, base: Tensor | None = None, learn: bool = False) -> Iterator[Step]:
        """The deterministic forward process q of eq. 16: quantise every residual, coarse to fine.

        With ``learn`` the quantizer observes the residuals (its statistics change at the next ``update``).
        """
        target = self.pyramid.target(latent, base)

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            residual = self.pyramid.residual(target, state, context, k)
            codes = self.quantizer.encode(residual, k)
            if learn:
                self.quantizer.observe(residual, codes, k)
            return codes

        return walk(self.pyramid, self.quantizer, self.pyramid.start(len(latent), base), choose)

    def replay(self, codes: Codes, base: Tensor | None = None) -> Iterator[Step]:
        """Walk along given codes."""
        start = self.pyramid.start(len(codes[0]), base)
        return walk(self.pyramid, self.quantizer, start, lambda k, level, context, state: codes[k])

    @torch.no_grad()
    def fit(self, latent: Tensor, base: Tensor | None = None) -> None:
        """Start the quantizer from latents (B, N_{K-1}, C): scale by scale, on what the fitted coarser ones leave."""
        target = self.pyramid.target(latent, base)

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            residual = self.pyramid.residual(target, state, context, k)
            self.quantizer.fit(residual, k)
            return self.quantizer.encode(residual, k)

        for _ in walk(self.pyramid, self.quantizer, self.pyramid.start(len(latent), base), choose):
            pass
        self.quantizer.fitted.fill_(True)

    @torch.no_grad()
    def encode(self, x: Tensor, base: Tensor | None = None) -> Codes:
        """Items (B, ...) to codes; eq. 12-15."""
        return [step.codes for step in self.forward_process(self.codec.encode(x), base)]

    @torch.no_grad()
    def decode(self, codes: Codes, base: Tensor | None = None) -> Tensor:
        """Codes to items (B, ...); eq. 19-20."""
        *_, last = self.replay(codes, base)
        return self.decode_state(last)

    def decode_state(self, step: Step) -> Tensor:
        """The items as they stand after a step; eq. 20."""
        return self.codec.decode(self.pyramid.latent(step.state, step.k))

    def forward(self, x: Tensor, base: Tensor | None = None) -> TokenizerLoss:
        """The VQ-VAE objective (eq. 1) on the finished latent; a plain autoencoder until the quantizer was fitted.

        Gradients pass straight through from the quantised latent to the encoder's.
        """
        latent = self.codec.encode(x).to(x.dtype)  # autocast ends here
        if not self.quantizer.fitted:
            output = self.codec.decode(latent)
            reconstruction = self.codec.reconstruction_loss(output, x)
            return TokenizerLoss(reconstruction, self._idle(), torch.zeros_like(reconstruction), output, [])
        steps = list(self.forward_process(latent.detach(), base, learn=self.training))
        quantised = self.pyramid.latent(steps[-1].state, steps[-1].k)
        output = self.codec.decode(latent + (quantised - latent).detach())
        reconstruction = self.codec.reconstruction_loss(output, x)
        codebook = F.mse_loss(quantised, latent.detach())
        commitment = F.mse_loss(latent, quantised.detach())
        penalty = self._penalty(latent, steps, base)
        rest = codebook + self.commitment * commitment + penalty + self._idle()
        return TokenizerLoss(reconstruction, rest, commitment.detach(), output, [s.codes for s in steps])

    def _idle(self) -> Tensor:
        """Zero, made of all that learns here: distributed training wants every parameter in the graph of every step."""
        learned = [p for part in (self.pyramid, self.quantizer) for p in part.parameters() if p.requires_grad]
        return torch.stack([0 * p.sum() for p in learned]).sum() if learned else torch.zeros(())

    def _penalty(self, latent: Tensor, steps: list[Step], base: Tensor | None) -> Tensor:
        """The quantizer's own terms, with gradients into the latent through every residual."""
        target, state = self.pyramid.target(latent, base), self.pyramid.start(len(latent), base)
        total = latent.new_zeros(())
        for step in steps:
            residual = self.pyramid.residual(target, state, step.context.detach(), step.k)
            total = total + self.quantizer.penalty(residual, step.codes, step.k)
            state = step.state
        return total / len(steps)
