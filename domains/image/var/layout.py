"""The files of VAR and of its tokenizer: what their tensors are called, which shapes they have, and what that says of
the model (Tian et al. 2024, https://arxiv.org/abs/2404.02905)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from refine.errors import RefineError, require

Shapes = dict[str, tuple[int, ...]]

SCHEDULES = {
    680: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    2240: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
    9451: (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64),
}
"""Sides of the published models' scales (256, 512 and 1024 pixels), by the number of their sites in all."""

BUFFERS = re.compile(r"lvl_1L|attn_bias_for_masking|blocks\.\d+\.attn\.zero_k_bias|quantize\.ema_vocab_hit_SV")
"""What the files hold beside weights; nothing here needs it."""


@dataclass(frozen=True)
class VAELayout:
    """VAR's tokenizer.

    Attributes:
        pixels: channels of images.
        width: of the finest level.
        multipliers: width of each level in ``width``, finest first.
        blocks: residual blocks of each level of the encoder.
        channels: of the latent.
        codes: size of the codebook.
        phis: how the phi convolutions are called.
    """

    pixels: int
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    channels: int
    codes: int
    phis: tuple[str, ...]

    @classmethod
    def of(cls, file: str, tensors: Mapping[str, Tensor]) -> VAELayout:
        """Read off the shapes in ``file``.

        Raises:
            RefineError: it is no such file.
        """
        other = f"{file} holds a VAR, not its tokenizer: give it as --var"
        require("quantize.embedding.weight" in tensors or "word_embed.weight" not in tensors, other)
        width, pixels, *_ = _shape(file, tensors, "encoder.conv_in.weight", 4)
        codes, channels = _shape(file, tensors, "quantize.embedding.weight", 2)
        levels = _count(tensors, r"encoder\.down\.(\d+)\.")
        first = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
        widths = [_shape(file, tensors, name, 4)[0] for name in first]
        whole = bool(widths) and all(w % width == 0 for w in widths)
        require(whole, f"{file}: levels of widths {widths}; expected multiples of {width}, the width of the first")
        return cls(
            pixels=pixels,
            width=width,
            multipliers=tuple(w // width for w in widths),
            blocks=_count(tensors, r"encoder\.down\.0\.block\.(\d+)\."),
            channels=channels,
            codes=codes,
            phis=_phis(tensors),
        )

    def encoder(self) -> list[str]:
        """The layers of the encoder in the order of their application."""
        last, names = len(self.multipliers) - 1, ["encoder.conv_in"]
        for level in range(len(self.multipliers)):
            for block in range(self.blocks):
                names += [f"encoder.down.{level}.{part}.{block}" for part in ("block", "attn")[: 1 + (level == last)]]
            names += [f"encoder.down.{level}.downsample"] if level < last else []
        return [*names, *(f"encoder.{name}" for name in (*MIDDLE, "norm_out", "conv_out")), "quant_conv"]

    def decoder(self) -> list[str]:
        """The layers of the decoder in the order of their application."""
        last = len(self.multipliers) - 1
        names = ["post_quant_conv", *(f"decoder.{name}" for name in ("conv_in", *MIDDLE))]
        for level in reversed(range(len(self.multipliers))):
            for block in range(self.blocks + 1):
                names += [f"decoder.up.{level}.{part}.{block}" for part in ("block", "attn")[: 1 + (level == last)]]
            names += [f"decoder.up.{level}.upsample"] if level else []
        return [*names, "decoder.norm_out", "decoder.conv_out"]


MIDDLE = ("mid.block_1", "mid.attn_1", "mid.block_2")


@dataclass(frozen=True)
class VARLayout:
    """VAR's transformer.

    Attributes:
        depth: blocks.
        width: of tokens.
        heads: of attention.
        hidden: width inside the MLPs.
        classes: labels, without the one that stands for none.
        codes: of the codebook it predicts.
        channels: of the latent it reads.
        scales: sides of the scales, coarsest first.
        shared: whether one adaptive LayerNorm serves all blocks.
    """

    depth: int
    width: int
    heads: int
    hidden: int
    classes: int
    codes: int
    channels: int
    scales: tuple[int, ...]
    shared: bool

    @classmethod
    def of(cls, file: str, tensors: Mapping[str, Tensor], scales: Sequence[int] | None = None) -> VARLayout:
        """Read off the shapes in ``file``.

        Args:
            scales: sides of the scales, where the file does not tell.

        Raises:
            RefineError: it is no such file, or its scales are others or unknown.
        """
        other = f"{file} holds VAR's tokenizer, not a VAR: give it as --vae"
        require("word_embed.weight" in tensors or "quantize.embedding.weight" not in tensors, other)
        _, sites, width = _shape(file, tensors, "pos_1LC", 3)
        levels, first = _shape(file, tensors, "lvl_embed.weight", 2)[0], _shape(file, tensors, "pos_start", 3)[1]
        codes, channels = _shape(file, tensors, "head.weight", 2)[0], _shape(file, tensors, "word_embed.weight", 2)[1]
        heads = _shape(file, tensors, "blocks.0.attn.scale_mul_1H11", 4)[1]
        good = heads > 0 and width % heads == 0
        require(good, f"{file}: blocks.0.attn.scale_mul_1H11 has {heads} heads; expected a divisor of {width}")
        rows = _shape(file, tensors, "class_emb.weight", 2)[0]
        require(rows > 1, f"{file}: class_emb.weight has {rows} row; expected one for each class and one for none")
        return cls(
            depth=_count(tensors, r"blocks\.(\d+)\."),
            width=width,
            heads=heads,
            hidden=_shape(file, tensors, "blocks.0.ffn.fc1.weight", 2)[0],
            classes=rows - 1,
            codes=codes,
            channels=channels,
            scales=_scales(file, scales or _told(tensors, sites) or SCHEDULES.get(sites), sites, levels, first),
            shared="shared_ada_lin.1.weight" in tensors,
        )

    def table(self) -> Shapes:
        """Every tensor and its shape."""
        d, sites = self.width, sum(n * n for n in self.scales)
        out: Shapes = {
            "pos_start": (1, self.scales[0] ** 2, d),
            "pos_1LC": (1, sites, d),
            "lvl_embed.weight": (len(self.scales), d),
            "class_emb.weight": (self.classes + 1, d),
            **_linear("word_embed", self.channels, d),
            **(_linear("shared_ada_lin.1", d, 6 * d) if self.shared else {}),
        }
        for i in range(self.depth):
            block = {
                "attn.scale_mul_1H11": (1, self.heads, 1, 1),
                "attn.q_bias": (d,),
                "attn.v_bias": (d,),
                "attn.mat_qkv.weight": (3 * d, d),
                **_linear("attn.proj", d, d),
                **_linear("ffn.fc1", d, self.hidden),
                **_linear("ffn.fc2", self.hidden, d),
                **({"ada_gss": (1, 1, 6, d)} if self.shared else _linear("ada_lin.1", d, 6 * d)),
            }
            out |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
        return out | _linear("head_nm.ada_lin.1", d, 2 * d) | _linear("head", d, self.codes)


def check(file: str, what: str, tensors: Mapping[str, Tensor], table: Shapes) -> None:
    """Make sure that ``file`` has all tensors of ``table`` and, but for buffers, no others.

    Raises:
        RefineError: naming those that are missing, too many, or of another shape.
    """
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items() if not BUFFERS.fullmatch(name)}
    wrong = [f"{n} has shape {found[n]}, expected {table[n]}" for n in table if n in found and found[n] != table[n]]
    faults = {
        "missing": [f"{name} {table[name]}" for name in table if name not in found],
        "not expected": [f"{name} {found[name]}" for name in found if name not in table],
        "misshapen": wrong,
    }
    text = "; ".join(f"{fault}: {_some(names)}" for fault, names in faults.items() if names)
    require(not text, f"{file} is not {what}: {text}")
    kinds = {name: tensors[name].dtype for name in table if not tensors[name].is_floating_point()}
    require(not kinds, f"{file}: {_some([f'{n} is of type {k}' for n, k in kinds.items()])}; accepted: floats")


