"""What some domains can do and others cannot. A command names the capability that it needs; a domain inherits it."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from refine.errors import RefineError, require, shown
from refine.kinds import DOMAINS
from refine.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from refine.types import Samples


class Capability(abc.ABC):
    """A small interface of a domain, beside :class:`refine.Domain`.

    Attributes:
        lacking: what is said of a domain without it, after its name.
    """

    lacking: ClassVar[str]

    @classmethod
    def domains(cls) -> dict[str, type]:
        """The domains that have it, by name."""
        return {n: d for n, d in DOMAINS.all() if isinstance(d, type) and issubclass(d, cls)}

    @classmethod
    def of(cls, name: str) -> type:
        """The domain called ``name``, which has it.

        Raises:
            RefineError: no such domain, or one without; the message names those that have it.
        """
        domain = DOMAINS.load(name)
        if not issubclass(domain, cls):
            able = ", ".join(cls.domains()) or "none that is installed"
            raise RefineError(f"domain {name!r} {cls.lacking}; accepted: {able}")
        return domain

    @classmethod
    def anyone(cls) -> type:
        """The first domain that has it, where a command does not ask which.

        Raises:
            RefineError: none has; the message tells which domains do not load.
        """
        for domain in cls.domains().values():
            return domain
        broken = [str(error) for _, error in DOMAINS.all() if isinstance(error, RefineError)]
        raise RefineError("; ".join([f"every installed domain {cls.lacking}", *broken]))


class Forecasts(Capability):
    """Forecasts from initial states: ``refine ensemble``, and what ``refine evaluate`` says of forecasts."""

    lacking = "does not forecast"

    @abc.abstractmethod
    def ensemble(self, model: Any, source: Path, config: Any, folder: Path) -> list[Path]:
        """Forecast an ensemble, as ``config.ensemble`` says, and tell which files were written.

        Args:
            model: the domain's model.
            source: the checkpoint it was loaded from.
            config: :class:`refine.settings.config.Config` of the command.
            folder: where forecasts go if the configuration does not say.
        """

    @abc.abstractmethod
    def verify(self, model: Any, source: Path, config: Any, folder: Path) -> dict[str, Any]:
        """Figures of ``refine evaluate``: forecasts against what came to pass.

        Args:
            model: the domain's model.
            source: the checkpoint it was loaded from.
            config: of the command.
            folder: for what is written beside the figures.
        """


class Inpaints(Capability):
    """Draws a part of an item anew: ``refine inpaint``."""

    lacking = "does not in-paint"

    def inpaint(self: Any, model: Any, config: Any, folder: Path) -> list[Path]:
        """Draw a part of an item anew, as ``config.inpaint`` says, and tell which files were written.

        By default the codes of an item of the data (``inpaint.item``) are kept at its coarsest scales
        (``inpaint.keep_scales``), finer ones are drawn, and results are written as samples are. A domain that is given
        something else, or keeps a part of every scale, has a section and a method of its own.

        Args:
            model: the domain's model; by default a :class:`refine.Refiner`.
            config: :class:`refine.settings.config.Config` of the command.
            folder: for the files; it is made when there are some.

        Raises:
            RefineError: no such item, scales or class.
        """
        import torch

        from refine.types import Condition

        wanted = config.inpaint
        kept, scales = wanted.keep_scales, model.num_levels
        require(kept < scales, f"inpaint.keep_scales={kept} is not accepted; accepted: 0 to {scales - 1}")
        labels = self.labels_of(wanted.label, wanted.num, "inpaint.label")
        batch = _item(self, wanted.item)
        condition = model.spec.only(Condition.from_batch(batch)).to(model.device)
        codes = model.tokenizer.encode(batch["x"].to(model.device), condition.base, condition.mask)
        masks = [torch.full((1, c.shape[1]), k < kept) for k, c in enumerate(codes)]

        def drawn() -> Iterator[Samples]:
            for first in track(range(0, wanted.num, wanted.batch_size), f"Drawing {wanted.num} results"):
                rows = torch.zeros(min(wanted.batch_size, wanted.num - first), dtype=torch.int64, device=model.device)
                given = condition[rows]
                if labels is not None:
                    given = replace(given, label=labels[first : first + len(rows)])
                yield model.inpaint([c[rows] for c in codes], masks, given, config.seed, first, config.sampler).cpu()

        batches = drawn()
        begun = chain([next(batches)], batches)  # what cannot be drawn leaves no folder
        folder.mkdir(parents=True, exist_ok=True)
        return self.save_batches(begun, wanted.num, folder, gif=False, strip=0)  # type: ignore[no-any-return]


def _item(domain: Any, name: str) -> dict[str, Tensor]:
    """A batch of one: the item that ``split:number`` names."""
    from refine.items import collate_of

    split, _, number = name.partition(":")
    accepted = "accepted: SPLIT:NUMBER, as test:17; splits are train, val and test"
    good = split in ("train", "val", "test") and number.isascii() and number.isdigit() and len(number) < 10
    require(good, f"inpaint.item={shown(name)} is not accepted; {accepted}")
    items = domain.dataset(split)
    require(int(number) < len(items), f"inpaint.item={name!r} is not accepted; {split} has {len(items)} items, from 0")
    return collate_of(items)([items[int(number)]])  # type: ignore[no-any-return]


class Exports(Capability):
    """Writes drawn items in the form that the field's own evaluator reads: ``evaluate.export``."""

    lacking = "has no form that other evaluators read"

    @abc.abstractmethod
    def export(self, samples: Samples, path: Path) -> None:
        """Write drawn items to ``path``."""


class Pictures(Capability):
    """Items are pictures: :class:`refine.pipelines.NextScalePipeline`."""

    lacking = "draws no pictures"

    @abc.abstractmethod
    def pictures(self, items: Tensor, output_type: str) -> Any:
        """Drawn items (B, ...) as pictures.

        Args:
            items: in the domain's units.
            output_type: ``pil``, a list of B images of Pillow; ``np``, an array (B, H, W, C) in [0, 1]; ``pt``, a
                tensor (B, C, H, W) in [0, 1].
        """


class Regrids(Capability):
    """Brings gridded data onto other grids: ``refine regrid``."""

    lacking = "has no grids"

    @classmethod
    @abc.abstractmethod
    def regrid(cls, source: str, out: Path, grid: str) -> dict[str, dict[str, Any]]:
        """Write gridded data on another grid, and tell what that did to each field.

        Args:
            source: of the data, as the domain reads it.
            out: a file or folder that is not there yet.
            grid: name of a grid.
        """


class ImportsWeights(Capability):
    """Makes runs of weights that others published: ``refine import``.

    Attributes:
        imports: for each kind of weights its options, a dataclass whose fields are keys of the command line.
    """

    lacking = "imports no weights"
    imports: ClassVar[Mapping[str, type]]

    @classmethod
    @abc.abstractmethod
    def import_weights(cls, kind: str, to: Path, options: Any) -> dict[str, Any]:
        """Make a run of weights that others published, and tell what they were found to be.

        Args:
            kind: whose weights; one of ``imports``.
            to: the run's folder, new or empty.
            options: an instance of ``imports[kind]``.
        """


class Studies(Capability):
    """Brings items, tasks and a judge to ``refine study``."""

    lacking = "has no study"

    @abc.abstractmethod
    def subject(self) -> Any:
        """A :class:`refine.studies.contest.contestant.Subject`."""
