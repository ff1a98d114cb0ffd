"""How many numbers a model is made of, counted while it is made: one that is too large is refused before memory is
asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from refine.errors import RefineError, shown

SHAPED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}  # of a size, given in any of their spellings
CGROUP = Path("/sys/fs/cgroup/memory.max")


class AtMost(TorchFunctionMode):
    """Within it, tensors of no more than ``most`` numbers in all are made; the one that would be more is not.

    It sees every weight and buffer that a module makes, of any domain's model, and takes no time, memory or random
    numbers for that. Two things use it: a configuration may not ask for more than the machine has (:func:`made`), and
    the header of a checkpoint may not ask for more than its file of weights holds::

        with AtMost(2 * held, largest(model=header["model"]), f"{path} holds {held:,}"):
            model = domain.model(config)

    There ``most`` has some slack, because a constructor may also make tensors that it does not keep.

    Args:
        most: numbers, of whatever type.
        asked: what asks for them, as it stands at the beginning of the message.
        reason: what holds no more.

    Raises:
        RefineError: on the tensor that is one too many.
    """

    def __init__(self, most: int, asked: str, reason: str = "this machine's memory holds no more") -> None:
        super().__init__()
        self.most, self.asked, self.reason = most, asked, reason
        self.made = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SHAPED:
            self._count(args, {name: kwargs[name] for name in ("size", "dtype") if name in kwargs})
        return func(*args, **kwargs)

    def _count(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        try:
            with torch._C.DisableTorchFunction():
                self.made += torch.empty(*args, **kwargs, device="meta").numel()
            fits = self.made <= self.most
        except (RuntimeError, OverflowError):  # sizes that are negative, or whose product is no 64-bit number
            fits = False
        if not fits:
            raise RefineError(
                f"{self.asked} is not accepted: the model would have more than {self.most:,} numbers, and {self.reason}"
            )


def made(domain: Any, config: Any) -> Any:
    """A fresh model of a domain, as its configuration says, if this machine's memory holds its weights.

    Args:
        domain: a :class:`refine.Domain`.
        config: an instance of its ``ModelConfig``.

    Raises:
        RefineError: it does not, or the configuration is not accepted.
    """
    asked = largest(domain=asdict(domain.config), model=asdict(config))
    with AtMost(memory() // torch.get_default_dtype().itemsize, asked):
        return domain.model(config)


def memory() -> int:
    """Bytes of memory that this process may have: of the machine, its control group and its own limit, the least."""
    if sys.platform == "win32":  # which tells neither
        return sys.maxsize
    import resource

    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *resource.getrlimit(resource.RLIMIT_AS)]
    if CGROUP.is_file() and (text := CGROUP.read_text(encoding="ascii").strip()).isdecimal():
        found.append(int(text))
    return min(size for size in found if size > 0)  # a limit of -1 is none


def largest(**sections: Any) -> str:
    """The key with the largest whole number, as ``key=value``: it is the one to make smaller.

    Args:
        sections: nested plain data by the name that stands before its keys.
    """
    found = list(_numbers(sections, ""))
    value, name = max(found, key=lambda pair: pair[0]) if found else (0, "model")
    return f"{name}={shown(value)}"


def _numbers(value: Any, name: str) -> Iterable[tuple[float, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value, name
