"""Teacher forcing: what a model of latents says of given codes (eq. 17, 18), without drawing any."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refine.codes.quantizer import Quantizer, build_quantizer
from refine.drawing.rounds import Rounds
from refine.errors import require
from refine.models.model import Model
from refine.models.source import Source
from refine.models.tokenizer import Tokenizer, existing
from refine.network.network import build_network
from refine.noise import Noise
from refine.scales.pyramid import Pyramid, build_pyramid
from refine.settings.config import ModelConfig, TrainConfig
from refine.types import Codes, Condition, ConditionSpec, Known, Level, Step

ORDER = 1  # the noise stream that orders of rounds come from


class TeacherForced(Model):
    """Tokenizer, network and head over a domain of latents, and the likelihood of every code given the coarser ones.

    Args:
        domain: gives the codec, the scales and the conditions.
        model: its configuration; sections may be dicts.
        condition: where it differs from the domain's.

    Attributes:
        tokenizer: items to codes and back.
        predictor: the network.
        head: laws over the quantizer's codes.
        spec: what the model is conditioned on.
    """

    config: ModelConfig

    def __init__(self, domain: Source, model: ModelConfig, condition: ConditionSpec | None = None) -> None:
        super().__init__(domain, model)
        model = self.config
        self.spec = domain.condition if condition is None else condition
        require(not self.spec.size, "ConditionSpec(size=True) is not for latents; items that differ in size have masks")
        codec, resampler = domain.codec(), domain.resampler()
        pyramid = build_pyramid(model.pyramid, resampler, codec.channels)
        quantizer = build_quantizer(model.quantizer, pyramid.num_levels, codec.channels)
        self.tokenizer = Tokenizer(codec, pyramid, quantizer, model.commitment)
        sites, level = [pyramid.num_sites(k) for k in range(pyramid.num_levels)], resampler.level(0)
        self.predictor = build_network(model.predictor, sites, codec.channels, self.spec, level)
        self.head = quantizer.head(self.predictor.width)
        self._made = parts(self)

    @property
    def num_levels(self) -> int:
        """K."""
        return self.tokenizer.pyramid.num_levels

    @property
    def pyramid(self) -> Pyramid:
        """Takes latents apart."""
        return self.tokenizer.pyramid

    @property
    def quantizer(self) -> Quantizer:
        """Codes of residuals."""
        return self.tokenizer.quantizer

    @property
    def dimensions(self) -> int:
        """Real numbers in one item."""
        found: int = self.domain.dimensions or self.domain.dataset("train")[0]["x"].numel()
        return found

    def check_condition(self, condition: Condition, num: int, values: bool = True) -> None:
        """Make sure that a condition is one that the model has, for ``num`` items.

        Args:
            condition: what is given.
            num: B.
            values: not only shapes and types.

        Raises:
            RefineError: the name, the shape and what is expected.
        """
        sites, channels = self.pyramid.num_sites(self.num_levels - 1), self.pyramid.channels
        self.spec.check(condition, num, sites, channels, self.pyramid.field_sites, values)

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

    def predict(
        self,
        k: int,
        level: Level,
        context: Tensor,
        condition: Condition | None = None,
        known: Known | None = None,
        cache: Any = None,
    ) -> Tensor:
        """(B, N_k, n) logits of one scale, from what is known before it: psi of eq. 18.

        Args:
            k: scale.
            level: its geometry, ``pyramid.level(k, state)``.
            context: (B, N_k, C), ``pyramid.context(state, k)``.
            condition: of the B items.
            known: codes of the scale that are known already, where it has several rounds.
            cache: what the network keeps of the coarser scales where it attends to them: one
                ``predictor.new_cache(B, sites of all scales)`` for all scales in turn.

        Raises:
            RefineError: no cache where one is needed.
        """
        alone = k == 0 or cache is not None or not self.predictor.prefix
        require(alone, f"predict() of scale {k}: model.predictor.attention=prefix needs the cache of coarser scales")
        condition = condition or Condition()
        fields = [self.field(condition, k)]
        (hidden,) = self.predictor([context], [level], [k], condition, fields, None, cache, [known])
        logits: Tensor = self.head(hidden, k)
        return logits

    def hidden(
        self,
        codes: Codes,
        condition: Condition | None = None,
        drop: Tensor | None = None,
        noise: Noise | None = None,
    ) -> list[Tensor]:
        """(B, N_k, D) hidden states of every scale given the true coarser codes: features for other purposes.

        Args:
            codes: K tensors (B, N_k).
            condition: of the B items.
            drop: (B,) of which items the condition is withheld, or (B, 3) the label, the vector or the field.
            noise: decides the order of rounds where a scale has several; that of samples 0, 1, ... of seed 0 if None.
        """
        condition = condition or Condition()
        return self._hidden(self._teacher(codes, condition), condition, drop, noise)

    def logits(
        self,
        codes: Codes,
        condition: Condition | None = None,
        drop: Tensor | None = None,
        noise: Noise | None = None,
    ) -> list[Tensor]:
        """(B, N_k, n) logits of every scale given the true coarser codes; arguments as in :meth:`hidden`.

        Where a scale has several rounds they are those of each site in its own.
        """
        return [self.head(hidden, k) for k, hidden in enumerate(self.hidden(codes, condition, drop, noise))]

    @torch.no_grad()  # contexts are functions of the frozen tokenizer
    def _teacher(self, codes: Codes, condition: Condition) -> list[Step]:
        self.check_condition(condition, len(codes[0]), values=False)
        return list(self.tokenizer.replay(codes, condition.base, condition.mask))

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
            hidden = step.context.new_zeros(*step.context.shape[:2], self.predictor.width)
            for _, known, now in self.order(step.k, step.level, noise):
                (new,) = self._predict([step], condition, drop, [Known(step.values, known)])
                hidden = torch.where(now[..., None], new, hidden)
            out[step.k] = hidden
        return [out[s.k] for s in steps]

    def field(self, condition: Condition, k: int) -> Tensor | None:
        """(B, N_k, F): the condition's field seen at scale k, if there is one; 0 where sites do not exist."""
        field = existing(condition.field, condition.mask)
        return None if field is None else self.tokenizer.pyramid.field(field, k)

    def site_log_prob(
        self,
        codes: Codes,
        condition: Condition | None = None,
        drop: Tensor | None = None,
        noise: Noise | None = None,
    ) -> list[Tensor]:
        """(B, N_k) nats of each code given the coarser scales and earlier rounds; 0 where a site does not exist.

        Exact, and differentiable; arguments as in :meth:`hidden`.
        """
        condition = condition or Condition()
        steps = self._teacher(codes, condition)
        return [self._nats(h, s) for h, s in zip(self._hidden(steps, condition, drop, noise), steps, strict=True)]

    def _nats(self, hidden: Tensor, step: Step) -> Tensor:
        nats = self.head.log_prob(self.head(hidden, step.k), step.codes)
        return nats if step.level.mask is None else nats * step.level.mask

    def loss(
        self,
        codes: Codes,
        condition: Condition | None = None,
        site_budget: int = 0,
        weights: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of a code, in nats: over all sites, and (K,) of each scale. Both have gradients.

        Args:
            codes: K tensors (B, N_k).
            condition: of the batch.
            site_budget: sites that one item may cost at one scale on average; scales with more are scored on the
                first items of the batch only. Markov scales are independent problems, so this stays unbiased and the
                finest scale stops dominating the cost. 0 for no limit.
            weights: K numbers, how much each scale counts in the mean; by default its number of sites.

        A scale of several rounds costs one pass all the same: each item is seen at one round of one random order, with
        its unknown codes weighted so that the mean over both is the negative log-likelihood of the scale (of the bound,
        that is). Sites revealed now are a random choice among the unknown, so that all of these serve.

        Raises:
            RefineError: a budget in prefix mode, where a scale cannot be scored without the coarser ones; weights that
                are none; or a condition that does not fit the model.
        """
        condition = condition or Condition()
        return self.loss_of(self._teacher(codes, condition), condition, site_budget, weights)

    def loss_of(
        self,
        steps: Sequence[Step],
        condition: Condition,
        site_budget: int = 0,
        weights: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`loss`, of any steps of the scale loop: their contexts are shown, their codes are what is wanted.

        An objective that disturbs what the network is shown walks the loop (:meth:`refine.Tokenizer.walk`) and gives
        its steps, with the codes that it wants to be learned.

        Args:
            steps: of all K scales.
            condition: of the batch.
            site_budget: as in :meth:`loss`.
            weights: as in :meth:`loss`.
        """
        allowed = site_budget == 0 or not self.predictor.prefix
        require(allowed, f"train.site_budget={site_budget} needs model.predictor.attention=markov; accepted here: 0")
        batch = len(steps[0].codes)
        share = [max(1, min(batch, batch * site_budget // s.codes.shape[1])) if site_budget else batch for s in steps]
        by_scale, sites = [torch.empty(0)] * len(steps), [0.0] * len(steps)
        for items in set(share):
            part = [s.first(items) for s, n in zip(steps, share, strict=True) if n == items]
            known, seen = zip(*(self._at_a_random_round(s) for s in part), strict=True)
            hiddens = self._predict(part, condition[:items], known=known)
            for step, hidden, weight in zip(part, hiddens, seen, strict=True):
                nats, mask = self._nats(hidden, step) * weight, step.level.mask
                count = nats.numel() if mask is None else int(mask.expand_as(nats).sum())
                by_scale[step.k], sites[step.k] = -nats.sum() / count, count / items
        losses = torch.stack(by_scale)
        counted = sites if weights is None else scale_weights(weights, len(sites))
        share_of = torch.tensor(counted, device=losses.device) / sum(counted)
        return (losses * share_of).sum(), losses

    def step_loss(self, codes: Codes, condition: Condition, settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """:meth:`loss` as a step of training or validation has it, and its figures: in all and by scale, nats per code.

        ``settings.site_budget`` and ``settings.scale_weights`` count while the model is in training mode.
        """
        budget, weights = (settings.site_budget, settings.scale_weights) if self.training else (0, None)
        loss, by_scale = self.loss(codes, condition, budget, weights)
        return loss, {"nll": loss} | {f"nll_{k}": nll for k, nll in enumerate(by_scale)}

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


def scale_weights(weights: Sequence[float], num_levels: int) -> list[float]:
    """How much each scale counts in the loss.

    Raises:
        RefineError: another number of weights, or weights that are none.
    """
    accepted = f"accepted: {num_levels} numbers of 0 or more, not all 0"
    good = len(weights) == num_levels and all(0 <= w < math.inf for w in weights) and sum(weights) > 0
    require(good, f"train.scale_weights={list(weights)} is not accepted; {accepted}")
    return list(weights)


def parts(model: TeacherForced) -> dict[str, tuple[type, dict[str, Any]]]:
    """What a model is made of, by the section of the configuration that names it: class and plain arguments of each."""
    tokenizer = model.tokenizer
    made = {"quantizer": tokenizer.quantizer, "pyramid": tokenizer.pyramid, "predictor": model.predictor}
    return {name: _as_made(part) for name, part in (made | {"head": model.head, "codec": tokenizer.codec}).items()}


def _as_made(part: nn.Module) -> tuple[type, dict[str, Any]]:
    """The class of a part, and those arguments of its constructor that it holds as plain attributes of that name."""
    values = {name: getattr(part, name, None) for name in inspect.signature(type(part)).parameters}
    return type(part), {name: v for name, v in values.items() if isinstance(v, str | int | float | tuple)}
