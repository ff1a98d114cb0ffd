"""Where data may be read from: this computer, or the internet where the user said so.

A configuration that came with a checkpoint may be a stranger's. What it names on this computer is read as it stands; what
it names elsewhere only if the user names that place, too, on the command line. Loaders of headers call
:func:`distrust`, the command line calls :func:`say`, and who reads a place asks :func:`readable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refine.errors import RefineError

REMOTE = ("http", "https", "s3", "gs", "gcs", "abfs", "az")
"""Protocols under which data are read over a network. Others, and chains of them, reach into archives, memory and
programs; none are read."""

_said, _distrusted = set[str](), set[str]()


def is_remote(place: str) -> bool:
    """Whether a text is anything but a path of this computer."""
    return "://" in place or "::" in place


def say(value: Any) -> None:
    """Remember that the user named the places in ``value``: a text, or lists and mappings of them."""
    _said.update(_places_in(value))


def distrust(value: Any) -> None:
    """Remember that the places in ``value``, plain data, stand in a file that came with a model."""
    _distrusted.update(_places_in(value))


def readable(place: str, key: str) -> str:
    """``place``, if data may be read from it.

    Args:
        place: a path or a URL.
        key: of the configuration that names it, for messages.

    Raises:
        RefineError: a protocol that is not in :data:`REMOTE`, or a place on a network that only a model's file names.
    """
    if not is_remote(place):
        return place
    protocol = place.partition("://")[0]
    if "::" in place or protocol.lower() not in REMOTE:
        shown = place if len(place) < 80 else f"{place[:80]}..."
        raise RefineError(f"{key}={shown!r} is not accepted; accepted: a path, or a URL of {', '.join(REMOTE)}")
    if place in _distrusted and place not in _said:
        message = "stands in the model's own file, and is on a network; it is read if the command names it too"
        raise RefineError(f"{key}={place!r} {message}: domain.data={place}")
    return place


def _places_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if is_remote(value):
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _places_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _places_in(each)
