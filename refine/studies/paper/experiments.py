"""The experiments behind the tables. Each is a function of data, seed and sizes, and yields while it works."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from refine.codes.vq import VQ
from refine.errors import RefineError
from refine.models.codec import Codec
from refine.storage.files import atomic_write
from refine.studies.paper.closed_forms import (
    Components,
    codebook,
    codebook_floors,
    latent_floors,
    linear_filters,
    mse,
    quantised,
)
from refine.studies.paper.mnist import SIGMA, Digits, autoencoder
from refine.studies.paper.networks import (
    Autoencoder,
    BitwiseCodes,
    Cascade,
    Denoiser,
    LatentMLP,
    PixelMLP,
    SoftmaxCodes,
    high_band,
    paper_pyramid,
)
from refine.studies.paper.training import Work, batches, evaluate, optimiser, psnr, train, update

CODES = 64
TIMED_STEPS = 200

D = TypeVar("D", bound=Denoiser)


@dataclass(frozen=True)
class Setting:
    """What an experiment depends on.

    Attributes:
        data: images.
        seed: of everything random.
        train_size: how many training images predictors and codebooks get; the autoencoder gets all.
        epochs: of every training.
        folder: where trained autoencoders are kept.
    """

    data: Digits
    seed: int
    train_size: int
    epochs: int
    folder: Path

    def images(self) -> Tensor:
        """The seed's own choice of ``train_size`` training images."""
        order = torch.randperm(len(self.data.train), generator=torch.Generator().manual_seed(self.seed))
        return self.data.train[order[: self.train_size]]

    def fresh(self, make: Callable[[], D]) -> D:
        """A model with the seed's initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make()

    def trained_codec(self) -> Codec:
        """The autoencoder as its experiment left it.

        Raises:
            RefineError: its file is damaged, or holds something else.
        """
        codec = autoencoder()
        try:
            codec.load_state_dict(load_file(self.codec_file))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RefineError(f"{self.codec_file} cannot be read ({error}); remove it to have it made again") from None
        return codec.requires_grad_(False)

    @property
    def codec_file(self) -> Path:
        """Of the trained autoencoder."""
        return self.folder / f"autoencoder-{self.epochs}-epochs-seed-{self.seed}.safetensors"

    @torch.no_grad()
    def codebook(self, codec: Codec) -> VQ:
        """64 centroids of the latents of the clean training images, by k-means."""
        latents = torch.cat([codec.encode(part)[:, 0] for part in self.images().split(1000)])
        return codebook(latents, CODES, self.seed)


def closed_forms(setting: Setting) -> Work:
    """Everything that is computed rather than trained."""
    yield
    data, seed = setting.data, setting.seed
    pcs = Components.of(data.train)
    floors = latent_floors(pcs, data.test) | codebook_floors(pcs, data, seed)
    return linear_filters(pcs, data.test, seed) | floors | {"no_detail_hf_psnr": no_detail(data)}


def no_detail(data: Digits) -> float:
    """HF-PSNR of predicting R_0 = 0."""
    band = high_band(data.test, paper_pyramid(2))
    return psnr(torch.zeros_like(band), band)


def train_autoencoder(setting: Setting) -> Work:
    """The linear autoencoder; the error is that of clean test images."""
    data, model = setting.data, setting.fresh(lambda: Autoencoder(autoencoder()))
    figures = yield from train(model, data.train, data.test, setting.seed, sigma=0.0, epochs=setting.epochs)
    codec = model.codec
    with atomic_write(setting.codec_file) as temporary:
        save_file({name: value.contiguous() for name, value in codec.state_dict().items()}, temporary)
    return figures | {"mse": figures["mse_by_epoch"][-1]}


@torch.no_grad()
def codebook_floor(setting: Setting) -> Work:
    """What the nearest of the 64 centroids leaves of clean test images."""
    yield
    codec = setting.trained_codec()
    vq = setting.codebook(codec)
    output = [codec.decode(quantised(vq, codec.encode(part)[:, 0])[:, None]) for part in setting.data.test.split(1000)]
    return {"mse": mse(torch.cat(output), setting.data.test)}


def fit(make: Callable[[Setting], Denoiser]) -> Callable[[Setting], Work]:
    """The experiment of training the model that ``make`` makes."""

    def work(setting: Setting) -> Work:
        data, model = setting.data, setting.fresh(lambda: make(setting))
        figures = yield from train(model, setting.images(), data.test, setting.seed, epochs=setting.epochs)
        parameters = sum(p.numel() for p in model.parameters())
        return figures | evaluate(model, data, setting.seed) | {"parameters": parameters}

    return work


def latent(setting: Setting) -> Denoiser:
    """Table 1's latent model, which is Table 2's regression."""
    return LatentMLP(setting.trained_codec())


def softmax(setting: Setting) -> Denoiser:
    """Table 2's second head."""
    codec = setting.trained_codec()
    return SoftmaxCodes(codec, setting.codebook(codec))


def bitwise(setting: Setting) -> Denoiser:
    """Table 2's third head."""
    codec = setting.trained_codec()
    return BitwiseCodes(codec, setting.codebook(codec))


def step_times(models: Mapping[str, Callable[[Setting], Denoiser]]) -> Callable[[Setting], Work]:
    """The experiment of timing training steps: the models take turns, so that a busy machine is busy for all alike.

    Its figures are medians of CPU seconds for a step.
    """

    def work(setting: Setting) -> Work:
        generator = torch.Generator().manual_seed(setting.seed)
        running = {name: setting.fresh(lambda make=make: make(setting)) for name, make in models.items()}  # type: ignore[misc]
        optimizers = {name: optimiser(model) for name, model in running.items()}
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for clean, noisy in itertools.islice(batches(setting.data.train, SIGMA, generator), TIMED_STEPS):
            for name, model in running.items():
                start = time.process_time()
                update(model, optimizers[name], clean, noisy)
                seconds[name].append(time.process_time() - start)
        yield
        return {name: statistics.median(values) for name, values in seconds.items()}

    return work


@dataclass(frozen=True)
class Experiment:
    """How figures come about.

    Attributes:
        work: yields after every piece of work, and returns the figures.
        all_images: whether it has all training images whatever ``train_size`` says.
        needs_codec: whether the trained autoencoder must be there.
        pieces: how often it yields; None: once an epoch.
    """

    work: Callable[[Setting], Work]
    all_images: bool = False
    needs_codec: bool = False
    pieces: int | None = None


HEADS = {"regression": latent, "softmax": softmax, "bitwise": bitwise}
DEPTHS = {str(s): (lambda setting, s=s: PixelMLP() if s == 1 else Cascade(s)) for s in (1, 2, 3)}

EXPERIMENTS: dict[str, Experiment] = {
    "closed_forms": Experiment(closed_forms, all_images=True, pieces=1),
    "autoencoder": Experiment(train_autoencoder, all_images=True),
    "codebook": Experiment(codebook_floor, needs_codec=True, pieces=1),
    "pixel": Experiment(fit(DEPTHS["1"])),
    "latent": Experiment(fit(latent), needs_codec=True),
    "softmax": Experiment(fit(softmax), needs_codec=True),
    "bitwise": Experiment(fit(bitwise), needs_codec=True),
    "cascade_2": Experiment(fit(DEPTHS["2"])),
    "cascade_3": Experiment(fit(DEPTHS["3"])),
    "time_of_heads": Experiment(step_times(HEADS), all_images=True, needs_codec=True, pieces=1),
    "time_of_depths": Experiment(step_times(DEPTHS), all_images=True, pieces=1),
}
"""By name, in the order in which they run."""
