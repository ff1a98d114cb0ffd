"""The typed configuration of a run. Every key that a user may set is a field here or in a domain's ``Config``.

Values are plain data; nothing in a configuration can name code to run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PyramidConfig:
    """How a latent is taken apart (:mod:`refine.scales.pyramid`)."""

    kind: str = "laplacian"  # laplacian (eq. 12-19) | residual (VAR: state at the finest scale)
    loop: str = "closed"  # laplacian only: closed | open (eq. 14) | projected (open, each scale adds its band only)
    phi: int = 4  # residual only: number of phi convolutions shared over the scales, 0 for none


@dataclass
class QuantizerConfig:
    """How residuals become codes (:mod:`refine.codes.quantizer`)."""

    kind: str = "vq"  # vq | fsq | bitwise | none (residuals as they are, predicted by Gaussians: a control)
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


@dataclass
class PredictorConfig:
    """The scale-step Transformer (:mod:`refine.network.predictor`)."""

    width: int = 128  # D; a multiple of heads
    depth: int = 4  # blocks
    heads: int = 4  # attention heads
    mlp_ratio: float = 4.0  # hidden width of the MLPs, in widths
    activation: str = "silu"  # silu (a tenth of the cost of GELU on CPUs) | gelu (VAR)
    attention: str = "markov"  # markov | prefix
    positions: str = "coordinates"  # of sites: coordinates (of any grid) | learned (VAR: a vector for each site)
    shared_adaln: bool = True  # one adaptive-LayerNorm projection for all blocks
    dropout: float = 0.0  # of both branches of a block
    condition_dropout: float = 0.1  # share of items trained without their condition, for guidance
    rounds: Any = 1  # passes in which the codes of a scale are revealed, or a list by scale; markov only where above 1


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
class TrainConfig:
    """The stages, and how often something is written."""

    mean: StageConfig = field(default_factory=StageConfig)  # of models that code what a mean forecast leaves open
    tokenizer: StageConfig = field(default_factory=lambda: StageConfig(ema=0.0))
    predictor: StageConfig = field(default_factory=StageConfig)
    loss: LossConfig = field(default_factory=LossConfig)  # tokenizer
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)  # tokenizer
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
    smooth: bool = False  # items are of mixtures of codes (VAR's more_smooth): for the eye, not for measurements


@dataclass
class SampleConfig:
    """`refine sample`."""

    num: int = 64  # samples
    label: Any = None  # a class, a list of classes, or null for all in turn
    size: Any = None  # sites of an item where items differ in them, or a list of sizes in turn; null: as in training
    batch_size: int = 64  # samples drawn at once
    out: str | None = None  # folder to write to; null for samples/ in the run
    gif: bool = False  # also an animation of the refinement, where the domain has one
    strip: int = 8  # samples shown in the refinement strip


@dataclass
class InpaintConfig:
    """`refine inpaint`."""

    image: str | None = None  # a picture, or an item of the model's data as SPLIT:NUMBER (test:17)
    mask: str | None = None  # a PNG of the image's size or the model's: white is painted anew, black is kept
    place: list[int] | None = None  # [top, left, height, width] that the image takes; all around it is painted anew
    keep_scales: int = 0  # coarsest scales whose codes are kept everywhere; without mask and place: super-resolution
    label: Any = None  # a class, a list of classes in turn, or null for none
    num: int = 4  # results
    paste: bool = False  # known pixels as the image has them, not as the kept codes are decoded
    batch_size: int = 64  # results drawn at once
    out: str | None = None  # folder to write to; null for one in samples/ of the run


@dataclass
class EvaluateConfig:
    """`refine evaluate`."""

    split: str = "test"  # train | val | test
    items: int = 10000  # items of the split that are scored
    samples: int = 10000  # drawn samples; of a conditional model, one for the condition of each of as many items
    balanced: bool = False  # as many samples of every class, whatever the split has
    batch_size: int = 100  # items at once
    features: str = "auto"  # images: auto | inception | classifier
    export: str | None = None  # images: an .npz to write the samples to, shuffled, as ADM's evaluator reads them
    forecast: str | None = None  # weather: a store to score; null for one that is made as the section ensemble says


@dataclass
class EnsembleConfig:
    """`refine ensemble`."""

    members: int = 10  # forecasts from each initial time
    lead: str = "10d"  # how far they go, in days or hours (240h)
    start: Any = None  # a date, a list of dates, FIRST..LAST, every:8d, all; null for the last that can be verified
    split: str = "test"  # train | val | test, whose initial times null, every: and all mean
    fields: str | None = None  # data to start from, as domain.data takes it; null for that of the model's domain
    batch_size: int = 10  # members times initial times that are forecast together
    out: str | None = None  # the zarr store to write; null for one in forecasts/ of the run
    scheduler: str | None = None  # address of a Dask scheduler whose workers share the files (tcp://host:8786)
    netcdf: bool = False  # also as one netCDF file
    at: str | None = None  # latitude,longitude of a place to draw a plume for


@dataclass
class Config:
    """A whole run, as ``config.yaml`` in its folder has it."""

    domain: Any  # an instance of the domain's own Config
    domain_name: str  # what the domain is called; set by domain=NAME
    model: Any = field(default_factory=ModelConfig)  # an instance of the domain's ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    inpaint: InpaintConfig = field(default_factory=InpaintConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    stage: str = "all"  # tokenizer | predictor | all the model has
    seed: int = 0  # of everything random
    run: str | None = None  # the run's folder; null for runs/<domain>-<time> (train) or the newest (others)


TRAINING = (
    *("experiment", "domain", "model", "train", "trainer", "sampler"),
    *("sample", "evaluate", "ensemble", "stage", "seed", "run"),
)
"""Sections and keys of a training: what it uses, and what commands that follow find in its run."""
