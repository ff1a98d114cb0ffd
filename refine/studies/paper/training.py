"""One training loop and one evaluation for every model of section 4."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from refine.studies.paper.closed_forms import mse
from refine.studies.paper.mnist import SHIFTED_SIGMA, SIGMA, Digits, FixedNoise
from refine.studies.paper.networks import Denoiser, high_band, paper_pyramid
from refine.studies.store import Figures

BATCH, EPOCHS, TARGET = 256, 30, 0.018
RATE, DECAY = 1e-3, 1e-4
EARLY, EARLY_EVERY, EARLY_IMAGES = 480, 20, 2000
"""Up to this update the error is taken every so often, on so many test images."""

Work = Generator[None, None, Figures]
"""Long work: it yields after every piece, so that progress can be shown, and returns its figures."""


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as zero meanwhile: the decoder's weights of pixels that are always black decay into
    them, and multiplying them takes a CPU thirty times as long."""
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # NumPy measures the limits once, and warns of what it finds if that is now
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def batches(images: Tensor, sigma: float, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: every image once, in a new order and with new noise, clean and noisy; the last batch may be short."""
    for rows in torch.randperm(len(images), generator=generator).split(BATCH):
        clean = images[rows]
        yield clean, clean + sigma * torch.randn(clean.shape, generator=generator)


def optimiser(model: Denoiser) -> torch.optim.Optimizer:
    """AdamW as the paper sets it."""
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)


def update(model: Denoiser, optimizer: torch.optim.Optimizer, clean: Tensor, noisy: Tensor) -> float:
    """One step; returns the norm of the gradient of the whole network."""
    optimizer.zero_grad()
    model.loss(clean, noisy).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    optimizer.step()
    return float(norm)


def train(model: Denoiser, images: Tensor, test: Tensor, seed: int, sigma: float = SIGMA, epochs: int = EPOCHS) -> Work:
    """Train a model; a piece of work is an epoch.

    Args:
        model: fresh.
        images: (N, 1, H, W) to train on.
        test: likewise; their noise is that of the seed.
        seed: of the order of the images and their noise.
        sigma: of the noise.
        epochs: over ``images``.

    Returns:
        ``mse_by_epoch``; ``early``, pairs of update and error within the first updates; ``gradient_mean`` and
        ``gradient_variance`` by epoch, of the norms of the mini-batches' gradients.
    """
    generator, optimizer = torch.Generator().manual_seed(seed), optimiser(model)
    noisy = test + sigma * FixedNoise.of(test, seed).unit
    figures: Figures = {"mse_by_epoch": [], "early": [], "gradient_mean": [], "gradient_variance": []}
    updates = itertools.count(1)
    for _ in range(epochs):
        norms = []
        for clean, corrupted in batches(images, sigma, generator):
            norms.append(update(model, optimizer, clean, corrupted))
            if (step := next(updates)) <= EARLY and step % EARLY_EVERY == 0:
                figures["early"].append([step, mse(denoised(model, noisy[:EARLY_IMAGES]), test[:EARLY_IMAGES])])
        figures["gradient_mean"].append(statistics.fmean(norms))
        figures["gradient_variance"].append(statistics.pvariance(norms))
        figures["mse_by_epoch"].append(mse(denoised(model, noisy), test))
        yield
    return figures


@torch.no_grad()
def denoised(model: Denoiser, noisy: Tensor) -> Tensor:
    """What the model makes of images (N, 1, H, W), in batches."""
    return torch.cat([model(part) for part in noisy.split(1000)])


def evaluate(model: Denoiser, data: Digits, seed: int) -> Figures:
    """Figures of a trained model on the test images, with the noise of the seed.

    ``mse``, ``mse_clamped`` and ``psnr`` under the noise it was trained on; ``mse_shifted`` under more; ``hf_psnr`` of
    the residual band R_0. PSNRs are means over images with peak 1, of outputs clamped to [0, 1]; the band is not.
    """
    x, draw = data.test, FixedNoise.of(data.test, seed)
    output = denoised(model, x + SIGMA * draw.unit)
    shifted = denoised(model, x + SHIFTED_SIGMA * draw.shifted)
    pyramid = paper_pyramid(2)
    return {
        "mse": mse(output, x),
        "mse_clamped": mse(output.clamp(0, 1), x),
        "psnr": psnr(output.clamp(0, 1), x),
        "psnr_unclamped": psnr(output, x),
        "mse_shifted": mse(shifted, x),
        "hf_psnr": psnr(high_band(output, pyramid), high_band(x, pyramid)),
    }


def psnr(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB with peak 1, the mean over images (N, 1, H, W)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(output, target, 1.0, reduction="elementwise_mean", dim=(1, 2, 3)))


def epochs_to(target: float, by_epoch: Sequence[float]) -> int | None:
    """How many epochs it took until the error was at most ``target`` for the first time; None: it never was."""
    return next((epoch for epoch, error in enumerate(by_epoch, 1) if error <= target), None)
