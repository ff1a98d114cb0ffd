from __future__ import annotations

import struct
import threading
import time
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from refine.domains.image.data import pixels as pixels_module
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


def bomb(side: int) -> bytes:
    """A PNG that says it has side x side pixels; what there is of them does not matter."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_an_image_of_too_many_pixels_is_skipped_by_name_and_never_decoded() -> None:
    good, large = encoded(np.zeros((4, 4), np.uint8)), bomb(13_000)
    with pytest.warns(UserWarning, match=r"1 of 2 .* large.png \(13000 x 13000 pixels; images of up to 134,217,728"):
        pixels, kept, _ = read_pictures([("good", good), ("large.png", large)], (4, 4), 1, False, "here")
    assert len(pixels) == 1 and kept == [0]
    with pytest.raises(RefineError, match=r"none of 2 images can be read; the first: a \(13000 x 13000 pixels"):
        read_pictures([("a", large), ("b", large)], (4, 4), 1, False, "here")


def test_images_that_are_decoded_together_have_no_more_pixels_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path in paths:
        path.write_bytes(encoded(np.zeros((40, 50), np.uint8)))
    inside, most, lock = [0], [0], threading.Lock()
    plain = pixels_module.from_picture

    def watched(image: Image.Image, size: tuple[int, int] | None, channels: int) -> torch.Tensor:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        result = plain(image, size, channels)
        with lock:
            inside[0] -= 1
        return result

    monkeypatch.setattr(pixels_module, "from_picture", watched)
    monkeypatch.setattr(pixels_module, "LARGEST", 2 * 2000 + 1)
    pixels, kept, _ = read_pictures([(p.name, p) for p in paths], (4, 5), 1, True, "here")
    assert len(pixels) == 12 and kept == list(range(12)) and 1 <= most[0] <= 2
    monkeypatch.setattr(pixels_module, "LARGEST", 1999)
    with pytest.raises(RefineError, match="none of 12 images can be read"):
        read_pictures([(p.name, p) for p in paths], (4, 5), 1, False, "here")
