from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.image.codecs.codec import ConvCodec, LinearCodec, PixelCodec
from refine.domains.image.codecs.discriminator import PatchDiscriminator
from refine.domains.image.codecs.vqgan import VQGANCodec
from refine.errors import RefineError
from refine.learning.adversarial import hinge
from refine.models.codec import Codec


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


SIZES = [(1, 1), (2, 3), (7, 9), (8, 8), (13, 64), (27, 27), (28, 28), (32, 32), (64, 48), (63, 65), (512, 16)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_get_finite_logits_and_gradients(channels: int, size: tuple[int, int]) -> None:
    discriminator = PatchDiscriminator((channels, *size), width=4)
    x = images(2, channels, *size).requires_grad_()
    logits = discriminator(x)
    assert logits.shape[:2] == (2, 1) and min(logits.shape[2:]) == max(1, min(size) >> halvings(size))
    hinge(logits[:1], logits[1:]).backward()
    for tensor in (x, *discriminator.parameters()):
        assert tensor.grad is not None and bool(tensor.grad.isfinite().all())


def halvings(size: tuple[int, int]) -> int:
    """Three at most, and two pixels are to be left."""
    return next((n for n in (3, 2, 1) if min(size) >> n >= 2), 0)


def test_an_image_is_judged_alone_and_a_patch_by_what_is_near_it() -> None:
    torch.manual_seed(0)
    discriminator, x = PatchDiscriminator((3, 64, 64), width=4).double(), images(4, 3, 64, 64).double()
    logits = discriminator(x)
    torch.testing.assert_close(discriminator(x[1:2]), logits[1:2])
    discriminator.apply(
        lambda m: m.register_forward_hook(lambda m, x, y: x[0]) if isinstance(m, nn.GroupNorm) else None
    )
    changed = x.clone()
    changed[:, :, 0, 0] += 1  # GroupNorm left out: it knows the whole image's contrast
    moved = (discriminator(changed) - discriminator(x)).abs()[0, 0] > 1e-12
    assert bool(moved[0, 0]) and not bool(moved[3:].any() or moved[:, 3:].any())


def test_it_learns_to_tell_sharp_images_from_blurred_ones() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator((1, 16, 16), width=8)
    optimiser = torch.optim.AdamW(discriminator.parameters(), 2e-3, betas=(0.5, 0.9))
    for step in range(60):
        sharp = torch.randn(32, 1, 16, 16, generator=torch.Generator().manual_seed(step)).sign()
        loss = hinge(discriminator(sharp), discriminator(F.avg_pool2d(sharp, 3, 1, 1)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3


@pytest.mark.parametrize(
    "codec",
    [
        ConvCodec((3, 16, 16), 4, 4, 8, 1),
        ConvCodec((1, 9, 15), 4, 1, 8, 1),
        LinearCodec((3, 16, 16), 4, 8),
        VQGANCodec((3, 16, 16), 4, 2, 8, [1, 2], 1),
    ],
    ids=lambda c: type(c).__name__,
)
def test_the_last_layer_is_the_one_that_makes_pixels(codec: Codec) -> None:
    """An image is linear in its weight, and no other weight of the decoder lies behind it."""
    latent = images(2, codec.grid[0] * codec.grid[1], codec.channels)  # type: ignore[operator, index]
    last, names = codec.last_layer(), dict(codec.named_parameters())
    bias = names[next(n for n, p in names.items() if p is last).replace("weight", "bias")]
    shape = codec.decode(latent).shape
    with torch.no_grad():
        once = codec.decode(latent) - bias.view(1, -1, 1, 1)
        last.mul_(2)
        twice = codec.decode(latent) - bias.view(1, -1, 1, 1)
    torch.testing.assert_close(twice, 2 * once)
    assert codec.discriminator(4)(codec.decode(latent)).isfinite().all() and len(shape) == 4


def test_pixels_that_are_their_own_latent_have_nothing_to_train() -> None:
    with pytest.raises(RefineError, match=r"train\.loss\.adversarial needs a codec that learns; .*: 0"):
        PixelCodec((1, 8, 8)).last_layer()
