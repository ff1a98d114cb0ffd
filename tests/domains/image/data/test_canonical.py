from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.data import canonical
from refine.domains.image.data.dataset import check_labels
from refine.domains.image.data.pixels import to_uint8
from refine.errors import RefineError
from refine.storage import downloads

from ..conftest import encoded, idx_bytes


def made_up_mnist(folder: Path, images: int = 5010, labels: int = 5010) -> np.ndarray:
    (folder / "mnist").mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 28, 28), np.uint8)
    for part in ("train", "t10k"):
        (folder / "mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(idx_bytes(pixels))
        (folder / "mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.arange(labels) % 10))
    return pixels


def test_digits_are_split_once_and_for_all_and_evenly(digits: ImageDomain) -> None:
    splits = {name: digits.images(name) for name in ("train", "val", "test")}
    assert {name: len(data) for name, data in splits.items()} == {"train": 1257, "val": 180, "test": 360}
    everything = torch.cat([data.pixels for data in splits.values()])
    assert len(everything.flatten(1).unique(dim=0)) == 1797  # no image is in two splits (and none is there twice)
    for data in splits.values():
        shares = torch.bincount(data.labels) / len(data)
        assert shares.min() > 0.09 and shares.max() < 0.11
    again = ImageDomain(ImageConfig()).images("test")
    assert torch.equal(again.pixels, splits["test"].pixels)
    assert int(everything.max()) == 255 and int(everything.min()) == 0


def test_items_are_floats_that_come_from_the_pixels(digits: ImageDomain) -> None:
    data = digits.dataset("val")
    item, batch = data[3], data.__getitems__([5, 3])
    assert item["x"].shape == (1, 8, 8) and item["x"].dtype == torch.float32 and item["label"].dtype == torch.int64
    assert float(item["x"].min()) >= -1 and float(item["x"].max()) <= 1
    assert torch.equal(batch[1]["x"], item["x"]) and torch.equal(batch[1]["label"], item["label"])
    assert torch.equal(to_uint8(item["x"]), data.pixels[3])


def test_items_have_no_label_where_the_model_is_not_to_be_conditioned() -> None:
    domain = ImageDomain(ImageConfig(label_conditional=False))
    assert set(domain.dataset("val")[0]) == set(domain.dataset("val").__getitems__([0])[0]) == {"x"}
    assert domain.condition.num_classes == 0 and domain.images("val").labels is not None


def test_mnist_out_of_idx_files(made_up: Path) -> None:
    pixels = made_up_mnist(made_up)
    domain = ImageDomain(ImageConfig(data="mnist"))
    train, val, test = (domain.images(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (10, 5000, 5010)
    assert np.array_equal(train.pixels[:, 0].numpy(), pixels[:10])
    assert np.array_equal(val.pixels[:, 0].numpy(), pixels[10:])
    assert val.labels[:3].tolist() == [0, 1, 2] and test.pixels.shape == (5010, 1, 28, 28)


def test_mnist_in_another_size_and_in_colour(made_up: Path) -> None:
    made_up_mnist(made_up)
    data = ImageDomain(ImageConfig(data="mnist", size=[16, 12], channels=3)).images("train")
    assert data.pixels.shape == (10, 3, 16, 12) and data.pixels.dtype == torch.uint8
    assert torch.equal(data.pixels[:, 0], data.pixels[:, 2])  # grey made RGB


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: raw[:-500], "cannot be read"),
        (lambda raw: b"<html>not found</html>", "cannot be read"),
        (lambda raw: b"", "starts with nothing"),
        (lambda raw: idx_bytes(np.zeros((3, 27, 28))), "starts with 00000803000000030000001b"),
        (lambda raw: idx_bytes(np.zeros(5)), "starts with 00000801"),
        (lambda raw: canonical.gzip.compress(canonical.gzip.decompress(raw)[:-1]), "a header that promises"),
    ],
    ids=["truncated", "html", "empty", "other shape", "labels", "short body"],
)
def test_a_damaged_or_foreign_idx_file_is_named(made_up: Path, damage: Callable[[bytes], bytes], words: str) -> None:
    made_up_mnist(made_up)
    path = made_up / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RefineError, match=r"t10k-images-idx3-ubyte\.gz") as raised:
        canonical.mnist("test")
    assert words in str(raised.value) and "expected a gzipped IDX file" in str(raised.value)


def test_images_and_labels_of_different_number(made_up: Path) -> None:
    made_up_mnist(made_up, labels=5009)
    with pytest.raises(RefineError, match=r"has 5010 images, but .* has 5009 labels"):
        canonical.mnist("test")


def test_too_few_images_to_hold_some_out(made_up: Path) -> None:
    made_up_mnist(made_up, 20, 20)
    with pytest.raises(RefineError, match="has 20 images; expected more than the 5,000"):
        canonical.mnist("val")


def test_a_label_out_of_range_is_named() -> None:
    with pytest.raises(RefineError, match=r"mnist: item 2 has label 10; accepted: 0 to 9 \(2 labels"):
        check_labels(torch.tensor([0, 9, 10, -1]), 10, "mnist")


