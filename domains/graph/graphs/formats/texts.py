"""Texts that have edges, or SMILES in a column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refine.domains.graph.graphs.archive import SPLITS
from refine.domains.graph.graphs.formats.edge_list import edges_of
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.formats.table import Table, read_table, smiles_column
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.domains.graph.graphs.smiles import keep_smiles
from refine.domains.graph.graphs.told import with_columns
from refine.errors import not_accepted, require, shown


def read_edges_or_smiles(path: Path, reading: Reading) -> tuple[PackedGraphs, list[str], Array | None]:
    """One graph (:mod:`refine.domains.graph.graphs.formats.edge_list`), or molecules where a column is called SMILES or
    has nothing else.

    Returns:
        The graphs; of molecules the SMILES of each; and their splits, where a column ``split`` says them.

    Raises:
        RefineError: it cannot be read, or lines that are no edges or no molecules, by number.
    """
    table = read_table(path)
    place = smiles_column(table)
    if place is None:
        return edges_of(table, path, reading), [], None
    lines = []
    for row in table.rows:
        require(len(row.fields) > place and bool(row.fields[place]), f"{row.where}: no SMILES")
        lines.append((row.number, row.fields[place]))
    graphs, smiles = keep_smiles(lines, path)
    return with_columns(graphs, _columns(table, reading.columns)), smiles, _splits(table)


def _columns(table: Table, names: Sequence[str]) -> dict[str, list[str]]:
    """Those of the columns ``names`` that the table has; headings are read in lower case."""
    places = {name: table.columns[name.lower()] for name in names if name.lower() in table.columns}
    out: dict[str, list[str]] = {name: [] for name in places}
    for row in table.rows:
        for name, place in places.items():
            said = len(row.fields) > place and bool(row.fields[place])
            require(said, f"{row.where}: no {shown(name)}")
            out[name].append(row.fields[place])
    return out


def _splits(table: Table) -> Array | None:
    if "split" not in table.columns:
        return None
    numbers, place = [], table.columns["split"]
    for row in table.rows:
        said = row.fields[place].lower() if len(row.fields) > place else ""
        said = {"valid": "val", "validation": "val"}.get(said, said)
        if said not in SPLITS:
            raise not_accepted(f"{row.where}: split", said, SPLITS)
        numbers.append(SPLITS.index(said))
    return np.array(numbers)
