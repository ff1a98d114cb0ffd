from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refine.domains.image import ImageConfig, ImageDomain


@pytest.fixture(scope="session")
def digits() -> ImageDomain:
    return ImageDomain(ImageConfig())


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """The folder of a real data set in REFINE_DATA; the test is skipped where there is none."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("REFINE_DATA", "")) / name
        if "REFINE_DATA" not in os.environ or not path.is_dir():
            pytest.skip(f"no {name}/ in REFINE_DATA")
        return path

    return find


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that REFINE_DATA names, and no way to download."""
    monkeypatch.setenv("REFINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), 1)


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def write_image(path: Path, seed: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    array = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(array))
    return array
