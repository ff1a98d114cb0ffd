from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import torch

from refine.domains.image import ImageDomain
from refine.domains.image.codecs.codec import ConvCodec


def test_the_defaults_fit_together(digits: ImageDomain) -> None:
    codec, resampler = digits.codec(), digits.resampler()
    assert isinstance(codec, ConvCodec) and codec.grid == resampler.shapes[-1] == (8, 8)
    assert digits.shape == (1, 8, 8) and digits.dimensions == 64
    assert digits.condition.num_classes == 10 and digits.class_names() == [str(i) for i in range(10)]
    x = digits.dataset("val").__getitems__([0, 1])
    batch = torch.stack([item["x"] for item in x])
    assert codec.decode(codec.encode(batch)).shape == batch.shape


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
