"""In-painting, editing and super-resolution as pictures: what the model that ships with the domain makes of MNIST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import refine
from refine.domains.image import ImageDomain
from refine.domains.image.data.pixels import to_float
from refine.domains.image.pictures.inpainting import keep_masks
from refine.models.refiner import Refiner
from refine.storage.runs import load_run_config

from ..tiny_runs import lower


@pytest.fixture(scope="module")
def starter() -> tuple[Refiner, refine.SamplerConfig]:
    folder = refine.starter("image")
    return Refiner.from_pretrained(folder), load_run_config(folder).sampler


@pytest.fixture
def judged(
    real_data: Callable[[str], Path], starter: tuple[Refiner, refine.SamplerConfig]
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """100 MNIST test digits, their classes, and an independent judge: what five neighbours are (95 % right)."""
    from sklearn.neighbors import KNeighborsClassifier

    real_data("mnist")
    domain = starter[0].domain
    assert isinstance(domain, ImageDomain)
    val, test = domain.images("val"), domain.images("test")
    assert val.labels is not None and test.labels is not None
    judge = KNeighborsClassifier(5).fit(val.pixels.flatten(1).numpy() / 255, val.labels.numpy())

    def classes(x: Tensor) -> Tensor:
        return torch.from_numpy(judge.predict((x.clamp(-1, 1).flatten(1).numpy() + 1) / 2))

    return to_float(test.pixels[:100]), test.labels[:100], classes


def psnr(a: Tensor, b: Tensor, where: Tensor) -> float:
    """Mean over images, of the pixels ``where``."""
    error = ((a.clamp(-1, 1) - b) / 2).square()[:, :, where].mean((1, 2))
    return float((-10 * error.log10()).mean())


def painted(
    starter: tuple[Refiner, refine.SamplerConfig], x: Tensor, keep: Tensor, label: Tensor | None, keep_scales: int = 0
) -> Tensor:
    refiner, sampler = starter
    masks = keep_masks(refiner.domain, keep, keep_scales)  # type: ignore[arg-type]
    condition = refine.Condition(label=label)
    items: Tensor = refiner.inpaint(refiner.tokenizer.encode(x), masks, condition, sampler=sampler).items
    return items


def test_half_a_digit_is_completed(
    starter: tuple[Refiner, refine.SamplerConfig], judged: tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]
) -> None:
    x, label, classes = judged
    half = ~lower(28)
    out = painted(starter, x, half, label)
    assert psnr(out, x, half) > 25 and psnr(out, x, half) > psnr(out, x, ~half) + 10
    assert (classes(out) == label).float().mean() > 0.9
    free = painted(starter, x, half, None)  # what the upper half alone says of the class
    assert 0.4 < (classes(free) == label).float().mean() < 0.8


def test_another_class_in_its_place(
    starter: tuple[Refiner, refine.SamplerConfig], judged: tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]
) -> None:
    x, label, classes = judged
    border = torch.ones(28, 28, dtype=torch.bool)
    border[4:24, 4:24] = False
    out = painted(starter, x, border, (label + 1) % 10)
    found = classes(out)
    assert (found == (label + 1) % 10).float().mean() > 0.75 and (found == label).float().mean() < 0.1
    assert psnr(out, x, border) > 24


def test_finer_scales_than_those_that_are_known(
    starter: tuple[Refiner, refine.SamplerConfig], judged: tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]
) -> None:
    """Codes up to 7x7 and the rest drawn, without a label: more often the class, and as sharp as real digits, which a
    7x7 picture is not."""
    x, label, classes = judged
    nothing = torch.zeros(28, 28, dtype=torch.bool)
    out = painted(starter, x, nothing, None, keep_scales=4)
    nearest = torch.nn.functional.avg_pool2d(x, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    rate, floor = ((classes(i) == label).float().mean() for i in (out, nearest))
    assert rate > 0.87 and rate > floor + 0.05
    edges = [float((i[..., 1:] - i[..., :-1]).abs().mean()) for i in (out, x, nearest)]
    assert edges[0] > 0.9 * edges[1] > 1.5 * edges[2]
