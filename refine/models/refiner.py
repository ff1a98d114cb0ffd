"""The model: a tokenizer and a predictor as one object that is trained, sampled, scored, saved and shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from refine.codes.laws import ScaleSampler
from refine.drawing.draw import Draw, where
from refine.drawing.sampler import samplers_of
from refine.drawing.strategies import Chooser, build_strategies
from refine.errors import require
from refine.items import Items, in_batches, spread
from refine.models.encoding import EncodedItems, batch_codes
from refine.models.evaluation import BandVariance, score_codes
from refine.models.inference import inference
from refine.models.likelihood import LogProb
from refine.models.teacher import TeacherForced, parts
from refine.noise import Noise
from refine.scales.masks import keep_by_scale
from refine.settings.config import SamplerConfig, TrainConfig
from refine.types import Codes, Condition, Level, Samples, Step

NAMED = "announce the part (refine.register or an entry point) and name it in the configuration: model.{}.kind"
HOME = {name: NAMED.format(name) for name in ("quantizer", "pyramid", "predictor")} | {
    "head": "heads are made by the quantizer's head()",
    "codec": "codecs are made by the domain's codec()",
}
"""Where each part of a model belongs."""


class Refiner(TeacherForced):
    """Tokenizer, predictor and head over a domain of latents: the model of a domain that brings none of its own.

    Example:
        >>> import refine
        >>> model = refine.Refiner.from_pretrained("runs/image-digits")  # doctest: +SKIP
        >>> model.sample(4, refine.Condition(label=torch.tensor([3, 3, 7, 7])), seed=1).items.shape  # doctest: +SKIP
    """

    stages: ClassVar[tuple[str, ...]] = ("tokenizer", "predictor")

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

    def check_parts(self) -> None:
        if parts(self) == self._made:
            return
        with torch.random.fork_rng(devices=[]):
            wanted = parts(self.domain.model(self.config))  # a domain may put parts in itself, and does so on loading
        for name, found in parts(self).items():
            here, there = (_text(*made, beside=other) for made, other in ((found, wanted[name]), (wanted[name], found)))
            require(
                found == wanted[name],
                f"the model's {name} is a {here}, its configuration names a {there}, which loading would put in its "
                f"place; {HOME[name]}",
            )

    # -- teacher forcing ---------------------------------------------------------------------------------------------

    def training_items(self, split: str, seed: int) -> Items:
        """Codes and conditions."""
        items, options = self.domain.dataset(split), dataclasses.asdict(self.domain.config)
        return EncodedItems(items, self.tokenizer, options, self.spec)

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of every code given the true coarser ones (eq. 18), in nats per code: in all and by scale."""
        return self.step_loss(batch_codes(batch), self.spec.only(Condition.from_batch(batch)), settings)

    def frozen(self) -> Sequence[nn.Module]:
        return (self.tokenizer,)

    def check_stage(self, stage: str) -> None:
        ready = stage == "tokenizer" or bool(self.tokenizer.quantizer.fitted)
        require(ready, f"stage={stage} needs a trained tokenizer; run stage=tokenizer first, or give its run=FOLDER")
        first = self.domain.dataset("train")[0]
        hidden = isinstance(first, Mapping) and "base" in first and not self.spec.base
        require(not hidden, "items have a 'base' that the domain does not announce: ConditionSpec(base=True)")

    def asked(self, items: Items, num: int) -> tuple[int, Condition]:
        """One sample for the condition of each of up to ``num`` items."""
        found = [self.spec.only(Condition.from_batch(batch)) for batch in in_batches(spread(items, num), 256)]
        return min(num, len(items)), Condition.join(found)  # type: ignore[arg-type]

    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        """See :func:`refine.models.evaluation.score_codes`; and, by scale, the variance of what sampling adds to the
        latent as a share of what encoded items have."""
        figures, encoded = score_codes(self, items, batch_size)
        sampled = BandVariance()
        for first in range(0, len(samples.items), batch_size):
            part = slice(first, first + batch_size)
            condition = samples.condition[part].to(self.device)
            sampled.add(self.tokenizer, [c[part].to(self.device) for c in samples.codes], condition)
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
        condition = Condition() if condition is None else condition
        self.check_condition(condition, len(codes[0]))
        exact, index = max(self.predictor.rounds) == 1, range(first, first + len(codes[0]))
        require(len(orders) > 0, "orders=[] is not accepted; accepted: one seed or more")
        total = torch.zeros((), device=self.device)
        for seed in orders[:1] if exact else orders:
            nats = self.site_log_prob(codes, condition, noise=Noise(seed, index))
            total = total + torch.stack([n.sum(1) for n in nats], dim=1)
        share = 1 if condition.mask is None else condition.mask.to(total).mean(1, keepdim=True)
        return LogProb(total / (1 if exact else len(orders)), self.dimensions * share, exact)

    @inference
    def accuracy(self, codes: Codes, condition: Condition | None = None) -> Tensor:
        """(B, K) share of each scale's codes that the most likely code gets right, given the true coarser ones (and
        those of earlier rounds)."""
        greedy = ScaleSampler(greedy=True)
        hits = []
        for k, logits in enumerate(self.logits(codes, condition or Condition())):
            best = self.head.sample(logits, logits.new_zeros(1), greedy)
            hits.append((best == codes[k]).double())
        if condition is None or condition.mask is None:
            return torch.stack([h.flatten(1).mean(1) for h in hits], dim=1)
        masks = [s.level.mask for s in self.tokenizer.replay(codes, condition.base, condition.mask)]
        return torch.stack(
            [(h * m).sum(1) / m.sum(1) for h, m in zip(hits, masks, strict=True) if m is not None], dim=1
        )

    # -- sampling ----------------------------------------------------------------------------------------------------

    @inference
    def sample(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | Sequence[ScaleSampler] | None = None,
        trail: bool = False,
        *,
        draw: Callable[..., Chooser] = Draw,
        stop: int | Callable[[Step], bool] | None = None,
        callback: Callable[[Step], None] | None = None,
    ) -> Samples:
        """Draw samples number ``first`` to ``first + num - 1`` of ``seed``; the backward process, eq. 17-20.

        Sample i depends on (seed, i), its condition and the sampler, not on the batch it is drawn in.

        Args:
            num: B.
            condition: of the B samples; None draws unconditionally.
            seed: of all noise.
            first: number of the first sample.
            sampler: temperature, truncation and guidance; or a :class:`refine.ScaleSampler` for each scale, whose
                subclasses may make any laws of logits.
            trail: also decode after every scale.
            draw: as in :meth:`generate`.
            stop: as in :meth:`generate`.
            callback: as in :meth:`generate`.

        Raises:
            RefineError: a condition or a sampler that does not fit the model.
        """
        whole = isinstance(num, Integral) and not isinstance(num, bool)
        require(whole and num > 0, f"num={num} is not accepted; accepted: 1 or more")
        return self.generate(_noise(seed, first, num), condition, sampler, trail, None, None, draw, stop, callback)

    @inference
    def inpaint(
        self,
        codes: Codes,
        keep: Tensor | Sequence[Tensor],
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | Sequence[ScaleSampler] | None = None,
        trail: bool = False,
        *,
        draw: Callable[..., Chooser] = Draw,
        stop: int | Callable[[Step], bool] | None = None,
        callback: Callable[[Step], None] | None = None,
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
        masks = keep_by_scale(self.pyramid, keep, self.device)
        return self.generate(
            _noise(seed, first, len(codes[0])), condition, sampler, trail, codes, masks, draw, stop, callback
        )

    @inference
    def generate(
        self,
        noise: Noise,
        condition: Condition | None = None,
        sampler: SamplerConfig | Sequence[ScaleSampler] | None = None,
        trail: bool = False,
        given: Codes | None = None,
        keep: Sequence[Tensor] | None = None,
        draw: Callable[..., Chooser] = Draw,
        stop: int | Callable[[Step], bool] | None = None,
        callback: Callable[[Step], None] | None = None,
    ) -> Samples:
        """What :meth:`sample` and :meth:`inpaint` do, of samples that may have any numbers.

        Args:
            noise: the stream of each sample.
            condition: of the samples.
            sampler: as in :meth:`sample`.
            trail: also decode after every scale.
            given: codes (B, N_k) that stay where ``keep`` says.
            keep: K masks (B|1, N_k).
            draw: makes the chooser of the scale loop, with the arguments of :class:`refine.drawing.draw.Draw`; a
                subclass of it, for example. The sampler's strategies are wrapped around it.
            stop: how many scales are drawn, or a function of the last step that says whether it was enough; items are
                then decoded as they stand.
            callback: called after every scale.

        Raises:
            RefineError: a condition or a sampler that does not fit the model.
        """
        num, condition = len(noise.index), Condition() if condition is None else condition
        self.check_condition(condition, num)
        condition = condition.to(self.device)
        some = callable(stop) or stop is None or 0 < stop <= self.num_levels
        require(some, f"stop={stop} is not accepted; accepted: 1 to {self.num_levels} scales, or a function of a step")
        chooser = innermost = draw(self, condition, noise, samplers_of(sampler, self.num_levels), given, keep)
        for strategy, options in build_strategies(sampler) if isinstance(sampler, SamplerConfig) else ():
            chooser = strategy(chooser, innermost, options)

        def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            codes = chooser(k, level, context, state)
            return codes if given is None or keep is None else where(keep[k], given[k].to(codes.device), codes)

        steps, decoded = list[Step](), list[Tensor]()
        for step in self.tokenizer.walk(choose, num, condition.base, condition.mask, chooser):
            steps.append(step)
            if trail:
                decoded.append(self.tokenizer.decode_state(step, condition.mask))
            if callback is not None:
                callback(step)
            if stop(step) if callable(stop) else stop == step.k + 1:
                break
        items = decoded[-1] if trail else self.tokenizer.decode_state(steps[-1], condition.mask)
        return Samples(items, [s.codes for s in steps], condition, decoded)


def _noise(seed: int, first: int, num: int) -> Noise:
    good = isinstance(seed, Integral) and not isinstance(seed, bool)
    require(
        good, f"seed={seed!r:.60} is not accepted; accepted: a whole number; samples depend on it and their numbers"
    )
    return Noise(int(seed), range(first, first + num))


def _text(cls: type, made: dict[str, Any], beside: tuple[type, dict[str, Any]]) -> str:
    """The name of a class; with what sets it apart from another of the same name."""
    differing = [f"{name}={value!r}" for name, value in made.items() if value != beside[1].get(name)]
    return f"{cls.__name__}({', '.join(differing)})" if cls is beside[0] else cls.__name__
