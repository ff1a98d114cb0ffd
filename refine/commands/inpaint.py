"""``refine inpaint``: paint a part of an item anew, and keep the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from refine.capabilities import Inpaints
from refine.commands.command import Command
from refine.progress import Plain
from refine.settings.bounds import LABELS, Text, whole
from refine.settings.config import Config
from refine.settings.places import Place


@dataclass
class InpaintConfig:
    """Keys of ``refine inpaint`` in every domain; a domain adds what it is given and which part of it is kept."""

    # coarsest scales whose codes are kept everywhere; without a mask: super-resolution
    keep_scales: Annotated[int, whole(0, 1000)] = 0
    label: Annotated[Any, LABELS] = None  # a class, a list of classes in turn, or null for none
    num: Annotated[int, whole(1, 1_000_000)] = 4  # results
    batch_size: Annotated[int, whole(1, 1_000_000)] = 64  # results drawn at once
    out: Place = None  # folder to write to; null for one in samples/ of the run


@dataclass
class ItemInpaintConfig(InpaintConfig):
    """Keys of ``refine inpaint`` in a domain that has none of its own."""

    item: Annotated[str, Text()] = "test:0"  # an item of the model's data, as SPLIT:NUMBER


class Inpaint(Command):
    """Paint a part of an image anew, and keep the rest; or draw graphs around a part.

    The model is run=FOLDER, else the newest run of the domain, else the one that ships with it. Codes of the known part
    are kept at every scale, the others are drawn.

    \b
      refine inpaint run=RUN image=cat.png mask=mask.png                    in-painting: white is painted, black is kept
      refine inpaint run=RUN image=cat.png mask=mask.png label=dog          editing: another class in its place
      refine inpaint run=RUN image=cat.png place=[8,8,16,16]                out-painting: around the image, put there
      refine inpaint run=RUN image=small.png keep_scales=3                  super-resolution: its coarse scales are kept
      refine inpaint run=RUN image=test:17 mask=mask.png num=8 seed=1       an item of the test split
      refine inpaint run=RUN item=test:17 keep_scales=2                     in domains without images
      refine inpaint domain=graph run=RUN graph=part.graphml size=40        graphs of 40 nodes with that part

    The mask has the size of the image, or of the model. Grey of 128 and more counts as white, transparent as black. An
    image of another size is resized on its short side and cropped to the centre, and its mask with it.
    """

    Options = ItemInpaintConfig
    needs = Inpaints
    example = ("inpaint run=runs/mnist image=3.png mask=mask.png", "paint a part anew; editing, super-resolution")
    place = 40

    def run(self, config: Config) -> Path:
        """In-paint as ``config.inpaint`` says.

        Returns:
            The folder that was written: ``inpaint.out``, else a new one under ``samples/`` of the run.

        Raises:
            RefineError: no model, a domain that does not in-paint, or an image, a mask or settings that it does not
                accept.
        """
        from refine.storage.runs import new_folder

        wanted = config.inpaint
        Inpaints.of(config.domain_name)
        model, source, folder = self.loaded(config)
        out = new_folder("inpaint.out", wanted.out, folder, config.domain_name)
        paths = model.domain.inpaint(model, config, out)
        shown = [p.name for p in paths if p.parent == out]
        text = f"{wanted.num} results of {source} (seed {config.seed}): {out} ({', '.join(shown)})"
        Plain().print(text, soft_wrap=True)
        return out
