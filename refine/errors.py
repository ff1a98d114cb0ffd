"""Errors that a user can act on; the command line turns them into one message and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 40  # values that a message still lists
LONG, SHOWN = 1200, 80  # characters of a message, and of a value in it


class RefineError(Exception):
    """Something the user gave cannot be used; the message names the key, the value and what is accepted.

    It is one line, whatever became part of it.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A message in one line of characters that can be shown; the middle of one that is too long is left out."""
    half = LONG // 2
    if len(text) > LONG:
        text = f"{text[:half]} ... {text[-half:]}"
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or PyTorch says that there is no more memory."""
    words = ("DefaultCPUAllocator", "out of memory", "OutOfMemory")
    return isinstance(error, MemoryError) or any(word in f"{type(error).__name__}: {error}" for word in words)


def shown(value: object) -> str:
    """A value as messages have it: as Python writes it, the middle of a long one left out."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 4 :]}"


def not_accepted(key: str, value: object, accepted: Iterable[object]) -> RefineError:
    """The error for a value outside a closed set, with a guess at what was meant."""
    names = [str(a) for a in accepted]
    close = difflib.get_close_matches(str(value)[:SHOWN], names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if len(names) > MANY:
        names = [*names[:10], f"... ({len(names):,} in all)"]
    return RefineError(f"{key}={shown(value)} is not accepted; accepted: {', '.join(names) or 'nothing'}.{hint}")


def require(condition: bool, message: str) -> None:
    """Raise :class:`RefineError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise RefineError(message)
