"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")

console = Console(stderr=True)


def track(items: Iterable[T], what: str, total: int | None = None, every: float = 10.0) -> Iterator[T]:
    """Go through ``items`` showing how far; a line every ``every`` seconds where there is no terminal."""
    if console.is_terminal:
        yield from rich_track(items, what, total=total, console=console, transient=True)
        return
    count = len(items) if total is None and isinstance(items, Sized) else total
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > every:
            last = time.monotonic()
            console.print(f"{what}: {done}" + (f" of {count}" if count else ""), highlight=False, soft_wrap=True)
        yield item
