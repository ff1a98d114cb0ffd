"""Names of the kinds of nodes or edges: what the integers of ``node_label`` and ``edge_label`` stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from refine.errors import RefineError, not_accepted


class Kinds:
    """Numbers for names, in the order in which they are met.

    Args:
        names: those known already; their places are their numbers.
        fixed: no others are accepted.
    """

    def __init__(self, names: Iterable[str] = (), fixed: bool = False) -> None:
        self.numbers = {str(name): i for i, name in enumerate(names)}
        self.fixed = fixed

    @property
    def names(self) -> tuple[str, ...]:
        """The names; the place is the number."""
        return tuple(self.numbers)

    def number(self, value: Any, where: str) -> int:
        """The number of a kind.

        Args:
            value: a name or a whole number, which is its own name.
            where: whose kind it is, for the error.

        Raises:
            RefineError: neither, or none of the accepted.
        """
        name = value if type(value) is str else kind_name(value, where)
        if name not in self.numbers:
            if self.fixed:
                raise not_accepted(f"the kind of {where}", name, self.names)
            self.numbers[name] = len(self.numbers)
        return self.numbers[name]

    def sort(self, key: Callable[[str], Any] | None = None) -> np.ndarray[Any, Any]:
        """Put the names into an order that does not depend on how they were met: by ``key``, else whole numbers by
        value, else as text. Returns (kinds,) int64, the new number of each old one."""
        old = self.names
        if key is None and all(_is_whole(name) for name in old):
            key = int
        new = {name: i for i, name in enumerate(sorted(old, key=key))}
        self.numbers = new
        return np.array([new[name] for name in old], dtype=np.int64)


def kind_name(value: Any, where: str) -> str:
    """A kind as text.

    Raises:
        RefineError: it is neither text nor a whole number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and float(value).is_integer():
        return str(int(value))
    raise RefineError(f"the kind of {where} is {value!r}; accepted: a name or a whole number")


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and name.isascii()
