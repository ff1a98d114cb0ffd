"""Kinds of parts: how anything that can be added to refine is found by its name.

A kind is announced by the distribution that has it, as an entry point of one of these groups, or in the running process
by :meth:`Kind.register`::

    [project.entry-points."refine.quantizers"]
    ternary = "my_package:Ternary"

A configuration names a part and its options, never code: only installed distributions say what a name stands for. The
parts that ship with refine are announced in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from refine.errors import RefineError, not_accepted, require
from refine.extras import DISTRIBUTION, MissingPackageError, absent, brings, missing

T = TypeVar("T")


class Kind(Generic[T]):
    """All parts of one kind, by name.

    Args:
        group: of the entry points.
        word: what messages call such a part.
        key: the configuration key that names one, for messages.
    """

    def __init__(self, group: str, word: str, key: str) -> None:
        self.group, self.word, self.key = group, word, key
        self._base: type[T] | None = None
        self._registered: dict[str, type[T]] = {}

    def base(self, cls: type[T]) -> type[T]:
        """Decorator of the class that all parts of the kind are subclasses of."""
        self._base = cls
        return cls

    def register(self, name: str, cls: type[T]) -> None:
        """Make ``cls`` known as ``name`` in this process, before what is installed under that name.

        Raises:
            RefineError: a class of another kind.
        """
        self._check(name, cls, repr(cls))
        self._registered[name] = cls

    def announced(self) -> dict[str, EntryPoint]:
        """Entry points by name; nothing is imported."""
        found = _entry_points(tuple((path, _changed(path)) for path in sys.path))
        return {e.name: e for e in sorted(found.select(group=self.group), key=lambda e: e.name)}

    def names(self) -> list[str]:
        """Every name, installed or registered, in alphabetical order."""
        return sorted({*self.announced(), *self._registered})

    def others(self) -> list[str]:
        """Names of the parts that do not ship with refine."""
        own = [name for name, point in self.announced().items() if point.value.startswith("refine.")]
        return [name for name in self.names() if name not in own or name in self._registered]

    def home(self, name: str) -> str:
        """Where a part comes from, as ``module:class``."""
        cls = self._registered.get(name)
        return self.announced()[name].value if cls is None else f"{cls.__module__}:{cls.__qualname__}"

    def load(self, name: str) -> type[T]:
        """The class called ``name``.

        Raises:
            RefineError: no such part, one that is not of this kind, or one that cannot be imported (the cause is in the
                message); of which a :class:`refine.extras.MissingPackageError`, where packages are not installed.
        """
        return self._load(name, {} if name in self._registered else self.announced())

    def _load(self, name: str, found: Mapping[str, EntryPoint]) -> type[T]:
        if name in self._registered:
            return self._registered[name]
        if name not in found:
            raise not_accepted(self.key, name, self.names())
        try:
            cls = found[name].load()
        except ModuleNotFoundError as error:
            if (package := _missing(error, found[name])) is None:
                text = f"{self.word} {name!r} ({found[name].value}) cannot be loaded: {error}"
                raise RefineError(text) from error
            raise self._without(name, [package], found[name]) from error
        except Exception as error:  # a stranger's part may fail in any way; say which one and why
            raise RefineError(f"{self.word} {name!r} ({found[name].value}) cannot be loaded: {error!r}") from error
        self._check(name, cls, found[name].value)
        if packages := absent(getattr(cls, "packages", ())):
            raise self._without(name, packages, found[name])
        return cls  # type: ignore[no-any-return]

    def all(self) -> Iterator[tuple[str, type[T] | RefineError]]:
        """Every part, or why it does not load."""
        found = self.announced()
        for name in sorted({*found, *self._registered}):
            try:
                yield name, self._load(name, found)
            except RefineError as error:
                yield name, error

    def _without(self, name: str, packages: list[str], announced: EntryPoint) -> MissingPackageError:
        distribution = announced.dist.name if announced.dist else DISTRIBUTION
        return missing(f"{self.word} {name!r} ({announced.value})", packages, distribution, name)

    def _check(self, name: str, cls: Any, home: str) -> None:
        right = isinstance(cls, type) and self._base is not None and issubclass(cls, self._base)
        base = f"refine.{self.word.capitalize()}" if self._base is None else f"refine.{self._base.__name__}"
        require(right, f"{self.word} {name!r} ({home}) is not a subclass of {base}")
        own = getattr(cls, "name", name)  # a domain's own name is what its checkpoints ask for
        same = not isinstance(own, str) or own == name
        require(same, f"{self.word} {name!r} ({home}) calls itself {own!r}; it must be announced by that name")


@lru_cache(maxsize=4)
def _entry_points(_: tuple[tuple[str, int], ...]) -> Any:
    """Those of all distributions, read again only after a folder of the search path has changed."""
    return entry_points()


def _changed(path: str) -> int:
    """When a folder was changed last, in nanoseconds; 0 where there is none."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def _missing(error: ModuleNotFoundError, announced: EntryPoint) -> str | None:
    """The package that could not be imported, if an extra of the distribution brings it; else something is broken."""
    package = (error.name or "").partition(".")[0]
    return package if package and announced.dist and brings(announced.dist.name, package) else None


DOMAINS: Kind[Any] = Kind("refine.domains", "domain", "domain")
QUANTIZERS: Kind[Any] = Kind("refine.quantizers", "quantizer", "model.quantizer.kind")
PYRAMIDS: Kind[Any] = Kind("refine.pyramids", "pyramid", "model.pyramid.kind")
NETWORKS: Kind[Any] = Kind("refine.networks", "network", "model.predictor.kind")
STRATEGIES: Kind[Any] = Kind("refine.strategies", "strategy", "sampler.strategies")
OBJECTIVES: Kind[Any] = Kind("refine.objectives", "objective", "train.objective.kind")
COMMANDS: Kind[Any] = Kind("refine.commands", "command", "command")

ALL: Mapping[str, Kind[Any]] = {
    kind.word: kind for kind in (DOMAINS, QUANTIZERS, PYRAMIDS, NETWORKS, STRATEGIES, OBJECTIVES, COMMANDS)
}


def register(name: str, cls: type) -> None:
    """Make a part known under ``name`` in the running process: a domain of a notebook, say.

    Args:
        name: what configurations and the command line call it.
        cls: a subclass of ``Domain``, ``Quantizer``, ``Pyramid``, ``Network``, ``Strategy``, ``Objective`` or
            ``Command``.

    Raises:
        RefineError: a class of no kind.
    """
    for kind in ALL.values():
        if kind._base is not None and isinstance(cls, type) and issubclass(cls, kind._base):
            return kind.register(name, cls)
    raise RefineError(f"{cls!r} is of no kind that can be registered; accepted: subclasses of {', '.join(ALL)}")
