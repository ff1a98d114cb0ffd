"""The sampler of each scale, as the configuration describes it: every value is a number or a list by scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refine.codes.laws import ScaleSampler
from refine.errors import not_accepted, require
from refine.network.network import KINDS
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
    temperature = by_scale("temperature", config.temperature, num_levels, lambda v: v > 0, "a number > 0")
    top_k = by_scale("top_k", config.top_k, num_levels, lambda v: v >= 0 and v == int(v), "an integer >= 0 (0: all)")
    top_p = by_scale("top_p", config.top_p, num_levels, lambda v: 0 < v <= 1, "a number in (0, 1]")
    min_p = by_scale("min_p", config.min_p, num_levels, lambda v: 0 <= v < 1, "a number in [0, 1)")
    guidance = by_scale("guidance", config.guidance, num_levels, lambda v: v >= 0, "a number >= 0 (1: none)")
    one = config.gain == "auto"
    gain = by_scale("gain", 1.0 if one else config.gain, num_levels, lambda v: v >= 0, "auto, a number >= 0 (1: none)")
    for name in ("greedy", "smooth"):
        if not isinstance(value := getattr(config, name), bool):
            raise not_accepted(name, value, (True, False))
    if config.schedule not in ("constant", "linear"):
        raise not_accepted("schedule", config.schedule, ("constant", "linear"))
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
