"""`refine reproduce`: the paper's tables, measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.table import Table

from refine.commands.command import GOES_ON, Command
from refine.errors import RefineError, not_accepted, require
from refine.progress import Plain, console
from refine.settings.bounds import Text, whole
from refine.storage.files import write_text

ALL, BATCH = 60_000, 256  # images there are, and in a batch


@dataclass
class ReproduceConfig:
    """Keys of ``refine reproduce``."""

    table: str  # which of the paper's tables: 1 | 2 | 3 | 4 | all
    seeds: Annotated[int, whole(1, 100)] = 3  # seeds 0 to N - 1
    train_size: Annotated[int, whole(BATCH, ALL)] = ALL  # training images of the predictors
    out: Annotated[str, Text(least=1)] = "reproduction"  # folder for what was measured


class Reproduce(Command):
    """Measure the paper's MNIST experiments, as its section 4 describes them.

    Every cell of Tables 1 to 4, and every claim, beside what was measured, the floor that no such model can pass, and
    whether it was reproduced.

    \b
      refine reproduce table=all                    three seeds; about half an hour on one CPU core
      refine reproduce table=1 --seeds 1            pixel against latent denoising; a few minutes
      refine reproduce table=all train_size=1000    few updates: where the latent model is ahead; a few minutes

    Writes reproduction.json (figures and learning curves), tables-N.md and curves-N.png, N being train_size, which the
    autoencoder does not feel. After an interruption the same command continues with the next training; nothing is
    measured twice.
    """

    Options = ReproduceConfig
    of_a_model = False
    example = ("reproduce table=all", "the paper's tables, measured")
    place = 84

    def run(self, config: ReproduceConfig) -> list[Path]:
        """Measure what has not been measured yet, and write what was found.

        Returns:
            ``reproduction.json`` with every figure, ``tables-N.md`` and ``curves-N.png``, N being ``train_size``.

        Raises:
            RefineError: an argument that is not accepted, no MNIST, or an output folder that cannot be used, or that
                another process measures in.
        """
        from refine.storage.locks import LOCK, alone
        from refine.studies.paper.claims import TABLES
        from refine.studies.paper.experiments import EXPERIMENTS
        from refine.studies.paper.mnist import mnist
        from refine.studies.paper.report import markdown, plot, verdicts
        from refine.studies.paper.reproduction import measure
        from refine.studies.paper.training import EPOCHS
        from refine.studies.store import Key, Store

        table, size, out = config.table, config.train_size, config.out
        if table not in (*TABLES, "all"):
            raise not_accepted("table", table, (*TABLES, "all"))
        chosen = TABLES if table == "all" else {table: TABLES[table]}
        folder = Path(out).expanduser()
        require(
            not folder.exists() or folder.is_dir(), f"out={out!r} is not accepted: it is a file; accepted: a folder"
        )
        needed = {name for t in chosen.values() for name in t.experiments}
        names = [name for name in EXPERIMENTS if name in needed]
        with alone(folder / LOCK, f"out={out!r} is being measured"):
            store = Store(folder / "reproduction.json", Key)
            found = measure(store, names, range(config.seeds), size, EPOCHS, mnist())
            report = folder / f"tables-{size}.md"
            shown = Table("table", "", "paper", "measured", "reproduced?")
            try:
                for row in verdicts(chosen, found):
                    shown.add_row(*row)
                write_text(report, markdown(chosen, found, size))
                written = [store.path, report, plot(found, folder / f"curves-{size}.png", size)]
            except (LookupError, TypeError, ValueError, ArithmeticError) as error:  # of figures that somebody changed
                raise RefineError(f"{store.path} lacks figures, or has others ({error!r}); move it away") from error
        Plain().print(shown)
        console.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True)
        return written

    def stopped(self, config: ReproduceConfig) -> str:
        return GOES_ON
