"""Diffusion with the Transformer that all contestants share: Ho et al. 2020 (arXiv 2006.11239), eq. 6 of the paper.

Cosine schedule (Nichol & Dhariwal, arXiv 2102.09672) and samplers are those of diffusers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domain import Domain
from refine.errors import not_accepted, require
from refine.extras import missing
from refine.linear import Linear
from refine.models.codec import Codec
from refine.models.inference import inference
from refine.network.predictor import Predictor
from refine.noise import Noise
from refine.settings.config import ModelConfig
from refine.studies.contest.contestant import Contestant, Subject
from refine.studies.contest.stratified import stratified
from refine.types import Condition

TIMES = 1000  # of training
FEATURES = 64  # sines and cosines of a time
DRAWS = 8  # random times in an estimate of the bound, for each item
METHODS = ("ddim", "dpm")
PREDICTED = ("epsilon", "velocity")


class Diffusion(Contestant):
    """Diffusion on the finest scale's sites, the time beside the condition.

    The network puts out v, and epsilon = sqrt(1 - a) x + sqrt(a) v, where a is the share of the variance that is
    signal. The first term is the best linear guess for data of unit variance; without it the clean latent,
    (x - sqrt(1 - a) epsilon) / sqrt(a), would magnify every error 20,000-fold at the first step of a sampler.

    The predictor's condition dropout is not used: what would be withheld includes the time, and nothing is guided.

    Args:
        subject: of the study.
        domain: whose codec and resampler it has.
        config: of its predictor.
        codec: trained.
        levels: where latents are pixels, how many values in [-1, 1], evenly spaced, these take. Clean pixels are then
            predicted inside that range, as both papers of the samplers have it, and :meth:`nats` exist.
        predicts: whose error training minimises, ``epsilon`` or ``velocity``. The network is the same; but epsilon
            counts the error of the clean latent a / (1 - a) times, next to nothing where there is much noise, v
            1 / (1 - a) times.

    Raises:
        RefineError: something else to predict.
    """

    def __init__(
        self,
        subject: Subject,
        domain: Domain,
        config: ModelConfig,
        codec: Codec,
        levels: int | None = None,
        predicts: str = "epsilon",
    ) -> None:
        super().__init__(subject, domain, config)
        if predicts not in PREDICTED:
            raise not_accepted("predicts", predicts, PREDICTED)
        self.codec, self.levels, self.predicts = codec.requires_grad_(False), levels, predicts
        self.likelihood = None if levels is None else "bound"
        self.resampler = domain.resampler()
        self.tokens = self.resampler.num_sites(self.resampler.num_levels - 1)
        spec, level = replace(subject.spec, vector=FEATURES + subject.spec.vector), self.resampler.level(0)
        self.predictor = Predictor(replace(config.predictor, rounds=1), [self.tokens], codec.channels, spec, level)
        self.out = Linear(config.predictor.width, codec.channels)
        nn.init.zeros_(self.out.weight), nn.init.zeros_(self.out.bias)
        self.kept: Tensor
        self.register_buffer("kept", scheduler("DDPMScheduler").alphas_cumprod.double(), persistent=False)

    def velocity(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """v = sqrt(a) epsilon - sqrt(1 - a) x_0 (Salimans & Ho, arXiv 2202.00512) of latents (B, N, C) at times (B,),
        from 0 to 999: what the network puts out."""
        parts = [features(time)] if condition.vector is None else [features(time), condition.vector]
        told = replace(condition, vector=torch.cat(parts, 1))
        level, never = self.resampler.level(self.resampler.num_levels - 1), torch.zeros_like(time, dtype=torch.bool)
        (hidden,) = self.predictor([x], [level], [0], told, [condition.field], never)
        out: Tensor = self.out(hidden).to(x.dtype)
        return out

    def epsilon(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The noise (B, N, C), of unit variance, in latents at times (B,)."""
        signal, noise = self._shares(time)
        return noise * x + signal * self.velocity(x, time, condition)

    def clean(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """What the latents (B, N, C) at times (B,) are thought to be without noise."""
        signal, noise = self._shares(time)
        out = (x - noise * self.epsilon(x, time, condition)) / signal
        return out if self.levels is None else out.clamp(-1, 1)

    def noised(self, latent: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """q(x_t | x_0): latents (B, N, C) as they are at times (B,) with that noise."""
        signal, amount = self._shares(time)
        return signal * latent + amount * noise

    def _shares(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, 1) standard deviations of signal and noise."""
        kept = self.kept[time][:, None, None]
        return kept.sqrt().float(), (1 - kept).sqrt().float()

    def loss(self, latent: Tensor, condition: Condition) -> Tensor:
        """The mean squared error of epsilon, eq. 6, or of v; times are spread evenly over the batch."""
        time = (stratified(len(latent), device=latent.device)[0] * TIMES).long()
        noise = torch.randn_like(latent)
        x = self.noised(latent, time, noise)
        if self.predicts == "epsilon":
            return F.mse_loss(self.epsilon(x, time, condition), noise)
        signal, amount = self._shares(time)
        return F.mse_loss(self.velocity(x, time, condition), signal * noise - amount * latent)

    # -- sampling ----------------------------------------------------------------------------------------------------

    def steps(self) -> int:
        return 50

    @inference
    def draw(
        self, noise: Noise, condition: Condition, steps: int, method: str = "", temperature: float = 1.0
    ) -> tuple[Tensor, float]:
        """See :meth:`refine.studies.contest.contestant.Contestant.draw`; the passes are the steps.

        Args:
            noise: the stream of each sample.
            condition: of the B samples.
            steps: 1 to 1000, of which the first is at the last training time ("trailing": Lin et al., arXiv
                2305.08891); where they do not divide 1000, DDIM's levels of noise are rounded.
            method: ``ddim`` (Song et al., arXiv 2010.02502, eta = 0; also where none is named) or ``dpm``
                (DPM-Solver++ 2M, Lu et al., arXiv 2211.01095).
            temperature: the standard deviation of the noise that it starts from.

        Raises:
            RefineError: another method or number of steps.
        """
        if method not in ("", *METHODS):
            raise not_accepted("method", method, METHODS)
        require(1 <= steps <= TIMES, f"steps={steps} is not accepted; accepted: 1 to {TIMES}")
        if method == "dpm":
            settings = {"algorithm_type": "dpmsolver++", "solver_order": 2, "final_sigmas_type": "zero"}
            solver = scheduler("DPMSolverMultistepScheduler", **settings)
        else:
            solver = scheduler("DDIMScheduler", clip_sample=False)
        solver.set_timesteps(steps)
        x = temperature * noise.normal(0, (self.tokens, self.codec.channels), self.device)
        for time in solver.timesteps:
            clean = self.clean(x, time.to(x.device).expand(len(x)), condition)
            x = solver.step(clean, time, x).prev_sample
        return x, float(len(solver.timesteps))

    # -- likelihood --------------------------------------------------------------------------------------------------

    @inference
    def nats(self, latent: Tensor, condition: Condition) -> Tensor | None:
        """(B,) the variational bound of Ho et al. (eq. 5, variance beta tilde) on -log p of pixels, in nats.

        The terms of the prior and of the decoder are exact in time; those between are an unbiased estimate from eight
        times for each item, spread evenly over the batch, whose mean therefore varies far less than an item's. Noise
        and times come from torch's generator.
        """
        if self.levels is None:
            return None
        kept = self.kept
        ratio = kept / (1 - kept)
        prior = (kept[-1] * latent.double().square() - kept[-1] - torch.log1p(-kept[-1])) / 2
        first = latent.new_zeros(len(latent), dtype=torch.int64)
        mean = self.clean(self.noised(latent, first, torch.randn_like(latent)), first, condition)
        beta = 1 - kept[1] / kept[0]
        spread = (beta * (1 - kept[0]) / (1 - kept[1])).sqrt()  # beta tilde of the second time: that of the first is 0
        total = (prior - discretised(latent, mean, spread, self.levels)).flatten(1).sum(1)
        for share in stratified(len(latent), DRAWS, latent.device):
            time = 1 + (share * (TIMES - 1)).long()
            mean = self.clean(self.noised(latent, time, torch.randn_like(latent)), time, condition)
            wrong = (mean - latent).double().square().flatten(1).sum(1)
            total = total + (TIMES - 1) / DRAWS * (ratio[time - 1] - ratio[time]) / 2 * wrong
        return total


def features(time: Tensor) -> Tensor:
    """(B, 64) sines and cosines of times (B,), with wavelengths from 2 pi to 20,000 pi."""
    half = FEATURES // 2
    rates = torch.exp(-math.log(1e4) * torch.arange(half, device=time.device) / half)
    phase = time[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], 1)


def discretised(x: Tensor, mean: Tensor, spread: Tensor, levels: int) -> Tensor:
    """log-probability, float64 like ``x``, of the bin of each value in [-1, 1]; the outermost bins are open.

    Ho et al., eq. 13: a normal distribution about ``mean``, cut into ``levels`` bins.
    """
    x, mean, half = x.double(), mean.double(), 1 / (levels - 1)
    low = ((x - half - mean) / spread).masked_fill(x < half - 1, -torch.inf)
    high = ((x + half - mean) / spread).masked_fill(x > 1 - half, torch.inf)
    mirrored = low + high > 0  # the lower tail has the digits
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    lower, upper = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    out: Tensor = upper + torch.log(-torch.expm1(lower - upper))
    return out


def scheduler(name: str, **options: Any) -> Any:
    """A scheduler of diffusers on the cosine schedule, to be given clean latents.

    Raises:
        RefineError: diffusers is not installed.
    """
    try:
        import diffusers
    except ModuleNotFoundError as error:
        raise missing("diffusion, which is compared with,", ["diffusers"]) from error
    return getattr(diffusers, name)(
        num_train_timesteps=TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
        **options,
    )
