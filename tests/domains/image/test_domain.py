from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.codecs.codec import ConvCodec, LinearCodec, PixelCodec
from refine.domains.image.data.pixels import to_float
from refine.errors import RefineError
from refine.models.refiner import Refiner
from refine.settings.config import ModelConfig
from refine.settings.typed import typed
from refine.types import Condition, Samples


def test_the_defaults_fit_together(digits: ImageDomain) -> None:
    codec, resampler = digits.codec(), digits.resampler()
    assert isinstance(codec, ConvCodec) and codec.grid == resampler.shapes[-1] == (8, 8)
    assert digits.shape == (1, 8, 8) and digits.dimensions == 64
    assert digits.condition.num_classes == 10 and digits.class_names() == [str(i) for i in range(10)]
    x = digits.dataset("val").__getitems__([0, 1])
    batch = torch.stack([item["x"] for item in x])
    assert codec.decode(codec.encode(batch)).shape == batch.shape


def test_every_codec_and_shape_can_be_had() -> None:
    mnist = ImageDomain(ImageConfig(data="mnist", factor=2, scales=[1, 2, 4, 7, 14]))
    assert mnist.codec().grid == (14, 14) and mnist.resampler().num_levels == 5
    linear = ImageDomain(ImageConfig(data="mnist", codec="linear", factor=28, latent=64, scales=[1])).codec()
    assert isinstance(linear, LinearCodec) and linear.channels == 64
    pixels = ImageDomain(ImageConfig(data="cifar10", codec="identity", scales=[1, 4, 16, 32])).codec()
    assert isinstance(pixels, PixelCodec) and pixels.channels == 3
    wide = ImageDomain(ImageConfig(size=[8, 16], factor=2, scales=[1, [2, 4], [4, 8]]))
    assert wide.codec().grid == (4, 8) and wide.resampler().num_sites(2) == 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "digit"}, r"domain.data='digit' is not accepted; accepted: digits, .* Did you mean 'digits'"),
        ({"codec": "vae"}, "domain.codec='vae' is not accepted; accepted: conv, linear, identity"),
        ({"channels": 2}, r"domain.channels=2 is not accepted; accepted: 1 \(grey\), 3 \(RGB\)"),
        ({"size": [8, 8, 8]}, "domain.size=.* is not accepted"),
        ({"size": 0}, "domain.size=0 is not accepted"),
        ({"data": "mnist", "folder": "x"}, "domain.folder='x' is read only with domain.data=folder"),
        ({"classes": ["a", "b"]}, "domain.classes has 2 names; digits has 10 classes"),
        ({"codec": "identity", "factor": 2}, "domain.factor=2 is not accepted; accepted: 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(RefineError, match=words):
        ImageDomain(ImageConfig(**options))  # type: ignore[arg-type]


def test_the_last_scale_has_to_be_the_latent() -> None:
    with pytest.raises(
        RefineError, match=r"ends at \(8, 8\); images of \(28, 28\) with factor=2 have a latent of 14x14"
    ):
        ImageDomain(ImageConfig(data="mnist", factor=2)).resampler()
    with pytest.raises(RefineError, match="down='aera' is not accepted"):
        ImageDomain(ImageConfig(down="aera")).resampler()
    with pytest.raises(RefineError, match="factor=3 is not accepted"):
        ImageDomain(ImageConfig(factor=3)).codec()
    with pytest.raises(RefineError, match="split='training' is not accepted"):
        ImageDomain(ImageConfig()).dataset("training")


def test_the_completed_configuration_survives_json(digits: ImageDomain) -> None:
    values = json.loads(json.dumps(asdict(digits.config)))
    again = ImageDomain(typed(ImageConfig, values))
    assert again.config == digits.config and again.shape == digits.shape


def made_up_samples(domain: ImageDomain, labels: list[int] | None, trail: bool) -> tuple[Samples, torch.Tensor]:
    pixels = domain.images("test").pixels[: 6 if labels is None else len(labels)]
    items, sites = to_float(pixels), [1, 4, 16, 64]
    codes = [torch.randint(0, 512, (len(pixels), n), generator=torch.Generator().manual_seed(n)) for n in sites]
    steps = [items * (k + 1) / 4 for k in range(4)] if trail else []
    condition = Condition(label=None if labels is None else torch.tensor(labels))
    return Samples(items, codes, condition, steps), pixels


def cell(picture: Image.Image, left: int, top: int) -> np.ndarray:
    """The 8 x 8 pixels that a cell of 7 x 7 blocks shows."""
    array = np.asarray(picture.convert("L"))[top : top + 56, left : left + 56]
    assert np.array_equal(array, np.kron(array[::7, ::7], np.ones((7, 7), np.uint8)))
    return array[::7, ::7]


def test_samples_become_pictures_and_arrays(digits: ImageDomain, tmp_path: Path) -> None:
    samples, pixels = made_up_samples(digits, [3, 7, 3, 3, 7], trail=True)
    paths = digits.save(samples, tmp_path / "new", gif=True, strip=2)
    folder = tmp_path / "new"
    assert sorted(p.relative_to(folder).as_posix() for p in paths) == sorted(
        ["samples.png", "samples.npz", "refinement.png", "refinement.gif", *(f"images/{i:05d}.png" for i in range(5))]
    )
    assert sorted(p for p in folder.rglob("*") if p.is_file()) == sorted(paths)  # and nothing temporary
    for i in range(5):
        assert np.array_equal(np.asarray(Image.open(folder / f"images/{i:05d}.png")), pixels[i, 0].numpy())

    with np.load(folder / "samples.npz") as arrays:
        assert np.array_equal(arrays["images"], pixels.permute(0, 2, 3, 1).numpy())
        assert arrays["labels"].tolist() == [3, 7, 3, 3, 7]
        assert all(np.array_equal(arrays[f"codes_{k}"], samples.codes[k].numpy()) for k in range(4))

    grid = Image.open(folder / "samples.png")  # row one is class 3 (items 0, 2, 3), row two class 7 (items 1, 4)
    left = grid.width - (3 * 58 + 2) + 2
    assert grid.height == 2 * 58 + 2
    for row, members in enumerate([(0, 2, 3), (1, 4)]):
        for column, i in enumerate(members):
            assert np.array_equal(cell(grid, left + 58 * column, 2 + 58 * row), pixels[i, 0].numpy())
    assert np.asarray(grid)[60:, left + 2 * 58 :].min() == 255  # class 7 has no third
    assert np.asarray(grid)[:, :left].min() < 128  # the classes' names

    strip = Image.open(folder / "refinement.png")
    assert strip.width == 4 * 58 + 2
    top = strip.height - (2 * 58 + 2) + 2
    for row in range(2):
        assert np.array_equal(cell(strip, 2 + 3 * 58, top + 58 * row), pixels[row, 0].numpy())
    first = np.rint((to_float(pixels[0, 0]).numpy() / 4 + 1) * 127.5)
    assert np.array_equal(cell(strip, 2, top), first.astype(np.uint8))
    assert "refinement.png" not in [p.name for p in digits.save(samples, tmp_path / "no strip", strip=0)]

    gif = Image.open(folder / "refinement.gif")
    assert gif.n_frames == 4 and gif.size == grid.size and gif.info["loop"] == 0
    gif.seek(3)
    difference = np.abs(np.asarray(gif.convert("L"), np.int16) - np.asarray(grid.convert("L"), np.int16))
    assert difference.max() <= 2  # a palette of 256 colours


def test_without_labels_and_trail_there_is_a_square_and_no_refinement(digits: ImageDomain, tmp_path: Path) -> None:
    samples, pixels = made_up_samples(digits, None, trail=False)
    paths = digits.save(samples, tmp_path, gif=True)
    assert {p.name for p in paths if p.parent == tmp_path} == {"samples.png", "samples.npz"}
    grid = Image.open(tmp_path / "samples.png")
    assert grid.size == (3 * 58 + 2, 2 * 58 + 2)
    assert np.array_equal(cell(grid, 2 + 2 * 58, 2 + 58), pixels[5, 0].numpy())
    with np.load(tmp_path / "samples.npz") as arrays:
        assert "labels" not in arrays


def test_reconstructions_are_shown_below_their_inputs(digits: ImageDomain, tmp_path: Path) -> None:
    torch.manual_seed(0)
    refiner = Refiner(digits, ModelConfig()).eval()
    (path,) = digits.plot_training(refiner, tmp_path)
    picture, pixels = Image.open(path), digits.images("val").pixels
    left = picture.width - (16 * 58 + 2) + 2
    assert path.name == "reconstructions.png" and picture.height == 8 * 58 + 2
    assert np.array_equal(cell(picture, left, 2), pixels[0, 0].numpy())
    assert np.array_equal(cell(picture, left + 58, 2 + 2 * 58), pixels[17, 0].numpy())
    output = refiner.tokenizer.decode(refiner.tokenizer.encode(to_float(pixels[:64])))
    shown = np.rint((output[17, 0].clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8)
    assert np.abs(cell(picture, left + 58, 2 + 3 * 58).astype(int) - shown).max() <= 1


def test_the_package_has_one_name() -> None:
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", "import domains"], cwd=root, capture_output=True, text=True)
    assert found.returncode == 1 and "ImportError: import this package as refine.domains" in found.stderr


def test_making_the_domain_reads_no_images_and_loads_no_image_library() -> None:
    code = (
        "import sys; from refine.domains.image import ImageConfig, ImageDomain; ImageDomain(ImageConfig()).codec();"
        "print([m for m in ('PIL', 'sklearn', 'matplotlib', 'pyarrow', 'torchmetrics') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_starter_is_there_only_with_its_checkpoint(digits: ImageDomain) -> None:
    module = importlib.import_module("refine.domains.image.domain")
    folder = Path(str(module.__file__)).parent / "starter"
    assert digits.starter() == (folder if (folder / "config.json").is_file() else None)
