"""Values that are a number, or a list with one for each scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from refine.errors import require


def by_scale(name: str, value: Any, num_levels: int, valid: Callable[[float], bool], accepted: str) -> list[float]:
    """A number or a list by scale as a checked list of K numbers."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * num_levels
    require(len(values) == num_levels, f"{name}={value}: a list needs one number for each of {num_levels} scales")
    for v in values:
        good = isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and valid(v)
        require(good, f"{name}={value!r} is not accepted; accepted: {accepted}, or a list of them by scale")
    return [float(v) for v in values]
