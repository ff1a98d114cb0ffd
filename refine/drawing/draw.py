"""Choosing codes from the predictor: scale by scale, round by round, guided where asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from refine.codes.head import Head
from refine.codes.laws import ScaleSampler
from refine.codes.quantizer import Quantizer
from refine.drawing.rounds import Rounds
from refine.network.network import KINDS, Network
from refine.noise import Noise
from refine.scales.pyramid import Pyramid
from refine.types import Codes, Condition, Known, Level

MIXTURE = 2  # the noise stream that mixtures of codes come from


class Drawn(Protocol):
    """What drawing needs of a model; :class:`refine.Refiner` is one."""

    predictor: Network
    head: Head

    @property
    def pyramid(self) -> Pyramid:
        """Takes latents apart."""

    @property
    def quantizer(self) -> Quantizer:
        """Codes of residuals."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def order(self, k: int, level: Level, noise: Noise, kept: Tensor | None = None) -> Rounds:
        """The rounds of scale k."""

    def field(self, condition: Condition, k: int) -> Tensor | None:
        """(B, N_k, F): the condition's field seen at scale k, if there is one."""


class Draw:
    """Codes and values of the scale loop in sampling: one pass of the network a round, over two batches where guided.

    Args:
        model: whose predictor is asked.
        condition: of the batch.
        noise: the stream of each sample; it decides codes, and the order in which rounds reveal them.
        settings: the sampler of each scale.
        given: codes that stay where ``keep`` says, K tensors (B, N_k); they are known from the first round on.
        keep: K masks (B|1, N_k).
    """

    def __init__(
        self,
        model: Drawn,
        condition: Condition,
        noise: Noise,
        settings: Sequence[ScaleSampler],
        given: Codes | None = None,
        keep: Sequence[Tensor] | None = None,
    ) -> None:
        self.model, self.condition, self.noise, self.settings = model, condition, noise, settings
        self.given, self.keep = given, keep
        self.expected: Tensor | None = None
        self.mixed: Tensor | None = None
        pyramid = model.pyramid
        self.gains = [pyramid.gain(k) if s.gain is None else s.gain for k, s in enumerate(settings)]
        self.batch, levels = len(noise.index), pyramid.num_levels
        about = {
            name for s in settings for name in s.guided if s.guidance != 1 and getattr(condition, name) is not None
        }
        self.guided = [bool(about) and s.guidance != 1 for s in settings]
        self.cache: Any = None
        self.before: dict[int, int] = {}  # length of the cache at the start of each scale
        if model.predictor.prefix:  # a guided scale needs the unconditional keys of all coarser ones
            self.guided = [any(self.guided[k:]) for k in range(levels)]
            tokens = sum(pyramid.num_sites(k) for k in range(levels))
            self.cache = model.predictor.new_cache(self.batch * (1 + self.guided[0]), tokens)
        rows, drop = self.batch, None
        if any(self.guided):  # the second half of the batch goes without what guidance is about
            rows, condition = 2 * rows, condition.map(twice)
            second = torch.arange(rows, device=model.device) >= self.batch
            drop = second[:, None] & torch.tensor([name in about for name in KINDS], device=model.device)
        self.conditioned = model.predictor.conditioned(condition, rows, drop)

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        head, sites, device = self.model.head, level.num_sites, context.device
        codes, kept = head.blank(self.batch, sites, device), None
        if self.given is not None and self.keep is not None:
            codes, kept = self.given[k].to(device), self.keep[k].expand(self.batch, sites)
        given, uniform = codes, self.noise.uniform(k, (sites, head.draws), device)
        for _, known, now in self.model.order(k, level, self.noise, kept):
            law = self.law(k, level, context, codes, known if kept is None else known | kept)
            codes = where(now, head.draw(law, uniform), codes)
            self._expect(k, law, now)
            self._mix(k, law, now)
        return codes if kept is None else where(kept, given, codes)

    def _expect(self, k: int, law: Any, now: Tensor) -> None:
        """Remember the expected values of the sites that are revealed now, where the gain asks for them."""
        if self.gains[k] == 1:
            return
        new = self.model.quantizer.expected(law.probabilities(), k).float()
        self.expected = new if self.expected is None else torch.where(now[..., None], new, self.expected)

    def _mix(self, k: int, law: Any, now: Tensor) -> None:
        """Remember mixed values of the sites that are revealed now, where the sampler is smooth."""
        smooth = self.settings[k].smooth
        if smooth is None:
            return
        uniform = self.noise.uniform(k, tuple(law.p.shape[1:]), law.p.device, stream=MIXTURE)
        mixture = law.mixture(uniform, *smooth).probabilities()
        new = self.model.quantizer.expected(mixture, k).float()
        self.mixed = new if self.mixed is None else torch.where(now[..., None], new, self.mixed)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        """Values of the codes that were drawn last, or of mixtures; their deviation from what was expected times the
        gain.

        Independent draws on N sites of a field with d degrees of freedom keep d / N of its variance; a gain of
        sqrt(N / d) restores it. Codes that were given were not drawn, and stay what they are.
        """
        values, gain = self.model.quantizer.embed(codes, k), self.gains[k]
        expected, mixed = self.expected, self.mixed
        self.expected = self.mixed = None
        if expected is None and mixed is None:
            return values
        drawn = values.float() if mixed is None else mixed
        drawn = drawn if expected is None else torch.lerp(expected, drawn, gain)
        return drawn if self.keep is None else torch.where(self.keep[k][..., None], values, drawn)

    def law(self, k: int, level: Level, context: Tensor, codes: Tensor, mask: Tensor) -> Any:
        """The laws that codes of scale k are drawn from: one pass of the network, guided and truncated as asked.

        Args:
            k: scale.
            level: its geometry.
            context: (B, N_k, C) what the coarser scales say.
            codes: (B, N_k) of which some are known.
            mask: (B, N_k) bool, which; read by networks with several rounds at this scale.

        Returns:
            What ``head.draw`` takes: a :class:`refine.codes.laws.Law` with ``draw(uniform)`` and ``probabilities()``
            where codes are numbers.
        """
        return self.model.head.law(self._parameters(k, level, context, codes, mask), self.settings[k])

    def _parameters(self, k: int, level: Level, context: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
        """(B, N, n) what the head makes of hidden states, given the codes that are known; guided."""
        predictor, head, known = self.model.predictor, self.model.head, None
        if predictor.rounds[k] > 1:
            known = Known(self.model.quantizer.embed(codes, k), mask)
        field, conditioned = self.model.field(self.condition, k), self.conditioned
        if self.guided[k]:
            context, field = twice(context), None if field is None else twice(field)
            level = level.twice()
            known = known and Known(twice(known.values), twice(known.mask))
        else:
            conditioned = conditioned.first(self.batch)
            if self.cache is not None:
                self.cache.keep(self.batch)
        if self.cache is not None:  # a scale may be asked several times
            self.cache.length = self.before.setdefault(k, self.cache.length)
        hidden: Tensor = predictor([context], [level], [k], conditioned, [field], None, self.cache, [known])[0]
        if not self.guided[k]:
            return cast(Tensor, head(hidden, k))
        # where the head is linear, mixing before it equals mixing logits, at half its cost
        conditional, unconditional = (hidden if head.linear else head(hidden, k)).chunk(2)
        mixed: Tensor = torch.lerp(unconditional, conditional, self.settings[k].guidance)
        return cast(Tensor, head(mixed, k)) if head.linear else mixed


def where(mask: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Codes ``x`` (B, N, ...) of the sites that ``mask`` (B|1, N) names, ``other`` codes elsewhere."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim())), x, other)


def twice(x: Tensor) -> Tensor:
    """A batch, and itself again."""
    return torch.cat([x, x])
