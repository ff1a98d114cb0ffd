"""A small classifier of the training images: an independent judge of samples, and features to compare sets by.

It never sees the model under test. It is trained once for a data set and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.image.data.dataset import ImageDataset
from refine.domains.image.data.pixels import to_float
from refine.errors import require
from refine.progress import console, track
from refine.storage.downloads import cache_dir
from refine.storage.files import atomic_write, write_text


@dataclass(frozen=True)
class Recipe:
    """How the classifier is built and trained; part of its name in the cache."""

    version: int = 1
    width: int = 16  # of the first layer; doubled with every halving of the side, and all of it for colour images
    features: int = 64  # of the penultimate layer; twice as many for colour images
    max_side: int = 64  # larger images are averaged down to it
    images_seen: int = 50_000  # at least, in whole epochs
    epochs: int = 3  # at least; twice as many for colour images
    batch_size: int = 128
    lr: float = 3e-3
    shift: int = 16  # training images are moved about by up to one part in so many of their side
    seed: int = 0


RECIPE = Recipe()


class Classifier(nn.Module):
    """Convolutions with batch normalisation, halving the side until it is 7 or less, and a mean over sites.

    Attributes:
        num_features: of the penultimate layer.
        accuracy: share of the test split that it gets right.
    """

    accuracy: Tensor

    def __init__(self, shape: tuple[int, int, int], num_classes: int, recipe: Recipe = RECIPE) -> None:
        super().__init__()
        rich = min(2, shape[0])
        self.num_features, self.max_side = rich * recipe.features, recipe.max_side
        side, previous, width = min(max(shape[1:]), recipe.max_side), shape[0], rich * recipe.width
        layers: list[nn.Module] = []
        while True:
            layers += [nn.Conv2d(previous, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if side <= 7:
                break
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            side, previous, width = -(-side // 2), width, min(2 * width, self.num_features)
        layers += [nn.Conv2d(width, self.num_features, 3, padding=1, bias=False), nn.BatchNorm2d(self.num_features)]
        self.body = nn.Sequential(*layers, nn.ReLU())
        self.head = nn.Linear(self.num_features, num_classes)
        self.register_buffer("accuracy", torch.tensor(0.0))

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to the penultimate features (B, num_features)."""
        if max(x.shape[2:]) > self.max_side:
            x = F.adaptive_avg_pool2d(x, (min(x.shape[2], self.max_side), min(x.shape[3], self.max_side)))
        out: Tensor = self.body(x).mean((2, 3))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        out: Tensor = self.head(self.features(x))
        return out

    def name(self) -> str:
        """What it is, for reports."""
        return f"classifier ({self.num_features} features; {float(self.accuracy):.2%} right on the test split)"


def trained_classifier(
    train: ImageDataset,
    test: ImageDataset,
    num_classes: int,
    device: torch.device | str = "cpu",
    recipe: Recipe = RECIPE,
) -> Classifier:
    """The classifier of a data set: out of the cache, else trained (seeded, with a progress bar) and put there.

    Raises:
        RefineError: the images have no labels, or all the same.
    """
    require(train.labels is not None and num_classes > 1, "a classifier needs images of two labelled classes or more")
    shape = (train.pixels.shape[1], train.pixels.shape[2], train.pixels.shape[3])
    stem = cache_dir() / "classifiers" / _fingerprint(train, test, num_classes, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Classifier(shape, num_classes, recipe)
    if not _load(model, stem):
        _train(model, train, recipe, torch.device(device))
        assert test.labels is not None
        model.accuracy.fill_(accuracy(model, test.pixels, test.labels))
        _save(model, stem, recipe, len(train))
    console.print(f"judged by a {model.name()}")
    return model.to(device).eval()


@torch.no_grad()
def predict(model: Classifier, pixels: Tensor, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Features (N, num_features) and classes (N,) of uint8 images (N, C, H, W), on the CPU."""
    parts = []
    for part in pixels.split(batch_size):
        features = model.features(to_float(part.to(model.head.weight.device)))
        parts.append((features.cpu(), model.head(features).argmax(1).cpu()))
    return torch.cat([f for f, _ in parts]), torch.cat([c for _, c in parts])


def accuracy(model: Classifier, pixels: Tensor, labels: Tensor) -> float:
    """Share of uint8 images (N, C, H, W) that ``model`` gives their label."""
    return float((predict(model, pixels)[1] == labels.cpu()).float().mean())


def _train(model: Classifier, data: ImageDataset, recipe: Recipe, device: torch.device) -> None:
    assert data.labels is not None
    count, size = len(data), min(recipe.batch_size, len(data))
    epochs = max(recipe.epochs * min(2, data.pixels.shape[1]), -(-recipe.images_seen // count))
    steps = epochs * (count // size)
    generator = torch.Generator().manual_seed(recipe.seed)
    model.to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps)
    shift = [n // recipe.shift for n in data.pixels.shape[2:]]
    for step in track(range(steps), "training a classifier to judge samples by"):
        if step % (count // size) == 0:
            order = torch.randperm(count, generator=generator)
        rows = order[step % (count // size) * size :][:size]
        moves = [int(torch.randint(-s, s + 1, (), generator=generator)) for s in shift]
        x = _moved(to_float(data.pixels[rows].to(device)), moves)
        loss = F.cross_entropy(model(x), data.labels[rows].to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()


def _moved(x: Tensor, moves: list[int]) -> Tensor:
    """Images moved by whole pixels; what comes in from outside repeats the border."""
    for axis, move in zip((2, 3), moves, strict=True):
        n = x.shape[axis]
        x = x.index_select(axis, (torch.arange(n, device=x.device) - move).clamp(0, n - 1))
    return x


def _fingerprint(train: ImageDataset, test: ImageDataset, num_classes: int, recipe: Recipe) -> str:
    """A name that changes with any pixel, label or setting."""
    digest = hashlib.sha256(json.dumps([num_classes, asdict(recipe)]).encode())
    for tensor in (train.pixels, train.labels, test.pixels, test.labels):
        assert tensor is not None
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().data if tensor.numel() else b"")  # read where it is, not copied
    return digest.hexdigest()[:16]


def _save(model: Classifier, stem: Path, recipe: Recipe, images: int) -> None:
    from safetensors.torch import save_file

    about = {"recipe": asdict(recipe), "train_images": images, "test_accuracy": float(model.accuracy)}
    with atomic_write(stem.with_suffix(".safetensors")) as temporary:
        save_file({n: t.cpu().contiguous() for n, t in model.state_dict().items()}, temporary)
    write_text(stem.with_suffix(".json"), json.dumps(about, indent=2))


def _load(model: Classifier, stem: Path) -> bool:
    """Fill ``model`` from the cache; False, and another training, where it is not there or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(stem.with_suffix(".safetensors")))
    except FileNotFoundError:
        return False
    except (OSError, SafetensorError, RuntimeError) as error:
        console.print(f"{stem}.safetensors is damaged ({error}) and is made again")
        return False
    return True
