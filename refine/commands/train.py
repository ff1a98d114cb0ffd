"""``refine train``: the stages of a run, from where they stand."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from refine.commands.command import Command
from refine.settings.config import Config


class Train(Command):
    """Train a model, or continue with run=FOLDER.

    \b
      refine train domain=image                              the default data, a few minutes
      refine train domain=image data=mnist --run runs/mnist
      refine train experiment=planar --run runs/planar       settings of a file
      refine train run=runs/mnist                            continue where it was stopped or killed
    """

    example = ("train domain=image data=mnist --run runs/mnist", "train; the default data if none is named")
    place = 20

    def run(self, config: Config) -> Path:
        """See :func:`refine.learning.train.train`."""
        from refine.learning.train import train  # Lightning takes seconds to import

        return train(config)

    def stopped(self, config: Config) -> str:
        if any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK")):
            return ""  # the first of the processes that train together says it
        return (
            "stopped" if config.run is None else f"stopped; continue with: refine train run={shlex.quote(config.run)}"
        )
