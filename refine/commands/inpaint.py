"""``refine inpaint``: paint a part of an item anew, and keep the rest."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from refine.commands.sample import load_model, new_folder
from refine.domain import Domain
from refine.errors import require
from refine.registry import load_domain_class, starter
from refine.settings.config import Config
from refine.storage.runs import find_run


def run(config: Config) -> Path:
    """In-paint with ``config.run``, else the newest run of the domain, else the checkpoint that ships with it.

    Returns:
        The folder that was written: ``inpaint.out``, else a new one under ``samples/`` of the run.

    Raises:
        RefineError: no model, a domain that does not in-paint, or an image, a mask or settings that it does not accept.
    """
    wanted, domain = config.inpaint, load_domain_class(config.domain_name)
    if domain.inpaint is Domain.inpaint:
        raise domain.lacks("inpaint", "does not in-paint")
    for name in ("num", "batch_size"):
        value = getattr(wanted, name)
        require(value > 0, f"inpaint.{name}={value} is not accepted; accepted: 1 or more")
    folder = find_run(config)
    source = folder or starter(config.domain_name)
    model = load_model(source, config.trainer)
    out = new_folder("inpaint.out", wanted.out, folder, config.domain_name)
    paths = model.domain.inpaint(model, config, out)
    shown = [p.name for p in paths if p.parent == out]
    text = f"{wanted.num} results of {source} (seed {config.seed}): {out} ({', '.join(shown)})"
    Console().print(text, highlight=False, soft_wrap=True)
    return out
