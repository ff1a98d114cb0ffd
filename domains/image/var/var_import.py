"""VAR's published weights as a run like any other: read, checked against one another, renamed, written."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refine.domains.image.domain import ImageConfig, ImageDomain
from refine.domains.image.var.var_files import read_tensors
from refine.domains.image.var.var_layout import Shapes, VAELayout, VARLayout, check
from refine.errors import require
from refine.models.refiner import Refiner
from refine.settings.compose import compose, to_yaml
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig
from refine.storage.files import write_text

LONGEST = 10  # digits of a side
RENAMED = {"shortcut": "nin_shortcut", "proj": "proj_out"}  # parts of a layer that are called otherwise there


def import_var(vae: str, var: str, to: Path, scales: str | None = None, folder: str | None = None) -> dict[str, Any]:
    """Write the run ``to`` with VAR's weights; all is read and checked before anything is written.

    Args:
        vae: file of the tokenizer, as VAR publishes it or trains with it.
        var: file of the transformer, or of a training of it.
        to: the run's folder, new or empty.
        scales: sides of the scales, "1,2,3,4", where the file of the transformer does not tell.
        folder: images of the model's classes, in subfolders that sort as the classes are numbered.

    Returns:
        What the files were found to hold.

    Raises:
        RefineError: a file that is no such file, files that do not belong together, or a folder that is in use.
    """
    to = to.expanduser().resolve()
    free = not to.exists() or (to.is_dir() and not any(to.iterdir()))
    require(free, f"--to {to} is not accepted: it is there already; give a new or an empty folder")
    theirs_vae, theirs_var = read_tensors(vae, "vae_local"), read_tensors(var, "var_wo_ddp")
    encoder, transformer = VAELayout.of(vae, theirs_vae), VARLayout.of(var, theirs_var, parse_scales(scales))
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
    domain = make_domain(encoder, transformer, folder)
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


def make_domain(vae: VAELayout, var: VARLayout, folder: str | None) -> ImageDomain:
    """Images of the size that the scales and the tokenizer's halvings have, from ``folder`` or from nowhere."""
    factor = 2 ** (len(vae.multipliers) - 1)
    return ImageDomain(
        ImageConfig(
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


def codec_names(codec: nn.Module, layout: VAELayout) -> dict[str, str]:
    """The codec's weights, and what VAR calls each."""
    names = {}
    for side, layers in (("encoder", layout.encoder()), ("decoder", layout.decoder())):
        for (number, module), layer in zip(codec.get_submodule(side).named_children(), layers, strict=True):
            for key in module.state_dict():
                part, dot, rest = key.rpartition(".")
                names[f"{side}.{number}.{key}"] = f"{layer}.{RENAMED.get(part, part)}{dot}{rest}"
    return names


def vae_table(model: Refiner, codec: Mapping[str, str], layout: VAELayout) -> Shapes:
    """Every tensor of the tokenizer's file and its shape."""
    shapes = {name: tuple(weight.shape) for name, weight in model.tokenizer.codec.state_dict().items()}
    table = {theirs: shapes[ours] for ours, theirs in codec.items()}
    for phi in layout.phis:
        table |= {f"{phi}.weight": (layout.channels, layout.channels, 3, 3), f"{phi}.bias": (layout.channels,)}
    return table | {"quantize.embedding.weight": (layout.codes, layout.channels)}


def quantizer_weights(theirs: Mapping[str, Tensor], layout: VAELayout) -> dict[str, Tensor]:
    """Codebook and phi convolutions by our names; the running counts as if all codes were used alike."""
    codebook, start = theirs["quantize.embedding.weight"], "tokenizer.quantizer."
    out = {f"{start}codebooks.0": codebook, f"{start}sum_0": codebook, f"{start}count_0": torch.ones(layout.codes)}
    for i, phi in enumerate(layout.phis):
        out |= {f"tokenizer.pyramid.phis.{i}.conv.{part}": theirs[f"{phi}.{part}"] for part in ("weight", "bias")}
    return out | {f"{start}fitted": torch.ones((), dtype=torch.bool)}


def predictor_weights(theirs: Mapping[str, Tensor], layout: VARLayout) -> dict[str, Tensor]:
    """Transformer and head by our names.

    VAR's first tokens are the class and ``pos_start``, without the bias that all others get from ``word_embed``; ours
    are a context of zeros through that same layer. The difference is in the first positions.
    """
    sites = list(theirs["pos_1LC"][0].split([n * n for n in layout.scales]))
    sites[0] = sites[0] + theirs["pos_start"][0] - theirs["word_embed.bias"]
    out = {f"sites.{k}": positions for k, positions in enumerate(sites)}
    out |= {"condition.null": torch.zeros(layout.width), "condition.label.weight": theirs["class_emb.weight"]}
    out |= {"scale.weight": theirs["lvl_embed.weight"]}
    layers = {"context": "word_embed", "final": "head_nm.ada_lin.1"}
    for i in range(layout.depth):
        block = f"blocks.{i}"
        layers |= {f"{block}.attention.proj": f"{block}.attn.proj"}
        layers |= {f"{block}.mlp.0": f"{block}.ffn.fc1", f"{block}.mlp.2": f"{block}.ffn.fc2"}
        out[f"{block}.attention.qkv.weight"] = theirs[f"{block}.attn.mat_qkv.weight"]
        out[f"{block}.attention.log_scale"] = theirs[f"{block}.attn.scale_mul_1H11"][0]
        out |= {f"{block}.attention.{bias}": theirs[f"{block}.attn.{bias}"] for bias in ("q_bias", "v_bias")}
        layers |= {} if layout.shared else {f"modulation.{i}": f"{block}.ada_lin.1"}
    if layout.shared:
        layers["modulation.0"] = "shared_ada_lin.1"
        out["offset"] = torch.cat([theirs[f"blocks.{i}.ada_gss"][0] for i in range(layout.depth)])
    out |= {f"{ours}.{p}": theirs[f"{other}.{p}"] for ours, other in layers.items() for p in ("weight", "bias")}
    head = {f"head.linears.0.{part}": theirs[f"head.{part}"] for part in ("weight", "bias")}
    return {f"predictor.{name}": tensor for name, tensor in out.items()} | head


def sound(name: str, tensor: Tensor) -> Tensor:
    """In single precision.

    Raises:
        RefineError: numbers that are none.
    """
    if not tensor.is_floating_point():
        return tensor
    single = tensor.float()
    require(bool(single.isfinite().all()), f"what becomes {name} has values that are not finite in single precision")
    return single


def write_run(model: Refiner, to: Path) -> None:
    """Checkpoint and configuration under another name first: the folder is there as a whole, or not at all."""
    config = compose(["domain=image", "sampler=var"])
    config.domain, config.model = model.domain.config, model.config
    config.sample = replace(config.sample, num=8, batch_size=8, strip=0)  # at this size a picture of each scale is dear
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
