"""A folder of images as data: labels from its subfolders, splits from the files' names."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import torch

from refine.domains.image.data.dataset import ImageDataset
from refine.domains.image.data.pixels import read_pictures
from refine.errors import RefineError, require
from refine.settings.places import opened

HELD_OUT = 0.1  # of every class for val, and as much for test
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap the sides


def list_images(folder: str) -> list[Path]:
    """Paths, relative to ``folder`` and sorted, of the files below it that have an extension of an image.

    Raises:
        RefineError: no such folder, no images in it, or some in subfolders and some not.
    """
    from PIL import Image

    root = Path(opened(folder, "domain.folder")).expanduser()
    require(root.is_dir(), f"domain.folder={folder!r} is not a folder")
    known = {extension for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    paths = sorted(p.relative_to(root) for p in root.rglob("*") if p.suffix.lower() in known and p.is_file())
    paths = [p for p in paths if not any(part.startswith(".") for part in p.parts)]
    require(bool(paths), f"domain.folder={folder!r} holds no images (.png, .jpg and the like)")
    loose = [p for p in paths if len(p.parts) == 1]
    require(
        len(loose) in (0, len(paths)),
        f"domain.folder={folder!r} has images in subfolders, which are their labels, and others outside them, which "
        f"have none: {', '.join(str(p) for p in loose[:3])}",
    )
    return paths


def list_classes(paths: list[Path]) -> list[str]:
    """The subfolders' names, sorted; none where the images lie in the folder itself."""
    return sorted({p.parts[0] for p in paths if len(p.parts) > 1})


def common_size(folder: str, paths: list[Path]) -> tuple[int, int]:
    """(h, w) that all images have, from their headers.

    Raises:
        RefineError: they differ, or no header can be read.
    """
    from PIL import Image

    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            with Image.open(Path(folder).expanduser() / path) as image:
                sideways = image.getexif().get(ORIENTATION, 1) >= 5
                found.setdefault((image.width, image.height) if sideways else (image.height, image.width), path)
        except Exception:  # unreadable images are reported when they are decoded
            continue
        if len(found) > 1:
            seen = ", ".join(f"{p} is {h}x{w}" for (h, w), p in found.items())
            raise RefineError(f"domain.folder={folder!r} has images of different sizes ({seen}); give domain.size")
    require(bool(found), f"domain.folder={folder!r}: none of {len(paths)} images can be read")
    return next(iter(found))


def split_of(paths: list[Path]) -> dict[str, list[Path]]:
    """Each class's files in the order of their names' hashes, the first tenth test, the next val, the rest train.

    The same files fall into the same splits on every machine; every class of three images or more is in all of them.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        groups[path.parts[0] if len(path.parts) > 1 else ""].append(path)
    splits: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    for group in groups.values():
        group.sort(key=lambda p: hashlib.sha256(p.as_posix().encode()).digest())
        held = max(1, round(HELD_OUT * len(group))) if len(group) >= 3 else 0
        splits["test"] += group[:held]
        splits["val"] += group[held : 2 * held]
        splits["train"] += group[2 * held :]
    return splits


def read_folder(
    folder: str, split: str, classes: list[str], size: tuple[int, int], channels: int, strict: bool
) -> ImageDataset:
    """One split of a folder, decoded into memory.

    Args:
        classes: names of the labels, in order; empty for images without labels.

    Raises:
        RefineError: the folder is empty, a subfolder is not among ``classes``, the split is empty, or, with
            ``strict``, an image cannot be read.
    """
    paths = list_images(folder)
    found = list_classes(paths)
    unknown = sorted(set(found) - set(classes))
    require(
        not unknown and bool(found) == bool(classes),
        f"domain.folder={folder!r} has the subfolders {unknown or found}; accepted: {', '.join(classes) or 'none'}",
    )
    chosen = split_of(paths)[split]
    require(bool(chosen), f"domain.folder={folder!r} has {len(paths)} images, too few for a {split} split")
    root = Path(folder).expanduser()
    pixels, kept, skipped = read_pictures([(str(p), root / p) for p in chosen], size, channels, strict, folder)
    labels = torch.tensor([classes.index(chosen[i].parts[0]) for i in kept]) if classes else None
    return ImageDataset(pixels, labels, f"folder {root.name}", skipped)
