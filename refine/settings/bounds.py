"""Bounds of keys: what a value may be, said once, with the field that it is for.

They stand in the annotation of a field, of any dataclass of options::

    @dataclass
    class Options:
        steps: Annotated[int, whole(1)] = 1000  # optimiser steps
        share: Annotated[float, real(0, 1)] = 0.1  # of items that are left out
        widths: Annotated[list[int], each(whole(1, 4096))] = field(default_factory=lambda: [8, 16])

A configuration is checked against them wherever plain data becomes a dataclass (:func:`refine.settings.typed.typed`),
before anything is read or written; a dataclass that a program made itself is, where a domain, a model or a sampler is
made of it (:func:`check`). Help and messages show them. A field may be None where its annotation says so or its default
is None.
"""

from __future__ import annotations

import abc
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from refine.errors import RefineError, not_accepted, shown

MOST = 10**9  # numbers that nothing else bounds
SCALES = 1000  # entries of a list


class Bound(abc.ABC):
    """What a value may be. Subclasses say it in words, and for a value."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What is accepted, as messages say it."""

    @property
    def short(self) -> str:
        """The same for help, where the type stands beside it; empty where there is nothing to say."""
        return self.words

    @abc.abstractmethod
    def admits(self, value: Any) -> bool:
        """Whether a value is accepted."""

    def refusal(self, key: str, value: Any) -> RefineError:
        """The error for a value that is not."""
        return RefineError(f"{key}={shown(value)} is not accepted; accepted: {self.words}")


@dataclass(frozen=True)
class Numbers(Bound):
    """Finite numbers from ``least`` to ``most``; see :func:`whole`, :func:`real`, :func:`above` and :func:`below`."""

    least: float
    most: float
    integral: bool = False
    open: str = ""  # ends that do not belong to them: "least", "most"

    @property
    def words(self) -> str:
        kind = "whole numbers" if self.integral else "numbers"
        start = "" if self.open == "least" else "from "
        return f"{kind} {start}{self.short}" if self.short else f"finite {kind}"

    @property
    def short(self) -> str:
        if not math.isfinite(self.most):
            return ""
        first, last = _written(self.least), _written(self.most)
        return f"{'above ' * (self.open == 'least')}{first} to {'below ' * (self.open == 'most')}{last}"

    def admits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.integral else int | float):
            return False
        inside = self.least <= value <= self.most and math.isfinite(value)
        return inside and value != {"least": self.least, "most": self.most}.get(self.open)


def _written(number: float) -> str:
    if abs(number) < MOST:
        return f"{number:,}"
    power = int(number + 1).bit_length() - 1
    return f"2^{power} - 1" if number == 2**power - 1 else f"{number:.3g}".replace("e+0", "e").replace("e+", "e")


def whole(least: int, most: int = MOST) -> Bound:
    """Whole numbers, both ends among them."""
    return Numbers(least, most, integral=True)


def real(least: float, most: float = MOST) -> Bound:
    """Finite numbers, both ends among them."""
    return Numbers(least, most)


def above(least: float, most: float = MOST) -> Bound:
    """Finite numbers, ``least`` not among them."""
    return Numbers(least, most, open="least")


def below(most: float, least: float = 0) -> Bound:
    """Finite numbers, ``most`` not among them."""
    return Numbers(least, most, open="most")


@dataclass(frozen=True)
class OneOf(Bound):
    """Some texts, and no others; see :func:`one_of`."""

    names: tuple[str, ...]

    @property
    def words(self) -> str:
        return ", ".join(self.names)

    @property
    def short(self) -> str:
        return " | ".join(self.names)

    def admits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names

    def refusal(self, key: str, value: Any) -> RefineError:
        return not_accepted(key, value, self.names)


def one_of(*names: str) -> Bound:
    """Some texts, and no others."""
    return OneOf(names)


@dataclass(frozen=True)
class Each(Bound):
    """Lists whose entries are all accepted; see :func:`each`."""

    entry: Bound
    least: int
    most: int

    @property
    def words(self) -> str:
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most:,}"
        return f"lists of {count} {self.entry.words}"

    @property
    def short(self) -> str:
        return f"[{self.entry.short}, ...]" if self.entry.short else ""

    def admits(self, value: Any) -> bool:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and self.least <= len(value) <= self.most and all(map(self.entry.admits, value))


def each(entry: Bound, least: int = 1, most: int = SCALES) -> Bound:
    """Lists of ``least`` to ``most`` entries, each of which is accepted."""
    return Each(entry, least, most)


