"""The contestants by name, all of one size: as many parameters, as many operations in an update."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from refine.domain import Domain
from refine.kinds import DOMAINS
from refine.models.codec import Codec
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig
from refine.settings.typed import typed
from refine.studies.contest.absorbing import Absorbing
from refine.studies.contest.contestant import Contestant, Subject
from refine.studies.contest.diffusion import Diffusion
from refine.studies.contest.next_scale import NextScale
from refine.types import Condition

DATA = {"data": "mnist", "factor": 4, "latent": 8, "width": 32, "blocks": 1}
SCALES = {1: [7], 2: [4, 7], 3: [2, 4, 7], 4: [1, 2, 4, 7], 6: [1, 2, 3, 4, 5, 7]}
REFERENCE = "scales_4"
"""What every hypothesis changes one thing of: latent, categorical, one codebook, four scales."""

WIDTH, DEPTH, HEADS, MLP, CODES, BATCH, LEVELS = 64, 4, 4, 4.0, 256, 32, 256


@dataclass(frozen=True)
class Variant:
    """In what a contestant differs from the reference: a latent, four scales, one codebook a scale.

    Attributes:
        kind: ``next_scale``, ``diffusion`` or ``absorbing``.
        scales: S.
        quantizer: keys of the quantizer.
        pixels: patches of pixels instead of a latent.
        predicts: of diffusions.
    """

    kind: str = "next_scale"
    scales: int = 4
    quantizer: Mapping[str, Any] = field(default_factory=dict)
    pixels: bool = False
    predicts: str = "epsilon"


VARIANTS = {f"scales_{s}": Variant(scales=s) for s in SCALES} | {
    "pixel": Variant(pixels=True),
    "bitwise": Variant(quantizer={"kind": "bitwise"}),
    "gaussian": Variant(quantizer={"kind": "none"}),
    "residual": Variant(quantizer={"stages": 2}),
    "product": Variant(quantizer={"groups": [[0, 1, 2, 3], [4, 5, 6, 7]]}),
    "latent_diffusion": Variant(kind="diffusion"),
    "latent_velocity": Variant(kind="diffusion", predicts="velocity"),
    "pixel_diffusion": Variant(kind="diffusion", pixels=True),
    "absorbing": Variant(kind="absorbing"),
}


def domain_config(variant: Variant) -> Any:
    """Of the image domain as the variant has it."""
    codec = {"codec": "patch"} if variant.pixels else {}
    return typed(DOMAINS.load("image").Config, DATA | codec | {"scales": SCALES[variant.scales]}, "image")


def domain_of(variant: Variant) -> Domain:
    """The image domain as the variant has it."""
    domain: Domain = DOMAINS.load("image")(domain_config(variant))
    return domain


def model_config(variant: Variant, mlp_ratio: float = MLP) -> ModelConfig:
    """Predictor, pyramid and quantizer of a variant."""
    predictor = PredictorConfig(width=WIDTH, depth=DEPTH, heads=HEADS, mlp_ratio=mlp_ratio, condition_dropout=0.0)
    return ModelConfig(PyramidConfig(), QuantizerConfig(**{"size": CODES} | dict(variant.quantizer)), predictor)


def make(variant: Variant, subject: Subject, codec: Codec, mlp_ratio: float = MLP) -> Contestant:
    """An untrained contestant on top of a trained codec, which those on pixels do without."""
    domain, config = domain_of(variant), model_config(variant, mlp_ratio)
    if variant.pixels:
        codec = domain.codec()
    if variant.kind == "diffusion":
        levels = LEVELS if variant.pixels else None
        return Diffusion(subject, domain, config, copy.deepcopy(codec), levels, variant.predicts)
    scales = NextScale(subject, domain, config, codec)
    if variant.kind == "absorbing":
        return Absorbing(subject, domain, config, scales.refiner.tokenizer)
    return scales


def matched(name: str, subject: Subject, codec: Codec, seed: int) -> tuple[Contestant, int]:
    """A contestant as large as the reference, and the items of a batch that cost as much as the reference's.

    The hidden width of its MLPs is what makes parameters equal (to one such unit), the batch what makes operations of
    an update equal (to one item).
    """

    def fresh(variant: Variant, mlp_ratio: float = MLP) -> Contestant:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(variant, subject, codec, mlp_ratio)

    reference, variant = fresh(VARIANTS[REFERENCE]), VARIANTS[name]
    if name == REFERENCE:
        return reference, BATCH
    excess = parameters(fresh(variant)) - parameters(reference)
    hidden = round(WIDTH * MLP - excess / (DEPTH * (2 * WIDTH + 1)))
    contestant = fresh(variant, hidden / WIDTH)
    return contestant, round(BATCH * operations(reference) / operations(contestant))


def parameters(contestant: Contestant) -> int:
    """That training changes."""
    kept = {id(p) for part in contestant.frozen() for p in part.parameters()}
    return sum(p.numel() for p in contestant.parameters() if p.requires_grad and id(p) not in kept)


def operations(contestant: Contestant, items: int = 4) -> float:
    """Floating-point operations of loss and gradient for one item."""
    latent, condition = blank(contestant, items)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # a fused one is not counted
        contestant.loss(latent, condition).backward()
    contestant.zero_grad()
    return float(counter.get_total_flops()) / items


def blank(contestant: Contestant, items: int) -> tuple[Tensor, Condition]:
    """Latents and conditions of the right shapes, all zero."""
    subject, domain = contestant.subject, contestant.domain
    sites = domain.resampler().num_sites(domain.resampler().num_levels - 1)
    spec = subject.spec
    condition = Condition(
        label=torch.zeros(items, dtype=torch.int64),
        vector=torch.zeros(items, spec.vector),
        field=torch.zeros(items, sites, spec.field),
    )
    return torch.zeros(items, sites, contestant.codec.channels), condition


def fit_codes(contestant: Contestant, x: Tensor, seed: int) -> None:
    """Fit the quantizer, where there is one, to items (B, ...)."""
    tokenizer = getattr(getattr(contestant, "refiner", contestant), "tokenizer", None)
    if tokenizer is None:
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        tokenizer.fit(torch.cat([tokenizer.codec.eval().encode(part) for part in x.split(500)]))
