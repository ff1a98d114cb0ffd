"""Discrete diffusion with an absorbing state on a tokenizer's codes: MDLM (Sahoo et al. 2024, arXiv 2406.07524).

The codes of all scales are one sequence, in which a code is either known or masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from refine.codes.laws import ScaleSampler
from refine.domain import Domain
from refine.drawing.rounds import Rounds
from refine.errors import require
from refine.models.codec import Codec
from refine.models.inference import inference
from refine.models.tokenizer import Tokenizer
from refine.network.predictor import Predictor
from refine.noise import Noise
from refine.scales.pyramid import Pyramid
from refine.settings.config import ModelConfig
from refine.studies.contest.contestant import Contestant, Subject
from refine.studies.contest.stratified import stratified
from refine.types import Condition, Level

TURNS = 1  # the noise stream of when codes are revealed
DRAWS = 8  # numbers of masked codes in an estimate of the bound, for each item


class Absorbing(Contestant):
    """Full attention over the codes of all scales; a site is the value of its code, or masked.

    The network is not told the time: what a masked code is, given the known ones, does not depend on it (RADD, Ou et
    al., arXiv 2406.03736), so that a step which reveals nothing needs no pass.

    Args:
        subject: of the study.
        domain: whose resampler the tokenizer has.
        config: of its predictor.
        tokenizer: trained, with codes (no Gaussian head); it stays as it is.
    """

    likelihood = "bound"

    def __init__(self, subject: Subject, domain: Domain, config: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__(subject, domain, config)
        self.tokenizer = tokenizer.requires_grad_(False)
        pyramid, quantizer = tokenizer.pyramid, tokenizer.quantizer
        require(min(quantizer.sizes) > 0, "absorbing diffusion needs codes; this quantizer has none")
        self.sites = [pyramid.num_sites(k) for k in range(pyramid.num_levels)]
        self.tokens, level = sum(self.sites), sequence(pyramid)
        predictor = replace(config.predictor, rounds=1)
        self.predictor = Predictor(predictor, [self.tokens], pyramid.channels + 1, subject.spec, level)
        self.head = quantizer.head(config.predictor.width)
        self.pos: Tensor
        self.register_buffer("pos", level.pos, persistent=False)

    @property
    def codec(self) -> Codec:  # type: ignore[override]
        """That of the tokenizer."""
        return self.tokenizer.codec

    def frozen(self) -> Sequence[nn.Module]:
        return (self.tokenizer,)

    def hidden(self, codes_BL: Tensor, known_BL: Tensor, condition: Condition, field: Tensor | None) -> Tensor:
        """(B, L, D) of all sites, from the codes that are known."""
        parts = enumerate(codes_BL.split(self.sites, 1))
        values = torch.cat([self.tokenizer.quantizer.embed(codes, k) for k, codes in parts], 1)
        masked = ~known_BL[..., None]
        context = torch.cat([values.masked_fill(masked, 0.0), masked.to(values.dtype)], -1)
        out: Tensor = self.predictor([context], [Level(self.pos)], [0], condition, [field])[0]
        return out

    def site_nats(self, codes_BL: Tensor, known_BL: Tensor, condition: Condition) -> Tensor:
        """(B, L) negative log-probabilities of codes given those that are known, in nats."""
        hidden = self.hidden(codes_BL, known_BL, condition, self.fields(condition))
        pairs = zip(hidden.split(self.sites, 1), codes_BL.split(self.sites, 1), strict=True)
        return -torch.cat([self.head.log_prob(self.head(h, k), codes) for k, (h, codes) in enumerate(pairs)], 1)

    def fields(self, condition: Condition) -> Tensor | None:
        """(B, L, F): the condition's field as each scale sees it."""
        if condition.field is None:
            return None
        return torch.cat([self.tokenizer.pyramid.field(condition.field, k) for k in range(len(self.sites))], 1)

    # -- likelihood --------------------------------------------------------------------------------------------------

    def bound(self, codes_BL: Tensor, condition: Condition, share_B: Tensor) -> Tensor:
        """(B,) unbiased estimates of the bound on -log p of codes in nats, from one random set of masked codes each.

        The bound in continuous time, where a code is masked with probability t and the masked ones weigh 1 / t
        (MDLM), is L times the mean of a masked code where the number of these is uniform over 1 to L instead (ARDM,
        arXiv 2110.02037): the same, with less variance.

        Args:
            codes_BL: the codes of all scales.
            condition: of the B items.
            share_B: uniform numbers in [0, 1) that say how many codes are masked.
        """
        count = 1 + (share_B * self.tokens).long()[:, None]
        masked = torch.rand(codes_BL.shape, device=codes_BL.device).argsort(1).argsort(1) < count
        return (self.site_nats(codes_BL, ~masked, condition) * masked / count).sum(1) * self.tokens

    @torch.no_grad()
    def codes(self, latent: Tensor, condition: Condition) -> Tensor:
        """(B, L) the codes of all scales of latents (B, N, C)."""
        return torch.cat([step.codes for step in self.tokenizer.forward_process(latent, condition.base)], 1)

    def loss(self, latent: Tensor, condition: Condition) -> Tensor:
        """The bound in nats for each code."""
        share = stratified(len(latent), device=latent.device)[0]
        return self.bound(self.codes(latent, condition), condition, share).mean() / self.tokens

    @inference
    def nats(self, latent: Tensor, condition: Condition) -> Tensor | None:
        """(B,) the bound of codes, as an unbiased estimate from eight numbers of masked codes for each item, spread
        evenly over the batch; from torch's generator."""
        codes = self.codes(latent, condition)
        shares = stratified(len(latent), DRAWS, latent.device)
        return torch.stack([self.bound(codes, condition, share).double() for share in shares]).mean(0)

    def quantised(self, latent: Tensor) -> Tensor | None:
        *_, last = self.tokenizer.forward_process(latent)
        return self.tokenizer.pyramid.latent(last.state, last.k)

    # -- sampling ----------------------------------------------------------------------------------------------------

    def steps(self) -> int:
        return self.tokens

    @inference
    def draw(
        self, noise: Noise, condition: Condition, steps: int, method: str = "", temperature: float = 1.0
    ) -> tuple[Tensor, float]:
        """See ``Contestant.draw``; ancestral sampling in ``steps`` equal steps of time.

        A masked code is revealed in step i of T, ..., 1 with probability 1 / i, so that each is revealed in one of the
        steps, all equally likely. A sample takes a pass for every step in which some code of its own is revealed; what
        is returned is the mean of their number. One step draws all codes at once, independently.

        Raises:
            RefineError: less than one step.
        """
        require(steps >= 1, f"steps={steps} is not accepted; accepted: 1 or more")
        rounds = turns(noise.uniform(0, (self.tokens,), self.device, stream=TURNS), steps)
        uniform = noise.uniform(0, (self.tokens, self.head.draws), self.device)
        codes, field = torch.zeros_like(rounds.index), self.fields(condition)
        sampler = ScaleSampler(temperature=temperature)
        for _, known, now in rounds:
            rows = now.any(1).nonzero()[:, 0]
            drawn = codes[rows]
            hidden = self.hidden(drawn, known[rows], condition[rows], None if field is None else field[rows])
            parts = (x.split(self.sites, 1) for x in (drawn, hidden, now[rows], uniform[rows]))
            for k, (part, h, new, u) in enumerate(zip(*parts, strict=True)):
                part[new] = self.head.sample(self.head(h[new][None], k), u[new][None], sampler)[0]
            codes[rows] = drawn
        *_, last = self.tokenizer.replay(list(codes.split(self.sites, 1)), condition.base)
        passes = float((rounds.index.amax(1) + 1).double().mean())
        return self.tokenizer.pyramid.latent(last.state, last.k), passes


def sequence(pyramid: Pyramid) -> Level:
    """The sites of all scales, each with its place, and its scale as one of K."""
    state, scales = pyramid.start(1), torch.eye(pyramid.num_levels)
    places = [pyramid.level(k, state).pos for k in range(pyramid.num_levels)]
    pairs = zip(places, scales, strict=True)
    return Level(torch.cat([torch.cat([p, s.expand(*p.shape[:2], -1)], -1) for p, s in pairs], 1))


def turns(uniform: Tensor, steps: int) -> Rounds:
    """Every site in the step of ``steps`` that its ``uniform`` (B, L) falls in; steps that reveal nothing are left out,
    for each item by itself."""
    step = (uniform.double() * steps).long()
    used = torch.zeros(len(step), steps, dtype=torch.int64, device=step.device).scatter(1, step, 1)
    return Rounds((used.cumsum(1) - 1).gather(1, step))
