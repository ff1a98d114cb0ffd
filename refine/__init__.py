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

from refine.version import __version__

_HOME = {
    "Capability": "refine.capabilities",
    "Codec": "refine.models.codec",
    "Codes": "refine.types",
    "Command": "refine.commands.command",
    "Condition": "refine.types",
    "ConditionSpec": "refine.types",
    "Config": "refine.settings.config",
    "Domain": "refine.domain",
    "Draw": "refine.drawing.draw",
    "Exports": "refine.capabilities",
    "FieldsDataset": "refine.items",
    "Forecasts": "refine.capabilities",
    "GridResampler": "refine.scales.resample",
    "Head": "refine.codes.head",
    "IdentityCodec": "refine.models.codec",
    "ImportsWeights": "refine.capabilities",
    "Inpaints": "refine.capabilities",
    "Known": "refine.types",
    "LaplacianPyramid": "refine.scales.laplacian",
    "Level": "refine.types",
    "LogProb": "refine.models.likelihood",
    "Model": "refine.models.model",
    "ModelConfig": "refine.settings.config",
    "Network": "refine.network.network",
    "Noise": "refine.noise",
    "Objective": "refine.learning.objectives",
    "Pictures": "refine.capabilities",
    "Predictor": "refine.network.predictor",
    "PredictorConfig": "refine.settings.config",
    "Pyramid": "refine.scales.pyramid",
    "PyramidConfig": "refine.settings.config",
    "Quantizer": "refine.codes.quantizer",
    "QuantizerConfig": "refine.settings.config",
    "RefineError": "refine.errors",
    "Refiner": "refine.models.refiner",
    "Regrids": "refine.capabilities",
    "Resampler": "refine.scales.resample",
    "ResidualPyramid": "refine.scales.residual",
    "Rounds": "refine.drawing.rounds",
    "SamplerConfig": "refine.settings.config",
    "Samples": "refine.types",
    "ScaleSampler": "refine.codes.laws",
    "Step": "refine.types",
    "Strategy": "refine.drawing.strategies",
    "Studies": "refine.capabilities",
    "Symmetry": "refine.domain",
    "Tokenizer": "refine.models.tokenizer",
    "TrainConfig": "refine.settings.config",
    "compose": "refine.settings.compose",
    "load_domain": "refine.domain",
    "register": "refine.kinds",
    "starter": "refine.domain",
    "train": "refine.learning.train",
    "typed": "refine.settings.typed",
    "walk": "refine.scales.walk",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from refine.capabilities import Capability, Exports, Forecasts, ImportsWeights, Inpaints, Pictures, Regrids, Studies
    from refine.codes.head import Head
    from refine.codes.laws import ScaleSampler
    from refine.codes.quantizer import Quantizer
    from refine.commands.command import Command
    from refine.domain import Domain, Symmetry, load_domain, starter
    from refine.drawing.draw import Draw
    from refine.drawing.rounds import Rounds
    from refine.drawing.strategies import Strategy
    from refine.errors import RefineError
    from refine.items import FieldsDataset
    from refine.kinds import register
    from refine.learning.objectives import Objective
    from refine.learning.train import train
    from refine.models.codec import Codec, IdentityCodec
    from refine.models.likelihood import LogProb
    from refine.models.model import Model
    from refine.models.refiner import Refiner
    from refine.models.tokenizer import Tokenizer
    from refine.network.network import Network
    from refine.network.predictor import Predictor
    from refine.noise import Noise
    from refine.scales.laplacian import LaplacianPyramid
    from refine.scales.pyramid import Pyramid
    from refine.scales.resample import GridResampler, Resampler
    from refine.scales.residual import ResidualPyramid
    from refine.scales.walk import walk
    from refine.settings.compose import compose
    from refine.settings.config import (
        Config,
        ModelConfig,
        PredictorConfig,
        PyramidConfig,
        QuantizerConfig,
        SamplerConfig,
        TrainConfig,
    )
    from refine.settings.typed import typed
    from refine.types import Codes, Condition, ConditionSpec, Known, Level, Samples, Step


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'refine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
