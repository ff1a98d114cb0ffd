"""State dicts of the true layout of VAR and its tokenizer, in any size, with weights from a closed formula.

The names and shapes are written down from descriptions of the published files, not taken from the code under test.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

TINY = {"scales": (1, 2, 3), "depth": 2, "width": 16, "heads": 2, "classes": 3, "codes": 24, "channels": 4}


def convolution(name: str, inputs: int, outputs: int, size: int = 3) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def residual(name: str, inputs: int, outputs: int) -> Shapes:
    out = norm(f"{name}.norm1", inputs) | convolution(f"{name}.conv1", inputs, outputs)
    out |= norm(f"{name}.norm2", outputs) | convolution(f"{name}.conv2", outputs, outputs)
    return out | (convolution(f"{name}.nin_shortcut", inputs, outputs, 1) if inputs != outputs else {})


def attention(name: str, width: int) -> Shapes:
    out = norm(f"{name}.norm", width) | convolution(f"{name}.qkv", width, 3 * width, 1)
    return out | convolution(f"{name}.proj_out", width, width, 1)


def vae_shapes(
    width: int = 32,
    multipliers: Sequence[int] = (1, 2),
    blocks: int = 1,
    channels: int = 4,
    codes: int = 24,
    scales: int = 3,
    phis: int = 4,
) -> Shapes:
    """The tokenizer's file, its buffer included; the defaults are the smallest that GroupNorm allows."""
    widths = [width * m for m in multipliers]
    last, top = len(widths) - 1, widths[-1]
    out = convolution("encoder.conv_in", 3, width) | convolution("decoder.conv_in", channels, top)
    for level, outputs in enumerate(widths):
        coming, finer = widths[max(0, level - 1)], widths[min(last, level + 1)]
        for i in range(blocks):
            out |= residual(f"encoder.down.{level}.block.{i}", outputs if i else coming, outputs)
        for i in range(blocks + 1):
            out |= residual(f"decoder.up.{level}.block.{i}", outputs if i else finer, outputs)
        if level < last:
            out |= convolution(f"encoder.down.{level}.downsample.conv", outputs, outputs)
        if level > 0:
            out |= convolution(f"decoder.up.{level}.upsample.conv", outputs, outputs)
    for side, level, number in (("encoder", f"down.{last}", blocks), ("decoder", f"up.{last}", blocks + 1)):
        for i in range(number):
            out |= attention(f"{side}.{level}.attn.{i}", top)
        out |= residual(f"{side}.mid.block_1", top, top) | attention(f"{side}.mid.attn_1", top)
        out |= residual(f"{side}.mid.block_2", top, top)
    out |= norm("encoder.norm_out", top) | convolution("encoder.conv_out", top, channels)
    out |= norm("decoder.norm_out", width) | convolution("decoder.conv_out", width, 3)
    for i in range(phis):
        out |= convolution(f"quantize.quant_resi.qresi_ls.{i}", channels, channels)
    out |= {"quantize.embedding.weight": (codes, channels), "quantize.ema_vocab_hit_SV": (scales, codes)}
    return out | convolution("quant_conv", channels, channels) | convolution("post_quant_conv", channels, channels)


def var_shapes(
    scales: Sequence[int], depth: int, width: int, heads: int, classes: int, codes: int, channels: int, shared: bool
) -> Shapes:
    """The transformer's file, its buffers included."""
    sites, d = sum(n * n for n in scales), width
    out: Shapes = {"pos_start": (1, scales[0] ** 2, d), "pos_1LC": (1, sites, d), "lvl_1L": (1, sites)}
    out |= {"attn_bias_for_masking": (1, 1, sites, sites), "lvl_embed.weight": (len(scales), d)}
    out |= {"word_embed.weight": (d, channels), "word_embed.bias": (d,), "class_emb.weight": (classes + 1, d)}
    for i in range(depth):
        block: Shapes = {"attn.scale_mul_1H11": (1, heads, 1, 1), "attn.mat_qkv.weight": (3 * d, d)}
        block |= {f"attn.{name}_bias": (d,) for name in ("q", "v", "zero_k")}
        block |= {"attn.proj.weight": (d, d), "attn.proj.bias": (d,)}
        block |= {"ffn.fc1.weight": (4 * d, d), "ffn.fc1.bias": (4 * d,)}
        block |= {"ffn.fc2.weight": (d, 4 * d), "ffn.fc2.bias": (d,)}
        each: Shapes = {"ada_lin.1.weight": (6 * d, d), "ada_lin.1.bias": (6 * d,)}
        block |= {"ada_gss": (1, 1, 6, d)} if shared else each
        out |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    if shared:
        out |= {"shared_ada_lin.1.weight": (6 * d, d), "shared_ada_lin.1.bias": (6 * d,)}
    out |= {"head_nm.ada_lin.1.weight": (2 * d, d), "head_nm.ada_lin.1.bias": (2 * d,)}
    return out | {"head.weight": (codes, d), "head.bias": (codes,)}


def weights(shapes: Shapes, scales: Sequence[int] = (1, 2, 3)) -> dict[str, Tensor]:
    """Numbers that make every part count: sin(0.618 (i + 1)^2 + h) for the i-th number of a tensor, h from its name.

    Matrices have variance one over their inputs, three times that of the head; biases a tenth; gains are around one.
    """
    out = {name: size(name, shape) * wave(name, shape) + offset(name) for name, shape in shapes.items()}
    out = {name: tensor.float() for name, tensor in out.items()}
    level = torch.cat([torch.full((n * n,), k) for k, n in enumerate(scales)])
    if "lvl_1L" in out:
        out["lvl_1L"] = level[None]
        out["attn_bias_for_masking"] = torch.where(level[:, None] >= level, 0.0, -torch.inf)[None, None]
    return out | {name: torch.zeros(shapes[name]) for name in shapes if name.endswith("zero_k_bias")}


def wave(name: str, shape: tuple[int, ...]) -> Tensor:
    steps = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return (0.6180339887498949 * steps**2 + zlib.crc32(name.encode()) % 1000).sin().reshape(shape)


def size(name: str, shape: tuple[int, ...]) -> float:
    if name.endswith("bias"):
        return 0.1
    if "norm" in name or name.startswith(("pos_", "lvl_embed")) or "ada_gss" in name or "scale_mul" in name:
        return 0.4
    if name in ("class_emb.weight", "quantize.embedding.weight"):
        return 1.0
    return (4.0 if name == "head.weight" else 1.4) / math.prod(shape[1:]) ** 0.5


def offset(name: str) -> float:
    if "scale_mul" in name:
        return math.log(4)
    return 1.0 if "norm" in name and name.endswith("weight") else 0.0


def images(num: int, side: int = 6) -> Tensor:
    """(num, 3, side, side) within [-1, 1]."""
    return wave("images", (num, 3, side, side)).float()
