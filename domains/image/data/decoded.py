"""Many images, decoded: in memory where they are few, otherwise in a file of the cache that is mapped into memory."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from refine.domains.image.data.pixels import each_picture, read_pictures, tell_of
from refine.progress import track
from refine.storage.downloads import cache_dir
from refine.storage.files import atomic_write, write_text

IN_MEMORY = 2**28  # bytes of pixels; what is larger is mapped


@dataclass(frozen=True)
class Decoded:
    """Images of one shape.

    Attributes:
        pixels: uint8 (N, C, H, W).
        kept: which of the sources these are.
        skipped: "name (reason)" of the others.
        content: a hash that changes with any of the pixels, where it is known already.
    """

    pixels: Tensor
    kept: list[int]
    skipped: list[str]
    content: str | None = None


def read_decoded(
    sources: Sequence[tuple[str, Path]], size: tuple[int, int], channels: int, strict: bool, where: str
) -> Decoded:
    """What :func:`refine.domains.image.data.pixels.read_pictures` reads, without its taking more memory than there is.

    More pixels than ``IN_MEMORY`` are decoded once into ``images/`` of the cache (``REFINE_CACHE``), image after image,
    and read from there as they are needed. The file is called by a hash of the images' own bytes, so other images are
    decoded anew. Processes that start together decode once.

    Args:
        sources: the name and the path of each image.
        size: (h, w) of the result.
        channels: 1 or 3.
        strict: refuse an image that cannot be read.
        where: what the images belong to, for messages.

    Raises:
        RefineError: as :func:`refine.domains.image.data.pixels.read_pictures`.
    """
    shape = (channels, *size)
    if len(sources) * math.prod(shape) <= IN_MEMORY:
        return Decoded(*read_pictures(sources, size, channels, strict, where))
    content = _hash(sources, shape, where)
    file = cache_dir() / "images" / f"{content}.pixels"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        found = _mapped(file, shape, content, len(sources))
        if found is None:
            _decode(file, sources, size, channels, strict, where)
            found = _mapped(file, shape, content, len(sources))
            assert found is not None
        else:
            tell_of(found.skipped, len(sources), strict, where)
    return found


def _decode(
    file: Path, sources: Sequence[tuple[str, Path]], size: tuple[int, int], channels: int, strict: bool, where: str
) -> None:
    kept: list[int] = []
    skipped: list[str] = []
    with atomic_write(file) as temporary:
        with temporary.open("wb") as out:  # not by the map: a full disk would end the process
            for i, picture in each_picture(sources, size, channels, strict, where, skipped):
                out.write(picture.contiguous().numpy().data)
                kept.append(i)
        write_text(file.with_suffix(".json"), json.dumps({"kept": kept, "skipped": skipped}))


def _mapped(file: Path, shape: tuple[int, ...], content: str, total: int) -> Decoded | None:
    """What was decoded before; None where it is not there, or damaged."""
    try:
        about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        kept, skipped = [int(i) for i in about["kept"]], [str(text) for text in about["skipped"]]
        whole = file.stat().st_size == len(kept) * math.prod(shape) and len(kept) + len(skipped) == total
        if not whole or sorted({i for i in kept if 0 <= i < total}) != kept:
            return None
        pixels = np.memmap(file, np.uint8, "c", shape=(len(kept), *shape))  # what is written to it stays in memory
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Decoded(torch.from_numpy(pixels), kept, skipped, content)


def _hash(sources: Sequence[tuple[str, Path]], shape: tuple[int, ...], where: str) -> str:
    import PIL

    def digest(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:  # told of where it is decoded
            return str(error).encode(errors="surrogateescape")

    whole = hashlib.sha256(json.dumps([shape, PIL.__version__, [name for name, _ in sources]]).encode())
    with ThreadPoolExecutor() as pool:
        for part in track(pool.map(digest, [path for _, path in sources]), f"looking at {where}", len(sources)):
            whole.update(part)
    return whole.hexdigest()[:32]
