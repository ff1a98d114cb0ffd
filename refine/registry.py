"""How the core finds domains: by entry point, never by import."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from refine.domain import Domain
from refine.errors import RefineError, not_accepted
from refine.settings.typed import typed

GROUP = "refine.domains"


def entry_point_domains() -> dict[str, EntryPoint]:
    """Announced domains by name; none is imported."""
    return {e.name: e for e in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def load_domain_class(name: str) -> type[Domain]:
    """The adapter called ``name``.

    Raises:
        RefineError: no such domain, or it cannot be imported (the cause is in the message).
    """
    found = entry_point_domains()
    if name not in found:
        raise not_accepted("domain", name, found)
    try:
        cls = found[name].load()
    except Exception as error:  # a stranger's adapter may fail in any way; say which one and why
        raise RefineError(f"domain {name!r} ({found[name].value}) cannot be loaded: {error!r}") from error
    if not (isinstance(cls, type) and issubclass(cls, Domain)):
        raise RefineError(f"domain {name!r} ({found[name].value}) is not a subclass of refine.Domain")
    return cls


def all_domains() -> Iterator[tuple[str, type[Domain] | RefineError]]:
    """Every announced domain, or why it does not load."""
    for name in entry_point_domains():
        try:
            yield name, load_domain_class(name)
        except RefineError as error:
            yield name, error


def load_domain(name: str, **options: Any) -> Domain:
    """The domain called ``name`` with ``options`` of its ``Config`` set.

    Raises:
        RefineError: no such domain, or no such option.
    """
    cls = load_domain_class(name)
    return cls(typed(cls.Config, options, name))


def starter(name: str) -> Path:
    """The checkpoint that ships with the domain called ``name``.

    Raises:
        RefineError: it has none.
    """
    path = load_domain(name).starter()
    if path is None:
        raise RefineError(f"domain {name!r} ships no starter checkpoint; train one with: refine train domain={name}")
    return path
