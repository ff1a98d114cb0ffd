"""Graphs as files for other programs: one archive, GraphML, and SMILES and SDF where they are molecules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.molecules import are_molecules, build, chemistry
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.storage.arrays import ArchiveWriter
from refine.storage.files import atomic_write, write_text


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        paths: the files, and the folder of files.
        invalid: of molecules, number and reason of each graph that chemistry does not allow.
    """

    paths: list[Path]
    invalid: dict[int, str] = field(default_factory=dict)


def save_graphs(
    graphs: Sequence[Graph], folder: Path, node_kinds: Sequence[str] = (), edge_kinds: Sequence[str] = ()
) -> Saved:
    """Write graphs that are there already as :class:`GraphFiles` does; packed ones bring the names of their kinds."""
    with GraphFiles(folder, len(graphs), node_kinds, edge_kinds) as files:
        files.add(graphs)
        return files.finish()


class GraphFiles:
    """Graphs as files, written as they come; memory does not grow with their number.

    ``graphs.npz`` (:mod:`refine.domains.graph.graphs.archive`) and ``graphs/0000.graphml`` and so on. GraphML files have
    kinds as the attribute ``label``. ``domain.folder`` reads both.

    Molecules also as ``molecules.smi`` and ``molecules.sdf`` (with flat coordinates), named by the number of the graph;
    graphs that are none are listed with rdkit's reason in ``invalid.txt``.

    Args:
        folder: made if needed.
        num: how many graphs there will be.
        node_kinds: names of the kinds of nodes; () where packed graphs bring them.
        edge_kinds: names of the kinds of edges.
    """

    def __init__(self, folder: Path, num: int, node_kinds: Sequence[str] = (), edge_kinds: Sequence[str] = ()) -> None:
        self.folder, self.width = folder, max(4, len(str(num - 1)))
        self.kinds: list[Sequence[str]] = [node_kinds, edge_kinds]
        self.origin, self.count, self.invalid = "", 0, dict[int, str]()
        self._open = ExitStack()
        self._archive = self._open.enter_context(ArchiveWriter(folder / "graphs.npz"))
        self._molecules: tuple[Any, IO[str]] | None = None
        (folder / "graphs").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def add(self, graphs: Sequence[Graph]) -> None:
        """Write a batch."""
        import networkx as nx

        packed = graphs
        if not isinstance(packed, PackedGraphs):
            packed = PackedGraphs.of(graphs, *(kinds or None for kinds in self.kinds))
        rows = {key: getattr(packed, key) for key in ("num_nodes", "num_edges", "edges", "node_label", "edge_label")}
        self._archive.add(**{key: array for key, array in rows.items() if array is not None})
        found = (packed.node_kinds, packed.edge_kinds)  # without names they are numbers: the longest list has all
        self.kinds, self.origin = [max(pair, key=len) for pair in zip(self.kinds, found, strict=True)], packed.origin
        if self.count == 0 and are_molecules(*self.kinds):
            self._begin_molecules()
        for i, graph in enumerate(packed, self.count):  # thousands of files: not worth a sync each
            nx.write_graphml(graph.to_networkx(*self.kinds), self.folder / "graphs" / f"{i:0{self.width}d}.graphml")
            if self._molecules is not None:
                self._add_molecule(i, graph, *self._molecules)
        self.count += len(packed)

    def finish(self) -> Saved:
        """Write what is made of all graphs, and say which files and folders there are."""
        meta = {"origin": self.origin} | {
            name: list(kinds) for name, kinds in zip(("node_kinds", "edge_kinds"), self.kinds, strict=True) if kinds
        }
        paths = [self._archive.finish(meta=np.array(json.dumps(meta))), self.folder / "graphs"]
        self._open.close()
        if self._molecules is None:
            return Saved(paths)
        paths += [self.folder / "molecules.smi", self.folder / "molecules.sdf"]
        listed = self.folder / "invalid.txt"
        listed.unlink(missing_ok=True)
        if self.invalid:
            head = f"{len(self.invalid)} of {self.count} graphs are no possible molecules\n"
            write_text(listed, head + "".join(f"{i:0{self.width}d} {why}\n" for i, why in self.invalid.items()))
            paths.append(listed)
        return Saved(paths, self.invalid)

    def _begin_molecules(self) -> None:
        sdf, smi = (
            self._open.enter_context(atomic_write(self.folder / f"molecules.{kind}")) for kind in ("sdf", "smi")
        )
        writer = self._open.enter_context(chemistry().SDWriter(str(sdf)))
        self._molecules = writer, self._open.enter_context(smi.open("w", encoding="utf-8"))

    def _add_molecule(self, number: int, graph: Graph, sdf: Any, smi: IO[str]) -> None:
        from rdkit.Chem import rdDepictor

        try:
            mol = build(graph, *self.kinds)
        except ValueError as error:
            self.invalid[number] = " ".join(str(error).split())
            return
        name = f"{number:0{self.width}d}"
        smi.write(f"{chemistry().MolToSmiles(mol)} {name}\n")
        mol.SetProp("_Name", name)
        rdDepictor.Compute2DCoords(mol)
        sdf.write(mol)
