"""Molecules as graphs: atoms are kinds of nodes, bonds kinds of edges, hydrogens are implied.

An atom's kind is its element and formal charge (``C``, ``N+``, ``O-``, ``S+2``), a bond's is single, double or triple:
molecules are kekulized, because aromatic bonds do not say where the hydrogens are, and kekulized ones do. So a molecule
and its graph say the same, up to stereochemistry, which is not kept. What such a graph cannot say is refused: radicals,
isotopes, dative bonds, unusual numbers of hydrogens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.kinds import Kinds
from refine.errors import RefineError, require
from refine.extras import install_command

if TYPE_CHECKING:
    from rdkit.Chem import Mol

BONDS = ("single", "double", "triple")
LONGEST = 2000  # characters; the matrix of bonds is dense, and rdkit brings the process down on far longer ones
ATOM = re.compile(r"([A-Z][a-z]?)(?:([+-])(\d*))?")


@cache
def chemistry() -> Any:
    """``rdkit.Chem``, with its warnings off.

    Raises:
        RefineError: rdkit is not installed.
    """
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:  # also one that does not fit this machine
        raise RefineError(f"molecules need rdkit ({error}); {install_command('rdkit', extra='molecules')}") from error
    rdBase.DisableLog("rdApp.*")
    return Chem


def to_graph(smiles: str, atoms: Sequence[str] | None = None) -> Graph:
    """A molecule as a graph with ``node_label`` the place in ``atoms`` and ``edge_label`` the place in ``BONDS``.

    Args:
        smiles: one molecule, or several that are not bound to each other ("[Na+].[Cl-]").
        atoms: accepted kinds of atoms; None: those of this molecule, by element and charge.

    Raises:
        RefineError: not SMILES, impossible chemistry, an atom that is not among ``atoms``, or something that graphs
            cannot say.
    """
    names, ends, bonds = read(smiles)
    kinds = Kinds(sorted(set(names), key=element_and_charge) if atoms is None else atoms, fixed=True)
    labels = [kinds.number(name, f"an atom of {smiles!r}") for name in names]
    return Graph.of(len(names), zip(ends[::2], ends[1::2], strict=True), labels, bonds, smiles)


def from_graph(graph: Graph, atoms: Sequence[str], bonds: Sequence[str] = BONDS) -> Mol | None:
    """The sanitized molecule of a graph, or None where chemistry does not allow it.

    Args:
        atoms: names of the kinds of nodes.
        bonds: names of the kinds of edges.
    """
    try:
        return build(graph, atoms, bonds)
    except ValueError:
        return None


def to_smiles(graph: Graph, atoms: Sequence[str], bonds: Sequence[str] = BONDS) -> str | None:
    """The canonical SMILES of a graph, or None where chemistry does not allow it."""
    mol = from_graph(graph, atoms, bonds)
    return None if mol is None else str(chemistry().MolToSmiles(mol))


def build(graph: Graph, atoms: Sequence[str], bonds: Sequence[str] = BONDS) -> Mol:
    """:func:`from_graph` that says what is wrong.

    Raises:
        ValueError: chemistry does not allow it; rdkit's reason.
    """
    assert graph.node_label is not None, "a molecule has kinds of nodes"
    kinds = [] if graph.edge_label is None else graph.edge_label.tolist()
    orders = [BONDS.index(bonds[kind]) for kind in kinds]
    return _build([atoms[i] for i in graph.node_label.tolist()], graph.edges.T.flatten().tolist(), orders)


def are_molecules(atoms: Sequence[str], bonds: Sequence[str]) -> bool:
    """Whether names of kinds of nodes and edges are those of atoms and bonds."""
    known = bool(atoms) and all(ATOM.fullmatch(atom) for atom in atoms)
    return known and bool(bonds) and set(bonds) <= set(BONDS)


def element_and_charge(atom: str) -> tuple[int, int]:
    """Atomic number and formal charge of a kind of atom.

    Raises:
        ValueError: it is none.
    """
    found = ATOM.fullmatch(atom)
    if not found:
        raise ValueError(f"{atom!r} is no atom")
    symbol, sign, size = found.groups()
    try:
        number = int(chemistry().GetPeriodicTable().GetAtomicNumber(symbol))
    except RuntimeError as error:
        raise ValueError(f"{symbol!r} is no element") from error
    return number, int(f"{sign}{size or 1}") if sign else 0


def read(smiles: str) -> tuple[list[str], list[int], list[int]]:
    """Kinds of the atoms, ends of the bonds one after the other, and the bonds' places in ``BONDS``.

    Raises:
        RefineError: not SMILES, impossible chemistry, or something that graphs cannot say.
    """
    Chem = chemistry()
    shown = repr(smiles if len(smiles) <= 100 else f"{smiles[:100]}...")
    require(len(smiles) <= LONGEST, f"{shown} has {len(smiles)} characters; accepted: {LONGEST} at most")
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raw = Chem.MolFromSmiles(smiles, sanitize=False)
        problems = [] if raw is None else Chem.DetectChemistryProblems(raw)
        reason = f"is no possible molecule ({problems[0].Message()})" if problems else "is not SMILES"
        raise RefineError(f"{shown} {reason}")
    require(mol.GetNumAtoms() > 0, f"{shown} has no atoms")
    bracketed = "[" in smiles
    written = _plain_smiles(mol) if bracketed else ""
    Chem.Kekulize(mol, clearAromaticFlags=True)
    names = []
    for atom in mol.GetAtoms():
        charge = atom.GetFormalCharge()
        names.append(_with_charge(atom.GetSymbol(), charge) if charge else atom.GetSymbol())
    matrix = np.triu(Chem.GetAdjacencyMatrix(mol, useBO=True))  # twice as fast as asking the bonds
    ends, orders = np.argwhere(matrix).ravel().tolist(), matrix[matrix > 0].tolist()
    bonds = [int(order) - 1 for order in orders]
    plain = len(orders) == mol.GetNumBonds() and set(orders) <= {1, 2, 3} and "->" not in smiles and "<-" not in smiles
    require(plain, f"{shown} has bonds other than {', '.join(BONDS)}")
    require("*" not in names, f"{shown} has an unknown atom, '*'")
    if bracketed:  # only brackets can state another number of hydrogens than graphs imply
        isotopes = any(atom.GetIsotope() for atom in mol.GetAtoms())
        require(
            not isotopes and _implied(names, ends, bonds) == written,
            f"{shown} has radicals, isotopes or hydrogens that a graph of atoms and bonds cannot say",
        )
    return names, ends, bonds


def _plain_smiles(mol: Mol) -> str:
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    return str(chemistry().MolToSmiles(mol, isomericSmiles=False))


def _implied(names: list[str], ends: list[int], bonds: list[int]) -> str:
    try:
        return _plain_smiles(_build(names, ends, bonds))
    except ValueError:
        return ""


def _with_charge(symbol: str, charge: int) -> str:
    return f"{symbol}{'+' if charge > 0 else '-'}{abs(charge) if abs(charge) > 1 else ''}"


def _build(names: list[str], ends: list[int], bonds: list[int]) -> Mol:
    Chem = chemistry()
    mol = Chem.RWMol()
    for name in names:
        number, charge = element_and_charge(name)
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        mol.AddAtom(atom)
    for u, v, bond in zip(ends[::2], ends[1::2], bonds, strict=True):
        mol.AddBond(u, v, Chem.BondType.values[bond + 1])
    Chem.SanitizeMol(mol)
    built: Mol = mol.GetMol()
    return built
