"""Molecules in SDF files (MDL molfiles, V2000 and V3000)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from refine.domains.graph.graphs.formats.content import MOST_ITEMS, read_text
from refine.domains.graph.graphs.molecules import chemistry
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.graphs.smiles import pack_smiles
from refine.domains.graph.graphs.told import with_columns
from refine.errors import RefineError, require

LONGEST = 200_000  # characters of a molecule: 2,000 atoms
END = "M  END"


def read_sdf(path: Path, columns: Sequence[str] = ()) -> tuple[PackedGraphs, list[str]]:
    """The molecules of a file, and the SMILES of each, with the data items ``columns`` where there are such.
    Coordinates, stereochemistry and other data are left out.

    Raises:
        RefineError: it cannot be read, or records that cannot be used, by number.
    """
    Chem = chemistry()
    records = [record for record in read_text(path).replace("\r\n", "\n").split("$$$$") if record.strip()]
    require(bool(records), f"{path} has no molecules")
    require(len(records) <= MOST_ITEMS, f"{path} has {len(records)} molecules; accepted: {MOST_ITEMS} at most")
    lines = []
    for number, record in enumerate(records, 1):
        block = record.removeprefix("\n").partition(END)[0] if number > 1 else record.partition(END)[0]
        where = f"{path}, record {number}"
        require(len(block) <= LONGEST, f"{where} has {len(block)} characters; accepted: {LONGEST} at most")
        try:
            mol = Chem.MolFromMolBlock(f"{block}{END}\n")
        except (RuntimeError, ValueError):
            mol = None
        if mol is None:
            raise RefineError(f"{where} is no molecule that rdkit can read")
        lines.append((number, str(Chem.MolToSmiles(mol, isomericSmiles=_has_isotopes(mol)))))
    found = {name: [_item(record, name) for record in records] for name in columns}
    told = {name: values for name, values in found.items() if any(value is not None for value in values)}
    return with_columns(pack_smiles(lines, str(path), item="record"), told), [smiles for _, smiles in lines]


def _item(record: str, name: str) -> str | None:
    """The first line of the data item of that name (``> <name>``), where it is not empty."""
    found = re.search(rf"^>[^\n]*<{re.escape(name)}>[^\n]*\n([^\n]+)", record.partition(END)[2], re.MULTILINE)
    return found[1].strip() if found else None


def _has_isotopes(mol: object) -> bool:
    return any(atom.GetIsotope() for atom in mol.GetAtoms())  # type: ignore[attr-defined]
