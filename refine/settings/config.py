"""The typed configuration of a run: keys that every model, training and draw has.

A domain adds its own ``Config``, ``ModelConfig`` and more keys of any section (``Domain.sections``); a command adds a
section of its own (:mod:`refine.commands.command`). Values are plain data; nothing in a configuration can name code to
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from refine.settings.places import place


@dataclass
class PyramidConfig:
    """How a latent is taken apart (:mod:`refine.scales.pyramid`)."""

    kind: str = "laplacian"  # laplacian (eq. 12-19) | residual (VAR: state at the finest scale) | an installed one
    loop: str = "closed"  # laplacian only: closed | open (eq. 14) | projected (open, each scale adds its band only)
    phi: int = 4  # residual only: number of phi convolutions shared over the scales, 0 for none
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class QuantizerConfig:
    """How residuals become codes (:mod:`refine.codes.quantizer`)."""

    # vq | fsq | bitwise | none (residuals as they are, predicted by Gaussians: a control) | an installed kind
    kind: str = "vq"
    size: Any = 512  # vq: codes, one number or a list by scale
    shared: bool = False  # one codebook for all scales instead of one each
    stages: int = 1  # vq: codes of a site, each for what those before leave
    groups: list[list[int]] | None = None  # vq: latent channels that have codes of their own; null: one for all
    update: str = "ema"  # vq: ema | gradient
    decay: float = 0.99  # vq, update=ema
    cosine: bool = False  # vq: nearest by angle
    revive: float = 0.02  # vq: codes used less than this share of their fair share are replaced
    levels: list[int] = field(default_factory=lambda: [8, 8, 8])  # fsq: levels of each latent channel
    sphere: bool = True  # bitwise: BSQ (residuals projected on the sphere) instead of LFQ
    entropy: float = 0.1  # bitwise: weight of the entropy term
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class PredictorConfig:
    """The scale-step network, by default a Transformer (:mod:`refine.network.predictor`)."""

    width: int = 128  # D; a multiple of heads
    depth: int = 4  # blocks
    heads: int = 4  # attention heads
    mlp_ratio: float = 4.0  # hidden width of the MLPs, in widths
    activation: str = "silu"  # silu (a tenth of the cost of GELU on CPUs) | gelu (VAR)
    attention: str = "markov"  # markov | prefix
    positions: str = "coordinates"  # of sites: coordinates (of any grid) | learned (VAR: a vector for each site)
    shared_adaln: bool = True  # one adaptive-LayerNorm projection for all blocks
    dropout: float = 0.0  # of both branches of a block
    # share of items trained without any condition, for guidance; of several kinds, each is left out alone as often
    condition_dropout: float = 0.1
    rounds: Any = 1  # passes in which the codes of a scale are revealed, or a list by scale; markov only where above 1
    kind: str = "transformer"  # transformer | an installed kind
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class ModelConfig:
    """Tokenizer and predictor."""

    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    commitment: float = 0.25  # beta of eq. 1


@dataclass
class StageConfig:
    """One stage of training."""

    steps: int = 1000  # optimiser steps
    batch_size: int = 64  # items, per process
    optimizer: str = "adamw"  # adamw | muon (orthogonal momentum on matrices, AdamW on the rest)
    lr: float = 1e-3  # the highest learning rate
    weight_decay: float = 0.01  # of matrices only
    warmup: int = 100  # steps of linear warm-up; a cosine follows
    grad_clip: float = 1.0  # largest gradient norm; 0 for no limit
    ema: float = 0.999  # decay of the averaged weights that are published; 0 for none


@dataclass
class LossConfig:
    """What reconstructions of the tokenizer are trained for: the weight of each term, 0 for none of it."""

    l1: float = 0.0  # of the mean absolute error
    l2: float = 1.0  # of the codec's own loss: the mean squared error, unless the domain knows better
    perceptual: float = 0.0  # of LPIPS (images; needs torchvision and its VGG-16 weights)
    adversarial: float = 0.0  # of a discriminator's verdict (images), in units of the gradient of the terms above


@dataclass
class DiscriminatorConfig:
    """The discriminator, where train.loss.adversarial is above 0."""

    start: int = 2000  # step at which it begins; it and its weight grow over train.tokenizer.warmup steps
    lr: float = 3e-4  # its highest learning rate
    filters: int = 64  # channels of its first layer, twice as many after each halving


@dataclass
class ObjectiveConfig:
    """What the predictor is trained for (:mod:`refine.learning.objectives`)."""

    kind: str = "likelihood"  # likelihood (cross-entropy of every code, eq. 18) | an installed kind
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class TrainConfig:
    """The stages, and how often something is written."""

    tokenizer: StageConfig = field(default_factory=lambda: StageConfig(ema=0.0))
    predictor: StageConfig = field(default_factory=StageConfig)
    loss: LossConfig = field(default_factory=LossConfig)  # tokenizer
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)  # tokenizer
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)  # predictor
    scale_weights: list[float] | None = (
        None  # predictor: weights of the scales in the loss; null: their numbers of sites
    )
    # a run or checkpoint to start the weights from, where names and shapes fit (fine-tuning)
    init: str | None = place(None)
    fit_after: int = 200  # tokenizer: steps as a plain autoencoder before the quantizer is fitted to its latents
    fit_items: int = 4096  # tokenizer: training items that the quantizer's start is fitted to
    site_budget: int = 0  # predictor, markov only: sites an item may cost at one scale; larger scales see fewer items
    val_items: int = 1024  # validation items, evenly spread over the split
    val_every: int = 250  # steps between validations; each publishes the checkpoint
    save_every: int = 250  # steps between resume files
    log_every: int = 25  # steps between records in metrics.jsonl
    workers: int = 0  # processes that load data


@dataclass
class TrainerConfig:
    """Passed to Lightning's Trainer as it is."""

    accelerator: str = "auto"  # auto | cpu | gpu | ...
    devices: Any = 1  # how many, a list of them, or auto
    num_nodes: int = 1  # machines
    strategy: str = "auto"  # auto | ddp | fsdp | ...
    precision: str = "32-true"  # 32-true | bf16-mixed | 16-mixed | ...
    accumulate_grad_batches: int = 1  # batches of an optimiser step
    gradient_clip_algorithm: str = "norm"  # norm | value
    deterministic: bool = False  # only algorithms that give the same result every time, where PyTorch has them
    benchmark: bool | None = None  # have cuDNN look for its fastest algorithms
    detect_anomaly: bool = False  # stop where a gradient becomes NaN, and tell which operation made it; slow
    sync_batchnorm: bool = False  # batch statistics over all processes
    profiler: str | None = None  # simple | advanced: time by part, shown at the end
    max_time: str | None = None  # stop after DD:HH:MM:SS; the run can be resumed
    options: dict[str, Any] = field(default_factory=dict)  # any other of Lightning's: options.limit_val_batches=2


