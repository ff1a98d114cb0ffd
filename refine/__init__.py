"""refine: next-scale generation as iterative refinement, one core for every domain.

    import refine
    model = refine.Refiner.from_pretrained(refine.starter("image"))
    samples = model.sample(16, refine.Condition(label=labels), seed=0)

Names are imported when they are first used, so that ``import refine`` is cheap.
"""

# ruff: noqa: F401  (what type checkers see is what __getattr__ gives)
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Codec": "refine.models.codec",
    "Codes": "refine.types",
    "Condition": "refine.types",
    "ConditionSpec": "refine.types",
    "Domain": "refine.domain",
    "FieldsDataset": "refine.domain",
    "GridResampler": "refine.scales.resample",
    "IdentityCodec": "refine.models.codec",
    "LaplacianPyramid": "refine.scales.pyramid",
    "Level": "refine.types",
    "LogProb": "refine.models.likelihood",
    "Model": "refine.models.model",
    "ModelConfig": "refine.settings.config",
    "Noise": "refine.noise",
    "Pyramid": "refine.scales.pyramid",
    "Quantizer": "refine.codes.quantizer",
    "RefineError": "refine.errors",
    "Refiner": "refine.models.refiner",
    "Resampler": "refine.scales.resample",
    "ResidualPyramid": "refine.scales.pyramid",
    "Rounds": "refine.drawing.rounds",
    "SamplerConfig": "refine.settings.config",
    "Samples": "refine.types",
    "Step": "refine.types",
    "Symmetry": "refine.domain",
    "Tokenizer": "refine.models.tokenizer",
    "load_domain": "refine.registry",
    "starter": "refine.registry",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from refine.codes.quantizer import Quantizer
    from refine.domain import Domain, FieldsDataset, Symmetry
    from refine.drawing.rounds import Rounds
    from refine.errors import RefineError
    from refine.models.codec import Codec, IdentityCodec
    from refine.models.likelihood import LogProb
    from refine.models.model import Model
    from refine.models.refiner import Refiner
    from refine.models.tokenizer import Tokenizer
    from refine.noise import Noise
    from refine.registry import load_domain, starter
    from refine.scales.pyramid import LaplacianPyramid, Pyramid, ResidualPyramid
    from refine.scales.resample import GridResampler, Resampler
    from refine.settings.config import ModelConfig, SamplerConfig
    from refine.types import Codes, Condition, ConditionSpec, Level, Samples, Step


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'refine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
