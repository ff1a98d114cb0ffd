"""The sampler of each scale, as the configuration describes it: every value is a number or a list by scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refine.codes.laws import ScaleSampler
from refine.errors import require
from refine.network.network import KINDS
from refine.settings.bounds import check
from refine.settings.by_scale import by_scale
from refine.settings.config import SamplerConfig


def build_sampler(config: SamplerConfig, num_levels: int) -> list[ScaleSampler]:
    """One :class:`ScaleSampler` for each scale.

    The gain multiplies the deviation of drawn values from the expected ones; ``auto`` (None) is what restores the
    variance that independent draws lose on a redundant scale (:meth:`refine.scales.pyramid.Pyramid.gain`).

    Guidance g mixes g times the conditional and (1 - g) times the unconditional prediction; 1 is none. The linear
    schedule is VAR's: g_k = 1 + (g - 1) k / (K - 1), so VAR's ``cfg=1.5`` is ``guidance=2.5 schedule=linear``.

    ``smooth`` is VAR's ``more_smooth``: the values of a site are a mixture of codes, sharper from scale to scale, with
    power 1 + k / (K - 1) and temperature 0.27 (1 - 0.95 k / (K - 1)), 0.005 at least.

    Raises:
        RefineError: a value outside its range, or a list of the wrong length.
    """
    check(config, "sampler")

    def values(name: str) -> list[float]:
        return by_scale(f"sampler.{name}", getattr(config, name), num_levels)

    temperature, top_k, top_p, min_p = map(values, ("temperature", "top_k", "top_p", "min_p"))
    one, guidance = config.gain == "auto", values("guidance")
    gain = [1.0] * num_levels if one else values("gain")
    guided = _guided(config.guided)
    way = [k / max(1, num_levels - 1) for k in range(num_levels)]
    if config.schedule == "linear":
        guidance = [1 + (g - 1) * w for g, w in zip(guidance, way, strict=True)]
    return [
        ScaleSampler(
            temperature[k],
            int(top_k[k]),
            top_p[k],
            config.greedy,
            guidance[k],
            min_p[k],
            None if one else gain[k],
            (1 + way[k], max(0.27 * (1 - 0.95 * way[k]), 0.005)) if config.smooth else None,
            guided,
        )
        for k in range(num_levels)
    ]


def _guided(value: Any) -> tuple[str, ...]:
    """The kinds of condition that guidance is about."""
    if value == "all":
        return KINDS
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, Sequence) and len(names) > 0 and all(name in KINDS for name in names)
    require(good, f"guided={value!r} is not accepted; accepted: all, or a list of {', '.join(KINDS)}")
    return tuple(names)


def samplers_of(sampler: SamplerConfig | Sequence[ScaleSampler] | None, num_levels: int) -> list[ScaleSampler]:
    """What :meth:`refine.Refiner.sample` takes as its sampler, as one for each scale.

    Raises:
        RefineError: something else, or a list of another length.
    """
    if sampler is None or isinstance(sampler, SamplerConfig):
        return build_sampler(sampler or SamplerConfig(), num_levels)
    good = isinstance(sampler, Sequence) and all(isinstance(s, ScaleSampler) for s in sampler)
    require(good, f"sampler={sampler!r:.60} is not accepted; accepted: SamplerConfig, or a list of ScaleSampler")
    require(
        len(sampler) == num_levels, f"sampler has {len(sampler)} entries; expected one for each of {num_levels} scales"
    )
    for about in {s.guided for s in sampler}:
        _guided(about)
    same = len({s.guided for s in sampler if s.guidance != 1}) <= 1
    require(same, "guided differs by scale; accepted: the same kinds of condition wherever guidance is not 1")
    return list(sampler)
