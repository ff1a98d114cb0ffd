"""The quantizer that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence

from refine.codes.composite_vq import CompositeVQ
from refine.codes.quantizer import FSQ, Bitwise, Quantizer, Unquantized
from refine.codes.vq import VQ
from refine.errors import not_accepted, require
from refine.settings.config import QuantizerConfig


def build_quantizer(config: QuantizerConfig, num_scales: int, channels: int) -> Quantizer:
    """The quantizer that a configuration asks for."""
    if config.kind == "vq":
        c, listed = config, isinstance(config.size, Sequence) and not isinstance(config.size, str)
        sizes = list(config.size) if listed else [config.size] * num_scales
        whole = all(isinstance(v, int) for v in sizes)
        require(whole, f"model.quantizer.size={c.size!r} is not accepted; accepted: a whole number, or one by scale")
        options = {n: getattr(c, n) for n in ("shared", "update", "decay", "cosine", "revive")}
        if c.stages == 1 and c.groups is None:
            return VQ(num_scales, channels, sizes, **options)
        return CompositeVQ(num_scales, channels, sizes, c.stages, c.groups or [range(channels)], **options)
    single = config.stages == 1 and config.groups is None
    require(single, f"model.quantizer.stages and groups are not accepted for kind={config.kind}; accepted: kind=vq")
    require(not config.shared, f"model.quantizer.shared=true is not accepted for kind={config.kind}; accepted: false")
    if config.kind == "fsq":
        fits = len(config.levels) == channels
        require(fits, f"model.quantizer.levels={list(config.levels)}: {channels} latent channels need as many levels")
        return FSQ(num_scales, config.levels)
    if config.kind == "bitwise":
        return Bitwise(num_scales, channels, config.sphere, config.entropy)
    if config.kind == "none":
        return Unquantized(num_scales, channels)
    raise not_accepted("model.quantizer.kind", config.kind, ("vq", "fsq", "bitwise", "none"))
