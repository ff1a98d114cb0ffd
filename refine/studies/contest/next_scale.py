"""The contestant that the project is about: a :class:`refine.Refiner`, whatever its scales, codes and head."""

from __future__ import annotations

import torch
from torch import Tensor

from refine.domain import Domain
from refine.models.codec import Codec
from refine.models.refiner import Refiner
from refine.noise import Noise
from refine.settings.config import ModelConfig, SamplerConfig
from refine.studies.contest.contestant import Contestant, Subject
from refine.types import Condition


class NextScale(Contestant):
    """Scale by scale: as many passes as there are scales, and the likelihood of codes is exact.

    Args:
        subject: of the study.
        domain: whose codec and resampler it has.
        config: of its predictor, pyramid and quantizer.
        codec: trained, of the same kind as the domain's.
    """

    def __init__(self, subject: Subject, domain: Domain, config: ModelConfig, codec: Codec) -> None:
        super().__init__(subject, domain, config)
        self.refiner = Refiner(domain, config, subject.spec)
        self.refiner.tokenizer.codec.load_state_dict(codec.state_dict())
        self.refiner.tokenizer.requires_grad_(False)
        pyramid = self.refiner.tokenizer.pyramid
        self.tokens = sum(pyramid.num_sites(k) for k in range(pyramid.num_levels))
        self.likelihood = "exact" if self.refiner.tokenizer.quantizer.discrete else "density"

    @property
    def codec(self) -> Codec:  # type: ignore[override]
        """That of the tokenizer."""
        return self.refiner.tokenizer.codec

    @property
    def num_levels(self) -> int:
        return self.refiner.num_levels

    def loss(self, latent: Tensor, condition: Condition) -> Tensor:
        with torch.no_grad():
            codes = [step.codes for step in self.refiner.tokenizer.forward_process(latent)]
        return self.refiner.loss(codes, condition)[0]

    def draw(
        self, noise: Noise, condition: Condition, steps: int, method: str = "", temperature: float = 1.0
    ) -> tuple[Tensor, float]:
        codes = self.refiner.generate(noise, condition, SamplerConfig(temperature=temperature)).codes
        *_, last = self.refiner.tokenizer.replay(codes)
        return self.refiner.tokenizer.pyramid.latent(last.state, last.k), float(self.num_levels)

    def nats(self, latent: Tensor, condition: Condition) -> Tensor | None:
        codes = [step.codes for step in self.refiner.tokenizer.forward_process(latent)]
        return -self.refiner.log_prob(codes, condition).total

    def quantised(self, latent: Tensor) -> Tensor | None:
        *_, last = self.refiner.tokenizer.forward_process(latent)
        return self.refiner.tokenizer.pyramid.latent(last.state, last.k)