@dataclass
class SamplerConfig:
    """What to do with the logits at each scale; each value is a number, or a list by scale."""

    temperature: Any = 1.0  # a number > 0, or a list by scale
    top_k: Any = 0  # likeliest codes kept, or a list by scale; 0 for all
    top_p: Any = 1.0  # mass of the likeliest codes kept, or a list by scale; 1 for all
    min_p: Any = 0.0  # codes less probable than this are dropped, or a list by scale; 0 for none
    gain: Any = 1.0  # of drawn values over expected ones, or a list by scale; auto: restores the variance of sampling
    greedy: bool = False  # the likeliest code, always
    guidance: Any = 1.0  # classifier-free guidance, or a list by scale; 1 for none, at the cost of one pass
    schedule: str = "constant"  # constant | linear (VAR's ramp from 1 to guidance)
    guided: Any = "all"  # the conditions that guidance is about: all | a list of label, vector, field
    smooth: bool = False  # items are of mixtures of codes (VAR's more_smooth): for the eye, not for measurements
    strategies: list[str] = field(default_factory=list)  # installed ways of drawing, the innermost first
    options: dict[str, Any] = field(default_factory=dict)  # of strategies: options.NAME.KEY


@dataclass
class Config:
    """A whole run, as ``config.yaml`` in its folder has it.

    The section of a command is an attribute: ``config.sample`` is an instance of the dataclass that ``refine sample``
    has its options in. In the file it stands beside the others, as ``sample:``.
    """

    domain: Any  # an instance of the domain's own Config
    domain_name: str  # what the domain is called; set by domain=NAME
    model: Any = field(default_factory=ModelConfig)  # an instance of the domain's ModelConfig
    train: Any = field(default_factory=TrainConfig)  # TrainConfig, or what the domain makes of it
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    commands: dict[str, Any] = field(default_factory=dict)  # the section of each command, by its name
    stage: str = "all"  # one of the stages that the model is trained in, or all
    seed: int = 0  # of everything random
    run: str | None = None  # the run's folder; null for runs/<domain>-<time> (train) or the newest (others)

    def __getattr__(self, name: str) -> Any:
        sections = self.__dict__.get("commands", {})
        if name not in sections:
            raise AttributeError(f"a configuration has no section {name!r}; it has {', '.join(sections) or 'none'}")
        return sections[name]

    def plain(self) -> dict[str, Any]:
        """Nested plain data, the sections of commands beside all others."""
        values = asdict(self)
        commands: dict[str, Any] = values.pop("commands")
        return values | commands


CORE = {f.name for f in fields(Config)} - {"commands"}


def split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data of a configuration as what every one has, and the sections of commands."""
    core = {name: value for name, value in values.items() if name in CORE}
    return core, {name: value for name, value in values.items() if name not in CORE}
