from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from refine.codes.packing import unpack_bits
from refine.studies.paper.closed_forms import codebook
from refine.studies.paper.mnist import autoencoder
from refine.studies.paper.networks import (
    BitwiseCodes,
    Cascade,
    Denoiser,
    LatentMLP,
    PixelMLP,
    SoftmaxCodes,
    high_band,
    learned_words,
    mlp,
    paper_pyramid,
)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def models() -> dict[str, Denoiser]:
    torch.manual_seed(0)
    codec = autoencoder().requires_grad_(False)
    vq = codebook(codec.encode(images(300))[:, 0], 64, 0)
    made: list[Denoiser] = [PixelMLP(), LatentMLP(codec), SoftmaxCodes(codec, vq), BitwiseCodes(codec, vq)]
    return dict(zip(["pixel", "latent", "softmax", "bitwise"], made, strict=True)) | {
        f"s{s}": Cascade(s) for s in (2, 3)
    }


def test_parameters_are_those_of_the_study() -> None:
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models().items()}
    assert {name: counts[name] for name in ("pixel", "latent", "s2", "s3")} == {
        "pixel": 805_136,
        "latent": 67_136,
        "s2": 803_980,
        "s3": 805_437,
    }


def test_every_model_denoises_images_and_learns_by_its_own_loss() -> None:
    x = images(5)
    for name, model in models().items():
        noisy = x + 0.2
        assert model(noisy).shape == x.shape, name
        torch.testing.assert_close(model(noisy)[2:4], model(noisy[2:4]), msg=name)
        model.loss(x, noisy).backward()
        missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert not missing, name


def test_layers_are_in_the_order_that_the_paper_states() -> None:
    kinds = [type(layer).__name__ for layer in mlp(3, 5, 7)]
    assert kinds == ["Linear", "GELU", "LayerNorm", "Linear"]


def test_the_pyramid_is_burt_and_adelsons_on_reflected_images() -> None:
    x, pyramid = images(2), paper_pyramid(2)
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    blurred = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), (kernel[:, None] * kernel)[None, None])
    coarse, fine = pyramid.gaussian(x.flatten(1)[..., None])
    torch.testing.assert_close(coarse.view(2, 1, 14, 14), blurred[..., ::2, ::2])
    between = torch.zeros(2, 1, 28, 28)
    between[..., ::2, ::2] = coarse.view(2, 1, 14, 14)
    expanded = 4 * F.conv2d(F.pad(between, (2, 2, 2, 2)), (kernel[:, None] * kernel)[None, None])
    up = pyramid.resampler.up(coarse, 0, 1).view(2, 1, 28, 28)
    torch.testing.assert_close(up[..., 4:-4, 4:-4], expanded[..., 4:-4, 4:-4])
    torch.testing.assert_close(up + high_band(x, pyramid), x)
    assert torch.equal(fine.view_as(x), x)


@pytest.mark.parametrize("levels", [2, 3])
def test_a_cascade_of_perfect_stages_is_perfect(levels: int) -> None:
    class Oracle(torch.nn.Module):
        def __init__(self, answer: Tensor) -> None:
            super().__init__()
            self.answer = answer[..., 0]

        def forward(self, inputs: Tensor) -> Tensor:
            assert inputs.shape[1] in (self.answer.shape[1], 2 * self.answer.shape[1])
            return self.answer

    x, model = images(3), Cascade(levels)
    bands = model.pyramid.bands(model.pyramid.gaussian(x.flatten(1)[..., None]))
    model.stages = torch.nn.ModuleList(Oracle(band) for band in bands)
    torch.testing.assert_close(model(x + 0.2), x)
    assert float(model.loss(x, x + 0.2)) < 1e-12
    assert [band.shape[1] for band in bands] == [(28 // 2**i) ** 2 for i in reversed(range(levels))]


def test_no_gradient_passes_from_a_stage_to_those_before() -> None:
    model, x = Cascade(2), images(3)
    last = list(model.refine(x + 0.1))[-1]
    last.values.sum().backward()
    assert all(p.grad is None for p in model.stages[0].parameters())
    assert all(p.grad is not None for p in model.stages[1].parameters())


def test_words_are_different_bits_of_neighbours_in_space() -> None:
    centroids = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    words = learned_words(centroids)
    assert words.shape == (64,) and len(words.unique()) == 64 and 0 <= int(words.min()) <= int(words.max()) < 256
    bits = unpack_bits(words, 8).float()
    far, different = torch.cdist(centroids, centroids), torch.cdist(bits, bits, p=1)
    pairs = torch.triu_indices(64, 64, 1)
    assert torch.corrcoef(torch.stack([far[*pairs], different[*pairs]]))[0, 1] > 0.2


def test_codes_are_the_likeliest_and_decoded_to_their_centroids() -> None:
    x, made = images(20), models()
    for name in ("softmax", "bitwise"):
        model = made[name]
        assert isinstance(model, (SoftmaxCodes, BitwiseCodes))
        codes, logits = model.codes(x), model.logits(x)
        every = torch.arange(64) if name == "softmax" else model.get_buffer("words")
        scores = torch.stack([model.head.log_prob(logits, word.expand(20, 1))[:, 0] for word in every], 1)
        assert torch.equal(codes, scores.argmax(1))
        (vq,), (codec,) = model._vq, model._codec
        torch.testing.assert_close(model(x), codec.decode(vq.codebooks[0][codes][:, None]))
        assert not any("codec" in key or "codebook" in key for key in model.state_dict())
