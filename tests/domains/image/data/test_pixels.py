from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from refine.domains.image.data.pixels import from_picture, read_pictures, to_float, to_picture, to_uint8
from refine.errors import RefineError

from ..conftest import encoded


def test_every_pixel_value_survives_the_way_to_floats_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    x = to_float(pixels)
    assert float(x.min()) == -1 and float(x.max()) == 1
    assert torch.equal(to_uint8(x), pixels)


def test_floats_beyond_the_range_are_cut() -> None:
    assert to_uint8(torch.tensor([-7.0, -1.0, 0.0, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_pixels_are_the_same_thing(channels: int) -> None:
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = to_picture(pixels)
    assert picture.size == (7, 5)
    assert torch.equal(from_picture(picture, None, channels), pixels)


def test_a_wide_image_is_resized_on_its_short_side_and_cropped_to_its_centre() -> None:
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 200
    pixels = from_picture(Image.fromarray(array), (10, 10), 3)
    assert pixels.shape == (3, 10, 10) and pixels.unique().tolist() == [200]


def test_transparent_sideways_and_sixteen_bit_images() -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert from_picture(clear, None, 3).unique().tolist() == [255]
    deep = Image.fromarray(np.full((2, 2), 40000, np.uint16))
    assert from_picture(deep, None, 1).unique().tolist() == [40000 >> 8]
    image = Image.new("L", (4, 2))
    buffer, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, "JPEG", exif=exif)
    assert from_picture(Image.open(buffer), None, 1).shape == (1, 4, 2)
    with pytest.raises(ValueError, match="no known range"):
        from_picture(Image.fromarray(np.ones((2, 2), np.float32)), None, 1)


def test_a_large_jpeg_is_read_in_the_size_asked_for() -> None:
    array = np.zeros((400, 600, 3), np.uint8)
    array[:, :300] = (255, 0, 0)
    pixels, kept, skipped = read_pictures([("a", encoded(array, "JPEG"))], (8, 12), 3, True, "photographs")
    assert pixels.shape == (1, 3, 8, 12) and kept == [0] and not skipped
    assert pixels[0, 0, :, 0].min() > 240 and pixels[0, 0, :, -1].max() < 15


def test_one_corrupt_file_among_thousands_is_named_skipped_and_counted(tmp_path: Path) -> None:
    good = encoded(np.zeros((4, 4), np.uint8))
    paths = [tmp_path / f"{i:04d}.png" for i in range(1200)]
    for path in paths:
        path.write_bytes(good)
    paths[700].write_bytes(good[: len(good) // 2])
    paths[900].write_bytes(b"")
    sources: list[tuple[str, Path | bytes]] = [(path.name, path) for path in paths]
    with pytest.warns(UserWarning, match=r"here: 2 of 1200 images .* 0700\.png \(.*\), 0900\.png \(.*\)") as caught:
        pixels, kept, skipped = read_pictures(sources, (4, 4), 1, False, "here")
    assert len(caught) == 1 and len(pixels) == 1198 and len(skipped) == 2
    assert set(range(1200)) - set(kept) == {700, 900}
    with pytest.raises(RefineError, match=r"here: 0700\.png .* strict=true refuses"):
        read_pictures(sources, (4, 4), 1, True, "here")


def test_nothing_but_corrupt_files_is_an_error() -> None:
    with pytest.raises(RefineError, match="none of 2 images can be read; the first: a "):
        read_pictures([("a", b"x"), ("b", b"")], (4, 4), 1, False, "here")
