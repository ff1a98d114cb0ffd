"""The model: a tokenizer and a predictor as one object that is trained, sampled, scored, saved and shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from refine.codes.build_quantizer import build_quantizer
from refine.codes.head import build_head
from refine.domain import Domain
from refine.drawing.draw import Draw
from refine.drawing.rounds import Rounds
from refine.drawing.sampler import ScaleSampler, build_sampler
from refine.errors import require
from refine.items import Items, in_batches, spread
from refine.models.encoding import EncodedItems, batch_codes
from refine.models.evaluation import BandVariance, score_codes
from refine.models.inference import inference
from refine.models.likelihood import LogProb
from refine.models.model import Model
from refine.models.tokenizer import Tokenizer
from refine.network.predictor import Predictor
from refine.noise import Noise
from refine.scales.masks import keep_by_scale
from refine.scales.pyramid import build_pyramid
from refine.scales.walk import walk
from refine.settings.config import ModelConfig, SamplerConfig, TrainConfig
from refine.types import Codes, Condition, ConditionSpec, Known, Level, Samples, Step

ORDER = 1  # the noise stream that orders of rounds come from


class Refiner(Model):
    """Tokenizer, predictor and head over a domain of latents: the model of a domain that brings none of its own.

    Example:
        >>> import refine
        >>> model = refine.Refiner.from_pretrained("runs/image-digits")  # doctest: +SKIP
        >>> model.sample(4, refine.Condition(label=torch.tensor([3, 3, 7, 7])), seed=1).items.shape  # doctest: +SKIP
    """

    stages: ClassVar[tuple[str, ...]] = ("tokenizer", "predictor")
    config: ModelConfig

    def __init__(self, domain: Domain, model: ModelConfig, condition: ConditionSpec | None = None) -> None:
        super().__init__(domain, model)
        self.spec = domain.condition if condition is None else condition
        codec, resampler = domain.codec(), domain.resampler()
        pyramid = build_pyramid(model.pyramid, resampler, codec.channels)
        quantizer = build_quantizer(model.quantizer, pyramid.num_levels, codec.channels)
        self.tokenizer = Tokenizer(codec, pyramid, quantizer, model.commitment)
        sites, level = [pyramid.num_sites(k) for k in range(pyramid.num_levels)], resampler.level(0)
        self.predictor = Predictor(model.predictor, sites, codec.channels, self.spec, level)
        self.head = build_head(quantizer, model.predictor.width)

    @property
    def num_levels(self) -> int:
        """K."""
        return self.tokenizer.pyramid.num_levels

    @property
    def dimensions(self) -> int:
        """Real numbers in one item."""
        return self.domain.dimensions or self.domain.dataset("train")[0]["x"].numel()

    def hold(self, dtype: torch.dtype) -> None:
        self.predictor.to(dtype)
        self.head.to(dtype)

    def compile(self, **options: Any) -> None:
        """Have :func:`torch.compile` make a graph of the predictor for each scale: their shapes never change.

        Args:
            options: of :func:`torch.compile`.
        """
        limits: Any = torch._dynamo.config  # 8 graphs by default, where VAR has ten scales
        limits.recompile_limit = max(limits.recompile_limit, 4 * self.num_levels)
        self.predictor.compile(**{"fullgraph": True, "dynamic": False, **options})

    # -- teacher forcing ---------------------------------------------------------------------------------------------

    def order(self, k: int, level: Level, noise: Noise, kept: Tensor | None = None) -> Rounds:
        """The rounds of scale k: one, or as many as configured in the order that each sample's noise decides.

        Args:
            k: scale.
            level: its geometry.
            noise: of the samples.
            kept: (B, N) sites that are known beforehand; several rounds are shared out among the others.
        """
        batch, sites, device = len(noise.index), level.num_sites, level.pos.device
        if self.predictor.rounds[k] == 1:
            return Rounds.at_once(batch, sites, device=device)
        masks = [m for m in (level.mask, None if kept is None else ~kept) if m is not None]
        uniform = noise.uniform(k, (sites,), device, stream=ORDER)
        mask = torch.stack([m.expand_as(uniform) for m in masks]).all(0) if masks else None
        return Rounds.shuffled(uniform, self.predictor.rounds[k], mask)

    def logits(
        self, codes: Codes, condition: Condition, drop: Tensor | None = None, noise: Noise | None = None
    ) -> list[Tensor]:
        """(B, N_k, n) logits of every scale given the true coarser codes.

        Where a scale has several rounds they are those of each site in its own; the order is that of ``noise`` (of
        samples 0, 1, ... of seed 0 if None).
        """
        steps = self._teacher(codes, condition)
        return [self.head(h, s.k) for h, s in zip(self._hidden(steps, condition, drop, noise), steps, strict=True)]

    @torch.no_grad()  # contexts are functions of the frozen tokenizer
    def _teacher(self, codes: Codes, condition: Condition) -> list[Step]:
        return list(self.tokenizer.replay(codes, condition.base))

    def _predict(
        self,
        steps: Sequence[Step],
        condition: Condition,
        drop: Tensor | None = None,
        known: Sequence[Known | None] | None = None,
    ) -> list[Tensor]:
        """Hidden states of some scales for the first items of a batch, as many as ``condition`` has."""
        contexts, levels, scales = [s.context for s in steps], [s.level for s in steps], [s.k for s in steps]
        fields = [self.field(condition, k) for k in scales]
        out: list[Tensor] = self.predictor(contexts, levels, scales, condition, fields, drop, known=known)
        return out

    def _hidden(
        self, steps: Sequence[Step], condition: Condition, drop: Tensor | None, noise: Noise | None
    ) -> list[Tensor]:
        """Hidden states of every site in the round that reveals it."""
        noise = noise or Noise(0, range(len(steps[0].codes)))
        at_once = [s for s in steps if self.predictor.rounds[s.k] == 1]
        out = dict(zip([s.k for s in at_once], self._predict(at_once, condition, drop) if at_once else [], strict=True))
        for step in (s for s in steps if s.k not in out):
            hidden = step.context.new_zeros(*step.context.shape[:2], self.config.predictor.width)
            for _, known, now in self.order(step.k, step.level, noise):
                (new,) = self._predict([step], condition, drop, [Known(step.values, known)])
                hidden = torch.where(now[..., None], new, hidden)
            out[step.k] = hidden
        return [out[s.k] for s in steps]

    def field(self, condition: Condition, k: int) -> Tensor | None:
        """(B, N_k, F): the condition's field seen at scale k, if there is one."""
        return None if condition.field is None else self.tokenizer.pyramid.field(condition.field, k)

    def site_log_prob(
        self, codes: Codes, condition: Condition, drop: Tensor | None = None, noise: Noise | None = None
    ) -> list[Tensor]:
        """(B, N_k) nats of each code given the coarser scales and earlier rounds; 0 where a site does not exist."""
        steps = self._teacher(codes, condition)
        return [self._nats(h, s) for h, s in zip(self._hidden(steps, condition, drop, noise), steps, strict=True)]

    def _nats(self, hidden: Tensor, step: Step) -> Tensor:
        nats = self.head.log_prob(self.head(hidden, step.k), step.codes)
        return nats if step.level.mask is None else nats * step.level.mask

    def loss(self, codes: Codes, condition: Condition, site_budget: int = 0) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of a code, in nats: over all sites, and (K,) of each scale.

        Args:
            codes: K tensors (B, N_k).
            condition: of the batch.
            site_budget: sites that one item may cost at one scale on average; scales with more are scored on the
                first items of the batch only. Markov scales are independent problems, so this stays unbiased and the
                finest scale stops dominating the cost. 0 for no limit.

        A scale of several rounds costs one pass all the same: each item is seen at one round of one random order, with
        its unknown codes weighted so that the mean over both is the negative log-likelihood of the scale (of the bound,
        that is). Sites revealed now are a random choice among the unknown, so that all of these serve.

        Raises:
            RefineError: a budget in prefix mode, where a scale cannot be scored without the coarser ones.
        """
        allowed = site_budget == 0 or not self.predictor.prefix
        require(allowed, f"train.site_budget={site_budget} needs model.predictor.attention=markov; accepted here: 0")
        batch, steps = len(codes[0]), self._teacher(codes, condition)
        share = [max(1, min(batch, batch * site_budget // s.codes.shape[1])) if site_budget else batch for s in steps]
        by_scale, sites = [torch.empty(0)] * len(steps), [0.0] * len(steps)
        for items in set(share):
            part = [s.first(items) for s, n in zip(steps, share, strict=True) if n == items]
            known, weights = zip(*(self._at_a_random_round(s) for s in part), strict=True)
            hiddens = self._predict(part, condition[:items], known=known)
            for step, hidden, weight in zip(part, hiddens, weights, strict=True):
                nats, mask = self._nats(hidden, step) * weight, step.level.mask
                count = nats.numel() if mask is None else int(mask.expand_as(nats).sum())
                by_scale[step.k], sites[step.k] = -nats.sum() / count, count / items
        losses = torch.stack(by_scale)
        share_of = torch.tensor(sites, device=losses.device) / sum(sites)
        return (losses * share_of).sum(), losses.detach()

    def _at_a_random_round(self, step: Step) -> tuple[Known | None, Tensor | float]:
        """What is known at the round of a random site in a random order, and the weight of every site (B, N)."""
        if self.predictor.rounds[step.k] == 1:
            return None, 1.0
        shape, mask = step.context.shape[:2], step.level.mask
        order, site = torch.rand(2, *shape, device=step.codes.device)
        rounds = Rounds.shuffled(order, self.predictor.rounds[step.k], mask)
        known, exists = rounds.known(rounds.of_a_random_site(site)), rounds.index >= 0
        unknown = exists & ~known
        weight = unknown * (exists.sum(1) / unknown.sum(1).clamp_min(1))[:, None]
        return Known(step.values, known), weight

    def training_items(self, split: str, seed: int) -> Items:
        """Codes and conditions."""
        return EncodedItems(self.domain.dataset(split), self.tokenizer, dataclasses.asdict(self.domain.config))

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of every code given the true coarser ones (eq. 18), in nats per code: in all and by scale."""
        budget = settings.site_budget if self.training else 0
        loss, by_scale = self.loss(batch_codes(batch), Condition.from_batch(batch), budget)
        return loss, {"nll": loss} | {f"nll_{k}": nll for k, nll in enumerate(by_scale)}

    def frozen(self) -> Sequence[nn.Module]:
        return (self.tokenizer,)

    def check_stage(self, stage: str) -> None:
        ready = stage == "tokenizer" or bool(self.tokenizer.quantizer.fitted)
        require(ready, f"stage={stage} needs a trained tokenizer; run stage=tokenizer first, or give its run=FOLDER")

    def asked(self, items: Items, num: int) -> tuple[int, Condition]:
        """One sample for the condition of each of up to ``num`` items."""
        parts = [Condition.from_batch(batch) for batch in in_batches(spread(items, num), 256)]
        return min(num, len(items)), Condition.join(parts)  # type: ignore[arg-type]

    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        """See :func:`refine.models.evaluation.score_codes`; and, by scale, the variance of what sampling adds to the latent
        as a share of what encoded items have."""
        figures, encoded = score_codes(self, items, batch_size)
        sampled = BandVariance()
        for first in range(0, len(samples.items), batch_size):
            part = slice(first, first + batch_size)
            base = samples.condition[part].to(self.device).base
            sampled.add(self, [c[part].to(self.device) for c in samples.codes], base)
        pairs = zip(sampled.values(), encoded.values(), strict=True)
        return figures | {"kept_variance_by_scale": [s / max(e, 1e-30) for s, e in pairs]}

    @inference
    def log_prob(
        self, codes: Codes, condition: Condition | None = None, orders: Sequence[int] = (0,), first: int = 0
    ) -> LogProb:
        """Log-likelihood of codes given the condition: exact, or a bound where a scale has several rounds.

        Args:
            codes: K tensors (B, N_k).
            condition: of the B items.
            orders: seeds of the orders of rounds, over which the mean is taken. With one seed it is exact given the
                order, which is the one that samples ``first`` and on of that seed are drawn in.
            first: number of the first item.
        """
        exact, index = max(self.predictor.rounds) == 1, range(first, first + len(codes[0]))
        require(len(orders) > 0, "orders=[] is not accepted; accepted: one seed or more")
        total = torch.zeros((), device=self.device)
        for seed in orders[:1] if exact else orders:
            nats = self.site_log_prob(codes, condition or Condition(), noise=Noise(seed, index))
            total = total + torch.stack([n.sum(1) for n in nats], dim=1)
        return LogProb(total / (1 if exact else len(orders)), self.dimensions, exact)

    @inference
    def accuracy(self, codes: Codes, condition: Condition | None = None) -> Tensor:
        """(B, K) share of each scale's codes that the most likely code gets right, given the true coarser ones (and
        those of earlier rounds)."""
        greedy = ScaleSampler(greedy=True)
        hits = []
        for k, logits in enumerate(self.logits(codes, condition or Condition())):
            best = self.head.sample(logits, logits.new_zeros(1), greedy)
            hits.append((best == codes[k]).double().flatten(1).mean(1))
        return torch.stack(hits, dim=1)

    # -- sampling ----------------------------------------------------------------------------------------------------

    @inference
    def sample(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
    ) -> Samples:
        """Draw samples number ``first`` to ``first + num - 1`` of ``seed``; the backward process, eq. 17-20.

        Sample i depends on (seed, i), its condition and the sampler, not on the batch it is drawn in.

        Args:
            num: B.
            condition: of the B samples; None draws unconditionally.
            seed: of all noise.
            first: number of the first sample.
            sampler: temperature, truncation and guidance.
            trail: also decode after every scale.
        """
        require(num > 0, f"num={num} is not accepted; accepted: 1 or more")
        return self.generate(Noise(seed, range(first, first + num)), condition, sampler, trail)

    @inference
    def inpaint(
        self,
        codes: Codes,
        keep: Tensor | Sequence[Tensor],
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
    ) -> Samples:
        """Keep the given codes where ``keep`` says, draw the others given them.

        Args:
            codes: K tensors (B, N_k).
            keep: (B|1, N_{K-1}) bool on the finest scale, seen at each scale as "more than half is kept"; or K such
                masks (B|1, N_k), one for each scale.
            condition: as in :meth:`sample`, and the rest likewise.

        Raises:
            RefineError: a mask that does not fit the scales.
        """
        masks = keep_by_scale(self.tokenizer.pyramid, keep, self.device)
        noise = Noise(seed, range(first, first + len(codes[0])))
        return self.generate(noise, condition, sampler, trail, codes, masks)

    @inference
    def generate(
        self,
        noise: Noise,
        condition: Condition | None = None,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
        given: Codes | None = None,
        keep: Sequence[Tensor] | None = None,
    ) -> Samples:
        """What :meth:`sample` and :meth:`inpaint` do, of samples that may have any numbers.

        The noise is the stream of each; codes ``given`` (B, N_k) stay where the K masks ``keep`` (B|1, N_k) say.
        """
        num, condition = len(noise.index), (condition or Condition()).to(self.device)
        self.spec.check(condition, num)
        settings = build_sampler(sampler or SamplerConfig(), self.num_levels)
        draw = Draw(self, condition, noise, settings, given, keep)
        pyramid, steps, decoded = self.tokenizer.pyramid, [], []
        for step in walk(pyramid, draw, pyramid.start(num, condition.base), draw):
            steps.append(step)
            if trail:
                decoded.append(self.tokenizer.decode_state(step))
        items = decoded[-1] if trail else self.tokenizer.decode_state(steps[-1])
        return Samples(items, [s.codes for s in steps], condition, decoded)
