"""How different images look."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from refine.errors import RefineError, require
from refine.extras import install_command

SMALLEST = 16  # pixels along a side: VGG-16 halves four times


def perceptual_loss(image: tuple[int, int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924) on VGG-16, of images (B, C, H, W) in [-1, 1]; their mean.

    Raises:
        RefineError: images too small for it, no torchmetrics or torchvision, or no weights of VGG-16.
    """
    require(
        min(image[1:]) >= SMALLEST,
        f"train.loss.perceptual needs images of {SMALLEST}x{SMALLEST} pixels or more, not {image[1]}x{image[2]}; "
        "accepted here: 0",
    )
    lpips()  # said now, not at the first step

    def loss(output: Tensor, x: Tensor) -> Tensor:
        colour = [t.expand(-1, 3, -1, -1) for t in (output, x)]
        mean: Tensor = lpips().to(x.device)(*colour).mean()
        return mean

    return loss


@cache
def lpips() -> Any:
    """torchmetrics' network of the distance, frozen. One for the process, and no part of any model or resume file.

    Raises:
        RefineError: it cannot be had.
    """
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        network = LearnedPerceptualImagePatchSimilarity(net_type="vgg").net
    except Exception as error:  # not installed, no network, no space, a damaged file
        cause = str(error).partition("\n")[0].partition(". ")[0]
        raise RefineError(
            f"train.loss.perceptual cannot be used: {type(error).__name__}: {cause}. It needs torchvision "
            f"({install_command('torchvision')}) and its VGG-16 weights, 528 MB that it downloads once; without a "
            "network, copy https://download.pytorch.org/models/vgg16-397923af.pth into hub/checkpoints of TORCH_HOME "
            "(by default ~/.cache/torch). train.loss.perceptual=0 does without"
        ) from error
    return network.eval().requires_grad_(False)
