"""VAR's published weights as a run like any other: read, checked against one another, renamed, written."""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from refine.domain import Domain
from refine.domains.image.config import ImageConfig
from refine.domains.image.var.files import VARFiles
from refine.domains.image.var.layout import VAELayout, VARLayout, check
from refine.domains.image.var.tensors import read_tensors
from refine.domains.image.var.weights import codec_names, predictor_weights, quantizer_weights, sound, vae_table
from refine.errors import require
from refine.models.refiner import Refiner
from refine.settings.compose import compose, to_yaml
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig
from refine.storage.files import write_text

LONGEST = 10  # digits of a side


def import_var(domain_class: type[Domain], files: VARFiles, to: Path) -> dict[str, Any]:
    """Write the run ``to`` with VAR's weights; all is read and checked before anything is written.

    Args:
        domain_class: the image domain, of which the run is.
        files: which weights; the subfolders of ``files.folder`` sort as the classes of the model are numbered.
        to: the run's folder, new or empty.

    Returns:
        What the files were found to hold.

    Raises:
        RefineError: a file that is no such file, files that do not belong together, or a folder that is in use.
    """
    to = to.expanduser().resolve()
    free = not to.exists() or (to.is_dir() and not any(to.iterdir()))
    require(free, f"--to {to} is not accepted: it is there already; give a new or an empty folder")
    vae, var, folder = files.vae, files.var, files.folder
    theirs_vae, theirs_var = read_tensors(vae, "vae_local"), read_tensors(var, "var_wo_ddp")
    encoder, transformer = VAELayout.of(vae, theirs_vae), VARLayout.of(var, theirs_var, parse_scales(files.scales))
    named = re.search(r"var_d(\d+)", Path(var).name)
    require(
        named is None or int(named[1]) == transformer.depth,
        f"{var} is of depth {named and named[1]} by its name, and of depth {transformer.depth} by its weights",
    )
    require(
        (encoder.codes, encoder.channels) == (transformer.codes, transformer.channels),
        f"{vae} has a codebook of {encoder.codes} codes with {encoder.channels} channels; {var} expects "
        f"{transformer.codes} codes with {transformer.channels} channels",
    )
    domain = domain_class(image_config(encoder, transformer, folder))
    found = domain.condition.num_classes
    fits = found == transformer.classes
    require(fits, f"--folder {folder} has {found} classes (subfolders); {var} has {transformer.classes}")
    with torch.device("meta"):
        model = Refiner(domain, model_config(encoder, transformer)).eval()
    codec = codec_names(model.tokenizer.codec, encoder)
    check(vae, f"a tokenizer of width {encoder.width}", theirs_vae, vae_table(model, codec, encoder))
    check(var, f"a VAR of depth {transformer.depth} and width {transformer.width}", theirs_var, transformer.table())
    weights = {f"tokenizer.codec.{ours}": theirs_vae[theirs] for ours, theirs in codec.items()}
    weights |= quantizer_weights(theirs_vae, encoder) | predictor_weights(theirs_var, transformer)
    # the files' own memory where it is float32 already; a model of random weights is never made
    model.load_state_dict({name: sound(name, tensor) for name, tensor in weights.items()}, assign=True)
    model.info = {"imported": {"kind": "var", "vae": Path(vae).name, "var": Path(var).name}}
    write_run(model, to)
    return describe(encoder, transformer, sum(p.numel() for p in model.parameters()))


def parse_scales(text: str | None) -> list[int] | None:
    """``--scales`` as numbers.

    Raises:
        RefineError: not numbers that grow.
    """
    if text is None:
        return None
    sides = [int(part) for part in text.split(",") if part.strip().isdecimal() and len(part) < LONGEST]
    good = len(sides) == text.count(",") + 1 and all(a < b for a, b in pairwise([0, *sides]))
    require(good, f"--scales {text} is not accepted; accepted: growing whole numbers with commas between, 1,2,3,4")
    return sides


def image_config(vae: VAELayout, var: VARLayout, folder: str | None) -> ImageConfig:
    """Images of the size that the scales and the tokenizer's halvings have, from ``folder`` or from nowhere."""
    factor = 2 ** (len(vae.multipliers) - 1)
    return ImageConfig(
        data="none" if folder is None else "folder",
        folder=folder,
        size=factor * var.scales[-1],
        channels=vae.pixels,
        classes=var.classes if folder is None else None,
        codec="vqgan",
        factor=factor,
        latent=vae.channels,
        width=vae.width,
        blocks=vae.blocks,
        multipliers=list(vae.multipliers),
        scales=list(var.scales),
    )


def model_config(vae: VAELayout, var: VARLayout) -> ModelConfig:
    """VAR as settings of refine."""
    # the half makes up for rounding where the ratio is no whole number; the width is cut to a whole number again
    ratio = var.hidden / var.width if var.hidden % var.width == 0 else (var.hidden + 0.5) / var.width
    return ModelConfig(
        pyramid=PyramidConfig(kind="residual", phi=len(vae.phis)),
        quantizer=QuantizerConfig(size=vae.codes, shared=True, update="gradient"),
        predictor=PredictorConfig(
            width=var.width,
            depth=var.depth,
            heads=var.heads,
            mlp_ratio=ratio,
            activation="gelu",
            attention="prefix",
            positions="learned",
            shared_adaln=var.shared,
        ),
    )


def write_run(model: Refiner, to: Path) -> None:
    """Checkpoint and configuration under another name first: the folder is there as a whole, or not at all."""
    config = compose(["domain=image", "sampler=var"])
    config.domain, config.model = model.domain.config, model.config
    config.commands["sample"] = replace(
        config.sample, num=8, batch_size=8, strip=0
    )  # at this size a picture of each scale is dear
    config.inpaint.batch_size = config.evaluate.batch_size = 8
    temporary = to.with_name(f".{to.name}-{uuid.uuid4().hex[:8]}")
    try:
        model.save_pretrained(temporary)
        write_text(temporary / "config.yaml", to_yaml(config))
        if to.is_dir():
            to.rmdir()
        temporary.rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def describe(vae: VAELayout, var: VARLayout, parameters: int) -> dict[str, Any]:
    """What a user checks against what they think they have."""
    side = 2 ** (len(vae.multipliers) - 1) * var.scales[-1]
    return {
        "images": f"{side} x {side}",
        "classes": var.classes,
        "scales": ", ".join(map(str, var.scales)),
        "codebook": f"{vae.codes} codes, {vae.channels} channels",
        "depth": var.depth,
        "width": var.width,
        "heads": var.heads,
        "adaptive LayerNorm": "shared by all blocks" if var.shared else "of each block",
        "parameters": f"{parameters:,}",
    }
