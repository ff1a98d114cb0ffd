"""Processes for tests, forked from one that has imported what takes seconds: a start costs next to nothing.

They are for what a process is about: that it is killed, that there are two, that its memory is measured. The command
line is started as a person starts it where a test is about that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

IMPORTED = ["refine.learning.train", "refine.settings.compose", "hydra", "pytest"]
IMPORTED += ["refine.domains.weather.ensembles.writing", "distributed"]  # passed over where they are not installed
IMPORTED += ["composed"]  # settings of the domains, in this folder

_CONTEXT = multiprocessing.get_context("forkserver")


def ready() -> None:
    """Have the process run that others are forked from."""
    _CONTEXT.set_forkserver_preload(IMPORTED)
    forkserver.ensure_running()


def start(target: Any, *args: Any) -> BaseProcess:
    """A process that calls ``target(*args)``, a function of a module."""
    ready()
    process = _CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def killed(target: Any, *args: Any) -> None:
    """Call ``target(*args)`` in a process, which must die by SIGKILL."""
    process = start(target, *args)
    process.join()
    assert process.exitcode == -signal.SIGKILL, (process.exitcode, args)


def finished(*processes: BaseProcess) -> None:
    """Wait for processes, which must end well; when one has not, the others, which may wait for it, are ended."""
    left = {process.sentinel: process for process in processes}
    while left:
        for sentinel in wait(list(left)):
            process = left.pop(int(sentinel))  # type: ignore[call-overload]
            process.join()
            if process.exitcode != 0:
                for other in left.values():
                    other.kill()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def die() -> None:
    """The end of this process, at once."""
    os.kill(os.getpid(), signal.SIGKILL)
