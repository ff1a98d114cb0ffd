"""`refine study`: what next-scale generation is worth, measured and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from refine.capabilities import Studies
from refine.commands.command import GOES_ON, Command
from refine.errors import not_accepted, require
from refine.progress import console
from refine.settings.bounds import Text, whole


@dataclass
class StudyConfig:
    """Keys of ``refine study``."""

    which: str  # hypotheses | frontier
    domain: str = "image"  # whose data, tasks and judge
    seeds: Annotated[int, whole(1, 100)] = 3  # seeds 0 to N - 1
    updates: Annotated[int, whole(1, 1_000_000)] = 4000  # of every training
    out: Annotated[str, Text(least=1)] = "study"  # folder for what was measured, and the runs
    plot: str | None = None  # draw what this study.json holds, and train nothing


class Study(Command):
    """Measure what next-scale generation is worth.

    Models that differ in one thing are trained with the same Transformer, data, parameters and operations, and judged
    by what they generate.

    \b
    hypotheses   a latent or pixels; categorical, bitwise or Gaussian heads; single, residual or product codes;
                 S = 1, 2, 3, 4, 6 scales: in generation, 4x super-resolution and in-painting of a half
    frontier     S scales against T = 2 to 250 steps of diffusion (of latents, of pixels, and of codes with an
                 absorbing state): Frechet distance against time and against evaluations of the network

    \b
      refine study hypotheses                       three seeds; about six CPU hours for both
      refine study frontier                         what both need is trained once
      refine study frontier --seeds 1 updates=200 --out quick
      refine study frontier --plot study/study.json --out pictures

    Writes study.json (all figures and curves), tables hypotheses.md or frontier.md, and pictures of the same name; with
    --plot only these, of the seeds and updates in FILE. After an interruption the same command continues where it
    stood; nothing is measured twice.
    """

    Options = StudyConfig
    needs = Studies
    of_a_model = False
    positional = ("which",)
    example = ("study frontier domain=image", "S scales against T diffusion steps")
    place = 86

    def run(self, config: StudyConfig) -> list[Path]:
        """Measure what has not been measured yet, unless there is a file to plot, and write tables and pictures.

        Returns:
            ``study.json`` with every figure, and what :func:`refine.studies.contest.write_up.write_report` made of it.

        Raises:
            RefineError: an argument that is not accepted, a domain that has no study, no data, a file that is none of a
                study, or an output folder that cannot be used.
        """
        from refine.studies.contest.write_up import STUDIES, write_report

        which, out, plot = config.which, config.out, config.plot
        if which not in STUDIES:
            raise not_accepted("study", which, STUDIES)
        folder = Path(out).expanduser()
        require(
            not folder.exists() or folder.is_dir(), f"out={out!r} is not accepted: it is a file; accepted: a folder"
        )
        Studies.of(config.domain)
        if plot is None:
            from refine.studies.contest.runner import study

            recorded = study(which, config.seeds, config.updates, folder)
            written = [recorded]
        else:
            recorded, written, own = Path(plot).expanduser(), [], folder / "study.json"
            other = own.exists() and own.resolve() != recorded.resolve()
            require(
                not other,
                f"out={out!r} is not accepted: it has a study.json that is not {plot}; accepted: another folder",
            )
        written += write_report(recorded, folder, which)
        console.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True)
        return written

    def stopped(self, config: StudyConfig) -> str:
        return GOES_ON
