"""What each drawn graph was asked for: a table beside the graphs, and words under their pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from refine.storage.files import write_text
from refine.types import Condition


class Asked:
    """Labels and vectors of graphs, batch by batch.

    Args:
        classes: names of the classes.
        names: of the numbers of a vector.

    Attributes:
        rows: (graph,) class and numbers in words; empty where nothing was asked.
    """

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        self.classes, self.names = classes, names
        self.rows: list[str] = []
        self._table: list[list[str]] = []
        self._head: list[str] = []

    def add(self, condition: Condition) -> None:
        """The conditions of a batch."""
        columns: dict[str, list[str]] = {}
        if condition.label is not None:
            columns["label"] = [self.classes[i] for i in condition.label.tolist()]
        if condition.vector is not None:
            values = condition.vector.T.tolist()
            columns |= {n: [f"{x:.6g}" for x in row] for n, row in zip(self.names, values, strict=True)}
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self._head = list(columns)
        self._table += rows
        said = [name for name in columns if name != "label"]
        for row in rows:
            words = [x if name == "label" else f"{name} {x}" for name, x in zip(columns, row, strict=True)]
            self.rows.append(", ".join(words if len(said) < 3 else [*words[:3], "..."]))

    def finish(self, folder: Path) -> list[Path]:
        """Write ``asked.csv``, a line for each graph in their order, where anything was asked."""
        if not self._head:
            return []
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["graph", *self._head])
        writer.writerows([str(i), *row] for i, row in enumerate(self._table))
        path = folder / "asked.csv"
        write_text(path, text.getvalue())
        return [path]
