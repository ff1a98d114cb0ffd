"""Choosing codes from the predictor: scale by scale, round by round, guided where asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from refine.drawing.sampler import Law, ScaleSampler
from refine.network.attention import KVCache
from refine.noise import Noise
from refine.types import Codes, Condition, Known, Level

if TYPE_CHECKING:
    from refine.models.refiner import Refiner

MIXTURE = 2  # the noise stream that mixtures of codes come from


class Draw:
    """Codes and values of :func:`refine.scales.walk.walk` in sampling: one network pass a round, of two batches where guided.

    Args:
        refiner: the model.
        condition: of the batch.
        noise: the stream of each sample; it decides codes, and the order in which rounds reveal them.
        settings: the sampler of each scale.
        given: codes that stay where ``keep`` says, K tensors (B, N_k); they are known from the first round on.
        keep: K masks (B|1, N_k).
    """

    def __init__(
        self,
        refiner: Refiner,
        condition: Condition,
        noise: Noise,
        settings: Sequence[ScaleSampler],
        given: Codes | None = None,
        keep: Sequence[Tensor] | None = None,
    ) -> None:
        self.refiner, self.condition, self.noise, self.settings = refiner, condition, noise, settings
        self.given, self.keep = given, keep
        self.expected: Tensor | None = None
        self.mixed: Tensor | None = None
        pyramid = refiner.tokenizer.pyramid
        self.gains = [pyramid.gain(k) if s.gain is None else s.gain for k, s in enumerate(settings)]
        self.batch, levels = len(noise.index), refiner.num_levels
        conditional = any(v is not None for v in (condition.label, condition.vector, condition.field))
        self.guided = [conditional and s.guidance != 1 for s in settings]
        self.cache: KVCache | None = None
        if refiner.predictor.prefix:  # a guided scale needs the unconditional keys of all coarser ones
            self.guided = [any(self.guided[k:]) for k in range(levels)]
            tokens = sum(pyramid.num_sites(k) for k in range(levels))
            self.cache = refiner.predictor.new_cache(self.batch * (1 + self.guided[0]), tokens)
        rows, drop = self.batch, None
        if any(self.guided):  # the second half of the batch is unconditional
            rows, condition = 2 * rows, condition.map(twice)
            drop = torch.arange(rows, device=refiner.device) >= self.batch
        self.conditioned = refiner.predictor.conditioned(condition, rows, drop)

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        head, sites, device = self.refiner.head, level.num_sites, context.device
        codes, kept = head.blank(self.batch, sites, device), None
        if self.given is not None and self.keep is not None:
            codes, kept = self.given[k].to(device), self.keep[k].expand(self.batch, sites)
        given, uniform = codes, self.noise.uniform(k, (sites, head.draws), device)
        for _, known, now in self.refiner.order(k, level, self.noise, kept):
            hidden = self._hidden(k, level, context, codes, known if kept is None else known | kept)
            law = head.law(head(hidden, k), self.settings[k])
            codes = where(now, head.draw(law, uniform), codes)
            self._expect(k, law, now)
            self._mix(k, law, now)
        return codes if kept is None else where(kept, given, codes)

    def _expect(self, k: int, law: Law, now: Tensor) -> None:
        """Remember the expected values of the sites that are revealed now, where the gain asks for them."""
        if self.gains[k] == 1:
            return
        new = self.refiner.tokenizer.quantizer.expected(law.probabilities(), k).float()
        self.expected = new if self.expected is None else torch.where(now[..., None], new, self.expected)

    def _mix(self, k: int, law: Law, now: Tensor) -> None:
        """Remember mixed values of the sites that are revealed now, where the sampler is smooth."""
        smooth = self.settings[k].smooth
        if smooth is None:
            return
        uniform = self.noise.uniform(k, tuple(law.p.shape[1:]), law.p.device, stream=MIXTURE)
        mixture = law.mixture(uniform, *smooth).probabilities()
        new = self.refiner.tokenizer.quantizer.expected(mixture, k).float()
        self.mixed = new if self.mixed is None else torch.where(now[..., None], new, self.mixed)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        """Values of the codes that were drawn last, or of mixtures; their deviation from what was expected times the
        gain.

        Independent draws on N sites of a field with d degrees of freedom keep d / N of its variance; a gain of
        sqrt(N / d) restores it. Codes that were given were not drawn, and stay what they are.
        """
        values, gain = self.refiner.tokenizer.quantizer.embed(codes, k), self.gains[k]
        expected, mixed = self.expected, self.mixed
        self.expected = self.mixed = None
        if expected is None and mixed is None:
            return values
        drawn = values.float() if mixed is None else mixed
        drawn = drawn if expected is None else torch.lerp(expected, drawn, gain)
        return drawn if self.keep is None else torch.where(self.keep[k][..., None], values, drawn)

    def _hidden(self, k: int, level: Level, context: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) given the codes that are known."""
        predictor, known = self.refiner.predictor, None
        if predictor.rounds[k] > 1:
            known = Known(self.refiner.tokenizer.quantizer.embed(codes, k), mask)
        field, conditioned = self.refiner.field(self.condition, k), self.conditioned
        if self.guided[k]:
            context, field = twice(context), None if field is None else twice(field)
            known = known and Known(twice(known.values), twice(known.mask))
        else:
            conditioned = conditioned.first(self.batch)
            if self.cache is not None:
                self.cache.keep(self.batch)
        hidden: Tensor = predictor([context], [level], [k], conditioned, [field], None, self.cache, [known])[0]
        if not self.guided[k]:
            return hidden
        # the head is linear: mixing before it equals mixing logits, at half its cost
        conditional, unconditional = hidden.chunk(2)
        return torch.lerp(unconditional, conditional, self.settings[k].guidance)


def where(mask: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Codes ``x`` (B, N, ...) of the sites that ``mask`` (B|1, N) names, ``other`` codes elsewhere."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim())), x, other)


def twice(x: Tensor) -> Tensor:
    """A batch, and itself again."""
    return torch.cat([x, x])