def test_what_cannot_be_downloaded_says_where_to_put_it(made_up: Path) -> None:
    with pytest.raises(RefineError, match=r"train-images-idx3-ubyte.gz cannot be downloaded .* REFINE_DATA"):
        canonical.mnist("train")


def cifar_row(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


def test_cifar_out_of_parquet_skips_and_names_a_corrupt_image(made_up: Path) -> None:
    (made_up / "cifar10").mkdir()
    images = [{"bytes": encoded(cifar_row(i)), "path": f"{i}.png"} for i in range(6)]
    images[4] = {"bytes": images[4]["bytes"][:-60], "path": "4.png"}
    table = pa.table({"img": images, "label": list(range(6))})
    parquet.write_table(table, made_up / "cifar10" / "test.parquet")
    with pytest.warns(UserWarning, match=r"1 of 6 images cannot be read and are skipped: row 4"):
        data = ImageDomain(ImageConfig(data="cifar10")).images("test")
    assert data.labels.tolist() == [0, 1, 2, 3, 5] and len(data.skipped) == 1 and "JPEG" not in data.origin
    assert np.array_equal(data.pixels[4].permute(1, 2, 0).numpy(), cifar_row(5))
    with pytest.raises(RefineError, match=r"row 4 .* strict=true"):
        ImageDomain(ImageConfig(data="cifar10", strict=True)).images("test")


@pytest.mark.parametrize("content", [b"not parquet", None], ids=["foreign", "other columns"])
def test_a_foreign_parquet_file_is_named(made_up: Path, content: bytes | None) -> None:
    (made_up / "cifar10").mkdir()
    path = made_up / "cifar10" / "test.parquet"
    if content is None:
        parquet.write_table(pa.table({"image": [1], "label": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        RefineError, match=r"test.parquet: .* expected parquet with columns img \{bytes, path\} and label"
    ):
        canonical.cifar10("test")


def cifar_archive(path: Path, records: int = 10000, drop: int = 0) -> str:
    """An archive laid out as the published one; returns its md5."""
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
            rows = np.full((records, 3073), number, np.uint8)
            rows[:, 0] = np.arange(records) % 10
            raw = rows.tobytes()[: records * 3073 - drop]
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar_out_of_the_binary_archive(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = downloads.cache_dir() / "cifar10" / "cifar-10-binary.tar.gz"
    monkeypatch.setitem(canonical.CIFAR_MD5, archive.name, cifar_archive(archive))
    train, test = canonical.cifar10("train"), canonical.cifar10("test")
    assert train.pixels.shape == (45000, 3, 32, 32) and train.labels[:11].tolist() == [*range(10), 0]
    assert train.pixels[:, 0, 0, 0].unique().tolist() == [0, 1, 2, 3, 4]
    assert len(test) == 10000 and bool((test.pixels == 5).all())


def test_a_short_binary_archive_is_refused(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = downloads.cache_dir() / "cifar10" / "cifar-10-binary.tar.gz"
    monkeypatch.setitem(canonical.CIFAR_MD5, archive.name, cifar_archive(archive, records=20, drop=5))
    with pytest.raises(RefineError, match=r"cifar-10-binary.tar.gz: .*expected 10,000 records of 3073 bytes"):
        canonical.cifar10("test")


def test_a_cached_download_that_no_longer_has_its_checksum_is_not_used(made_up: Path) -> None:
    cached = downloads.cache_dir() / "mnist" / "t10k-labels-idx1-ubyte.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(idx_bytes(np.zeros(3)))
    with pytest.raises(RefineError, match="cannot be downloaded"):
        canonical.mnist("test")


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path))
    assert downloads.cache_dir() == tmp_path
    monkeypatch.delenv("REFINE_CACHE")
    assert downloads.cache_dir() == Path(pooch.os_cache("refine"))


def test_the_real_mnist(real_data: Callable[[str], Path]) -> None:
    folder = real_data("mnist")
    published = {
        "train-images-idx3": "6bbc9ace898e44ae57da46a324031adb",
        "t10k-labels-idx1": "27ae3e4e09519cfbb04c329615203637",
    }
    for name, md5 in published.items():
        raw = canonical.gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
        assert hashlib.md5(raw).hexdigest() == md5
    domain = ImageDomain(ImageConfig(data="mnist"))
    sizes = [len(domain.images(split)) for split in ("train", "val", "test")]
    assert sizes == [55000, 5000, 10000]
    assert domain.images("test").labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert abs(float(domain.images("train").pixels.float().mean()) - 33.3) < 0.2


def test_the_real_cifar10(real_data: Callable[[str], Path]) -> None:
    real_data("cifar10")
    domain = ImageDomain(ImageConfig(data="cifar10"))
    data = domain.images("test")
    assert data.pixels.shape == (10000, 3, 32, 32) and not data.skipped
    assert torch.bincount(data.labels).tolist() == [1000] * 10 and "JPEG" in data.origin
    red, green, blue = data.pixels[data.labels == domain.class_names().index("ship")].float().mean((0, 2, 3)).tolist()
    assert blue > green > red  # ships are on water
