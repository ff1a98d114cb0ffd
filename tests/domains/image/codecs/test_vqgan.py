from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.codecs.vqgan import Double, Halve, Residual, SelfAttention, VQGANCodec
from refine.errors import RefineError


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("multipliers", "size"), [([1], (6, 4)), ([1, 2], (8, 6)), ([1, 1, 2, 2, 4], (32, 48))])
def test_latents_have_a_site_for_every_patch(multipliers: list[int], size: tuple[int, int]) -> None:
    factor = 2 ** (len(multipliers) - 1)
    codec, x = VQGANCodec((3, *size), 5, factor, 32, multipliers, blocks=1), noise(2, 3, *size)
    latent = codec.encode(x)
    assert latent.shape == (2, size[0] * size[1] // factor**2, 5)
    output = codec.decode(latent)
    assert output.shape == x.shape
    codec.reconstruction_loss(output, x).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in codec.parameters())


def test_it_has_the_layers_of_the_published_one() -> None:
    with torch.device("meta"):
        codec = VQGANCodec((3, 256, 256), 32, 16, 160, [1, 1, 2, 2, 4], blocks=2)
    kinds = {
        kind: sum(isinstance(m, kind) for m in codec.modules()) for kind in (Residual, SelfAttention, Halve, Double)
    }
    assert list(kinds.values()) == [10 + 2 + 15 + 2, 2 + 1 + 3 + 1, 4, 4]
    sides = [sum(p.numel() for p in side.parameters()) for side in (codec.encoder, codec.decoder)]
    assert sum(sides) == 108_948_355 - 4096 * 32 - 4 * (32 * 32 * 9 + 32)  # less codebook and phi


def test_halving_pads_to_the_right_and_below() -> None:
    halve = Halve(1)
    nn.init.zeros_(halve.conv.bias)  # type: ignore[arg-type]
    for row, column in [(0, 0), (1, 2), (2, 2)]:  # which pixel of its 3x3 patch each output takes
        nn.init.zeros_(halve.conv.weight)
        halve.conv.weight.data[0, 0, row, column] = 1
        x = noise(1, 1, 6, 8)
        padded = F.pad(x, (0, 2, 0, 2))[:, :, row:, column:][:, :, :6:2, :8:2]
        torch.testing.assert_close(halve(x), padded)


def test_doubling_repeats_pixels() -> None:
    double = Double(2)
    nn.init.dirac_(double.conv.weight)
    nn.init.zeros_(double.conv.bias)  # type: ignore[arg-type]
    x = noise(1, 2, 3, 4)
    torch.testing.assert_close(double(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_attention_is_over_all_sites_by_scaled_products() -> None:
    layer, x = SelfAttention(32).double(), noise(2, 32, 3, 4).double()
    out = layer(x)
    h = F.group_norm(x, 32, layer.norm.weight, layer.norm.bias, 1e-6)
    q, k, v = (layer.qkv.weight[:, :, 0, 0] @ h.flatten(2) + layer.qkv.bias[:, None]).split(32, 1)
    weights = torch.einsum("bcq,bck->bqk", q, k).mul(32**-0.5).softmax(-1)
    mixed = torch.einsum("bqk,bck->bcq", weights, v)
    wanted = x.flatten(2) + layer.proj.weight[:, :, 0, 0] @ mixed + layer.proj.bias[:, None]
    torch.testing.assert_close(out.flatten(2), wanted)


def test_residual_blocks_by_hand() -> None:
    layer, x = Residual(32, 64).double(), noise(1, 32, 4, 4).double()

    def silu_norm(h: Tensor, norm: nn.GroupNorm) -> Tensor:
        groups = h.unflatten(1, (32, -1))
        mean, var = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), correction=0, keepdim=True)
        h = ((groups - mean) / (var + 1e-6).sqrt()).flatten(1, 2)
        h = h * norm.weight[:, None, None] + norm.bias[:, None, None]
        return h * h.sigmoid()

    nn.init.normal_(layer.norm1.weight)
    wanted = layer.conv2(silu_norm(layer.conv1(silu_norm(x, layer.norm1)), layer.norm2))
    torch.testing.assert_close(layer(x), wanted + F.conv2d(x, layer.shortcut.weight, layer.shortcut.bias))  # type: ignore[arg-type]


def test_it_learns_to_reconstruct() -> None:
    torch.manual_seed(0)
    x = F.interpolate(noise(16, 1, 4, 4).clamp(-1, 1), size=(8, 8), mode="bilinear")
    codec = VQGANCodec((1, 8, 8), 4, 2, 16, [1, 2], blocks=1)
    optimiser = torch.optim.Adam(codec.parameters(), lr=3e-3)
    for _ in range(80):
        loss = codec.reconstruction_loss(codec.decode(codec.encode(x)), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1 * float(x.var())


def test_options_that_do_not_fit() -> None:
    with pytest.raises(RefineError, match=r"domain.factor=4 does not go with .*\[1, 2\]: 2 levels have factor=2"):
        VQGANCodec((3, 8, 8), 4, 4, 32, [1, 2], 1)
    for multipliers in ([], [1, 0], [1.5]):
        with pytest.raises(RefineError, match=r"domain.multipliers=.* is not accepted; accepted: a list of whole"):
            VQGANCodec((3, 8, 8), 4, 1, 32, multipliers, 1)  # type: ignore[arg-type]
    with pytest.raises(RefineError, match=r"domain.blocks=0 is not accepted; accepted: 1 or more"):
        VQGANCodec((3, 8, 8), 4, 2, 32, [1, 2], 0)
    with pytest.raises(RefineError, match=r"domain.width=0 is not accepted"):
        VQGANCodec((3, 8, 8), 4, 2, 0, [1, 2], 1)
    with pytest.raises(RefineError, match=r"factor=2 does not divide images of 7x8"):
        VQGANCodec((3, 7, 8), 4, 2, 32, [1, 2], 1)


def test_as_a_codec_of_the_domain() -> None:
    config = ImageConfig(
        data="digits", codec="vqgan", width=32, blocks=1, multipliers=[1, 2], factor=2, scales=[1, 2, 4]
    )
    codec = ImageDomain(config).codec()
    assert isinstance(codec, VQGANCodec) and codec.image == (1, 8, 8) and codec.channels == 4


def test_a_domain_without_images() -> None:
    config = ImageConfig(data="none", size=8, channels=3, classes=12, scales=[1, 2, 4, 8])
    domain = ImageDomain(config)
    assert domain.condition.num_classes == 12 and domain.class_names()[10:] == ["10", "11"]
    assert domain.config.classes == 12  # a number stays a number in files
    with pytest.raises(RefineError, match=r"domain.data=none: this model came without images"):
        domain.dataset("train")
    with pytest.raises(RefineError, match=r"domain.size, channels and classes have to be given"):
        ImageDomain(ImageConfig(data="none", size=8, classes=3))
    for wrong in (-1, True, "ten", [1, 2]):
        with pytest.raises(RefineError, match=r"domain.classes=.* is not accepted; accepted: a list of names, or how"):
            ImageDomain(ImageConfig(data="none", size=8, channels=3, classes=wrong))
