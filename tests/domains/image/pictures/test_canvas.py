"""What is known of a picture: the user's image and mask at the size of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from refine.domains.image import ImageDomain
from refine.domains.image.config import ImageInpaintConfig
from refine.domains.image.pictures.canvas import read_canvas

from ..tiny_runs import lower, save_mask


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def canvas(domain: ImageDomain, **options: object) -> tuple[Tensor, Tensor]:
    found = read_canvas(domain, ImageInpaintConfig(**options))  # type: ignore[arg-type]
    return found.pixels, found.keep


def test_white_is_painted_grey_from_the_half_and_transparent_is_kept(digits: ImageDomain) -> None:
    grey = np.zeros((8, 8), np.uint8)
    grey[0, :4] = [255, 128, 127, 1]
    Image.fromarray(grey).save("grey.png")
    colour = np.zeros((8, 8, 4), np.uint8)
    colour[0, :3] = [[255, 255, 255, 255], [255, 255, 255, 0], [0, 0, 0, 255]]
    Image.fromarray(colour).save("colour.png")
    Image.fromarray(grey).convert("1", dither=Image.Dither.NONE).save("one bit.png")
    for name, painted in [("grey", 2), ("colour", 1), ("one bit", 2)]:
        pixels, keep = canvas(digits, image="test:3", mask=f"{name}.png")
        assert (~keep).nonzero().tolist() == [[0, i] for i in range(painted)]
        assert torch.equal(pixels, digits.images("test").pixels[3])


def test_an_image_of_any_size_is_fitted_and_its_mask_with_it(digits: ImageDomain) -> None:
    picture = np.full((16, 24, 3), 40, np.uint8)
    picture[:, 4:20] = 200  # what is left of 24 columns when the centre is cropped
    Image.fromarray(picture).save("wide.png")
    painted = np.zeros((16, 24), bool)
    painted[:8, :12] = True
    pixels, keep = canvas(digits, image="wide.png", mask=save_mask(painted, "wide mask.png"))
    assert pixels.shape == (1, 8, 8) and (pixels > 180).all()  # bicubic rings at what was cropped
    assert torch.equal(~keep, torch.arange(64).view(8, 8).lt(32) & (torch.arange(8) < 4))
    small = save_mask(lower(), "small.png")
    assert torch.equal(canvas(digits, image="wide.png", mask=small)[1], ~lower())  # the model's size serves as well


def test_around_a_placed_image_everything_is_painted(digits: ImageDomain) -> None:
    given = digits.images("test").pixels[3]
    Image.fromarray(given[0].numpy()).resize((4, 3)).save("small.png")
    pixels, keep = canvas(digits, image="small.png", place=[1, 2, 3, 4])
    assert keep.sum() == 12 and keep[1:4, 2:6].all()
    assert torch.equal(pixels[0, 1:4, 2:6], torch.from_numpy(np.array(Image.open("small.png"))))
    assert torch.equal(pixels[0, 0], pixels[0, 1]) and (pixels[0, :, 7] == pixels[0, :, 5]).all()  # the border goes on
    own = np.zeros((3, 4), bool)
    own[0] = True
    both = canvas(digits, image="small.png", place=[1, 2, 3, 4], mask=save_mask(own))[1]
    assert both.sum() == 8 and both[2:4, 2:6].all()
    wide = canvas(digits, image="small.png", place=[1, 2, 3, 4], mask=save_mask(lower(), "whole.png"))[1]
    assert torch.equal(wide, keep & ~lower())
