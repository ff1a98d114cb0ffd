"""Folders larger than memory, and what is made of images that have changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.data import decoded
from refine.domains.image.data.dataset import ImageDataset
from refine.errors import RefineError
from refine.items import FieldsDataset
from refine.learning.data import read_cache, write_cache
from refine.models.encoding import content_hash
from refine.models.refiner import Refiner
from refine.settings.config import ModelConfig

from ..conftest import write_image


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a machine on which no folder fits into memory."""
    monkeypatch.setattr(decoded, "IN_MEMORY", 0)
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def domain_of(folder: Path, **options: Any) -> ImageDomain:
    return ImageDomain(ImageConfig(data="folder", folder=str(folder), size=[6, 8], **options))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for i in range(12):
        write_image(tmp_path / "pets" / "cat" / f"{i}.png", i)
        write_image(tmp_path / "pets" / "dog" / f"{i}.png", 100 + i)
    return tmp_path / "pets"


def test_a_mapped_folder_gives_what_one_in_memory_gives(
    pets: Path, mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = domain_of(pets).images("train")
    files = sorted(mapped.glob("*.pixels"))
    assert len(files) == 1 and files[0].stat().st_size == 20 * 3 * 6 * 8
    before = files[0].stat().st_mtime_ns
    again = domain_of(pets).images("train")
    assert files[0].stat().st_mtime_ns == before and again.content_hash == large.content_hash
    monkeypatch.setattr(decoded, "IN_MEMORY", 2**28)
    small = domain_of(pets).images("train")
    assert torch.equal(large.pixels, small.pixels) and torch.equal(large.labels, small.labels)
    assert torch.equal(large.__getitems__([3, 1])[0]["x"], small[3]["x"])
    assert sorted(mapped.glob("*.pixels")) == files


def test_what_has_changed_is_decoded_anew(pets: Path, mapped: Path) -> None:
    first = domain_of(pets).images("val")
    status = (pets / "cat" / "0.png").stat()
    for name in sorted(p.name for p in (pets / "cat").iterdir()):
        write_image(pets / "cat" / name, 500)
        os.utime(pets / "cat" / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = domain_of(pets).images("val")
    assert not torch.equal(first.pixels, second.pixels) and first.content_hash != second.content_hash
    white = np.random.default_rng(500).integers(0, 256, (6, 8, 3), np.uint8).transpose(2, 0, 1)
    assert np.array_equal(second.pixels[second.labels == 0][0].numpy(), white)


def test_damaged_files_of_the_cache_are_made_again(pets: Path, mapped: Path) -> None:
    wanted = domain_of(pets).images("train").pixels.clone()
    (file,) = mapped.glob("*.pixels")
    about = file.with_suffix(".json").read_text()
    for broken in (
        "",
        "[]",
        "{}",
        '{"kept": [0], "skipped": []}',
        about.replace("[0, 1", "[1, 0"),
        about.replace("19", "99"),
    ):
        file.with_suffix(".json").write_text(broken)
        assert torch.equal(domain_of(pets).images("train").pixels, wanted)
    file.write_bytes(file.read_bytes()[:-1])
    assert torch.equal(domain_of(pets).images("train").pixels, wanted)


def test_images_that_cannot_be_read_are_told_of_each_time(pets: Path, mapped: Path) -> None:
    for path in (pets / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"10 of 20 images cannot be read .* cat/"):
            data = domain_of(pets).images("train")
        assert data.labels.tolist() == [1] * 10 and len(data.skipped) == 10 and len(data.pixels) == 10
    with pytest.raises(RefineError, match=r"cat/\d+\.png .*strict=true"):
        domain_of(pets, strict=True).images("train")


def test_the_hash_of_images_changes_with_any_pixel_and_any_label() -> None:
    pixels, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0])
    other, exchanged = pixels.clone(), labels.flip(0).roll(1)
    other[2, 0, 1, 1] = 1
    sets = [ImageDataset(pixels, labels), ImageDataset(other, labels), ImageDataset(pixels, exchanged)]
    sets += [ImageDataset(pixels, None), ImageDataset(pixels[:2], labels[:2])]
    assert len({data.content_hash for data in sets}) == len(sets)
    assert ImageDataset(pixels.clone(), labels.clone(), "elsewhere").content_hash == sets[0].content_hash


def test_codes_are_those_of_the_images_of_today(pets: Path, tmp_path: Path) -> None:
    """The folders of two classes change their names between two trainings of a run."""
    torch.manual_seed(0)
    refiner = Refiner(domain_of(pets, codec="identity", scales=[[3, 4], [6, 8]]), ModelConfig()).eval()

    def cached() -> tuple[str, dict[str, torch.Tensor]]:
        refiner.domain = domain_of(pets, codec="identity", scales=[[3, 4], [6, 8]])
        items = refiner.training_items("train", 0)
        path = tmp_path / f"{items.fingerprint}.safetensors"  # type: ignore[attr-defined]
        write_cache(items, path, 8)
        return path.name, dict(read_cache(path).tensors)

    name, old = cached()
    assert cached()[0] == name
    for before, after in (("cat", "tmp"), ("dog", "cat"), ("tmp", "dog")):
        shutil.move(pets / before, pets / after)
    other, new = cached()
    assert other != name and torch.equal(new["label"], old["label"])
    x = torch.stack([refiner.domain.dataset("train")[i]["x"] for i in range(20)])
    assert all(torch.equal(new[f"codes_{k}"].long(), codes) for k, codes in enumerate(refiner.tokenizer.encode(x)))
    assert not torch.equal(new["codes_1"], old["codes_1"])


@pytest.mark.parametrize("field", ["x", "label"])
def test_codes_of_any_items_have_another_name_when_an_item_changes(field: str) -> None:
    items = {"x": torch.arange(6.0).reshape(3, 2), "label": torch.tensor([0, 1, 2])}
    hashes = {
        content_hash(FieldsDataset(**items)),
        content_hash(FieldsDataset(**{n: t.clone() for n, t in items.items()})),
    }
    changed = items[field].clone()
    changed[2] = 7
    assert len(hashes) == 1 and content_hash(FieldsDataset(**items | {field: changed})) not in hashes
