"""Figures of image models: fidelity of reconstructions, and how near samples come to a reference split."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from refine.domains.image.data.pixels import to_float, to_uint8
from refine.domains.image.image_data import ImageData
from refine.domains.image.judging.classifier import Classifier, accuracy, predict, trained_classifier
from refine.errors import RefineError, not_accepted, require
from refine.extras import install_command
from refine.progress import track
from refine.types import Samples

if TYPE_CHECKING:
    from refine.domains.image.config import ImageEvaluateConfig
    from refine.models.refiner import Refiner

FEATURES = ("auto", "inception", "classifier")
MAX_PSNR = 100.0  # dB; what a perfect reconstruction counts as
NEIGHBOURS = 3  # k of precision and recall
FEWEST = 2  # items that a distance takes on either side
NO_CLASSES = "features=classifier needs images with labels of two classes or more"
SEED = 0  # of the order in which items and samples are taken

Array = np.ndarray[Any, Any]
Extract = Callable[[Tensor], Tensor]
"""uint8 images (N, C, H, W) to features (N, F)."""


def image_metrics(data: ImageData, refiner: Refiner, samples: Samples, config: ImageEvaluateConfig) -> dict[str, Any]:
    """All figures of the domain as plain data that json takes.

    ``psnr`` (mean over images), ``psnr_of_mean_error``, ``ssim`` and ``ssim_window`` compare reconstructions with their
    images. ``frechet_distance``, ``precision`` and ``recall`` compare samples with the reference split in the features
    that ``feature_extractor`` names, where there are two of each;
    ``..._of_reconstructions`` and ``..._of_train`` do so with reconstructions and
    with real training images, as many as there are samples: what a perfect model would get. ``class_agreement`` is the
    share of class-conditional samples that the classifier calls their class, beside its accuracy on the real test split
    and on reconstructions.

    Raises:
        RefineError: unknown ``features``; ``features=inception`` without it; ``features=classifier`` without labels.
    """
    check_features(config.features, len(data.class_names()), refiner.device)
    reference, drawn = data.images(config.split), to_uint8(samples.items)
    rows = _shuffled(len(reference))[: config.items]
    real = reference.pixels[rows]
    rebuilt = _reconstruct(refiner, real, config.batch_size)
    train = data.images("train").pixels
    others = {
        "": drawn[_shuffled(len(drawn))],
        "_of_reconstructions": to_uint8(rebuilt),
        "_of_train": train[_shuffled(len(train))[: len(drawn)]],
    }
    out: dict[str, Any] = {
        "reference": f"{reference.origin}, {config.split} split, {len(real)} images in random order (seed {SEED})"
    }
    out |= fidelity(rebuilt, to_float(real))
    classifier = _classifier(data, refiner.device)
    name, extract, note = _extractor(config.features, classifier, refiner.device)
    out |= {"feature_extractor": name} | ({"feature_note": note} if note else {})
    if extract is not None:
        real_features = extract(real)
        for suffix, pixels in others.items():
            out |= {key + suffix: value for key, value in distances(real_features, extract(pixels)).items()}
    if classifier is not None:
        assert reference.labels is not None
        if samples.condition.label is not None:
            out["class_agreement"] = accuracy(classifier, drawn, samples.condition.label)
        out["classifier_accuracy"] = float(classifier.accuracy)
        rebuilt_accuracy = accuracy(classifier, others["_of_reconstructions"], reference.labels[rows])
        out["classifier_accuracy_of_reconstructions"] = rebuilt_accuracy
    return out


def fidelity(output: Tensor, target: Tensor) -> dict[str, Any]:
    """PSNR and SSIM of float images (N, C, H, W) in [-1, 1], taken on [0, 1] as torchmetrics defines them.

    SSIM's usual window of 11 x 11 (sigma 1.5) is shrunk, sigma with it, to fit images smaller than 11.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    output, target = (output.clamp(-1, 1) + 1) / 2, (target + 1) / 2
    each = peak_signal_noise_ratio(output, target, 1.0, reduction="none", dim=(1, 2, 3))
    together = peak_signal_noise_ratio(output, target, 1.0)
    out: dict[str, Any] = {
        "psnr": float(each.clamp(max=MAX_PSNR).mean()),
        "psnr_of_mean_error": float(together.clamp(max=MAX_PSNR)),
    }
    margin = min(5, (min(target.shape[2:]) - 1) // 2)
    if margin > 0:
        parts = [
            structural_similarity_index_measure(a, b, sigma=0.3 * margin, data_range=1.0, reduction="sum")
            for a, b in zip(output.split(500), target.split(500), strict=True)
        ]
        out |= {"ssim": float(torch.stack([torch.as_tensor(p) for p in parts]).sum() / len(target))}
        out |= {"ssim_window": 2 * margin + 1}
    return out


def distances(real: Tensor, other: Tensor) -> dict[str, float]:
    """Fréchet distance, precision and recall between features (N, F) and (M, F); none where there is but one item."""
    if min(len(real), len(other)) < FEWEST:
        return {}
    precision, recall = precision_recall(real.numpy(), other.numpy())
    return {"frechet_distance": frechet_distance(real, other), "precision": precision, "recall": recall}


class _AsTheyAre(nn.Identity):
    """Hands features to a torchmetrics class that expects images and a network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(real: Tensor, other: Tensor) -> float:
    """|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of Gaussians fitted to features (N, F) and (M, F)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_AsTheyAre(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(other.double(), real=False)
    return max(0.0, float(metric.compute()))


def precision_recall(real: Array, other: Array, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall of features (N, F) and (M, F) (Kynkäänniemi et al., arXiv 1904.06991).

    Precision is the share of ``other`` within reach of some ``real``, the reach of a point being the distance to its
    third neighbour in its own set; recall the share of ``real`` within reach of some ``other``. Both sets are cut to
    the size of the smaller.
    """
    count = min(len(real), len(other))
    real, other = real[:count].astype(np.float64), other[:count].astype(np.float64)
    return _covered(other, real, neighbours), _covered(real, other, neighbours)


def _covered(points: Array, by: Array, neighbours: int) -> float:
    from sklearn.metrics import pairwise_distances_chunked
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(neighbours, len(by) - 1), algorithm="brute").fit(by)
    reach = near.kneighbors()[0][:, -1]  # of the points themselves, each not its own neighbour
    inside = pairwise_distances_chunked(points, by, reduce_func=lambda part, start: (part <= reach).any(axis=1))
    return float(np.concatenate(list(inside)).mean())


@torch.no_grad()
def _reconstruct(refiner: Refiner, pixels: Tensor, batch_size: int) -> Tensor:
    """uint8 images through the tokenizer, as floats on the CPU."""
    parts = pixels.split(batch_size)
    tokenizer = refiner.tokenizer
    out = [tokenizer.decode(tokenizer.encode(to_float(p.to(refiner.device)))) for p in track(parts, "reconstructing")]
    return torch.cat(out).cpu()


def _classifier(data: ImageData, device: torch.device) -> Classifier | None:
    classes = len(data.class_names())
    return trained_classifier(data.images("train"), data.images("test"), classes, device) if classes > 1 else None


def check_features(features: str, classes: int, device: torch.device) -> None:
    """Refuse features that cannot be had.

    Raises:
        RefineError: unknown ones, ``inception`` where it is not at hand, or ``classifier`` without two classes.
    """
    if features not in FEATURES:
        raise not_accepted("features", features, FEATURES)
    if features == "inception":
        _extractor(features, None, device)
    require(features != "classifier" or classes > 1, NO_CLASSES)


def _extractor(
    features: str, classifier: Classifier | None, device: torch.device
) -> tuple[str | None, Extract | None, str]:
    """Name, function and a remark: ``auto`` prefers Inception, then the classifier, then none."""
    why = ""
    if features != "classifier":
        try:
            return "inception-v3-compat (2048 features of torch-fidelity)", _inception(device), ""
        except Exception as error:  # not installed, no network, no space: auto has another way
            cause = str(error).partition("\n")[0].partition(". ")[0]
            why = f"Inception is not at hand: {type(error).__name__}: {cause}"
            if features == "inception":
                how = install_command("torch_fidelity")
                raise RefineError(
                    f"features=inception cannot be used. {why}. It needs torch-fidelity ({how})"
                ) from error
    if classifier is None:
        require(features == "auto", NO_CLASSES)
        return None, None, f"{why}; {NO_CLASSES}"
    return classifier.name(), lambda pixels: predict(classifier, pixels)[0], why


@lru_cache(maxsize=1)
def _inception(device: torch.device) -> Extract:
    from torchmetrics.image.fid import FrechetInceptionDistance

    network = FrechetInceptionDistance(feature=2048).inception.to(device).eval()

    @torch.no_grad()
    def extract(pixels: Tensor) -> Tensor:
        colour = pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
        parts = track(colour.split(50), "Inception features")
        return torch.cat([network(part.contiguous().to(device)).cpu() for part in parts])

    return extract


def _shuffled(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(SEED))
