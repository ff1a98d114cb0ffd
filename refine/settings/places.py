"""Keys that name places: files, folders, hosts. What a file of a run may say of them, and what only the user may.

A run is a folder that may have come from anybody. Its files say what was trained, and on which data; they have no say
in where commands write, whom they ask, or what else they read. A field that names a place says so::

    out: Place = None  # folder to write to

In the section of a command such a key counts from the command line
only. In the options of a domain, and in those of a training, it counts from a run's file too, because a training goes
on with the data that it began with; but what leads off this machine is kept under :data:`REFUSED`, which nothing opens,
until somebody names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from refine.errors import require, shown
from refine.settings.bounds import Text, hints_of


class IsPlace(Text):
    """What a field that names a file, a folder or a host, or a list of them, says in its annotation."""

    def admits(self, value: Any) -> bool:
        return all(map(super().admits, value)) if isinstance(value, list) else super().admits(value)


PLACE = IsPlace(least=1)
Place = Annotated[str | None, PLACE]
"""The type of such a field; ``Annotated[list[str], PLACE]`` is one of several places."""

REFUSED = "refused://"
HUB = re.compile(r"[\w.-]+/[\w.-]+")  # owner/name

T = TypeVar("T")


def places_of(cls: type) -> list[str]:
    """Names of the fields of a dataclass that name places."""
    hints = hints_of(cls)
    return [n for n, hint in hints.items() if any(isinstance(m, IsPlace) for m in getattr(hint, "__metadata__", ()))]


def leads_off(value: object) -> bool:
    """Whether a place is, or may be, on another machine: a URL, a chain of protocols, a share of a network, or what
    reads like a repository of the hub and is nothing here."""
    text = str(value)
    if "://" in text or "::" in text or text.startswith(("//", "\\\\")):
        return True
    return HUB.fullmatch(text) is not None and not Path(text).exists()


def guarded(options: T, named: Mapping[str, Any] | None = None) -> T:
    """Options that a file of a run has, with the places that lead off this machine refused.

    Args:
        options: an instance of a dataclass.
        named: places that the user named, by field; they take the place of what the file says.
    """
    given = {name: value for name, value in (named or {}).items() if name in places_of(type(options))}
    held = {name: _guarded(getattr(options, name)) for name in places_of(type(options)) if name not in given}
    return replace(options, **held, **given)  # type: ignore[type-var]


def _guarded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_guarded(item) for item in value]
    return REFUSED + value if isinstance(value, str) and leads_off(value) else value


def plainly(value: Any) -> Any:
    """Plain data with every place as the file had it, to be written or compared."""
    if isinstance(value, Mapping):
        return {name: plainly(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plainly(item) for item in value]
    return value.removeprefix(REFUSED) if isinstance(value, str) else value


def named(options: Any) -> dict[str, Any]:
    """The places of options that are not refused, by field."""
    held = {name: getattr(options, name) for name in places_of(type(options))}
    return {n: v for n, v in held.items() if v is not None and REFUSED not in str(v)}


def opened(value: str, key: str) -> str:
    """A place, to be opened.

    Args:
        value: it.
        key: that names it, for messages.

    Raises:
        RefineError: nobody but a file of a run names it, and it leads off this machine.
    """
    text = shown(value.removeprefix(REFUSED))
    require(
        not value.startswith(REFUSED),
        f"{key}={text} is not opened: only a file of the run names it, and it is not on this machine. "
        f"To have it opened name it yourself: {key}=...",
    )
    return value
