"""Writing files so that a crash leaves the old ones, and keeping paths inside their folder."""

from __future__ import annotations

import os
import stat
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
        RefineError: it lies outside ``folder``, or links lead round in a circle.
    """
    try:
        resolved = (folder / path).resolve()
    except (OSError, RuntimeError) as error:  # the latter of links to themselves, before Python 3.13
        raise RefineError(f"{str(path)!r} in {folder} is refused: {error}") from None
    require(resolved.is_relative_to(folder.resolve()), f"{str(path)!r} is refused: it leads out of {folder}")
    return resolved


def own(folder: Path, name: str) -> Path:
    """``folder / name``, to write to: a file, or a folder with all that is in it.

    Whoever packed a folder may have put links into it, which would be followed to files of whoever writes there.

    Raises:
        RefineError: it is, or a folder that it is has in it, a link that leads out of ``folder``; or a file that is
            there is no regular one.
    """
    path = folder / name
    inside(folder, name)
    if path.is_dir():
        for parent, folders, files in os.walk(path):
            for item in (Path(parent, entry) for entry in (*folders, *files)):
                if item.is_symlink():
                    inside(folder.absolute(), item.absolute())
    elif path.exists():
        regular(path)
    return path


def regular(path: Path) -> os.stat_result:
    """What the system says of a regular file.

    Raises:
        RefineError: it is a pipe, a device, a folder, or cannot be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise RefineError(f"{path} cannot be read: {error.strerror}") from None
    require(stat.S_ISREG(found.st_mode), f"{path} cannot be read: it is no regular file")
    return found


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        RefineError: missing, unreadable, no regular file (a pipe would never end), or larger.
    """
    size = regular(path).st_size
    require(size <= most, f"{path} is not read: it has {size:,} bytes; accepted: {most:,} at most")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefineError(f"{path} cannot be read: {error}") from None


def read_text(path: Path, most: int = 2**30) -> str:
    """The text of a regular file of at most ``most`` bytes.

    Raises:
        RefineError: missing, unreadable, no regular file, larger, or not UTF-8.
    """
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise RefineError(f"{path} cannot be read: {error}") from None
