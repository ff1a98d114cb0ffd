"""The typed configuration of a run: keys that every model, training and draw has.

A domain adds its own ``Config``, ``ModelConfig`` and more keys of any section (``Domain.sections``); a command adds a
section of its own (:mod:`refine.commands.command`). Values are plain data; nothing in a configuration can name code to
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

from refine.settings.bounds import Text, above, below, by_scale, each, either, one_of, real, whole
from refine.settings.places import Place

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "transformer-engine")
"""What Lightning calls precisions."""


@dataclass
class PyramidConfig:
    """How a latent is taken apart (:mod:`refine.scales.pyramid`)."""

    kind: str = "laplacian"  # laplacian (eq. 12-19) | residual (VAR: state at the finest scale) | an installed one
    # laplacian only: closed | open (eq. 14) | projected (open, each scale adds its band only)
    loop: Annotated[str, one_of("closed", "open", "projected")] = "closed"
    # residual only: number of phi convolutions shared over the scales, 0 for none
    phi: Annotated[int, whole(0, 1000)] = 4
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class QuantizerConfig:
    """How residuals become codes (:mod:`refine.codes.quantizer`)."""

    # vq | fsq | bitwise | none (residuals as they are, predicted by Gaussians: a control) | an installed kind
    kind: str = "vq"
    size: Annotated[Any, by_scale(whole(1))] = 512  # vq: codes, one number or a list by scale
    shared: bool = False  # one codebook for all scales instead of one each
    stages: Annotated[int, whole(1, 62)] = 1  # vq: codes of a site, each for what those before leave
    # vq: latent channels that have codes of their own; null: one for all
    groups: Annotated[list[list[int]] | None, each(each(whole(0)))] = None
    update: Annotated[str, one_of("ema", "gradient")] = "ema"  # vq: ema | gradient
    decay: Annotated[float, below(1)] = 0.99  # vq, update=ema
    cosine: bool = False  # vq: nearest by angle
    revive: Annotated[float, real(0, 1)] = 0.02  # vq: codes used less than this share of their fair share are replaced
    # fsq: levels of each latent channel
    levels: Annotated[list[int], each(whole(2, 65536))] = field(default_factory=lambda: [8, 8, 8])
    sphere: bool = True  # bitwise: BSQ (residuals projected on the sphere) instead of LFQ
    entropy: Annotated[float, real(0)] = 0.1  # bitwise: weight of the entropy term
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class PredictorConfig:
    """The scale-step network, by default a Transformer (:mod:`refine.network.predictor`)."""

    width: Annotated[int, whole(1)] = 128  # D; a multiple of heads
    depth: Annotated[int, whole(1, 1000)] = 4  # blocks
    heads: Annotated[int, whole(1)] = 4  # attention heads
    mlp_ratio: Annotated[float, above(0, 1000)] = 4.0  # hidden width of the MLPs, in widths
    # silu (a tenth of the cost of GELU on CPUs) | gelu (VAR)
    activation: Annotated[str, one_of("silu", "gelu")] = "silu"
    attention: Annotated[str, one_of("markov", "prefix")] = "markov"  # markov | prefix
    # of sites: coordinates (of any grid) | learned (VAR: a vector for each site)
    positions: Annotated[str, one_of("coordinates", "learned")] = "coordinates"
    shared_adaln: bool = True  # one adaptive-LayerNorm projection for all blocks
    dropout: Annotated[float, below(1)] = 0.0  # of both branches of a block
    # share of items trained without any condition, for guidance; of several kinds, each is left out alone as often
    condition_dropout: Annotated[float, real(0, 1)] = 0.1
    # passes in which the codes of a scale are revealed, or a list by scale; markov only where above 1
    rounds: Annotated[Any, by_scale(whole(1, 10_000))] = 1
    kind: str = "transformer"  # transformer | an installed kind
    options: dict[str, Any] = field(default_factory=dict)  # of an installed kind, by name


@dataclass
class ModelConfig:
    """Tokenizer and predictor."""

    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    commitment: Annotated[float, real(0)] = 0.25  # beta of eq. 1


@dataclass
class StageConfig:
    """One stage of training."""

    steps: Annotated[int, whole(1)] = 1000  # optimiser steps
    batch_size: Annotated[int, whole(1, 1_000_000)] = 64  # items, per process
    # adamw | muon (orthogonal momentum on matrices, AdamW on the rest)
    optimizer: Annotated[str, one_of("adamw", "muon")] = "adamw"
    lr: Annotated[float, real(0)] = 1e-3  # the highest learning rate
    weight_decay: Annotated[float, real(0, 1000)] = 0.01  # of matrices only
    warmup: Annotated[int, whole(0)] = 100  # steps of linear warm-up; a cosine follows
    grad_clip: Annotated[float, real(0)] = 1.0  # largest gradient norm; 0 for no limit
    ema: Annotated[float, below(1)] = 0.999  # decay of the averaged weights that are published; 0 for none


@dataclass
class LossConfig:
    """What reconstructions of the tokenizer are trained for: the weight of each term, 0 for none of it."""

    l1: Annotated[float, real(0)] = 0.0  # of the mean absolute error
    # of the codec's own loss: the mean squared error, unless the domain knows better
    l2: Annotated[float, real(0)] = 1.0
    perceptual: Annotated[float, real(0)] = 0.0  # of LPIPS (images; needs torchvision and its VGG-16 weights)
    # of a discriminator's verdict (images), in units of the gradient of the terms above
    adversarial: Annotated[float, real(0)] = 0.0


@dataclass
class DiscriminatorConfig:
    """The discriminator, where train.loss.adversarial is above 0."""

    # step at which it begins; it and its weight grow over train.tokenizer.warmup steps
    start: Annotated[int, whole(0)] = 2000
    lr: Annotated[float, above(0)] = 3e-4  # its highest learning rate
    filters: Annotated[int, whole(1)] = 64  # channels of its first layer, twice as many after each halving


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
    scale_weights: Annotated[list[float] | None, each(real(0))] = (
        None  # predictor: weights of the scales in the loss; null: their numbers of sites
    )
    init: Place = None  # a run or checkpoint to start the weights from, where names and shapes fit (fine-tuning)
    # tokenizer: steps as a plain autoencoder before the quantizer is fitted to its latents
    fit_after: Annotated[int, whole(0)] = 200
    fit_items: Annotated[int, whole(1)] = 4096  # tokenizer: training items that the quantizer's start is fitted to
    # predictor, markov only: sites an item may cost at one scale; larger scales see fewer items
    site_budget: Annotated[int, whole(0)] = 0
    val_items: Annotated[int, whole(1)] = 1024  # validation items, evenly spread over the split
    val_every: Annotated[int, whole(1)] = 250  # steps between validations; each publishes the checkpoint
    save_every: Annotated[int, whole(1)] = 250  # steps between resume files
    log_every: Annotated[int, whole(1)] = 25  # steps between records in metrics.jsonl
    workers: Annotated[int, whole(0, 1000)] = 0  # processes that load data


@dataclass
class TrainerConfig:
    """Passed to Lightning's Trainer as it is."""

    accelerator: Annotated[str, one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu")] = (
        "auto"  # auto | cpu | gpu | cuda | mps | tpu
    )
    # how many, a list of them, or auto
    devices: Annotated[Any, either(whole(1, 10_000), each(whole(0, 10_000)), one_of("auto"))] = 1
    num_nodes: Annotated[int, whole(1, 10_000)] = 1  # machines
    strategy: str = "auto"  # auto | ddp | fsdp | ...
    # of numbers; mixed: of operations, not of weights
    precision: Annotated[str, one_of(*PRECISIONS)] = "32-true"
    accumulate_grad_batches: Annotated[int, whole(1, 1_000_000)] = 1  # batches of an optimiser step
    gradient_clip_algorithm: Annotated[str, one_of("norm", "value")] = "norm"  # norm | value
    deterministic: bool = False  # only algorithms that give the same result every time, where PyTorch has them
    benchmark: bool | None = None  # have cuDNN look for its fastest algorithms
    detect_anomaly: bool = False  # stop where a gradient becomes NaN, and tell which operation made it; slow
    sync_batchnorm: bool = False  # batch statistics over all processes
    # simple | advanced: time by part, shown at the end
    profiler: Annotated[str | None, one_of("simple", "advanced")] = None
    max_time: str | None = None  # stop after DD:HH:MM:SS; the run can be resumed
    options: dict[str, Any] = field(default_factory=dict)  # any other of Lightning's: options.limit_val_batches=2


