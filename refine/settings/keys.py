"""The keys that a user may set: the leaves of nested dataclasses, their types and explanations."""

from __future__ import annotations

import inspect
import json
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from io import StringIO
from typing import Any, get_type_hints

from refine.errors import RefineError
from refine.settings.bounds import Bound, OneOf, bounds_of
from refine.settings.places import places_of


@dataclass(frozen=True)
class Key:
    """One settable value.

    Attributes:
        name: its full name, dotted.
        type: its annotation.
        default: the value it has when nobody sets it; None too where it must be set.
        help: the comment behind the field in the source, or above it, which names the accepted values.
        required: whether somebody must set it.
        bound: what its value may be, where that is known.
        place: whether it names a file, a folder or a host (:mod:`refine.settings.places`).
    """

    name: str
    type: Any
    default: Any
    help: str = ""
    required: bool = False
    bound: Bound | None = None
    place: bool = False

    @property
    def type_name(self) -> str:
        """The annotation as it is written in source."""
        return self.type.__name__ if type(self.type) is type else str(self.type).replace("typing.", "")

    @property
    def accepted(self) -> str:
        """What its value may be, in words; empty where the help says it, or where there is nothing to say."""
        listed = isinstance(self.bound, OneOf) and all(name in self.help for name in self.bound.names)
        return "" if self.bound is None or listed else self.bound.short

    @property
    def default_text(self) -> str:
        """The default as it would be given."""
        return json.dumps(self.default) if isinstance(self.default, bool | None) else str(self.default)


def keys_of(cls: type, prefix: str = "") -> dict[str, Key]:
    """Every leaf of dataclass ``cls`` by full name, in the order of the source; nested dataclasses are walked into."""
    return {key.name: key for key in _leaves(cls, prefix, None)}


def _leaves(cls: type, prefix: str, instance: Any) -> Iterator[Key]:
    hints, notes, bounds, places = field_types(cls), _comments(cls), bounds_of(cls), places_of(cls)
    for f in fields(cls):
        name, annotation = prefix + f.name, hints[f.name]
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        default = default if instance is None else getattr(instance, f.name)
        required, default = default is MISSING, None if default is MISSING else default
        if is_dataclass(annotation) and isinstance(annotation, type):
            yield from _leaves(annotation, name + ".", default)
        else:
            yield Key(name, annotation, default, notes.get(f.name, ""), required, bounds.get(f.name), f.name in places)


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Annotation of each field of a dataclass, strings resolved.

    Raises:
        RefineError: ``cls`` is no dataclass.
    """
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise RefineError(f"{cls!r} is not a dataclass, so it cannot describe configuration keys")
    return get_type_hints(cls)


@cache
def _comments(cls: type) -> dict[str, str]:
    """The comment on the line of each field, else the lines of comment above it; empty where the source is not at hand.

    A subclass adds to what the classes before it say.
    """
    notes: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if is_dataclass(part):
            notes |= _own_comments(part)
    return notes


def _own_comments(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # defined where there is no file
        return {}
    notes: dict[str, str] = {}
    name, above = None, list[str]()
    for token in tokenize.generate_tokens(StringIO(source).readline):
        text = token.line.lstrip()
        if token.type == tokenize.NAME and text.startswith(token.string + ":"):
            name = token.string
            if above:
                notes[name], above = " ".join(above), []
        elif token.type == tokenize.COMMENT and text.startswith("#"):
            above.append(token.string.lstrip("# "))
        elif token.type == tokenize.COMMENT and name is not None:
            notes[name] = token.string.lstrip("# ")
    return notes
