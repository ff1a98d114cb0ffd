"""JSON that others may have written: plain data within bounds, or one message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refine.errors import RefineError, shown
from refine.storage.files import read_text

BYTES = 16 * 2**20  # of a file, unless the caller knows better
DEPTH = 100  # lists and mappings inside one another
WHOLE = range(-(2**63), 2**64)  # what 64 bits hold


def read_json(path: Path, most: int = BYTES) -> Any:
    """The content of a JSON file; see :func:`parse_json`.

    Args:
        path: of a regular file.
        most: bytes that it may have.

    Raises:
        RefineError: missing, no regular file, too large, not UTF-8, or what :func:`parse_json` refuses.
    """
    return parse_json(read_text(path, most), path)


def parse_json(text: str, where: object) -> Any:
    """What a JSON text says.

    Python's ``json`` takes a key that is there twice (the last one counts), numbers of any length, and half characters
    that no file can have; readers of the result would differ about what it says, or stop. NaN and infinities are
    taken: figures have them.

    Args:
        text: it.
        where: what it is, for messages.

    Raises:
        RefineError: no JSON, a key that is there twice, a whole number that 64 bits do not hold, half a character, or
            more than :data:`DEPTH` lists and mappings inside one another.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
        _check(value)
    except (ValueError, RecursionError) as error:
        raise RefineError(f"{where} is damaged: {error}") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} is there twice")
    return out


def _check(value: Any) -> None:
    """Depth, whole numbers and texts; level by level, so that no depth is too much to look at."""
    level = [value]
    for _ in range(DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                below += [*item, *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                item.encode()  # raises a ValueError for half a character
            elif type(item) is int and item not in WHOLE:
                raise ValueError(f"{shown(item)} is a number of more than 64 bits")
        if not below:
            return
        level = below
    raise ValueError(f"more than {DEPTH} lists and mappings are inside one another")
