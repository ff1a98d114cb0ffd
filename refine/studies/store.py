"""What was measured, in one json file that grows record by record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from refine import __version__
from refine.errors import RefineError, require
from refine.files import read_text, write_text
from refine.studies.training import Figures


class Key(NamedTuple):
    """What was run."""

    experiment: str
    seed: int
    train_size: int
    epochs: int


class Store:
    """Figures by key; each is written when it is known, so that work that was killed goes on after the last.

    Args:
        path: of the file, which need not be there yet.

    Raises:
        RefineError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[Key, dict[str, Any]] = {}
        if path.exists():
            try:
                for record in json.loads(read_text(path))["results"]:
                    self.records[Key(*(record[name] for name in Key._fields))] = record
            except (ValueError, TypeError, LookupError) as error:
                raise RefineError(f"{path} is not a file of refine reproduce ({error!r}); move it away") from None

    def __contains__(self, key: Key) -> bool:
        return key in self.records

    def figures(self, key: Key) -> Figures:
        """The figures of a key.

        Raises:
            RefineError: it has not been run.
        """
        require(key in self.records, f"{self.path} has no {key}")
        figures: Figures = self.records[key]["figures"]
        return figures

    def add(self, key: Key, figures: Figures, seconds: float) -> None:
        """Write the file anew, with one record more."""
        record = {**key._asdict(), "cpu_seconds": round(seconds, 1), "figures": rounded(figures)}
        self.records[key] = record
        lines = ",\n".join(json.dumps(r) for _, r in sorted(self.records.items()))
        write_text(self.path, f'{{"refine": "{__version__}", "results": [\n{lines}\n]}}\n')


def rounded(value: Any) -> Any:
    """Floats to six digits, in lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
