"""Digits, MNIST and CIFAR-10 as published: out of ``REFINE_DATA``, else downloaded with a checksum; never unpickled.

MNIST and CIFAR-10 have no validation split of their own; theirs is the last 5,000 training images. ``strict`` matters
only where single images may be damaged.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refine.domains.image.data.dataset import ImageDataset
from refine.domains.image.data.pixels import read_pictures
from refine.errors import RefineError, require
from refine.storage.downloads import fetch, local_file

HELD_OUT = 5000
JPEG = b"\xff\xd8"  # what such a file begins with
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_MD5 = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}


def digits(split: str, strict: bool = False) -> ImageDataset:
    """scikit-learn's 1,797 digits of 8x8: a fixed stratified split into 1,257 train, 180 val and 360 test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = torch.from_numpy((data.images * (255 / 16)).round().astype(np.uint8))[:, None]
    labels = torch.from_numpy(data.target).long()
    rest, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
    train, val = train_test_split(rest, test_size=180, stratify=labels[rest], random_state=0)
    rows = torch.from_numpy({"train": train, "val": val, "test": test}[split])
    return ImageDataset(pixels[rows], labels[rows], "scikit-learn's digits")


def mnist(split: str, strict: bool = False) -> ImageDataset:
    """MNIST, 1 x 28 x 28: 55,000 train, 5,000 val, 10,000 test.

    Raises:
        RefineError: a file is truncated or foreign, or cannot be downloaded.
    """
    part = "t10k" if split == "test" else "train"
    images = _find("mnist", f"{part}-images-idx3-ubyte.gz", MNIST_URL, MNIST_MD5)
    labels = _find("mnist", f"{part}-labels-idx1-ubyte.gz", MNIST_URL, MNIST_MD5)
    pixels = torch.from_numpy(read_idx(images, (28, 28)))[:, None]
    target = torch.from_numpy(read_idx(labels, ())).long()
    require(len(pixels) == len(target), f"{images} has {len(pixels)} images, but {labels} has {len(target)} labels")
    rows = _rows(split, len(target), images)
    return ImageDataset(pixels[rows], target[rows], "MNIST")


def cifar10(split: str, strict: bool = False) -> ImageDataset:
    """CIFAR-10, 3 x 32 x 32: 45,000 train, 5,000 val, 10,000 test.

    ``REFINE_DATA/cifar10/train.parquet`` and ``test.parquet`` (columns ``img {bytes, path}`` and ``label``) go before
    the original; where such a copy has been through JPEG the dataset's ``origin`` says so.

    Raises:
        RefineError: a file is truncated or foreign, or cannot be downloaded; with ``strict``, an image cannot be read.
    """
    name = "test" if split == "test" else "train"
    local = local_file("cifar10", f"{name}.parquet")
    if local is not None:
        return _cifar_parquet(local, split, strict)
    path = _find("cifar10", "cifar-10-binary.tar.gz", CIFAR_URL, CIFAR_MD5)
    members = ["test_batch.bin"] if split == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
    try:
        with tarfile.open(path) as tar:  # members are read, never unpacked to disk
            files = [tar.extractfile(f"cifar-10-batches-bin/{m}") for m in members]
            raw = b"".join(f.read() for f in files if f is not None)
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError) as error:
        raise RefineError(f"{path} cannot be read ({error!r}); expected the CIFAR-10 binary archive") from error
    row = 1 + 3 * 32 * 32
    require(
        len(raw) == 10000 * row * len(members),
        f"{path}: {members} hold {len(raw):,} bytes; expected 10,000 records of {row} bytes in each",
    )
    table = torch.from_numpy(np.frombuffer(raw, np.uint8).copy()).reshape(-1, row)
    rows = _rows(split, len(table), path)
    return ImageDataset(table[rows, 1:].reshape(-1, 3, 32, 32), table[rows, 0].long(), "CIFAR-10")


def _cifar_parquet(path: Path, split: str, strict: bool) -> ImageDataset:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=["img", "label"])
        encoded = table["img"].combine_chunks().field("bytes")
        labels = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise RefineError(f"{path}: {error!r}; expected parquet with columns img {{bytes, path}} and label") from error
    rows = _rows(split, len(labels), path)
    sources = [(f"row {i}", encoded[i].as_py() or b"") for i in range(len(labels))[rows]]
    pixels, kept, skipped = read_pictures(sources, (32, 32), 3, strict, str(path))
    lossy = any(content.startswith(JPEG) for _, content in sources)
    origin = f"CIFAR-10, {path.name}" + (" (its images went through JPEG)" if lossy else "")
    return ImageDataset(pixels, labels[rows][kept], origin, skipped)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A gzipped IDX file of unsigned bytes as an array (n, *shape).

    Raises:
        RefineError: not gzip, not IDX, another shape, or fewer or more bytes than its header says.
    """
    expected = f"expected a gzipped IDX file of unsigned bytes, shape (n{''.join(f', {n}' for n in shape)})"
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise RefineError(f"{path} cannot be read ({error}); {expected}") from error
    header = 4 * (2 + len(shape))
    dims = tuple(int(n) for n in np.frombuffer(raw[4:header], ">u4")) if len(raw) >= header else ()
    foreign = raw[:4] != bytes((0, 0, 8, 1 + len(shape))) or dims[1:] != shape
    require(not foreign, f"{path} starts with {raw[:header].hex() or 'nothing'}; {expected}")
    body, size = np.frombuffer(raw, np.uint8, offset=header), int(np.prod(dims))
    require(len(body) == size, f"{path} has {len(body):,} bytes after a header that promises {size:,}; {expected}")
    return body.reshape(dims).copy()


def _rows(split: str, total: int, path: Path) -> slice:
    if split == "test":
        return slice(0, total)
    require(total > HELD_OUT, f"{path} has {total} images; expected more than the {HELD_OUT:,} held out as val")
    return slice(0, total - HELD_OUT) if split == "train" else slice(total - HELD_OUT, total)


def _find(folder: str, name: str, url: str, md5: dict[str, str]) -> Path:
    """The file in ``REFINE_DATA``, or its download (checked every time it is opened) in the cache."""
    local = local_file(folder, name)
    if local is not None:
        return local
    try:
        return fetch(url + name, f"md5:{md5[name]}", folder)
    except RefineError as error:
        hint = f"or put the file into {folder}/ of a folder that the environment variable REFINE_DATA names"
        raise RefineError(f"{error}; {hint}") from error
