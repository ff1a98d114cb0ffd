"""Writing files so that a crash leaves the old ones, and keeping paths inside their folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refine.errors import RefineError, require


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; what was written there takes the place of ``path`` if the block succeeds.

    The data are on disk before the name changes. If anything is raised (disk full and Ctrl-C included) ``path`` stays
    as it was and the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # some writers make private files
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """:func:`atomic_write` of a text."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def inside(folder: Path, path: str | Path) -> Path:
    """``folder / path`` with links followed.

    Raises:
        RefineError: it lies outside ``folder``.
    """
    resolved = (folder / path).resolve()
    require(resolved.is_relative_to(folder.resolve()), f"{str(path)!r} is refused: it leads out of {folder}")
    return resolved


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        RefineError: missing, unreadable, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefineError(f"{path} cannot be read: {error}") from None
