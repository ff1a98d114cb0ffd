"""What is shown: texts as they are, and the progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from functools import lru_cache
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track as rich_track
from rich.text import Text

T = TypeVar("T")


class Plain(Console):
    """A terminal or a file that texts are shown on as they are.

    Texts come from data and from runs that somebody else made. Nothing in them is markup, and characters that cannot be
    shown, such as those that terminals take as commands, become spaces.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        return super().render_str(shown, **options)


console = Plain(stderr=True)


def duration(seconds: float) -> str:
    """A time as people say it: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@lru_cache(maxsize=1024)
def warn(text: str) -> None:
    """A line that begins with ``warning:``, once however often it is said."""
    console.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)


def track(items: Iterable[T], what: str, total: int | None = None, every: float = 10.0) -> Iterator[T]:
    """Go through ``items`` showing how far; a line every ``every`` seconds where there is no terminal."""
    if console.is_terminal:
        yield from rich_track(items, escape(what), total=total, console=console, transient=True)
        return
    count = len(items) if total is None and isinstance(items, Sized) else total
    start = last = time.monotonic()
    for done, item in enumerate(items):
        if (now := time.monotonic()) - last > every:
            last = now
            of = f" of {count}, {duration((now - start) / done * (count - done))} left" if count and done else ""
            console.print(f"{what}: {done}{of}", soft_wrap=True)
        yield item
