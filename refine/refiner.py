"""The model: a tokenizer and a predictor as one object that is trained, sampled, scored, saved and shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refine.attention import KVCache
from refine.config import ModelConfig, SamplerConfig, TrainConfig
from refine.domain import Domain
from refine.encoding import EncodedItems, batch_codes
from refine.errors import require
from refine.evaluation import BandVariance, score_codes
from refine.head import build_head
from refine.inference import inference
from refine.items import Items, in_batches, spread
from refine.model import Model
from refine.noise import Noise
from refine.predictor import Predictor
from refine.pyramid import build_pyramid
from refine.sampler import ScaleSampler, build_sampler
from refine.tokenizer import Tokenizer
from refine.types import Codes, Condition, Level, Samples, Step
from refine.vq import build_quantizer
from refine.walk import Choose, walk


@dataclass(frozen=True)
class LogProb:
    """Exact log-likelihood of codes, log p(codes) = sum_k sum_i log Cat(r_i; psi(C)_i) (eq. 17, 18).

    Attributes:
        nats: (B, K) by scale.
        dimensions: real numbers in an item.
    """

    nats: Tensor
    dimensions: int

    @property
    def total(self) -> Tensor:
        """(B,) nats."""
        return self.nats.sum(1)

    @property
    def bits_per_dim(self) -> Tensor:
        """(B, K) bits that each scale spends on one dimension of an item; they add up over scales."""
        return -self.nats / (self.dimensions * torch.log(torch.tensor(2.0)).item())


class Refiner(Model):
    """Tokenizer, predictor and head over a domain of latents: the model of a domain that brings none of its own.

    Example:
        >>> import refine
        >>> model = refine.Refiner.from_pretrained("runs/image-digits")  # doctest: +SKIP
        >>> model.sample(4, refine.Condition(label=torch.tensor([3, 3, 7, 7])), seed=1).items.shape  # doctest: +SKIP
    """

    stages = ("tokenizer", "predictor")
    config: ModelConfig

    def __init__(self, domain: Domain, model: ModelConfig) -> None:
        super().__init__(domain, model)
        codec, resampler = domain.codec(), domain.resampler()
        pyramid = build_pyramid(model.pyramid, resampler, codec.channels)
        quantizer = build_quantizer(model.quantizer, pyramid.num_levels, codec.channels)
        self.tokenizer = Tokenizer(codec, pyramid, quantizer, model.commitment)
        level = resampler.level(0)
        self.predictor = Predictor(model.predictor, pyramid.num_levels, codec.channels, domain.condition, level)
        self.head = build_head(quantizer, model.predictor.width)

    @property
    def num_levels(self) -> int:
        """K."""
        return self.tokenizer.pyramid.num_levels

    @property
    def dimensions(self) -> int:
        """Real numbers in one item."""
        return self.domain.dimensions or self.domain.dataset("train")[0]["x"].numel()

    # -- teacher forcing ---------------------------------------------------------------------------------------------

    def logits(self, codes: Codes, condition: Condition, drop: Tensor | None = None) -> list[Tensor]:
        """Logits of every scale given the true coarser codes, in one pass; (B, N_k, n) for each scale."""
        steps = self._teacher(codes, condition)
        return [self.head(h, s.k) for h, s in zip(self._predict(steps, condition, drop), steps, strict=True)]

    @torch.no_grad()  # contexts are functions of the frozen tokenizer
    def _teacher(self, codes: Codes, condition: Condition) -> list[Step]:
        return list(self.tokenizer.replay(codes, condition.base))

    def _predict(self, steps: Sequence[Step], condition: Condition, drop: Tensor | None = None) -> list[Tensor]:
        """Hidden states of some scales for the first items of a batch, as many as ``condition`` has."""
        contexts, levels = [s.context for s in steps], [s.level for s in steps]
        fields = [self._field(condition, s.k) for s in steps]
        out: list[Tensor] = self.predictor(contexts, levels, [s.k for s in steps], condition, fields, drop)
        return out

    def _field(self, condition: Condition, k: int) -> Tensor | None:
        return None if condition.field is None else self.tokenizer.pyramid.field(condition.field, k)

    def site_log_prob(self, codes: Codes, condition: Condition, drop: Tensor | None = None) -> list[Tensor]:
        """(B, N_k) nats of each code given the coarser scales; 0 where a site does not exist."""
        steps = self._teacher(codes, condition)
        return [self._nats(h, s) for h, s in zip(self._predict(steps, condition, drop), steps, strict=True)]

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
            for step, hidden in zip(part, self._predict(part, condition[:items]), strict=True):
                nats, mask = self._nats(hidden, step), step.level.mask
                count = nats.numel() if mask is None else int(mask.expand_as(nats).sum())
                by_scale[step.k], sites[step.k] = -nats.sum() / count, count / items
        losses = torch.stack(by_scale)
        weights = torch.tensor(sites, device=losses.device) / sum(sites)
        return (losses * weights).sum(), losses.detach()

    def training_items(self, split: str, seed: int) -> Items:
        """Codes and conditions."""
        return EncodedItems(self.domain.dataset(split), self.tokenizer, dataclasses.asdict(self.domain.config))

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of every code given the true coarser ones (eq. 18), in nats per code: in all and by scale."""
        budget = settings.site_budget if self.training else 0
        loss, by_scale = self.loss(batch_codes(batch), Condition.from_batch(batch), budget)
        return loss, {"nll": loss} | {f"nll_{k}": nll for k, nll in enumerate(by_scale)}

    def frozen(self) -> tuple[Tokenizer]:
        return (self.tokenizer,)

    def check_stage(self, stage: str) -> None:
        ready = stage == "tokenizer" or bool(self.tokenizer.quantizer.fitted)
        require(ready, f"stage={stage} needs a trained tokenizer; run stage=tokenizer first, or give its run=FOLDER")

    def asked(self, items: Items, num: int) -> tuple[int, Condition]:
        """One sample for the condition of each of up to ``num`` items."""
        parts = [Condition.from_batch(batch) for batch in in_batches(spread(items, num), 256)]
        return min(num, len(items)), Condition.join(parts)  # type: ignore[arg-type]

    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        """See :func:`refine.evaluation.score_codes`; and, by scale, the variance of what sampling adds to the latent
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
    def log_prob(self, codes: Codes, condition: Condition | None = None) -> LogProb:
        """Exact log-likelihood of codes given the condition."""
        nats = self.site_log_prob(codes, condition or Condition())
        return LogProb(torch.stack([n.sum(1) for n in nats], dim=1), self.dimensions)

    @inference
    def accuracy(self, codes: Codes, condition: Condition | None = None) -> Tensor:
        """(B, K) share of each scale's codes that the most likely code gets right, given the true coarser ones."""
        greedy = ScaleSampler(greedy=True)
        hits = []
        for k, logits in enumerate(self.logits(codes, condition or Condition())):
            best = self.head.sample(logits, logits.new_zeros(1), greedy)
            hits.append((best == codes[k]).double().mean(1))
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
        return self._generate(num, condition, seed, first, sampler, trail, None, None)

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
        pyramid = self.tokenizer.pyramid
        if isinstance(keep, Tensor):
            finest = keep.to(self.device, torch.float32)[..., None]
            sites = pyramid.num_sites(self.num_levels - 1)
            require(keep.dim() == 2 and keep.shape[1] == sites, f"keep has shape {tuple(keep.shape)}, not (B, {sites})")
            masks = [pyramid.field(finest, k)[..., 0] > 0.5 for k in range(self.num_levels)]
        else:
            masks = [m.to(self.device, torch.bool) for m in keep]
        expected = [pyramid.num_sites(k) for k in range(self.num_levels)]
        found = [m.shape[-1] for m in masks]
        require(found == expected, f"keep has {found} sites by scale; expected {expected}")
        return self._generate(len(codes[0]), condition, seed, first, sampler, trail, codes, masks)

    def _generate(
        self,
        num: int,
        condition: Condition | None,
        seed: int,
        first: int,
        sampler: SamplerConfig | None,
        trail: bool,
        given: Codes | None,
        keep: Sequence[Tensor] | None,
    ) -> Samples:
        require(num > 0, f"num={num} is not accepted; accepted: 1 or more")
        condition = (condition or Condition()).to(self.device)
        self.domain.condition.check(condition, num)
        settings = build_sampler(sampler or SamplerConfig(), self.num_levels)
        draw = self._draw(condition, Noise(seed, range(first, first + num)), settings)

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            codes = draw(k, level, context, state)
            return codes if given is None or keep is None else torch.where(keep[k], given[k].to(codes.device), codes)

        pyramid, steps, decoded = self.tokenizer.pyramid, [], []
        for step in walk(pyramid, self.tokenizer.quantizer, pyramid.start(num, condition.base), choose):
            steps.append(step)
            if trail:
                decoded.append(self.tokenizer.decode_state(step))
        items = decoded[-1] if trail else self.tokenizer.decode_state(steps[-1])
        return Samples(items, [s.codes for s in steps], condition, decoded)

    def _draw(self, condition: Condition, noise: Noise, settings: list[ScaleSampler]) -> Choose:
        """Choose codes from the predictor, guided where asked; one network pass a scale, two batches where guided."""
        batch = len(noise.index)
        conditional = any(v is not None for v in (condition.label, condition.vector, condition.field))
        guided = [conditional and s.guidance != 1 for s in settings]
        cache: KVCache | None = None
        if self.predictor.prefix:  # a guided scale needs the unconditional keys of all coarser ones
            guided = [any(guided[k:]) for k in range(self.num_levels)]
            tokens = sum(self.tokenizer.pyramid.num_sites(k) for k in range(self.num_levels))
            cache = self.predictor.new_cache(batch * (1 + guided[0]), tokens)
        drop = torch.arange(2 * batch, device=self.device) >= batch

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            given = condition
            if cache is not None and not guided[k]:
                cache.keep(batch)
            if guided[k]:
                context, given = torch.cat([context, context]), condition.map(lambda t: torch.cat([t, t]))
            fields, dropped = [self._field(given, k)], drop if guided[k] else None
            (hidden,) = self.predictor([context], [level], [k], given, fields, dropped, cache)
            if guided[k]:  # the head is linear: mixing before it equals mixing logits, at half its cost
                conditional, unconditional = hidden.chunk(2)
                hidden = torch.lerp(unconditional, conditional, settings[k].guidance)
            uniform = noise.uniform(k, (hidden.shape[1], self.head.draws), self.device)
            return self.head.sample(self.head(hidden, k), uniform, settings[k])

        return choose
