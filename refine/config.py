"""The typed configuration of a run. Every key that a user may set is a field here or in a domain's ``Config``.

Values are plain data; nothing in a configuration can name code to run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PyramidConfig:
    """How a latent is taken apart (:mod:`refine.pyramid`)."""

    kind: str = "laplacian"  # laplacian (eq. 12-19) | residual (VAR: state at the finest scale)
    loop: str = "closed"  # laplacian only: closed | open (eq. 14)
    phi: int = 4  # residual only: number of phi convolutions shared over the scales, 0 for none


@dataclass
class QuantizerConfig:
    """How residuals become codes (:mod:`refine.quantizer`)."""

    kind: str = "vq"  # vq | fsq | bitwise
    size: Any = 512  # vq: codes, one number or a list by scale
    shared: bool = False  # one codebook for all scales instead of one each
    update: str = "ema"  # vq: ema | gradient
    decay: float = 0.99  # vq, update=ema
    cosine: bool = False  # vq: nearest by angle
    revive: float = 0.02  # vq: codes used less than this share of their fair share are replaced
    levels: list[int] = field(default_factory=lambda: [8, 8, 8])  # fsq: levels of each latent channel
    sphere: bool = True  # bitwise: BSQ (residuals projected on the sphere) instead of LFQ
    entropy: float = 0.1  # bitwise: weight of the entropy term


@dataclass
class PredictorConfig:
    """The scale-step Transformer (:mod:`refine.predictor`)."""

    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_ratio: float = 4.0
    attention: str = "markov"  # markov | prefix
    shared_adaln: bool = True  # one adaptive-LayerNorm projection for all blocks
    dropout: float = 0.0
    condition_dropout: float = 0.1  # in training only


@dataclass
class ModelConfig:
    """Tokenizer and predictor."""

    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    commitment: float = 0.02  # beta of eq. 1, where items have a variance of about one


@dataclass
class StageConfig:
    """One stage of training."""

    steps: int = 1000
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 100
    grad_clip: float = 1.0
    ema: float = 0.999  # 0 for none


@dataclass
class TrainConfig:
    """The two stages, and how often something is written."""

    tokenizer: StageConfig = field(default_factory=lambda: StageConfig(ema=0.0))
    predictor: StageConfig = field(default_factory=StageConfig)
    fit_after: int = 200  # tokenizer: steps as a plain autoencoder before the quantizer is fitted to its latents
    fit_items: int = 4096  # tokenizer: training items that the quantizer's start is fitted to
    site_budget: int = 0  # predictor, markov only: sites an item may cost at one scale; larger scales see fewer items
    val_items: int = 1024
    val_every: int = 250
    save_every: int = 250
    log_every: int = 25
    workers: int = 0


@dataclass
class TrainerConfig:
    """Passed to Lightning's Trainer as it is."""

    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"


@dataclass
class SamplerConfig:
    """What to do with the logits at each scale; each value is a number, or a list by scale."""

    temperature: Any = 1.0
    top_k: Any = 0  # 0 for all
    top_p: Any = 1.0
    greedy: bool = False
    guidance: Any = 1.0  # 1 for none
    schedule: str = "constant"  # constant | linear (VAR's ramp from 1 to guidance)


@dataclass
class SampleConfig:
    """`refine sample`."""

    num: int = 64
    label: Any = None  # a class, a list of classes, or null for all in turn
    batch_size: int = 64
    out: str | None = None  # folder to write to; null for samples/ in the run
    gif: bool = False
    strip: int = 8  # samples shown in the refinement strip


@dataclass
class EvaluateConfig:
    """`refine evaluate`."""

    split: str = "test"
    items: int = 10000  # items of the split that are scored
    samples: int = 10000  # drawn samples
    batch_size: int = 100
    features: str = "auto"  # auto | inception | classifier


@dataclass
class Config:
    """A whole run, as ``config.yaml`` in its folder has it."""

    domain: Any  # an instance of the domain's own Config
    domain_name: str  # what the domain is called; set by domain=NAME
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    stage: str = "all"  # tokenizer | predictor | all
    seed: int = 0
    run: str | None = None  # the run's folder; null for runs/<domain>-<time> (train) or the newest (others)
    strict: bool = False  # refuse what would otherwise be skipped and counted (unreadable items)
