"""Codecs: F of eq. 12 and G of eq. 20, between items and latents."""

from __future__ import annotations

import abc
from collections.abc import Callable

from torch import Tensor, nn

from refine.errors import RefineError


class Codec(nn.Module, abc.ABC):
    """F and G of eq. 12 and 20: between items and a latent on the finest scale's sites.

    Attributes:
        channels: C, latent channels.
    """

    channels: int

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Items (B, ...) to a latent (B, N_{K-1}, C)."""

    @abc.abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, N_{K-1}, C) to items (B, ...)."""

    def fit(self, x: Tensor) -> None:
        """Learn statistics that are not trained from items (B, ...), before the quantizer is fitted; most have none."""

    def reconstruction_loss(self, output: Tensor, x: Tensor) -> Tensor:
        """What training the codec minimises; the mean squared error unless a domain knows better."""
        return nn.functional.mse_loss(output, x)

    def perceptual_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of output and items (B, ...) that says how different they look: ``train.loss.perceptual``.

        Raises:
            RefineError: there is none, or what it needs is missing.
        """
        raise self._lacks("train.loss.perceptual", "perceptual_loss")

    def discriminator(self, width: int) -> nn.Module:
        """A fresh network from items (B, ...) to logits, of any shape, high where they look real:
        ``train.loss.adversarial``.

        Raises:
            RefineError: there is none.
        """
        raise self._lacks("train.loss.adversarial", "discriminator")

    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's last layer, where the gradients of loss and discriminator are compared.

        Raises:
            RefineError: the decoder learns nothing.
        """
        raise self._lacks("train.loss.adversarial", "last_layer")

    def _lacks(self, key: str, method: str) -> RefineError:
        return RefineError(f"{key} is not accepted: {type(self).__name__} has no {method}(); accepted here: 0")


class IdentityCodec(Codec):
    """No latent space: items are already (B, N_{K-1}, C). The "no-latent" control of section 6 of the paper."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, latent: Tensor) -> Tensor:
        return latent
