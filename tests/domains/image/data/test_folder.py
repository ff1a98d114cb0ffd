from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.data.folder import split_of
from refine.errors import RefineError

from ..conftest import write_image


def folder_domain(path: Path, **options: object) -> ImageDomain:
    return ImageDomain(ImageConfig(data="folder", folder=str(path), **options))  # type: ignore[arg-type]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for i in range(12):
        write_image(tmp_path / "pets" / "cat" / f"{i}.png", i)
        write_image(tmp_path / "pets" / "dog" / "brown" / f"{i}.jpg", 100 + i)  # PNG content; nested
    (tmp_path / "pets" / "readme.txt").write_text("not an image")
    (tmp_path / "pets" / ".hidden.png").write_bytes(b"")
    return tmp_path / "pets"


def test_labels_come_from_subfolders_and_all_images_are_in_one_split(pets: Path) -> None:
    domain = folder_domain(pets)
    assert domain.class_names() == ["cat", "dog"] and domain.condition.num_classes == 2
    assert domain.shape == (3, 6, 8) and domain.dimensions == 144
    splits = [domain.images(name) for name in ("train", "val", "test")]
    assert [len(s) for s in splits] == [20, 2, 2]
    assert [torch.bincount(s.labels).tolist() for s in splits] == [[10, 10], [1, 1], [1, 1]]
    seen = {p.numpy().tobytes(): int(label) for s in splits for p, label in zip(s.pixels, s.labels, strict=True)}
    cats = [np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8) for i in range(12)]
    assert len(seen) == 24
    assert all(seen[np.ascontiguousarray(cat.transpose(2, 0, 1)).tobytes()] == 0 for cat in cats)


def test_splits_depend_on_names_and_not_on_their_order() -> None:
    paths = [Path("a") / f"{i}.png" for i in range(40)]
    forward, backward = split_of(paths), split_of(paths[::-1])
    assert forward == backward and [len(forward[s]) for s in ("train", "val", "test")] == [32, 4, 4]
    assert sorted(p for split in forward.values() for p in split) == sorted(paths)
    two = split_of(paths[:2])
    assert sorted(two["train"]) == paths[:2] and not two["val"] and not two["test"]


def test_images_without_subfolders_have_no_labels(tmp_path: Path) -> None:
    for i in range(5):
        write_image(tmp_path / f"{i}.png", i)
    domain = folder_domain(tmp_path, channels=1, size=4)
    assert domain.condition.num_classes == 0 and set(domain.dataset("train")[0]) == {"x"}
    assert domain.images("train").pixels.shape == (3, 1, 4, 4)


def test_what_was_looked_up_is_kept_so_that_the_folder_may_go(pets: Path) -> None:
    config = folder_domain(pets).config
    pets.rename(pets.parent / "gone")
    again = ImageDomain(config)
    assert again.config == config and again.class_names() == ["cat", "dog"] and again.shape == (3, 6, 8)
    with pytest.raises(RefineError, match="is not a folder"):
        again.images("train")


def test_a_corrupt_image_is_skipped_or_refused(pets: Path) -> None:
    for path in (pets / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    domain = folder_domain(pets)
    with pytest.warns(UserWarning, match=r"10 of 20 images cannot be read .* cat/\d+\.png"):
        data = domain.images("train")
    assert data.labels.tolist() == [1] * 10 and len(data.skipped) == 10
    with pytest.raises(RefineError, match=r"cat/\d+\.png .*strict=true"):
        folder_domain(pets, strict=True).images("train")


def test_folders_that_cannot_be_used(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=r"domain.folder='.*nowhere' is not a folder"):
        folder_domain(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefineError, match=r"empty' holds no images"):
        folder_domain(tmp_path / "empty")
    with pytest.raises(RefineError, match=r"needs domain\.folder=PATH"):
        ImageDomain(ImageConfig(data="folder"))
    with pytest.raises(RefineError, match=r"has the subfolders \['dog'\]; accepted: cat"):
        folder_domain(pets, classes=["cat"]).images("train")
    write_image(pets / "stray.png", 0)
    with pytest.raises(RefineError, match=r"others outside them, which have none: stray.png"):
        folder_domain(pets)
    write_image(tmp_path / "few" / "a.png", 0)
    with pytest.raises(RefineError, match="has 1 images, too few for a val split"):
        folder_domain(tmp_path / "few").images("val")


def test_different_sizes_need_a_size(pets: Path) -> None:
    write_image(pets / "dog" / "tall.png", 7, (9, 8))
    with pytest.raises(RefineError, match=r"different sizes \(.*6x8.*tall.png is 9x8\); give domain.size"):
        folder_domain(pets)
    assert folder_domain(pets, size=5).images("train").pixels.shape[1:] == (3, 5, 5)
