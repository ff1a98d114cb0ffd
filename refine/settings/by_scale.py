"""Values that are a number, or a list with one for each scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refine.errors import require, shown


def by_scale(name: str, value: Any, num_levels: int) -> list[float]:
    """A number or a list by scale, within its bounds, as a list of K numbers.

    Raises:
        RefineError: a list of another length.
    """
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * num_levels
    good = len(values) == num_levels
    require(good, f"{name}={shown(value)} is not accepted: a list needs one number for each of {num_levels} scales")
    return [float(v) for v in values]
