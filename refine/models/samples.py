"""Samples as files: for a command, or at the end of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refine.models.model import Model
from refine.settings.bounds import check


def draw_samples(model: Model, config: Any, folder: Path) -> list[Path]:
    """Draw ``sample.num`` items and have the domain write them into ``folder``.

    Args:
        model: it is on the device that it draws on.
        config: a :class:`refine.settings.config.Config`, with its sections ``sample`` and ``sampler``.
        folder: made if needed, once the samples are drawn.

    Returns:
        The files.

    Raises:
        RefineError: a number, class or size that is not accepted.
    """
    wanted = config.sample
    check(wanted, "sample")
    condition = model.domain.ask(wanted.num, wanted.label, wanted.size, wanted.split)
    trail = wanted.gif or wanted.strip > 0
    samples = model.sample_many(wanted.num, condition, config.seed, config.sampler, trail, wanted.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = model.domain.save(samples, folder, gif=wanted.gif, strip=wanted.strip)
    return files
