"""Parts of a model that refine does not have: a quantizer, a pyramid, a network, a strategy and an objective.

They know nothing of signals and work in every domain of latents. Each has a dataclass ``Options``, whose fields are
keys of the command line and whose comments are their help. See docs/how-to-add-a-domain.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from refine import Condition, Network, Objective, Pyramid, Quantizer, Strategy
from refine.codes.head import CategoricalHead
from refine.codes.packing import pack_digits, unpack_digits
from refine.errors import require
from refine.models.encoding import batch_codes
from refine.network.conditions import ConditionEmbedding
from refine.network.network import Given, by_kind
from refine.settings.bounds import whole


class Ternary(Quantizer):
    """Rounds every channel to one of a few evenly spaced values, -a, 0 and a by default; the code lists their digits.

    Each scale and channel has an a of its own, fitted to residuals: (log2 levels + 1) / 2 times their root mean square,
    which is close to the best for Gaussian residuals.
    """

    @dataclass
    class Options:
        levels: Annotated[int, whole(2, 2**16)] = 3  # values of a channel, from -a to a

    def __init__(self, num_scales, channels, options):
        key, codes = f"model.quantizer.options.levels={options.levels}", options.levels**channels
        require(codes <= 2**16, f"{key} makes {codes} codes of {channels} channels; accepted: up to {2**16}")
        super().__init__(num_scales, channels, sizes=[codes] * num_scales, shared=False)
        self.levels = options.levels
        self.register_buffer("a", torch.ones(num_scales, channels))  # a buffer is saved with the weights

    def fit(self, x, k):
        rms = x.flatten(0, -2).square().mean(0).sqrt().clamp_min(1e-6)
        self.a[k] = (math.log2(self.levels) + 1) / 2 * rms

    def encode(self, x, k):
        top = self.levels - 1
        digits = ((x / self.a[k] + 1) * top / 2).round().clamp(0, top)
        return pack_digits(digits.long(), self.levels)

    def embed(self, codes, k):
        digits = unpack_digits(codes, self.levels, self.channels)
        return (digits * 2 / (self.levels - 1) - 1) * self.a[k]


class LeakyState(NamedTuple):
    """What the scales so far add to what is known beforehand, at the scale reached last, and the latter (or None)."""

    added: Tensor
    base: Tensor | None


class LeakyPyramid(Pyramid):
    """The paper's closed loop, but a scale starts from a share of what the coarser ones say, so that their errors fade.

    Leaky prediction does the same in the coding of speech. What leaks away is part of the residual, so nothing is lost.
    """

    @dataclass
    class Options:
        keep: float = 0.9  # share of the coarser scales that a scale starts from; 1 leaks nothing

    def __init__(self, resampler, channels, options):
        super().__init__()
        require(0 < options.keep <= 1, f"model.pyramid.options.keep={options.keep} is not accepted; accepted: (0, 1]")
        self.resampler, self.channels, self.keep = resampler, channels, options.keep
        self.num_levels = resampler.num_levels

    def num_sites(self, k):
        return self.resampler.num_sites(k)

    def level(self, k, state):
        return self.resampler.level(k)

    def field(self, field, k):
        return self.resampler.field(field, k)

    def seen(self, latent, k):
        """A latent on the finest scale, or None for zero, seen at scale k."""
        return 0 if latent is None else self.resampler.down(latent, self.num_levels - 1, k)

    def start(self, batch, base=None):
        like = self.resampler.level(0).pos
        return LeakyState(like.new_zeros(batch, self.num_sites(0), self.channels), base)

    def context(self, state, k):
        added = self.keep * self.resampler.up(state.added, k - 1, k) if k else state.added
        return added + self.seen(state.base, k)

    def target(self, latent, base=None):
        return latent

    def residual(self, target, state, context, k):
        return self.seen(target, k) - context

    def refine(self, state, context, values, k):
        return state._replace(added=context + values - self.seen(state.base, k))

    def latent(self, state, k):
        added = self.resampler.up(state.added, k, self.num_levels - 1)
        return added if state.base is None else added + state.base


class SiteMLP(Network):
    """One small network for every site: it sees the site's context, position and scale, and the condition.

    Sites do not see one another; what they have in common comes from the coarser scales.
    """

    @dataclass
    class Options:
        width: int = 64  # D, of hidden states
        depth: int = 2  # layers
        condition_dropout: float = 0.1  # share of items trained without any condition, for guidance

    def __init__(self, options, sites, channels, spec, level):
        super().__init__()
        self.options, self.width, self.rounds = options, options.width, [1] * len(sites)
        self.site = nn.Linear(channels + level.pos.shape[-1], self.width)
        self.scale = nn.Embedding(len(sites), self.width)
        self.condition = ConditionEmbedding(spec, self.width)
        layers = [nn.Sequential(nn.SiLU(), nn.Linear(self.width, self.width)) for _ in range(options.depth)]
        self.layers = nn.Sequential(*layers)

    def conditioned(self, condition, batch, drop=None):
        if drop is None and self.training:
            drop = torch.rand(batch, device=self.scale.weight.device) < self.options.condition_dropout
        return Given(condition, by_kind(drop))

    def forward(self, contexts, levels, scales, condition, fields=None, drop=None, cache=None, known=None):
        batch, dtype = len(contexts[0]), self.scale.weight.dtype
        given = condition if isinstance(condition, Given) else self.conditioned(condition, batch, drop)
        whole, out = self.condition(given.condition, batch, given.drop)[:, None], []
        for context, level, k, field in zip(contexts, levels, scales, fields or [None] * len(scales), strict=True):
            sites = torch.cat([context, level.pos.expand(batch, -1, -1)], dim=-1)
            hidden = self.site(sites.to(dtype)) + self.scale.weight[k] + whole
            tokens = self.condition.site_tokens(field, given.drop)
            out.append(self.layers(hidden if tokens is None else hidden + tokens))
        return out


class Redraw(Strategy):
    """Draws a code again, once, if it was less probable than ``below``.

    Where a scale has several rounds the second law knows the codes that stay, so that this can mend what does not fit
    together; otherwise it is the same law again, and improbable codes become rarer.
    """

    @dataclass
    class Options:
        below: float = 0.01  # codes less probable than this are drawn again

    STREAM = 100  # of noise; those of refine itself are small numbers

    def __init__(self, inner, draw, options):
        super().__init__(inner, draw, options)
        one = isinstance(draw.model.head, CategoricalHead)
        require(one, "sampler.strategies=[redraw] needs one softmax a site, as for model.quantizer.kind=vq")

    def __call__(self, k, level, context, state):
        codes = self.inner(k, level, context, state)
        law = self.draw.law(k, level, context, codes, torch.zeros_like(codes, dtype=torch.bool))
        improbable = law.probabilities()[..., 0, :].gather(-1, codes[..., None])[..., 0] < self.options.below
        if self.draw.model.predictor.rounds[k] > 1:
            law = self.draw.law(k, level, context, codes, ~improbable)
        uniform = self.draw.noise.uniform(k, (level.num_sites, 1), codes.device, self.STREAM)
        return torch.where(improbable, self.draw.model.head.draw(law, uniform), codes)


class ContextNoise(Objective):
    """Teaches to repair: some codes are replaced by random ones, and the finer scales learn to make up for it.

    Where coarser codes were replaced, what is wanted of a scale is the code of what is missing now.
    """

    @dataclass
    class Options:
        share: float = 0.1  # of the codes that are replaced

    def __call__(self, model, batch, settings):
        discrete = model.tokenizer.quantizer.discrete
        require(discrete, "train.objective.kind=context_noise needs codes; accepted: any model.quantizer.kind but none")
        condition = Condition.from_batch(batch)
        steps = self.disturbed(model.tokenizer, batch_codes(batch), condition)
        loss, by_scale = model.loss_of(steps, condition, settings.site_budget, settings.scale_weights)
        return loss, {"disturbed_nll": loss} | {f"disturbed_nll_{k}": nll for k, nll in enumerate(by_scale)}

    @torch.no_grad()
    def disturbed(self, tokenizer, codes, condition):
        """Steps of the scale loop along disturbed codes, with those that are wanted in their place."""
        pyramid, quantizer, wanted = tokenizer.pyramid, tokenizer.quantizer, []
        touched = torch.zeros(len(codes[0]), 1, dtype=torch.bool, device=codes[0].device)  # items with a replaced code
        *_, last = tokenizer.replay(codes, condition.base, condition.mask)
        target = pyramid.target(pyramid.latent(last.state, last.k), condition.base)

        def choose(k, level, context, state):
            nonlocal touched
            missing = quantizer.encode(pyramid.residual(target, state, context, k), k)
            wanted.append(torch.where(touched, missing, codes[k]))
            replaced = torch.rand(codes[k].shape, device=codes[k].device) < self.options.share
            touched = touched | replaced.any(1, keepdim=True)
            return torch.where(replaced, torch.randint_like(wanted[k], quantizer.sizes[k]), wanted[k])

        steps = tokenizer.walk(choose, len(codes[0]), condition.base, condition.mask)
        return [replace(step, codes=wanted[step.k]) for step in steps]
