"""Errors that a user can act on; the command line turns them into one message and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 40  # values that a message still lists


class RefineError(Exception):
    """Something the user gave cannot be used; the message names the key, the value and what is accepted."""


def not_accepted(key: str, value: object, accepted: Iterable[object]) -> RefineError:
    """The error for a value outside a closed set, with a guess at what was meant."""
    names = [str(a) for a in accepted]
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if len(names) > MANY:
        names = [*names[:10], f"... ({len(names):,} in all)"]
    return RefineError(f"{key}={value!r} is not accepted; accepted: {', '.join(names) or 'nothing'}.{hint}")


def require(condition: bool, message: str) -> None:
    """Raise :class:`RefineError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise RefineError(message)
