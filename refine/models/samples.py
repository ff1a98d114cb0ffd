"""Samples as files: for a command, or at the end of a training."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from refine.models.model import Model
from refine.settings.bounds import check

ANIMATED = 640  # samples that an animation shows at most


def draw_samples(model: Model, config: Any, folder: Path) -> list[Path]:
    """Draw ``sample.num`` items, batch by batch, and have the domain write each batch into ``folder`` as it comes.

    Args:
        model: it is on the device that it draws on.
        config: a :class:`refine.settings.config.Config`, with its sections ``sample`` and ``sampler``.
        folder: made if needed, once the first samples are drawn.

    Returns:
        The files, and folders of files.

    Raises:
        RefineError: a number, class or size that is not accepted.
    """
    wanted = config.sample
    check(wanted, "sample")
    vector = {} if wanted.vector is None else {"vector": wanted.vector}  # a domain's own ask may know of none
    condition = model.domain.ask(wanted.num, wanted.label, wanted.size, wanted.split, **vector)
    strip, gif = (wanted.strip, wanted.gif) if wanted.pictures else (0, False)
    shown = max(strip, ANIMATED if gif else 0)
    batches = model.sample_batches(wanted.num, condition, config.seed, config.sampler, shown, wanted.batch_size)
    begun = chain([next(batches)], batches)  # what cannot be drawn leaves no folder
    folder.mkdir(parents=True, exist_ok=True)
    options = {"gif": gif, "strip": strip} | ({} if wanted.pictures else {"pictures": False})
    files: list[Path] = model.domain.save_batches(begun, wanted.num, folder, **options)
    return files
