"""Starting a training from weights that are there already: fine-tuning on other data, or of a changed model."""

from __future__ import annotations

import torch

from refine.errors import require
from refine.models.model import Model
from refine.progress import console
from refine.settings.places import opened
from refine.storage import hub
from refine.storage.checkpoint import load_checkpoint


@torch.no_grad()
def start_from(model: Model, source: str | None) -> None:
    """Give ``model`` the weights of a checkpoint, as far as names and shapes fit; the others stay as they are.

    A quantizer counts as fitted only where all of its tokenizer comes from there.

    Args:
        model: changed in place.
        source: folder of a run or checkpoint, or a repository of the hub; None for nothing.

    Raises:
        RefineError: no checkpoint, of another domain, or one of which nothing fits.
    """
    if source is None:
        return
    header, weights = load_checkpoint(hub.locate(opened(source, "train.init")))
    name = model.domain.name
    require(header["domain"] == name, f"train.init={source!r} is a model of domain {header['domain']!r}, not {name!r}")
    own = model.state_dict()
    fits = [n for n, tensor in weights.items() if n in own and own[n].shape == tensor.shape]
    partly = {n.partition(".")[0] for n in own if n not in fits}
    fits = [n for n in fits if not (n.endswith(".fitted") and n.partition(".")[0] in partly)]
    require(bool(fits), f"train.init={source!r} is not accepted: none of its weights fits this model")
    for n in fits:
        own[n].copy_(weights[n])
    others = sorted({".".join(n.split(".")[:2]) for n in own if n not in fits})
    text = f"Started from {source}: {len(fits)} of {len(own)} weights"
    console.print(text + (f"; new are {', '.join(others[:5])}" if others else ""), soft_wrap=True)
