from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.config import ImageEvaluateConfig
from refine.domains.image.data.pixels import to_float, to_picture
from refine.domains.image.judging.metrics import distances, fidelity, frechet_distance, precision_recall
from refine.errors import RefineError
from refine.types import Condition, Samples

pytestmark = pytest.mark.usefixtures("judge")


class Blurred(nn.Module):
    """A tokenizer whose codes are the pixels, plus an error of known size."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error, self.device, self.tokenizer = error, torch.device("cpu"), self

    def encode(self, x: Tensor) -> list[Tensor]:
        return [x]

    def decode(self, codes: list[Tensor]) -> Tensor:
        return codes[0] + self.error * torch.where(codes[0] > 0, -1, 1)


def normal(count: int, *, seed: int, shift: float = 0.0, scale: float = 1.0, size: int = 6) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) * scale + shift


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(4, 1, 8, 8)
    out = fidelity(target + 0.2, target)  # 0.1 on [0, 1]: 20 dB
    assert out["psnr"] == pytest.approx(20, abs=1e-3) and out["psnr_of_mean_error"] == pytest.approx(20, abs=1e-3)
    uneven = target.clone()
    uneven[:2] += 0.2
    uneven[2:] += 0.02
    out = fidelity(uneven, target)
    assert out["psnr"] == pytest.approx(30, abs=1e-3)
    assert out["psnr_of_mean_error"] == pytest.approx(-10 * math.log10((0.01 + 0.0001) / 2), abs=1e-3)


def test_perfect_images_have_finite_figures_and_values_out_of_range_are_cut() -> None:
    target = to_float(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    out = fidelity(target, target)
    assert out == {"psnr": 100.0, "psnr_of_mean_error": 100.0, "ssim": pytest.approx(1), "ssim_window": 11}
    assert fidelity(torch.full((1, 1, 8, 8), 3.0), torch.ones(1, 1, 8, 8))["psnr"] == 100


@pytest.mark.parametrize(("side", "window"), [(8, 7), (28, 11), (4, 3), (3, 3)])
def test_the_window_of_ssim_fits_the_image(side: int, window: int) -> None:
    target = torch.rand(5, 1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    out = fidelity(-target, target)
    assert out["ssim_window"] == window and -1 <= out["ssim"] < 0.5


def test_images_too_small_for_ssim_go_without() -> None:
    assert set(fidelity(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))) == {"psnr", "psnr_of_mean_error"}


def test_ssim_is_the_mean_over_images_however_they_are_batched() -> None:
    target = torch.rand(501, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output = target.clone()
    output[500] *= -1
    alone = fidelity(output[500:], target[500:])["ssim"]
    assert fidelity(output, target)["ssim"] == pytest.approx((500 + alone) / 501, abs=1e-5)


def test_frechet_distance_of_gaussians_has_its_closed_form() -> None:
    a, b = normal(40000, seed=0), normal(40000, seed=1, shift=0.5, scale=2.0)
    assert frechet_distance(a, b) == pytest.approx(6 * (0.25 + (2 - 1) ** 2), rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_the_same_set_is_at_no_distance_and_wholly_covered() -> None:
    features = normal(300, seed=0)
    assert distances(features, features.clone()) == {
        "frechet_distance": pytest.approx(0, abs=1e-6),
        "precision": 1.0,
        "recall": 1.0,
    }


def test_far_sets_do_not_cover_each_other_and_a_part_covers_a_part() -> None:
    real = normal(400, seed=0).numpy()
    assert precision_recall(real, real + 100) == (0.0, 0.0)
    two = np.concatenate([real[:200], real[200:] + 100])  # two clusters, of which the model knows one
    precision, recall = precision_recall(two, normal(400, seed=2).numpy())
    assert precision > 0.85 and 0.4 < recall <= 0.5


def test_precision_and_recall_by_hand() -> None:
    line = np.array([[0.0], [1.0], [2.0], [3.0]])  # reaches with k=1: all 1
    other = np.array([[0.5], [3.9], [4.1], [9.0]])  # reaches with k=1: 3.4, 0.2, 0.2, 4.9
    precision, recall = precision_recall(line, other, neighbours=1)
    assert precision == 0.5 and recall == 1.0  # 0.5 and 3.9 are near; 0.5 reaches all of the line


def samples_of(pixels: Tensor, labels: Tensor | None) -> Samples:
    return Samples(to_float(pixels), [torch.zeros(len(pixels), 1).long()], Condition(label=labels), [])


def test_real_images_as_samples_get_the_figures_of_real_images(digits: ImageDomain, tmp_path: Path) -> None:
    test = digits.images("test")
    config = ImageEvaluateConfig(samples=360, features="classifier")
    out = digits.metrics(Blurred(0.02), samples_of(test.pixels, test.labels), config, tmp_path)  # type: ignore[arg-type]
    assert json.loads(json.dumps(out, allow_nan=False)) == out
    assert out["reference"] == "scikit-learn's digits, test split, 360 images in random order (seed 0)"
    assert out["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert out["precision"] == out["recall"] == 1
    assert out["class_agreement"] == pytest.approx(out["classifier_accuracy"])
    assert out["classifier_accuracy"] >= 0.97
    assert out["classifier_accuracy_of_reconstructions"] == pytest.approx(out["classifier_accuracy"], abs=0.01)
    assert out["psnr"] == pytest.approx(40, abs=0.1)
    assert out["frechet_distance_of_train"] > 10 * abs(out["frechet_distance"])
    assert out["precision_of_train"] > 0.7 and out["precision_of_reconstructions"] > 0.9
    assert "classifier" in out["feature_extractor"] and f"{out['classifier_accuracy']:.2%}" in out["feature_extractor"]


def test_noise_and_wrong_labels_get_worse_figures(digits: ImageDomain, tmp_path: Path) -> None:
    test = digits.images("test")
    noise = torch.randint(0, 256, (200, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    config = ImageEvaluateConfig(samples=200, features="classifier", items=200)
    refiner = Blurred(0.0)
    bad = digits.metrics(refiner, samples_of(noise, test.labels[:200]), config, tmp_path)  # type: ignore[arg-type]
    assert bad["frechet_distance"] > 10 * bad["frechet_distance_of_train"]
    assert bad["recall"] < 0.5 and bad["class_agreement"] < 0.4
    assert "200 images" in bad["reference"] and bad["psnr"] == 100
    off = samples_of(test.pixels, (test.labels + 1) % 10)
    wrong = digits.metrics(refiner, off, config, tmp_path)  # type: ignore[arg-type]
    assert wrong["class_agreement"] < 0.02


def test_unconditional_samples_have_no_agreement_and_unlabelled_images_no_classifier(
    digits: ImageDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    test = digits.images("test")
    config = ImageEvaluateConfig(samples=50, features="classifier")
    out = digits.metrics(Blurred(0.0), samples_of(test.pixels[:50], None), config, tmp_path)  # type: ignore[arg-type]
    assert "class_agreement" not in out and "frechet_distance" in out
    (tmp_path / "images").mkdir()
    for i, pixels in enumerate(test.pixels[:40]):
        to_picture(pixels).save(tmp_path / "images" / f"{i}.png")
    domain = ImageDomain(ImageConfig(data="folder", folder=str(tmp_path / "images"), channels=1))
    samples = samples_of(test.pixels[:30], None)
    out = domain.metrics(Blurred(0.2), samples, ImageEvaluateConfig(features="auto"), tmp_path)  # type: ignore[arg-type]
    assert out["psnr"] == pytest.approx(20, abs=1) and "classifier_accuracy" not in out
    assert out["feature_extractor"] is None and "frechet_distance" not in out
    with pytest.raises(RefineError, match="features=classifier needs images with labels"):
        domain.metrics(Blurred(0.0), samples, config, tmp_path)  # type: ignore[arg-type]


def test_one_image_or_one_sample_has_figures_without_a_distance(digits: ImageDomain, tmp_path: Path) -> None:
    test = digits.images("test")
    one, many = samples_of(test.pixels[:1], test.labels[:1]), samples_of(test.pixels[:50], test.labels[:50])
    for samples, items in ((one, 1), (many, 1), (one, 50)):
        config = ImageEvaluateConfig(features="classifier", items=items)
        out = digits.metrics(Blurred(0.02), samples, config, tmp_path)  # type: ignore[arg-type]
        assert "frechet_distance" not in out and "precision" not in out and out["psnr"] > 20
        assert json.loads(json.dumps(out, allow_nan=False)) == out
    config = ImageEvaluateConfig(features="classifier", items=2)
    out = digits.metrics(Blurred(0.02), samples_of(test.pixels[:2], test.labels[:2]), config, tmp_path)  # type: ignore[arg-type]
    assert out["frechet_distance"] >= 0 and 0 <= out["precision"] <= 1


def test_features_that_cannot_be_had(digits: ImageDomain, tmp_path: Path) -> None:
    test = digits.images("test")
    samples, refiner = samples_of(test.pixels, test.labels), Blurred(0.0)
    with pytest.raises(RefineError, match="features='clip' is not accepted; accepted: auto, inception, classifier"):
        digits.metrics(refiner, samples, ImageEvaluateConfig(features="clip"), tmp_path)  # type: ignore[arg-type]


def test_auto_says_why_it_does_not_use_inception(
    digits: ImageDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    test = digits.images("test")
    samples, refiner = samples_of(test.pixels[:60], test.labels[:60]), Blurred(0.0)
    out = digits.metrics(refiner, samples, ImageEvaluateConfig(features="auto"), tmp_path)  # type: ignore[arg-type]
    assert "classifier" in out["feature_extractor"] and "Torch-fidelity" in out["feature_note"]
    with pytest.raises(RefineError, match="features=inception cannot be used"):
        digits.metrics(refiner, samples, ImageEvaluateConfig(features="inception"), tmp_path)  # type: ignore[arg-type]
