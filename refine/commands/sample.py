"""``refine sample``: draw items from a trained model and write them as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from refine.commands.command import Command
from refine.progress import Plain
from refine.settings.bounds import LABELS, SPLITS, VECTORS, each, either, whole
from refine.settings.config import Config
from refine.settings.places import Place


@dataclass
class SampleConfig:
    """Keys of ``refine sample``."""

    num: Annotated[int, whole(1, 1_000_000)] = 64  # samples
    label: Annotated[Any, LABELS] = None  # a class, a list of classes, or null for all in turn
    # sites of an item where items differ in them, or a list of sizes in turn; null: as in training
    size: Annotated[Any, either(whole(1, 1_000_000), each(whole(1, 1_000_000)))] = None
    # of a model that is conditioned on one: a vector in the data's units, or a list of vectors in turn; null: those of
    # held-out items
    vector: Annotated[Any, VECTORS] = None
    # train | val | test: whose fields, vectors and masks are asked for, where the model has some
    split: Annotated[str, SPLITS] = "val"
    batch_size: Annotated[int, whole(1, 1_000_000)] = 64  # samples drawn at once
    out: Place = None  # folder to write to; null for samples/ in the run
    pictures: bool = True  # also pictures of many samples; a training with false draws nothing at its end
    gif: bool = False  # also an animation of the refinement, where the domain has one
    strip: Annotated[int, whole(0, 1000)] = 8  # samples shown in the refinement strip


class Sample(Command):
    """Draw from a trained model.

    That is run=FOLDER, else the newest run of the domain, else the model that ships with it.

    \b
      refine sample domain=image --num 64 --label 7
      refine sample run=runs/mnist --temperature 0.9 --seed 1
      refine sample domain=graph --size 100 --gif
    """

    Options = SampleConfig
    kept = True
    example = ("sample domain=image --num 64 --label 7", "draw from the newest run, else from the model that ships")
    place = 30

    def run(self, config: Config) -> Path:
        """Draw as ``config.sample`` says.

        Returns:
            The folder that was written: ``sample.out``, else a new one under ``samples/`` of the run.

        Raises:
            RefineError: no model, a label that it does not have, or a folder that is in use.
        """
        from refine.errors import require
        from refine.models.samples import draw_samples
        from refine.storage.runs import new_folder

        model, source, folder = self.loaded(config)
        name = model.domain.name
        free = model.domain.unconditional
        require(free, f"domain {name!r} draws only from what is known: refine ensemble domain={name}")
        out = new_folder("sample.out", config.sample.out, folder, config.domain_name)
        paths = draw_samples(model, config, out)
        shown = [p.name for p in paths if p.parent == out]
        text = f"{config.sample.num} samples of {source} (seed {config.seed}): {out} ({', '.join(shown)})"
        Plain().print(text, soft_wrap=True)
        return out