def _scales(file: str, scales: Sequence[int] | None, sites: int, levels: int, first: int) -> tuple[int, ...]:
    if scales is None:
        known = ", ".join(f"{n} ({len(s)} scales)" for n, s in SCHEDULES.items())
        raise RefineError(
            f"{file} has {levels} scales of {sites} sites in all and does not tell their sizes; known are {known}. "
            "Give them as --scales 1,2,3,4"
        )
    sides, text = tuple(scales), ",".join(map(str, scales))
    total = sum(n * n for n in sides)
    fits = len(sides) == levels and total == sites and sides[0] ** 2 == first
    require(
        fits,
        f"scales {text} are {len(sides)} of {total} sites in all, {sides[0] ** 2} in the first; {file} has {levels} "
        f"scales of {sites} sites in all, {first} in the first",
    )
    return sides


def _told(tensors: Mapping[str, Tensor], sites: int) -> tuple[int, ...] | None:
    """Sides of the scales by the buffer that has the scale of each site, if it is there and makes sense."""
    level = tensors.get("lvl_1L")
    if level is None or level.numel() != sites or level.is_floating_point():
        return None
    counts = level.flatten().unique_consecutive(return_counts=True)[1].tolist()
    sides = tuple(round(n**0.5) for n in counts)
    return sides if [n * n for n in sides] == counts else None


def _phis(tensors: Iterable[str]) -> tuple[str, ...]:
    """Partially shared, shared, one for each scale, or none."""
    names, start = list(tensors), "quantize.quant_resi."
    if f"{start}qresi.weight" in names:
        return (f"{start}qresi",)
    start += "qresi_ls." if any(name.startswith(f"{start}qresi_ls.") for name in names) else ""
    return tuple(f"{start}{i}" for i in range(_count(names, re.escape(start) + r"(\d+)\.")))


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _shape(file: str, tensors: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    found = _some(sorted(tensors)[:6])
    require(name in tensors, f"{file} has no {name}, of {dimensions} dimensions; it has {found:.300}")
    shape = tuple(tensors[name].shape)
    good = len(shape) == dimensions and min(shape) > 0
    require(good, f"{file}: {name} has shape {shape}; expected {dimensions} dimensions")
    return shape


def _count(tensors: Iterable[str], pattern: str) -> int:
    """One more than the highest number that ``pattern`` finds; no more than there are names."""
    names = list(tensors)
    return min(len(names), 1 + max((int(m[1][:9]) for name in names if (m := re.match(pattern, name))), default=-1))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