@dataclass(frozen=True)
class Text(Bound):
    """Any text of ``least`` to ``most`` characters, none of which is NUL."""

    most: int = 4096
    least: int = 0

    @property
    def words(self) -> str:
        return f"texts of {self.least} to {self.most:,} characters, none of them NUL"

    @property
    def short(self) -> str:
        return ""

    def admits(self, value: Any) -> bool:
        return isinstance(value, str) and self.least <= len(value) <= self.most and "\0" not in value


@dataclass(frozen=True)
class Form(Bound):
    """Texts of a form; see :func:`form`."""

    pattern: str
    described: str

    @property
    def words(self) -> str:
        return self.described

    @property
    def short(self) -> str:
        return ""

    def admits(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value.strip()) is not None


def form(pattern: str, words: str) -> Bound:
    """Texts that a regular expression matches, spaces at their ends aside; ``words`` describe them."""
    return Form(pattern, words)


@dataclass(frozen=True)
class Either(Bound):
    """What one of several accepts; see :func:`either`."""

    options: tuple[Bound, ...]

    @property
    def words(self) -> str:
        return ", or ".join(option.words for option in self.options)

    @property
    def short(self) -> str:
        return " | ".join(option.short for option in self.options if option.short)

    def admits(self, value: Any) -> bool:
        return any(option.admits(value) for option in self.options)


def either(*options: Bound) -> Bound:
    """What one of several bounds accepts."""
    return Either(options)


@dataclass(frozen=True)
class Listed(Either):
    """A value, or a list of them; see :func:`listed`."""

    @property
    def words(self) -> str:
        return f"{self.options[0].words}, or a list of these"


def listed(entry: Bound, most: int = SCALES) -> Bound:
    """A value, or a list of one or more, ``most`` at most."""
    return Listed((entry, each(entry, 1, most)))


@dataclass(frozen=True)
class ByScale(Either):
    """A value, or a list with one for each scale; see :func:`by_scale`."""

    @property
    def words(self) -> str:
        return f"{', or '.join(option.words for option in self.options[:-1])}, or a list of them by scale"

    @property
    def short(self) -> str:
        return " | ".join(option.short for option in self.options[:-1])


def by_scale(entry: Bound, *others: Bound) -> Bound:
    """A value, or a list with one for each scale; or what ``others`` accept in place of both."""
    return ByScale((entry, *others, each(entry)))


SPLITS = one_of("train", "val", "test")
LABELS = either(whole(0), Text(), each(either(whole(0), Text()), 1, 1_000_000))
NUMBER = real(-1e12, 1e12)
VECTORS = either(NUMBER, each(either(NUMBER, each(NUMBER, 1, 10_000)), 1, 1_000_000))
"""What several commands accept: parts of the data; a class by number or by name, or a list of classes; a vector, or a
list of vectors."""


@dataclass(frozen=True)
class Flags(Bound):
    """True and false, and no numbers that stand for them."""

    @property
    def words(self) -> str:
        return "true, false"

    @property
    def short(self) -> str:
        return ""

    def admits(self, value: Any) -> bool:
        return isinstance(value, bool)


OF_TYPES: dict[type, Bound] = {
    str: Text(),
    int: Numbers(-math.inf, math.inf, integral=True),
    float: Numbers(-math.inf, math.inf),
    bool: Flags(),
}
"""What values of a type are held to where a field says no more."""


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """The annotation of each field of a class, strings resolved, with what stands beside its type."""
    return get_type_hints(cls, include_extras=True)


def bounds_of(cls: type) -> dict[str, Bound]:
    """The bound of each field of a dataclass that has one: what its annotation says, else what its type is held to."""
    out = {}
    for name, hint in hints_of(cls).items():
        found = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Bound)]
        found += [bound for kind, bound in OF_TYPES.items() if hint in (kind, kind | None)]
        if found:
            out[name] = found[0]
    return out


def check(values: Any, where: str = "") -> None:
    """Refuse an instance of a dataclass that has a value which its bounds do not accept, in it or in what it holds.

    Args:
        values: the instance.
        where: what stands before its keys in messages.

    Raises:
        RefineError: naming the key, the value and what is accepted.
    """
    for key, value, bound in _bounded(values, f"{where}." if where else ""):
        if not bound.admits(value):
            raise bound.refusal(key, value)


def _bounded(values: Any, prefix: str) -> Iterator[tuple[str, Any, Bound]]:
    bounds = bounds_of(type(values))
    for f in fields(values):
        value = getattr(values, f.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _bounded(value, f"{prefix}{f.name}.")
        elif f.name in bounds and not (value is None and (f.default is None or _may_be_none(type(values), f.name))):
            yield prefix + f.name, value, bounds[f.name]


def _may_be_none(cls: type, name: str) -> bool:
    """Whether the annotation of a field says so."""
    hint = hints_of(cls)[name]
    return type(None) in get_args(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
