"""VAR's tokenizer walk and transformer in double precision, by the book: one pass over all sites under a mask, full
interpolations, no cache, no fused anything. Only what the paper and the files' tensors say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def phi(w: Weights, h: Tensor, k: int, levels: int) -> Tensor:
    """Half the values, half their convolution: the nearest of n, whose places begin half an n-th inside; of four, a
    third of a quarter."""
    names = sorted(n.removesuffix(".weight") for n in w if "quant_resi" in n and n.endswith(".weight"))
    if not names:
        return h
    inset = 1 / 12 if len(names) == 4 else 1 / (2 * len(names))
    places = torch.linspace(inset, 1 - inset, len(names), dtype=torch.float64).tolist()
    name = names[min(range(len(names)), key=lambda i: abs(places[i] - k / (levels - 1)))]
    return 0.5 * h + 0.5 * F.conv2d(h, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)


def values(w: Weights, codes: Tensor, side: int, k: int, levels: int, finest: int) -> Tensor:
    """What the codes (B, side^2) of a scale add to the latent (B, C, finest, finest)."""
    h = w["quantize.embedding.weight"][codes].mT.unflatten(2, (side, side))
    return phi(w, h if side == finest else F.interpolate(h, (finest, finest), mode="bicubic"), k, levels)


def encode(w: Weights, latent: Tensor, scales: Sequence[int]) -> list[Tensor]:
    """Codes of a latent (B, C, n, n): at each scale the nearest to what is left, averaged over cells."""
    rest, codes = latent, []
    for k, side in enumerate(scales):
        z = F.interpolate(rest, (side, side), mode="area").flatten(2).mT
        codes.append(torch.cdist(z, w["quantize.embedding.weight"][None]).argmin(-1))
        rest = rest - values(w, codes[-1], side, k, len(scales), scales[-1])
    return codes


def logits(w: Weights, vae: Weights, codes: Sequence[Tensor], label: Tensor, scales: Sequence[int]) -> Tensor:
    """(B, L, V) given the true codes of all coarser scales; the label after the last is that of no class."""
    heads, depth = w["blocks.0.attn.scale_mul_1H11"].shape[1], sum(n.endswith("q_bias") for n in w)
    class_vector, state, tokens = w["class_emb.weight"][label], None, []
    for k, side in enumerate(scales):
        if state is None:
            tokens.append(class_vector[:, None] + w["pos_start"])
        else:
            seen = F.interpolate(state, (side, side), mode="area").flatten(2).mT
            tokens.append(seen @ w["word_embed.weight"].T + w["word_embed.bias"])
        tokens[-1] = tokens[-1] + w["lvl_embed.weight"][k]
        added = values(vae, codes[k], side, k, len(scales), scales[-1])
        state = added if state is None else state + added
    x = torch.cat(tokens, 1) + w["pos_1LC"]
    level = torch.cat([torch.full((n * n,), k) for k, n in enumerate(scales)])
    hidden = level[:, None] < level
    for i in range(depth):
        b = {name.removeprefix(f"blocks.{i}."): tensor for name, tensor in w.items() if name.startswith(f"blocks.{i}.")}
        if "ada_gss" in b:
            six = linear(w, "shared_ada_lin.1", F.silu(class_vector)).unflatten(1, (6, -1)) + b["ada_gss"][0]
        else:
            six = linear(b, "ada_lin.1", F.silu(class_vector)).unflatten(1, (6, -1))
        gate1, gate2, scale1, scale2, shift1, shift2 = six[:, :, None].unbind(1)
        h = norm(x) * (1 + scale1) + shift1
        qkv = h @ b["attn.mat_qkv.weight"].T + torch.cat([b["attn.q_bias"], 0 * b["attn.q_bias"], b["attn.v_bias"]])
        q, key, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, key = q / q.norm(dim=-1, keepdim=True), key / key.norm(dim=-1, keepdim=True)
        score = q @ key.mT * b["attn.scale_mul_1H11"].clamp(max=torch.tensor(100.0).log().item()).exp()
        mixed = score.masked_fill(hidden, -torch.inf).softmax(-1) @ v
        x = x + gate1 * linear(b, "attn.proj", mixed.transpose(1, 2).flatten(2))
        h = norm(x) * (1 + scale2) + shift2
        x = x + gate2 * linear(b, "ffn.fc2", F.gelu(linear(b, "ffn.fc1", h), approximate="tanh"))
    scale, shift = linear(w, "head_nm.ada_lin.1", F.silu(class_vector))[:, None].chunk(2, -1)
    return linear(w, "head", norm(x) * (1 + scale) + shift)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
