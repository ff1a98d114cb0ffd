"""Runs with random weights, and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.data.pixels import to_float
from refine.models.refiner import Refiner
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig

KINDS = {
    "laplacian": ModelConfig(quantizer=QuantizerConfig(size=16), predictor=PredictorConfig(16, 1, 2)),
    "var": ModelConfig(
        pyramid=PyramidConfig(kind="residual"),
        quantizer=QuantizerConfig(size=16, shared=True),
        predictor=PredictorConfig(16, 1, 2, attention="prefix"),
    ),
    "bits": ModelConfig(quantizer=QuantizerConfig(kind="bitwise"), predictor=PredictorConfig(16, 1, 2)),
}


def model(kind: str, folder: Path) -> Path:
    """A run with random weights whose codes fit the digits."""
    torch.manual_seed(0)
    domain = ImageDomain(ImageConfig(codec="conv" if kind == "laplacian" else "identity", width=8, blocks=1))
    refiner = Refiner(domain, KINDS[kind]).eval()
    with torch.no_grad():
        refiner.tokenizer.fit(refiner.tokenizer.codec.encode(to_float(domain.images("val").pixels)))
        for p in refiner.head.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    refiner.save_pretrained(folder)
    return folder


def save_mask(painted: Tensor | np.ndarray, path: str = "mask.png") -> str:
    Image.fromarray(np.where(np.asarray(painted), 255, 0).astype(np.uint8)).save(path)
    return path


def lower(side: int = 8) -> Tensor:
    return (torch.arange(side) >= side // 2)[:, None].expand(side, side)
