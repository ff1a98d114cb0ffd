"""VAR's tensors by refine's names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from refine.domains.image.var.layout import Shapes, VAELayout, VARLayout
from refine.errors import require
from refine.models.refiner import Refiner

RENAMED = {"shortcut": "nin_shortcut", "proj": "proj_out"}  # parts of a layer that are called otherwise there


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
    are a context of zeros through that same layer. The difference is in the first positions; it is taken in single
    precision, whatever the file has.
    """
    sites = list(theirs["pos_1LC"][0].split([n * n for n in layout.scales]))
    first, start, bias = (at_least_single(t) for t in (sites[0], theirs["pos_start"][0], theirs["word_embed.bias"]))
    sites[0] = first + start - bias
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


def at_least_single(tensor: Tensor) -> Tensor:
    """In single precision, or in its own if that is higher."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


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
