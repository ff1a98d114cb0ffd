"""Writing files so that a crash leaves the old ones, and keeping paths inside their folder."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from safetensors import SafetensorError

from refine.errors import RefineError, require

TEMPORARY = re.compile("[0-9a-f]{8}(-(?P<where>[0-9a-f]{8})-(?P<process>[0-9]+))?")


class WriteError(RefineError, OSError):
    """A file cannot be written; the message names it. It is an OSError too, for those who expect one."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while ``path`` is written into one message that names it.

    Raises:
        WriteError: a full disk, no permission, a file that has grown too large.
    """
    try:
        yield
    except WriteError:
        raise
    except (OSError, SafetensorError) as error:  # the latter is how safetensors reports a full disk
        raise WriteError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; what was written there takes the place of ``path`` if the block succeeds.

    The data are on disk before the name changes. If anything is raised (disk full and Ctrl-C included) ``path`` stays
    as it was and the temporary file is removed. Those of processes that were killed are removed by the next write.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # some writers make private files
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name for a file or folder that is to become ``path``; what :func:`remove_left` removes is removed first.

    The name says which process it is, and in which system.
    """
    remove_left(path)
    return path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}-{_system()}-{os.getpid()}{path.suffix}")


def remove_left(path: Path) -> None:
    """Remove what was to become ``path`` in processes that are dead.

    Whether a process of another system lives cannot be known: what it has written stays.
    """
    for left in path.parent.glob(f".{glob.escape(path.stem)}-*{glob.escape(path.suffix)}"):
        tag = TEMPORARY.fullmatch(left.name[len(path.stem) + 2 : len(left.name) - len(path.suffix)])
        if tag is None or (tag["process"] and (tag["where"] != _system() or _lives(int(tag["process"])))):
            continue
        with suppress(OSError):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@cache
def _system() -> str:
    """Eight characters for where numbers of processes mean the same: a machine, or a container on it."""
    with suppress(OSError):
        return hashlib.sha256(f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:8]
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    if os.name == "nt":  # where a signal ends it, whatever its number
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


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


def require_writable(path: Path, what: str) -> None:
    """Make sure, before long work, that a file or a folder can be made.

    Args:
        path: it, which is not there yet or an empty folder.
        what: the beginning of the message.

    Raises:
        RefineError: what would be around it is no folder, or cannot be written to.
    """
    around = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    require(around.is_dir() and os.access(around, os.W_OK), f"{what}: {around} cannot be written to")


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
