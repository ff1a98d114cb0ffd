"""What a command is: one class in one file, found by its name like every other kind of part."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from refine.capabilities import Capability
from refine.kinds import COMMANDS
from refine.settings.places import named


@COMMANDS.base
class Command(abc.ABC):
    """A command of ``refine``, announced as an entry point of ``refine.commands``.

    The docstring of the class is its help: the first line says what the command does, then come examples (after a line
    that holds only ``\\b``, which keeps line breaks) and explanations.

    Attributes:
        Options: its section of the configuration, a dataclass; the comment behind a field is the help of the key.
        needs: the capability that a domain must have for it, or None.
        of_a_model: whether it works on a trained model, that is ``run=FOLDER``, else the newest run of the domain, else
            the model that ships with it. Then :meth:`run` is given the whole configuration, whose attribute of the
            command's name holds its options; otherwise it is given these alone.
        kept: whether a training keeps its options in the run's configuration, where the command finds them.
        uses: other sections and keys of the configuration that it accepts, where it works on a model.
        positional: fields of ``Options`` that may be given without their names, in order.
        example: a line for the list of commands, and what it does.
        place: where it stands in the list of commands, the order of work.
    """

    Options: ClassVar[type | None] = None
    needs: ClassVar[type[Capability] | None] = None
    of_a_model: ClassVar[bool] = True
    kept: ClassVar[bool] = False
    uses: ClassVar[tuple[str, ...]] = ("sampler", "trainer", "seed", "run")
    positional: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[tuple[str, str]] = ("", "")
    place: ClassVar[int] = 100

    @classmethod
    def options_for(cls, arguments: Sequence[str]) -> type | None:
        """The dataclass of the options that ``arguments`` may give; ``Options`` unless they depend on the arguments."""
        return cls.Options

    @abc.abstractmethod
    def run(self, config: Any) -> Any:
        """Do it.

        Args:
            config: a :class:`refine.settings.config.Config`, or an instance of ``Options`` for a command that does not
                work on a model.

        Raises:
            RefineError: something that the user can mend; it becomes one message and exit code 2.
        """

    def model(self, config: Any) -> Any:
        """The :class:`refine.Model` that the command works on: of ``config.run``, else the newest of its domain, else
        the one that ships with it; where, and as precise as, ``config.trainer`` says.

        Raises:
            RefineError: there is none, or it does not take ``config.sampler``.
        """
        return self.loaded(config)[0]

    def loaded(self, config: Any) -> tuple[Any, Path, Path | None]:
        """The same; with the folder of its checkpoint, and its run if that is one."""
        from refine.domain import starter  # PyTorch takes a second to import
        from refine.drawing.strategies import check_sampler
        from refine.models.loading import load_model
        from refine.storage.runs import find_run

        run = find_run(config)
        source = run or starter(config.domain_name)
        model = load_model(source, config.trainer, named(config.domain))
        check_sampler(config.sampler, model.num_levels)
        return model, source, run

    def stopped(self, config: Any) -> str:
        """What is said after Ctrl-C or SIGTERM; nothing if it is empty."""
        return "stopped"


ANEW = "stopped; nothing is kept of it, the same command begins anew"
GOES_ON = "stopped; run the same command again to continue with what is not finished"
