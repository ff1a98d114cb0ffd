"""What images bring to a study: tasks that leave something open, and a judge of what is drawn for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.image.data.pixels import to_float, to_uint8
from refine.domains.image.image_data import ImageData
from refine.domains.image.judging.classifier import Classifier, predict, trained_classifier
from refine.domains.image.judging.metrics import fidelity, frechet_distance
from refine.domains.image.pictures.grids import grid, save_picture
from refine.errors import require
from refine.items import FieldsDataset
from refine.scales.laplacian import LaplacianPyramid
from refine.scales.resample import GridResampler
from refine.types import Condition, ConditionSpec

ZOOM = 4  # of super-resolution
BANDS = 3


class ImageSubject:
    """Generation from the label; and, without a label, super-resolution by 4 and in-painting of the right half.

    What is told comes as a field on the sites of the latent: the pixels, patch by patch (those of a small image as
    large squares, 0 where nothing is told), the share of a patch that is told, and whether the image was small. Coarse
    scales would see averages of that only, and draw what the finer ones cannot mend; so all scales are told the whole
    as one vector too, at half the resolution.

    Args:
        domain: images with labels.
    """

    tasks: Sequence[str] = ("generation", "super_resolution", "inpainting")
    shares: Sequence[float] = (0.5, 0.25, 0.25)

    def __init__(self, domain: ImageData) -> None:
        self.domain = domain
        channels, h, w = domain.shape
        self.data = f"{domain.config.data}, {h}x{w}"
        self.classes, self.factor = len(domain.class_names()), domain.config.factor
        require(self.classes > 1, f"a study needs images with labels; domain.data={domain.config.data} has none")
        fits = h % ZOOM == 0 and w % ZOOM == 0
        require(fits, f"a study needs sides that {ZOOM} divides, for super-resolution; images are {h}x{w}")
        self.spec = ConditionSpec(
            num_classes=self.classes + 1,
            vector=channels * (h // 2) * (w // 2) + 2,
            field=channels * self.factor**2 + 2,
        )

    def items(self, split: str) -> FieldsDataset:
        """``x`` in [-1, 1] and ``label``."""
        images = self.domain.images(split)
        assert images.labels is not None
        return FieldsDataset(x=to_float(images.pixels), label=images.labels)

    def condition(self, x: Tensor, label: Tensor, task: Tensor) -> Condition:
        """See :class:`refine.studies.contest.contestant.Subject`."""
        small = (task == 1)[:, None, None, None].float()
        half = (task == 2)[:, None, None, None] * (torch.arange(x.shape[3], device=x.device) < x.shape[3] // 2)
        enlarged = F.interpolate(F.avg_pool2d(x, ZOOM), scale_factor=ZOOM, mode="nearest")
        told = small * enlarged + half * x
        flags = torch.cat([half.expand(-1, 1, x.shape[2], -1), small.expand(-1, 1, *x.shape[2:])], 1).float()
        patches = F.pixel_unshuffle(told, self.factor), F.avg_pool2d(flags, self.factor)
        none = torch.full_like(label, self.classes)  # a class of its own for "not told"
        return Condition(
            label=torch.where(task == 0, label, none),
            vector=torch.cat([F.avg_pool2d(told, 2).flatten(1), flags.amax((2, 3))], 1),
            field=torch.cat(patches, 1).flatten(2).transpose(1, 2),
        )

    # -- the judge ---------------------------------------------------------------------------------------------------

    @cached_property
    def classifier(self) -> Classifier:
        """A small network that never saw a contestant."""
        return trained_classifier(self.domain.images("train"), self.domain.images("test"), self.classes)

    @property
    def judge(self) -> str:
        """Of Fréchet distances and agreement."""
        return self.classifier.name()

    @cached_property
    def real(self) -> Tensor:
        """Features of all test images."""
        return predict(self.classifier, self.domain.images("test").pixels)[0]

    def score(self, task: str, drawn: Tensor, x: Tensor, label: Tensor) -> dict[str, Any]:
        """Figures of images (N, C, H, W) drawn for the conditions of ``x``, on [0, 1].

        ``frechet`` against all test images, ``agreement`` of the classifier with the labels; ``bands`` of the Laplacian
        pyramid of pixels, finest first: in generation by how much their energy is wrong, as a share of the right one,
        in other tasks the mean squared error; there also ``mse`` and ``psnr`` of all.
        """
        features, found = predict(self.classifier, to_uint8(drawn))
        out: dict[str, Any] = {
            "frechet": frechet_distance(self.real, features),
            "agreement": float((found == label.cpu()).float().mean()),
        }
        shown, real = (drawn.clamp(-1, 1) + 1) / 2, (x + 1) / 2
        named = [f"{h}x{w}" for h, w in reversed(self.bands.resampler.shapes)]  # type: ignore[arg-type]
        if task == "generation":
            pairs = zip(self._bands(shown), self._bands(real), strict=True)
            errors = [float(abs(a.square().mean() / b.square().mean() - 1)) for a, b in pairs]
        else:
            errors = [float(band.square().mean()) for band in self._bands(shown - real)]
            out |= {"mse": float((shown - real).square().mean()), "psnr": fidelity(drawn, x)["psnr"]}
        return out | {"bands": [{"name": n, "error": e} for n, e in zip(named, errors, strict=True)]}

    def show(self, items: Tensor, path: Path) -> None:
        """See :class:`refine.studies.contest.contestant.Subject`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_picture(grid([to_uint8(items)]), path)

    @cached_property
    def bands(self) -> LaplacianPyramid:
        """Of pixels: Burt & Adelson's, from the full size down by halves."""
        channels, h, w = self.domain.shape
        sizes = [[h >> i, w >> i] for i in reversed(range(BANDS))]
        return LaplacianPyramid(GridResampler(sizes, down="blur", up="blur"), channels)

    def _bands(self, x: Tensor) -> list[Tensor]:
        latent = x.flatten(2).transpose(1, 2)
        return self.bands.bands(self.bands.gaussian(latent))[::-1]
