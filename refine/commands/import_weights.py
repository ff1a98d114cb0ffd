"""``refine import``: a run of weights that others published, by the domain that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from refine.capabilities import ImportsWeights
from refine.commands.command import Command
from refine.errors import not_accepted
from refine.progress import Plain


@dataclass(kw_only=True)
class ImportConfig:
    """Keys of ``refine import`` for every kind of weights."""

    kind: str  # whose weights
    to: str  # the run's folder, new or empty


class Import(Command):
    """Make a run of weights that others published.

    \b
      refine import var --vae vae_ch160v4096z32.pth --var var_d16.pth --to runs/var-d16
      refine sample run=runs/var-d16 --label 207

    var is VAR, of any depth and schedule of scales. Files of torch.save or safetensors, also training checkpoints of
    VAR; only tensors and plain data are read from them. Both are checked tensor by tensor before anything is written.
    """

    Options = ImportConfig
    needs = ImportsWeights
    of_a_model = False
    positional = ("kind",)
    example = ("import var --vae FILE --var FILE --to RUN", "published weights")
    place = 80

    @classmethod
    def options_for(cls, arguments: Sequence[str]) -> type:
        """The keys of the kind of weights that is named, and those of all kinds."""
        kinds = importers()
        kind = next((a.removeprefix("kind=") for a in arguments if not a.startswith("-")), None)
        if kind is None:
            return ImportConfig
        if kind not in kinds:
            raise not_accepted("kind", kind, kinds)
        own = kinds[kind][1]
        return make_dataclass("ImportOptions", [], bases=(own, ImportConfig))

    def run(self, config: Any) -> dict[str, Any]:
        """Write the run ``config.to``, and show what the files hold.

        Returns:
            What was shown.

        Raises:
            RefineError: no domain imports such weights, or the files cannot be used.
        """
        kinds = importers()
        if config.kind not in kinds:
            raise not_accepted("kind", config.kind, kinds)
        domain, own = kinds[config.kind]
        given = {f.name: getattr(config, f.name) for f in fields(own)}
        facts: dict[str, Any] = domain.import_weights(config.kind, Path(config.to).expanduser(), own(**given))
        table = Table("", show_header=False, title=f"{config.kind}: {', '.join(str(v) for v in given.values() if v)}")
        for name, value in facts.items():
            table.add_row(name, str(value))
        console = Plain()
        console.print(table)
        console.print(f"Written: {config.to}", soft_wrap=True)
        return facts


def importers() -> dict[str, tuple[Any, type]]:
    """For each kind of weights the domain that imports them, and the dataclass of its options.

    Raises:
        RefineError: no installed domain imports any.
    """
    ImportsWeights.anyone()
    return {k: (d, own) for d in ImportsWeights.domains().values() for k, own in d.imports.items()}  # type: ignore[attr-defined]
