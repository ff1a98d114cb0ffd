"""Published data: where files are kept, and how one is had with its checksum."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from refine.errors import RefineError, require

_OFFLINE: ContextVar[str | None] = ContextVar("offline", default=None)


@contextmanager
def offline(why: str) -> Iterator[None]:
    """Within it nothing is fetched from anywhere: :func:`may_fetch` refuses, and says ``why``."""
    token = _OFFLINE.set(why)
    try:
        yield
    finally:
        _OFFLINE.reset(token)


def may_fetch(what: str) -> None:
    """Ask before anything is fetched from another machine.

    Raises:
        RefineError: nothing is fetched here.
    """
    why = _OFFLINE.get()
    require(why is None, f"{what} is not fetched: {why}")


def cache_dir() -> Path:
    """Where downloads and what was made of them are kept: ``REFINE_CACHE``, else the user's cache folder."""
    import pooch

    return Path(os.environ.get("REFINE_CACHE") or pooch.os_cache("refine"))


def local_file(folder: str, name: str) -> Path | None:
    """``folder/name`` in the folder that the environment variable ``REFINE_DATA`` names, where it is there."""
    root = os.environ.get("REFINE_DATA")
    path = Path(root or "") / folder / name
    return path if root and path.is_file() else None


def fetch(url: str, checksum: str, folder: str, name: str = "") -> Path:
    """A file of the internet in ``folder`` of the cache; the one there is used if it still has the checksum.

    Args:
        url: where it is published.
        checksum: ``sha256:...`` or ``md5:...``.
        name: of the file; that of the url by default.

    Raises:
        RefineError: it cannot be downloaded, or is another file than expected.
    """
    import pooch

    may_fetch(url)
    target, name = cache_dir() / folder, name or url.rsplit("/", 1)[-1]
    try:
        return Path(pooch.retrieve(url, checksum, name, target, progressbar=sys.stderr.isatty()))
    except Exception as error:  # whatever the network, the disk or the checksum has against it
        raise RefineError(f"{url} cannot be downloaded to {target} ({error})") from error
