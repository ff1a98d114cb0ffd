"""One forecast step of one member as it stands after every scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from refine.domains.weather.fields.names import describe
from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.pictures.forecast_pictures import refinement_strip
from refine.items import collate_of
from refine.noise import Noise
from refine.settings.config import SamplerConfig

CHANNELS = 3  # shown


@torch.no_grad()
def plot_strip(model: Forecaster, scales: Sequence[str], path: Path) -> Path:
    """Draw a step from the last validation day: the mean, what every scale adds, and what came to be.

    Args:
        model: with a trained predictor.
        scales: their names.
        path: of the picture.
    """
    pairs = model.domain.dataset("val")
    batch = {n: t.to(model.device) for n, t in collate_of(pairs)([pairs[len(pairs) - 1]]).items()}
    fields, mean = model.refinement(batch, Noise(0, [0]), SamplerConfig(gain="auto"))
    shown = slice(0, CHANNELS)
    return refinement_strip(
        [f[0, shown].cpu().numpy() for f in fields],
        scales,
        {name: describe(name).units for name in model.channels[shown]},
        model.grid,
        path,
        truth=batch["after"][0, shown].cpu().numpy(),
        mean=mean[0, shown].cpu().numpy(),
        static=model.domain.static(),
    )
