"""What was measured, in one json file that grows record by record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from refine.errors import RefineError, require
from refine.errors import shown as shown_value
from refine.storage.files import read_text, write_text
from refine.storage.plain_json import read_json
from refine.version import __version__

Figures = dict[str, Any]


class Key(NamedTuple):
    """What ``refine reproduce`` ran."""

    experiment: str
    seed: int
    train_size: int
    epochs: int


class StudyKey(NamedTuple):
    """What ``refine study`` ran."""

    experiment: str
    seed: int
    updates: int


def shown(folder: Path, key: StudyKey | None = None, task: str = "") -> Path:
    """Where a study in ``folder`` keeps the picture of what was drawn for a task; without a key, of the real items."""
    name = f"{key.experiment.replace('/', '-')}-{task}-{key.updates}-{key.seed}" if key else "real"
    return folder / "samples" / f"{name}.png"


K = TypeVar("K", Key, StudyKey)


class Store(Generic[K]):
    """Figures by key; each is written when it is known, so that work that was killed goes on after the last.

    Args:
        path: of the file, which need not be there yet.
        kind: of its keys.

    Attributes:
        about: what else the file says, by name.

    Raises:
        RefineError: the file holds something else.
    """

    def __init__(self, path: Path, kind: type[K]) -> None:
        self.path = path
        self.kind: type[K] = kind
        self.records: dict[K, dict[str, Any]] = {}
        self.about: dict[str, Any] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            held = read_json(self.path)
            self.about = dict(held.get("about", {}))
            for record in held["results"]:
                key = self.kind(*(record[name] for name in self.kind._fields))
                if not (isinstance(key[0], str) and all(type(n) is int and abs(n) < 2**63 for n in key[1:])):
                    raise TypeError(f"{key}")
                if not (isinstance(record["figures"], dict) and isinstance(record.get("cpu_seconds", 0), int | float)):
                    raise TypeError("figures, or seconds")
                self.records[key] = record
        except (ValueError, TypeError, LookupError, AttributeError, RefineError) as error:
            command = "refine study" if self.kind is StudyKey else "refine reproduce"
            raise RefineError(f"{self.path} is not a file of {command} ({shown_value(error)})") from None

    def __contains__(self, key: K) -> bool:
        return key in self.records

    def figures(self, key: K) -> Figures:
        """The figures of a key.

        Raises:
            RefineError: it has not been run.
        """
        require(key in self.records, f"{self.path} has no {key}")
        figures: Figures = self.records[key]["figures"]
        return figures

    def add(self, key: K, figures: Figures, seconds: float) -> None:
        """Write the file anew, with one record more."""
        self.records[key] = {**key._asdict(), "cpu_seconds": round(seconds, 1), "figures": rounded(figures)}
        self.write()

    def write(self) -> None:
        """Write the file, unless it says all of this; records that another process has put there stay."""
        self.records = Store(self.path, self.kind).records | self.records
        lines = ",\n".join(json.dumps(r) for _, r in sorted(self.records.items()))
        about = f'"about": {json.dumps(rounded(self.about))}, ' if self.about else ""
        text = f'{{"refine": "{__version__}", {about}"results": [\n{lines}\n]}}\n'
        if not self.path.exists() or read_text(self.path) != text:
            write_text(self.path, text)


def rounded(value: Any) -> Any:
    """Floats to six digits, in lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
