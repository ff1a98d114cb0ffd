"""Methods that use a model and do not train it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
T = TypeVar("T")


def inference(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Run a method of a module without gradients and in evaluation mode; every part goes back to the mode it had."""

    @functools.wraps(method)
    def run(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        modes = [(part, part.training) for part in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                return method(self, *args, **kwargs)
        finally:
            for part, mode in modes:
                part.training = mode

    return run
