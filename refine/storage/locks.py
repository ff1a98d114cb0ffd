"""One process at a time: a lock on a file, which the system takes from a process when it ends, however it ends."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from refine.errors import RefineError
from refine.progress import warn
from refine.storage.files import writing

LOCK = ".lock"  # in a folder that one process at a time writes to
_held: set[Path] = set()  # by this process, which the system would let have them twice


def lock_beside(path: Path) -> Path:
    """The lock of a file or a store that is yet to be."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Run a block that no other process, and no other thread, runs with the same lock file at the same time.

    The file says who has the lock; it is removed in the end. What is left of a killed process locks nothing. On a
    network file system this is worth as much as its locks are (those of NFS 4 count on all machines); where it has
    none, a line says so, and nothing is locked.

    Args:
        lock: the file; folders that it needs are made, and removed in the end if they are empty.
        what: what cannot be done twice at a time, such as ``run='a' is being trained``.

    Raises:
        RefineError: somebody has the lock; the message says which process, on which machine, since when.
        WriteError: there can be no file.
    """
    place = lock.absolute()
    if place in _held:
        raise RefineError(_taken(what, f"process {os.getpid()}, this one"))
    folders = [folder for folder in place.parents if not folder.exists()]
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(place, what)
        _held.add(place)
    try:
        with writing(place):
            os.ftruncate(handle, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
        yield
    finally:
        _held.discard(place)
        with suppress(OSError):  # Windows removes no open file: there it stays, and locks nothing
            place.unlink(missing_ok=True)
        os.close(handle)
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()


def _locked(lock: Path, what: str) -> int:
    """The open lock file, locked; the one that is there under its name, which another process may have removed."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if not _try(handle):
            who = os.read(handle, 200).decode(errors="replace").strip()
            os.close(handle)
            raise RefineError(_taken(what, who.partition("\n")[0] or "another process"))
        try:
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def _taken(what: str, who: str) -> str:
    return f"{what} by {who}; wait until that has ended, or name another place"


if sys.platform == "win32":
    import msvcrt

    def _try(handle: int) -> bool:
        os.lseek(handle, 2**20, os.SEEK_SET)  # others may read what comes before
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try(handle: int) -> bool:
        """Whether this process has the lock now. Its children do not have it, and cannot keep it when it dies."""
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
            warn("this file system has no locks; see to it that nothing runs twice")
        return True
