"""Checkpoint folders: ``config.json`` says what the model is, ``model.safetensors`` holds its weights. No pickle, ever.

Saving never leaves a folder that does not load. Both files carry the same fingerprint; new weights are written beside
the old ones first, then ``config.json`` changes in one rename, which is the moment the new checkpoint is in force, and
last the weights take their final name. A reader takes the weights whose fingerprint ``config.json`` names, and computes
it anew: a flipped bit is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from refine.errors import RefineError, require
from refine.settings.typed import plain_data
from refine.storage.files import atomic_write, inside, sync, write_text
from refine.storage.plain_json import read_json
from refine.storage.tensors import finite, open_tensors
from refine.version import __version__

FORMAT = 1
CONFIG, WEIGHTS, NEXT = "config.json", "model.safetensors", "model.next.safetensors"
HEADER: dict[str, type] = {
    "format": int,
    "refine_version": str,
    "weights": str,  # fingerprint, also in the metadata of the weights file
    "domain": str,
    "domain_config": dict,
    "model": dict,
    "info": dict,
}


def save_checkpoint(folder: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint into ``folder``, in place of the one that is there; a crash leaves the old one or the new.

    Args:
        folder: made if needed.
        header: ``domain``, ``domain_config``, ``model``, ``info``: plain data.
        tensors: the weights by name.

    Raises:
        RefineError: what :func:`load_checkpoint` would refuse, or a folder that cannot be written.
    """
    arrays = {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}
    full = {"format": FORMAT, "refine_version": __version__, **header, "weights": ""}
    _check_header(full, folder / CONFIG)
    finite(arrays, folder / WEIGHTS)
    full["weights"] = fingerprint(full, arrays)
    folder.mkdir(parents=True, exist_ok=True)
    _settle(folder)
    try:
        with atomic_write(folder / NEXT) as temporary:
            save_file(arrays, temporary, metadata={"refine": full["weights"]})
        write_text(folder / CONFIG, json.dumps(full, indent=2) + "\n")
    except SafetensorError as error:  # how safetensors reports a full disk
        raise RefineError(f"{folder} cannot be written: {error}; the checkpoint that was there is kept") from error
    finally:
        _settle(folder)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and weights of a checkpoint.

    Raises:
        RefineError: a file is missing, truncated, foreign, damaged, from a newer version, of another save, or leads out
            of the folder; the header holds anything but plain data; or weights are not finite.
    """
    header, weights = open_checkpoint(folder)
    return header, read_weights(folder, header, weights)


def read_weights(folder: Path, header: Mapping[str, Any], weights: Any) -> dict[str, Tensor]:
    """The weights of a checkpoint that :func:`open_checkpoint` opened.

    Raises:
        RefineError: header and weights are not those that were saved, or weights are not finite.
    """
    tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  no dict
    same = fingerprint({**header, "weights": ""}, tensors) == header["weights"]
    require(same, f"{folder} is damaged: {CONFIG} or {WEIGHTS} has changed since they were saved")
    finite(tensors, folder / WEIGHTS)
    return tensors


def open_checkpoint(folder: Path) -> tuple[dict[str, Any], Any]:
    """Header and the open safetensors file of a checkpoint, no weights read; errors as :func:`load_checkpoint`."""
    for _ in range(10):  # a save may be under way: what was looked for a moment ago is then there under another name
        header = read_header(folder)
        for name in (WEIGHTS, NEXT):
            weights = open_tensors(_within(folder, name))
            if weights is not None and _fingerprint_of(weights) == header["weights"]:
                return header, weights
    require((folder / WEIGHTS).is_file(), f"{folder} has no {WEIGHTS}")
    raise RefineError(
        f"{folder / WEIGHTS} does not belong to the {CONFIG} beside it; copy both files of one checkpoint"
    )


def read_header(folder: Path) -> dict[str, Any]:
    """The checked content of ``config.json``; see :func:`load_checkpoint` for errors."""
    require(folder.is_dir(), f"{folder} does not exist, or is not a folder")
    require((folder / CONFIG).is_file(), f"{folder} holds no checkpoint: there is no {CONFIG}")
    path = _within(folder, CONFIG)
    header = read_json(path)
    _check_header(header, path)
    return header  # type: ignore[no-any-return]


def fingerprint(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a header and its weights."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fingerprint_of(weights: Any) -> str | None:
    return (weights.metadata() or {}).get("refine")


def _check_header(header: Any, path: Path) -> None:
    known = isinstance(header, dict) and "format" in header and "refine_version" in header
    require(known, f"{path} was not written by refine")
    newest = type(header["format"]) is int and 1 <= header["format"] <= FORMAT
    require(
        newest,
        f"{path} has format {header['format']!r}, written by refine {header['refine_version']}; this refine reads "
        f"formats up to {FORMAT}. A newer refine may read it: pip install --upgrade refine-var",
    )
    for name in header:
        require(name in HEADER, f"{path}: {name!r} is not accepted; accepted: {', '.join(HEADER)}")
    for name, kind in HEADER.items():
        require(isinstance(header.get(name), kind), f"{path}: {name!r} is missing or is not a {kind.__name__}")
    plain_data(header, f"{path}:")


def _within(folder: Path, name: str) -> Path:
    """A file of the checkpoint; links may not leave it, save those of the hub's cache, from snapshots/ to blobs/."""
    hub = folder.parent.name == "snapshots"
    inside(folder.parent.parent if hub else folder, (folder / name).absolute())
    return folder / name


def _settle(folder: Path) -> None:
    """Finish or undo a save that was interrupted: nothing but the checkpoint in force is left."""
    for stale in [*folder.glob(".model.next-*.safetensors"), *folder.glob(".config-*.json")]:
        stale.unlink(missing_ok=True)
    if not (folder / NEXT).is_file():
        return
    try:
        wanted = read_json(folder / CONFIG)["weights"]
        in_force = _fingerprint_of(open_tensors(folder / NEXT)) == wanted
    except (OSError, LookupError, TypeError, RefineError):
        in_force = False
    if in_force:
        (folder / NEXT).replace(folder / WEIGHTS)
    else:
        (folder / NEXT).unlink()
    sync(folder)
