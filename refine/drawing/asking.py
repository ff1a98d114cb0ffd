"""What is asked for in words and numbers, as on a command line, as conditions: classes, sizes and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor

from refine.errors import not_accepted, require, shown

LONGEST = 10  # digits of a class's name that is a number


def class_number(label: Any, names: Sequence[str], key: str) -> int:
    """The number of the class that ``label`` means: the one of that name, else, of classes that are not called by
    numbers, the one of that number.

    Classes called 1, 2 and 10 have the numbers 0, 1 and 2: there 1 is the first, 10 the last, and 0 is refused.

    Args:
        label: a name or a number; ``"01"`` and 1 mean the same, unless a class has exactly that name.
        names: of all classes, in the order of their numbers.
        key: what asks, for messages.

    Raises:
        RefineError: no such class, or several.
    """
    if isinstance(label, str) and label in names:
        return names.index(label)
    called = {i: int(name) for i, name in enumerate(names) if name.isdecimal() and len(name) < LONGEST}
    number = int(label) if isinstance(label, str) and label.isdecimal() and len(label) < LONGEST else label
    if isinstance(number, int) and not isinstance(number, bool):
        found = [i for i, its_name in called.items() if its_name == number]
        if not found and 0 <= number < len(names) and number not in called:
            return number
        several = ", ".join(repr(names[i]) for i in found)
        require(len(found) < 2, f"{key}={label!r} is not accepted: that may be any of the classes {several}")
        if found:
            return found[0]
    raise not_accepted(key, label, [*(i for i in range(len(names)) if i not in called), *names])


def sizes_of(size: Any, num: int, accepted: bool, key: str) -> Tensor | None:
    """(num,) sizes: the given one, or the given ones in turn; None where none is asked for.

    Args:
        size: a number of sites, or a list of such.
        num: how many.
        accepted: whether items differ in their sizes.
        key: what asks, for messages.

    Raises:
        RefineError: no such size.
    """
    if size is None:
        return None
    require(accepted, f"{key}={size!r} is not accepted: items of this model have one size")
    sizes = size if isinstance(size, list) else [size]
    good = bool(sizes) and all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**63 for n in sizes)
    require(good, f"{key}={size!r} is not accepted; accepted: a number of sites, a list of them, or null")
    return torch.tensor(list(islice(cycle(sizes), num)))


def vectors_of(vector: Any, num: int, length: int, key: str) -> Tensor | None:
    """(num, length) float32: the given vector, or the given ones in turn; None where none is asked for.

    Args:
        vector: a vector as a list, or a list of such; where ``length`` is 1, a number or a list of numbers too.
        num: how many.
        length: of the vectors that the model is conditioned on, 0 if it is not.
        key: what asks, for messages.

    Raises:
        RefineError: no such vector.
    """
    if vector is None:
        return None
    require(length > 0, f"{key}={shown(vector)} is not accepted: this model is not conditioned on a vector")
    rows = vector if isinstance(vector, list) else [vector]
    if rows and not any(isinstance(row, list) for row in rows):
        rows = [[row] for row in rows] if length == 1 else [rows]
    good = bool(rows) and all(isinstance(row, list) and len(row) == length for row in rows)
    good = good and all(
        isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e30 for row in rows for x in row
    )
    words = "a number" if length == 1 else f"{length} numbers"
    require(good, f"{key}={shown(vector)} is not accepted; accepted: {words}, a list of such in turn, or null")
    return torch.tensor(list(islice(cycle(rows), num)), dtype=torch.float32)
