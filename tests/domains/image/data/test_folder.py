from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.data.folder import list_classes, list_images, split_of
from refine.domains.image.data.pixels import open_picture
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
    with pytest.raises(RefineError, match="has 1 images, too few for a val split: it takes three images"):
        folder_domain(tmp_path / "few").images("val")


def test_different_sizes_need_a_size(pets: Path) -> None:
    write_image(pets / "dog" / "tall.png", 7, (9, 8))
    with pytest.raises(RefineError, match=r"different sizes \(.*6x8.*tall.png is 9x8\); give domain.size"):
        folder_domain(pets)
    assert folder_domain(pets, size=5).images("train").pixels.shape[1:] == (3, 5, 5)


def test_two_images_of_every_class_are_too_few_and_it_says_why(tmp_path: Path) -> None:
    for i in range(8):
        write_image(tmp_path / f"c{i % 4}" / f"{i}.png", i)
    domain = folder_domain(tmp_path)
    assert len(domain.images("train")) == 8
    with pytest.raises(
        RefineError, match="has 8 images of 4 classes, too few for a val split: it takes three images of"
    ):
        domain.images("val")


def test_folders_that_are_links_are_classes_and_loops_end(pets: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "a.png", 300)
    write_image(tmp_path / "elsewhere" / "deep" / "b.png", 301)
    for name in ("bird", "crow"):  # two classes of the same images
        (pets / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    (pets / "cat" / "self").symlink_to(pets)
    (pets / "dangling").symlink_to(tmp_path / "nowhere")
    paths = list_images(str(pets))
    assert list_classes(paths) == ["bird", "cat", "crow", "dog"]
    found = [p.as_posix() for p in paths if p.parts[0] in ("bird", "crow")]
    assert found == ["bird/a.png", "bird/deep/b.png", "crow/a.png", "crow/deep/b.png"]
    (tmp_path / "root").symlink_to(pets)
    assert list_images(str(tmp_path / "root")) == paths
    domain = folder_domain(tmp_path / "root")
    assert sum(int((domain.images(s).labels == 2).sum()) for s in ("train",)) == 2


def test_links_that_lead_to_one_another_are_not_followed_in_every_order(tmp_path: Path) -> None:
    for i in range(9):
        write_image(tmp_path / f"{i}" / "a.png", i)
    for i in range(9):
        for j in range(9):
            (tmp_path / f"{i}" / f"to{j}").symlink_to(tmp_path / f"{j}")
    assert len(list_images(str(tmp_path))) == 9 * 9


def test_images_of_formats_that_cannot_be_read_are_named_and_counted(pets: Path, tmp_path: Path) -> None:
    names = ["IMG_0.HEIC", "b.jxl", "c.nef", "d.eps", "e.wmf"]
    for name in names:
        (pets / "cat" / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"5 images are of formats that cannot be read: cat/IMG_0.HEIC, .*left out"):
        assert len(list_images(str(pets))) == 24
    with pytest.raises(RefineError, match=r"5 images are of formats .* cat/e\.wmf; strict=true refuses them"):
        folder_domain(pets, strict=True)
    for i in range(20):
        (tmp_path / "phone" / f"{i}.heic").parent.mkdir(exist_ok=True)
        (tmp_path / "phone" / f"{i}.heic").write_bytes(b"x")
    with pytest.raises(RefineError, match=r"phone': 20 images are of formats that cannot be read: .*, and 10 more$"):
        folder_domain(tmp_path / "phone")


def test_what_pillow_would_hand_to_another_program_is_no_image_whatever_it_is_called(pets: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n%%EOF\n"
    (pets / "cat" / "0.png").write_bytes(eps)
    for path in (pets / "cat" / "0.png", eps):
        with pytest.raises(OSError, match="cannot identify image file"):
            open_picture(path)


def test_folders_called_as_splits_are_splits(tmp_path: Path) -> None:
    counts = {"train/cat": 20, "train/dog": 20, "Val/cat": 3, "Val/dog": 2, "Val/owl": 1}
    for start, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write_image(tmp_path / name / f"{i}.png", 100 * start + i)
    domain = folder_domain(tmp_path)
    assert domain.class_names() == ["cat", "dog", "owl"]
    labels = {s: torch.bincount(domain.images(s).labels, minlength=3).tolist() for s in ("train", "val", "test")}
    assert labels == {"train": [18, 18, 0], "val": [3, 2, 1], "test": [2, 2, 0]}  # a test split is held out of train
    for i in range(3):
        write_image(tmp_path / "test" / "owl" / f"{i}.png", 900 + i)
    again = folder_domain(tmp_path)
    assert [len(again.images(s)) for s in ("train", "val", "test")] == [40, 6, 3]
    write_image(tmp_path / "bus" / "0.png", 1000)  # then train is a class among others
    assert folder_domain(tmp_path).class_names() == ["Val", "bus", "test", "train"]


def test_splits_without_classes(tmp_path: Path) -> None:
    for split, count in {"train": 5, "valid": 2}.items():
        for i in range(count):
            write_image(tmp_path / split / f"{i}.png", i)
    domain = folder_domain(tmp_path)
    assert domain.class_names() == [] and [len(domain.images(s)) for s in ("train", "val", "test")] == [4, 2, 1]


def test_classes_called_by_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    for i, name in enumerate(["10", "9", "1", "2"]):
        write_image(tmp_path / name / "a.png", i)
    domain = folder_domain(tmp_path)
    assert domain.class_names() == ["1", "2", "9", "10"] and domain.labels_of(10, 1).tolist() == [3]


@pytest.mark.parametrize("name", ["${oc.env:HOME}", "a\nb", "???", b"caf\xe9", "\x1b[31mred"])
def test_class_folders_that_cannot_be_written_down_are_refused_at_once(name: str | bytes, tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "a.png", 0)
    try:
        (tmp_path / "cat").rename(tmp_path / os.fsdecode(name))
    except OSError:
        pytest.skip("the file system has no such names")
    with pytest.raises(RefineError, match=r"is not accepted as the name of a class .*rename the folder$") as error:
        folder_domain(tmp_path)
    assert str(error.value).isprintable()


def test_files_of_any_name_are_read_and_named(pets: Path) -> None:
    for name, content in {
        b"caf\xe9.png": b"",
        b"a\nb.png": b"",
        b"${x}.png": (pets / "cat" / "0.png").read_bytes(),
    }.items():
        try:
            (pets / "cat" / os.fsdecode(name)).write_bytes(content)
        except OSError:
            pytest.skip("the file system has no such names")
    domain = folder_domain(pets, size=6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        total = sum(len(domain.images(split)) for split in ("train", "val", "test"))
    assert total == 25 and all(str(w.message).isprintable() for w in caught)
    told = " ".join(str(w.message) for w in caught)
    assert r"cat/caf\udce9.png" in told and r"cat/a\nb.png" in told
