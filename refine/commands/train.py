"""``refine train``: the stages of a run, from where they stand."""

from __future__ import annotations

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
        from refine.learning.train import leads

        if not leads():
            return ""
        return (
            "stopped" if config.run is None else f"stopped; continue with: refine train run={shlex.quote(config.run)}"
        )
