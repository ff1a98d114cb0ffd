"""What is done to a run to make it malformed: each changes the folder that it is given.

A header or a weight that is changed is signed anew, as somebody who means harm would do it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from refine.learning.checkpoint_io import SafetensorsIO
from refine.storage.checkpoint import CONFIG, WEIGHTS, fingerprint

TINY = ["domain=image", "domain.codec=identity", "width=8", "depth=1", "heads=2", "quantizer.size=4", "domain.latent=1"]
TINY += [f"{s}.{k}" for s in ("train.tokenizer", "train.predictor") for k in ("steps=4", "batch_size=4", "warmup=1")]
TINY += [
    "fit_after=1",
    "fit_items=16",
    "val_items=4",
    "save_every=2",
    "val_every=2",
    "sample.num=1",
    "trainer.accelerator=cpu",
]
RESUME = Path("resume", "predictor.safetensors")

Change = Callable[[Path], Any]


@cache
def base() -> Path:
    """A trained run, made once."""
    import refine

    folder = Path(tempfile.mkdtemp()) / "run"
    refine.train(refine.compose([*TINY, f"run={folder}"]))
    return folder


def sign(run: Path, header: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write a header and weights that carry each other's fingerprint."""
    header = {**header, "weights": ""}
    header["weights"] = fingerprint(header, tensors)
    save_file(tensors, run / WEIGHTS, metadata={"refine": header["weights"]})
    (run / CONFIG).write_text(json.dumps(header))


def header_with(path: tuple[str, ...], value: Any, run: Path) -> None:
    """Set a value of the header, and sign it."""
    header = json.loads((run / CONFIG).read_text())
    *parents, last = path
    node = header
    for name in parents:
        node = node[name]
    node[last] = value
    sign(run, header, load_file(run / WEIGHTS))


def weights_with(change: Callable[[dict[str, Any]], Any], run: Path) -> None:
    """Change the weights, and sign them."""
    tensors = load_file(run / WEIGHTS)
    change(tensors)
    sign(run, json.loads((run / CONFIG).read_text()), tensors)


def written(name: str | Path, content: bytes, run: Path) -> None:
    """Other bytes in a file."""
    (run / name).unlink(missing_ok=True)
    (run / name).write_bytes(content)


def cut(name: str | Path, size: int, run: Path) -> None:
    """The first bytes of a file only."""
    written(name, (run / name).read_bytes()[:size], run)


def flipped(name: str | Path, run: Path) -> None:
    """One bit of the last bytes."""
    content = bytearray((run / name).read_bytes())
    content[-3] ^= 64
    written(name, bytes(content), run)


def pipe(name: str | Path, run: Path) -> None:
    """A named pipe, which nobody writes to."""
    (run / name).unlink()
    os.mkfifo(run / name)


def folder(name: str | Path, run: Path) -> None:
    """A folder where a file should be."""
    (run / name).unlink()
    (run / name).mkdir()


def loop(name: str | Path, run: Path) -> None:
    """A link to itself."""
    (run / name).unlink()
    (run / name).symlink_to((run / name).name)


def away(name: str | Path, run: Path) -> None:
    """A link that leads out of the run, to a copy of what was there or to a new folder."""
    there = run.parent / "away"
    if (run / name).exists():
        (run / name).rename(there)
    else:
        there.mkdir()
    (run / name).symlink_to(there.absolute())


def inner(run: Path) -> None:
    """A picture that is a link to somebody's file."""
    (run.parent / "victim").write_text("kept")
    (run / "pictures" / "curves.png").unlink(missing_ok=True)
    (run / "pictures" / "curves.png").symlink_to((run.parent / "victim").absolute())


def state_with(change: Callable[[dict[str, Any]], Any], run: Path) -> None:
    """Change the state in the resume file."""
    state = SafetensorsIO().load_checkpoint(run / RESUME)
    change(state)
    SafetensorsIO().save_checkpoint(state, run / RESUME)


def tree_with(text: str | None, run: Path) -> None:
    """Another tree in the header of the resume file."""
    save_file(load_file(run / RESUME), run / RESUME, metadata=None if text is None else {"tree": text})
