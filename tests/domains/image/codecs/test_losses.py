"""LPIPS: said clearly where it cannot be had; where it can, a distance with gradients. The layers are VGG-16's, with
random weights, what is made of them is torchmetrics'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from refine.domains.image.codecs import losses
from refine.domains.image.codecs.codec import ConvCodec
from refine.errors import RefineError
from refine.learning.adversarial import Reconstruction
from refine.settings.config import LossConfig, TrainConfig

VGG16 = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]  # 0 halves


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No network is kept from one test to the next."""
    losses.lpips.cache_clear()
    yield
    losses.lpips.cache_clear()


def features(name: str, pretrained: bool = False) -> nn.Sequential:
    """What torchvision would give torchmetrics, but for the weights."""
    assert (name, pretrained) == ("vgg16", True)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG16:
        if width == 0:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        nn.init.kaiming_normal_(layers[-2].weight)  # type: ignore[arg-type]
        channels = width
    return nn.Sequential(*layers)


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", features)
    monkeypatch.setattr("torchmetrics.image.lpip._TORCHVISION_AVAILABLE", True)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def objective(codec: ConvCodec) -> Reconstruction:
    return Reconstruction(codec, TrainConfig(loss=LossConfig(l2=0.0, perceptual=0.5)), seed=0)


@pytest.mark.usefixtures("backbone")
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 17, 40), (3, 64, 48)], ids=str)
def test_it_is_a_distance_of_images_of_any_size_from_16(shape: tuple[int, int, int]) -> None:
    distance, x = losses.perceptual_loss(shape), images(3, *shape)
    near, far = x + 0.02 * images(*x.shape, seed=1), images(*x.shape, seed=2)
    assert distance(x, x).item() == 0
    assert 0 < distance(near, x).item() < distance(far, x).item()
    each = torch.stack([distance(far[i : i + 1], x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(distance(far, x), each.mean())
    assert distance(3 * far, x).isfinite()  # beyond [-1, 1], as untrained decoders are


@pytest.mark.usefixtures("backbone")
def test_it_trains_the_codec_and_is_no_part_of_what_is_saved() -> None:
    torch.manual_seed(0)
    codec, x = ConvCodec((3, 16, 16), 4, 4, width=8, blocks=0), images(4, 3, 16, 16)
    terms = objective(codec)
    optimiser = torch.optim.Adam(codec.parameters(), 3e-3)
    curve = []
    for _ in range(6):
        loss, figures = terms(codec, codec.decode(codec.encode(x)), x, 0)
        torch.testing.assert_close(loss, 0.5 * figures["perceptual"])
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in codec.parameters())
        optimiser.step()
        curve.append(loss.item())
    assert curve[-1] < curve[0]
    assert not terms.state_dict() and not list(terms.parameters())
    assert all(not p.requires_grad and p.grad is None for p in losses.lpips().parameters())


def test_where_torchvision_is_missing_it_is_named_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics.image.lpip._TORCHVISION_AVAILABLE", False)
    with pytest.raises(
        RefineError, match=r"(?s)train\.loss\.perceptual.*torchvision \(pip install .*perceptual=0"
    ) as error:
        objective(ConvCodec((3, 16, 16), 4, 4, 8, 0))
    assert "\n" not in str(error.value)


def test_where_its_weights_cannot_be_fetched_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, pretrained: bool) -> nn.Sequential:
        raise OSError("<urlopen error Temporary failure in name resolution>")

    monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", fetch)
    monkeypatch.setattr("torchmetrics.image.lpip._TORCHVISION_AVAILABLE", True)
    with pytest.raises(RefineError, match=r"name resolution.*528 MB.*TORCH_HOME"):
        objective(ConvCodec((3, 16, 16), 4, 4, 8, 0))


def test_images_too_small_for_it_are_refused() -> None:
    with pytest.raises(RefineError, match=r"train\.loss\.perceptual needs images of 16x16 .* not 8x20"):
        objective(ConvCodec((3, 8, 20), 4, 4, 8, 0))
