"""What is in a file of graphs, packed by gzip or not, within bounds."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from refine.errors import RefineError, require

MOST_BYTES = 2**28  # of a file, unpacked; a million SMILES are 50 MB
MOST_ITEMS = 2_000_000  # lines, elements or lists that become objects of Python, about 1 kB each


def suffix_of(path: Path) -> str:
    """The ending that says the format, in lower case; ``.gz`` is looked through."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked where it is a ``.gz``.

    Raises:
        RefineError: it cannot be read, or has more than ``MOST_BYTES``.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RefineError(f"{path} cannot be read: {error}") from error
    few = len(content) <= MOST_BYTES
    require(few, f"{path} has more than {MOST_BYTES >> 20} MiB; accepted: less, in several files or as .npz")
    return content


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, with or without a byte order mark.

    Raises:
        RefineError: as :func:`read_bytes`, or it is no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise RefineError(f"{path} cannot be read ({reason}); expected text in UTF-8") from error


def shown(value: object) -> str:
    """A value of a file for a message; a long one is cut short."""
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def reason(error: Exception) -> str:
    """Why something could not be read, for a message: one line, cut short."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
