from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refine.domains.image.codecs.codec import ConvCodec, LinearCodec, PixelCodec
from refine.errors import RefineError
from refine.models.codec import Codec


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def fitted(codec: Codec, x: Tensor, lr: float, steps: int) -> float:
    """The codec's loss on ``x`` after some steps of Adam."""
    optimiser = torch.optim.Adam(codec.parameters(), lr=lr)
    for _ in range(steps):
        loss = codec.reconstruction_loss(codec.decode(codec.encode(x)), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("size", [(32, 32), (48, 16)])
def test_conv_latents_have_a_site_for_every_patch(factor: int, size: tuple[int, int]) -> None:
    codec, x = ConvCodec((3, *size), 5, factor, width=8, blocks=1), images(2, 3, *size)
    latent = codec.encode(x)
    assert latent.shape == (2, size[0] * size[1] // factor**2, 5)
    output = codec.decode(latent)
    assert output.shape == x.shape
    codec.reconstruction_loss(output, x).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in codec.parameters())


def test_conv_latents_have_mean_zero_and_variance_one_in_training() -> None:
    codec = ConvCodec((1, 8, 8), 3, 2, width=8, blocks=1)
    latent = codec.encode(7 * images(64, 1, 8, 8) + 2).flatten(0, 1)
    torch.testing.assert_close(latent.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(latent.var(0), torch.ones(3), atol=0.01, rtol=0)


def test_sites_run_row_by_row() -> None:
    x = images(1, 1, 8, 12)
    for codec in (LinearCodec((1, 8, 12), 4, 4), ConvCodec((1, 8, 12), 4, 4, width=8, blocks=0)):
        codec.eval()  # in training, latents of a batch are normalised together
        for row, column, site in [(0, 11, 2), (7, 0, 3), (7, 11, 5)]:  # corners, which one patch alone sees
            moved = x.clone()
            moved[..., row, column] += 1
            change = (codec.encode(moved) - codec.encode(x)).abs().sum(-1)[0]
            assert change.nonzero()[:, 0].tolist() == [site]


def test_pixels_are_their_own_latent() -> None:
    codec, x = PixelCodec((3, 4, 5)), images(2, 3, 4, 5)
    latent = codec.encode(x)
    assert codec.channels == 3 and latent.shape == (2, 20, 3)
    assert torch.equal(latent[:, 7], x[:, :, 1, 2]) and torch.equal(codec.decode(latent), x)
    assert not list(codec.parameters())


@pytest.mark.parametrize(("image", "factor"), [((1, 8, 8), 8), ((1, 8, 12), 4), ((2, 6, 6), 3)])
def test_the_linear_codec_is_affine_and_inverts_where_it_keeps_every_dimension(
    image: tuple[int, int, int], factor: int
) -> None:
    channels = image[0] * factor**2
    codec = LinearCodec(image, channels, factor).double()
    a, b = images(2, *image).double(), images(2, *image).double().flip(0)
    mixed = 0.3 * codec.encode(a) + 0.7 * codec.encode(b)
    torch.testing.assert_close(codec.encode(0.3 * a + 0.7 * b), mixed)
    with torch.no_grad():  # the decoder that undoes the encoder: latent = W x + b  =>  x = W^-1 latent - W^-1 b
        inverse = torch.linalg.inv(codec.encoder.weight.flatten(1))  # type: ignore[operator, union-attr]
        codec.decoder.weight.copy_(inverse.T.reshape(codec.decoder.weight.shape))  # type: ignore[operator, union-attr]
        codec.decoder.bias.zero_()  # type: ignore[operator, union-attr]
    latent = codec.encode(a) - codec.encoder.bias  # type: ignore[operator]
    torch.testing.assert_close(codec.decode(latent), a)


def test_a_linear_codec_learns_what_principal_components_would_give() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, 16))[0][:3]
    x = (torch.randn(512, 3) @ basis + 0.5).reshape(512, 1, 4, 4)
    codec = LinearCodec((1, 4, 4), 3, 4)
    assert fitted(codec, x, lr=0.02, steps=600) < 1e-4


def test_a_conv_codec_learns_to_reconstruct() -> None:
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(images(32, 1, 4, 4), size=(16, 16), mode="bilinear")
    codec = ConvCodec((1, 16, 16), 4, 4, width=16, blocks=1)
    assert fitted(codec, x, lr=3e-3, steps=150) < 0.1 * float(x.var())


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(RefineError, match=r"factor=4 does not divide images of 8x10"):
        ConvCodec((1, 8, 10), 4, 4, 8, 1)
    with pytest.raises(RefineError, match=r"factor=3 is not accepted; accepted: 1, 2, 4, 8, 16"):
        ConvCodec((1, 9, 9), 4, 3, 8, 1)
    with pytest.raises(RefineError, match="factor=5 does not divide"):
        LinearCodec((1, 28, 28), 4, 5)
    with pytest.raises(RefineError, match="width=7 is not accepted"):
        ConvCodec((1, 8, 8), 4, 2, 7, 1)
    for codec in (PixelCodec((1, 8, 8)), ConvCodec((1, 8, 8), 4, 2, 8, 1), LinearCodec((1, 8, 8), 4, 2)):
        with pytest.raises(RefineError, match=r"images of shape \(3, 8, 8\) do not fit a codec .* \(1, 8, 8\)"):
            codec.encode(images(2, 3, 8, 8))


def test_the_linear_decoder_is_a_transposed_convolution() -> None:
    codec = LinearCodec((3, 8, 12), 5, 4)
    latent = images(2, 6, 5)
    plain = torch.nn.functional.conv_transpose2d(
        latent.transpose(1, 2).unflatten(2, (2, 3)), codec.decoder.weight, codec.decoder.bias, stride=4
    )
    torch.testing.assert_close(codec.decode(latent), plain)