@dataclass
class SamplerConfig:
    """What to do with the logits at each scale; each value is a number, or a list by scale."""

    temperature: Annotated[Any, by_scale(above(0))] = 1.0  # a number > 0, or a list by scale
    top_k: Annotated[Any, by_scale(whole(0))] = 0  # likeliest codes kept, or a list by scale; 0 for all
    # mass of the likeliest codes kept, or a list by scale; 1 for all
    top_p: Annotated[Any, by_scale(above(0, 1))] = 1.0
    # codes less probable than this are dropped, or a list by scale; 0 for none
    min_p: Annotated[Any, by_scale(below(1))] = 0.0
    # of drawn values over expected ones, or a list by scale; auto: restores the variance of sampling
    gain: Annotated[Any, by_scale(real(0), one_of("auto"))] = 1.0
    greedy: bool = False  # the likeliest code, always
    # classifier-free guidance, or a list by scale; 1 for none, at the cost of one pass
    guidance: Annotated[Any, by_scale(real(0))] = 1.0
    # constant | linear (VAR's ramp from 1 to guidance)
    schedule: Annotated[str, one_of("constant", "linear")] = "constant"
    guided: Any = "all"  # the conditions that guidance is about: all | a list of label, vector, field
    smooth: bool = False  # items are of mixtures of codes (VAR's more_smooth): for the eye, not for measurements
    # installed ways of drawing, the innermost first
    strategies: Annotated[list[str], each(Text(), 0, 100)] = field(default_factory=list)
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
    seed: Annotated[int, whole(0, 2**63 - 1)] = 0  # of everything random
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
