"""A folder of images as data: labels from its subfolders, splits from folders of that name or from the files' names."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch

from refine.domains.image.data.dataset import ImageDataset
from refine.domains.image.data.decoded import read_decoded
from refine.domains.image.data.pixels import EXTERNAL, no_warning_of_size, open_picture, some
from refine.errors import RefineError, require

HELD_OUT = 0.1  # of every class for val, and as much for test
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap the sides
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders that are a split and no class, where one of them is ``train`` and there are no others."""

UNREAD = set(
    ".heic .heif .hif .avif .jxl .jp2 .jxr .svg .eps .ps .wmf .emf .exr .hdr .3fr .arw .cr2 .cr3 .crw .dcr .dng .erf "
    ".kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
"""Extensions of images that are told of where they cannot be read."""


def list_images(folder: str, strict: bool = False) -> list[Path]:
    """Paths, relative to ``folder`` and sorted, of the files below it that have an extension of an image.

    Links to files and folders are followed. Images of formats that cannot be read are named in a warning.

    Raises:
        RefineError: no such folder, no images in it, some in subfolders and some not, or, with ``strict``, images of
            formats that cannot be read.
    """
    from PIL import Image

    root = Path(folder).expanduser()
    require(root.is_dir(), f"domain.folder={folder!r} is not a folder")
    kinds = {extension: kind for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    known = {extension for extension, kind in kinds.items() if kind not in EXTERNAL}
    files = [(path, path.suffix.lower()) for path in walk(root)]
    unread = sorted(path for path, extension in files if extension in UNREAD - known)
    paths = sorted(path for path, extension in files if extension in known)
    if unread:
        text = f"{len(unread)} images are of formats that cannot be read: {some(map(str, unread))}"
        readable = paths and not strict
        require(bool(readable), f"domain.folder={folder!r}: {text}" + ("; strict=true refuses them" if paths else ""))
        warnings.warn(f"{folder}: {text}; they are left out", stacklevel=2)
    require(bool(paths), f"domain.folder={folder!r} holds no images (.png, .jpg and the like)")
    loose = [path for path, (_, label) in zip(paths, places(paths), strict=True) if label is None]
    require(
        len(loose) in (0, len(paths)),
        f"domain.folder={folder!r} has images in subfolders, which are their labels, and others outside them, which "
        f"have none: {some(map(str, loose), 3)}",
    )
    return paths


def walk(root: Path) -> Iterator[Path]:
    """The files below ``root``, relative to it; those and folders whose names begin with a dot are left out.

    Links are followed. Below each of its subfolders a folder is entered once, whatever leads to it, so loops end.
    """
    entered: set[tuple[str, int, int]] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        here = Path(place).relative_to(root)
        status = os.stat(place)
        mark = (here.parts[0] if here.parts else "", status.st_dev, status.st_ino)
        if mark in entered:
            folders.clear()
            continue
        entered.add(mark)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (here / name for name in files if not name.startswith(".") and (root / here / name).is_file())


def places(paths: list[Path]) -> list[tuple[str | None, str | None]]:
    """The split and the label of each path, as far as its folders name them.

    Where the first folders of all paths are splits (``train``, and ``val`` or ``test``), the label is the folder below;
    otherwise it is the first folder.
    """
    first = {path.parts[0].lower() if len(path.parts) > 1 else "" for path in paths}
    splits = first <= SPLITS.keys() and "train" in {SPLITS[name] for name in first}
    found = []
    for path in paths:
        split, *rest = path.parts if splits else (None, *path.parts)
        found.append((None if split is None else SPLITS[split.lower()], rest[0] if len(rest) > 1 else None))
    return found


def list_classes(paths: list[Path]) -> list[str]:
    """The names of the labels, sorted; as numbers where all are. None where the images lie in the folder itself."""
    names = {label for _, label in places(paths) if label is not None}
    numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name) if numbers else 0, name))


def common_size(folder: str, paths: list[Path]) -> tuple[int, int]:
    """(h, w) that all images have, from their headers.

    Raises:
        RefineError: they differ, or no header can be read.
    """
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            with no_warning_of_size(), open_picture(Path(folder).expanduser() / path) as image:
                sideways = image.getexif().get(ORIENTATION, 1) >= 5
                found.setdefault((image.width, image.height) if sideways else (image.height, image.width), path)
        except Exception:  # unreadable images are reported when they are decoded
            continue
        if len(found) > 1:
            seen = ", ".join(f"{some([str(p)])} is {h}x{w}" for (h, w), p in found.items())
            raise RefineError(f"domain.folder={folder!r} has images of different sizes ({seen}); give domain.size")
    require(bool(found), f"domain.folder={folder!r}: none of {len(paths)} images can be read")
    return next(iter(found))


def split_of(paths: list[Path]) -> dict[str, list[Path]]:
    """The images of ``train``, ``val`` and ``test``: by folders of these names where there are some.

    A split without a folder gets its share of the others' ``train``: each class's files in the order of their names'
    hashes, the first tenth test, the next val, the rest train. The same files fall into the same splits on every
    machine; every class of three images or more is in all of them.
    """
    splits: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    groups: dict[str, list[Path]] = defaultdict(list)
    for path, (split, label) in zip(paths, places(paths), strict=True):
        if split in (None, "train"):
            groups[label or ""].append(path)
        else:
            splits[split].append(path)
    wanted = [split for split in ("test", "val") if not splits[split]]
    for group in groups.values():
        group.sort(key=lambda p: hashlib.sha256(os.fsencode(p.as_posix())).digest())
        held = max(1, round(HELD_OUT * len(group))) if len(group) >= 3 else 0
        for i, split in enumerate(wanted):
            splits[split] += group[i * held : (i + 1) * held]
        splits["train"] += group[len(wanted) * held :]
    return splits


def read_folder(
    folder: str, split: str, classes: list[str], size: tuple[int, int], channels: int, strict: bool
) -> ImageDataset:
    """One split of a folder, decoded; into memory where it is small (:mod:`refine.domains.image.data.decoded`).

    Args:
        classes: names of the labels, in order; empty for images without labels.

    Raises:
        RefineError: the folder is empty, a subfolder is not among ``classes``, the split is empty, or, with
            ``strict``, an image cannot be read.
    """
    paths = list_images(folder, strict)
    found = list_classes(paths)
    unknown = sorted(set(found) - set(classes))
    require(
        not unknown and bool(found) == bool(classes),
        f"domain.folder={folder!r} has the subfolders {unknown[:10] or found[:10]}; accepted: {some(classes)}",
    )
    chosen = split_of(paths)[split]
    of = f"{len(paths)} images of {len(found)} classes" if found else f"{len(paths)} images"
    require(
        bool(chosen),
        f"domain.folder={folder!r} has {of}, too few for a {split} split: it takes three images of one class, or a folder "
        f"{split}/ beside train/",
    )
    root = Path(folder).expanduser()
    decoded = read_decoded([(str(p), root / p) for p in chosen], size, channels, strict, folder)
    by_path = dict(zip(paths, places(paths), strict=True))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([numbers[by_path[chosen[i]][1] or ""] for i in decoded.kept]) if classes else None
    return ImageDataset(decoded.pixels, labels, f"folder {root.name}", decoded.skipped, decoded.content)
