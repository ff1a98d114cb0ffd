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
    "Codec": "refine.codec",
    "Codes": "refine.types",
    "Condition": "refine.types",
    "ConditionSpec": "refine.types",
    "Domain": "refine.domain",
    "FieldsDataset": "refine.domain",
    "GridResampler": "refine.resample",
    "IdentityCodec": "refine.codec",
    "LaplacianPyramid": "refine.pyramid",
    "Level": "refine.types",
    "LogProb": "refine.likelihood",
    "Model": "refine.model",
    "ModelConfig": "refine.config",
    "Noise": "refine.noise",
    "Pyramid": "refine.pyramid",
    "Quantizer": "refine.quantizer",
    "RefineError": "refine.errors",
    "Refiner": "refine.refiner",
    "Resampler": "refine.resample",
    "ResidualPyramid": "refine.pyramid",
    "Rounds": "refine.rounds",
    "SamplerConfig": "refine.config",
    "Samples": "refine.types",
    "Step": "refine.types",
    "Symmetry": "refine.domain",
    "Tokenizer": "refine.tokenizer",
    "load_domain": "refine.registry",
    "starter": "refine.registry",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from refine.codec import Codec, IdentityCodec
    from refine.config import ModelConfig, SamplerConfig
    from refine.domain import Domain, FieldsDataset, Symmetry
    from refine.errors import RefineError
    from refine.likelihood import LogProb
    from refine.model import Model
    from refine.noise import Noise
    from refine.pyramid import LaplacianPyramid, Pyramid, ResidualPyramid
    from refine.quantizer import Quantizer
    from refine.refiner import Refiner
    from refine.registry import load_domain, starter
    from refine.resample import GridResampler, Resampler
    from refine.rounds import Rounds
    from refine.tokenizer import Tokenizer
    from refine.types import Codes, Condition, ConditionSpec, Level, Samples, Step


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'refine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
