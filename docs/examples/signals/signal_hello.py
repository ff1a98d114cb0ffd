"""A command and the capability that it needs of a domain. It imports little, because ``refine --help`` imports it."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

from refine import Capability, Command


class CountsBeats(Capability):
    """Items have a heartbeat."""

    lacking = "has no heartbeat"

    @abc.abstractmethod
    def heart_rate(self, x: Any) -> Any:
        """Beats a minute (B,) of items (B, ...)."""


@dataclass
class HelloConfig:
    """Keys of ``refine hello``."""

    num: int = 64  # signals that are drawn
    label: Any = None  # a rhythm, a list of rhythms, or null for all in turn


class Hello(Command):
    """Draw signals and say how fast their hearts beat.

    \b
      refine hello domain=signal
      refine hello run=runs/ecg label=fast num=200
    """

    Options = HelloConfig
    needs = CountsBeats
    kept = True
    example = ("hello domain=signal", "how fast the hearts of drawn signals beat")

    def run(self, config: Any) -> float:
        """Draw ``hello.num`` signals and print their mean heart rate, which is also returned."""
        model, wanted = self.model(config), config.hello
        condition = model.domain.ask(wanted.num, wanted.label, section="hello")
        samples = model.sample_many(wanted.num, condition, config.seed, config.sampler)
        rate = float(model.domain.heart_rate(samples.items).float().mean())
        print(f"Hello! {wanted.num} hearts beat {rate:.1f} times a minute.")
        return rate
