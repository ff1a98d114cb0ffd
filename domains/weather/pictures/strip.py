"""One forecast step of one member as it stands after every scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from refine.items import collate_of
from refine.noise import Noise
from refine.settings.config import SamplerConfig

if TYPE_CHECKING:
    from refine.domains.weather.forecaster.forecaster import Forecaster

CHANNELS = 3  # shown


@torch.no_grad()
def plot_strip(model: Forecaster, path: Path) -> Path:
    """Draw a step from the last validation day: the mean, what every scale adds, and what came to be."""
    from refine.domains.weather.fields.names import describe
    from refine.domains.weather.pictures.forecast_pictures import refinement_strip

    pairs = model.domain.dataset("val")
    batch = {n: t.to(model.device) for n, t in collate_of(pairs)([pairs[len(pairs) - 1]]).items()}
    fields, mean = model.refinement(batch, Noise(0, [0]), SamplerConfig(gain="auto"))
    shown = slice(0, CHANNELS)
    return refinement_strip(
        [f[0, shown].cpu().numpy() for f in fields],
        model.domain.scale_names(),
        {name: describe(name).units for name in model.channels[shown]},
        model.grid,
        path,
        truth=batch["after"][0, shown].cpu().numpy(),
        mean=mean[0, shown].cpu().numpy(),
        static=model.domain.static(),
    )
