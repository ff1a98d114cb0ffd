"""Graphs as files for other programs: one archive, GraphML, and SMILES and SDF where they are molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refine.domains.graph.graphs.archive import write_npz
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.molecules import are_molecules, build, chemistry
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.storage.files import atomic_write, write_text


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        paths: the files.
        invalid: of molecules, number and reason of each graph that chemistry does not allow.
    """

    paths: list[Path]
    invalid: dict[int, str] = field(default_factory=dict)


def save_graphs(
    graphs: Sequence[Graph], folder: Path, node_kinds: Sequence[str] = (), edge_kinds: Sequence[str] = ()
) -> Saved:
    """Write ``graphs.npz`` (:mod:`refine.domains.graph.graphs.archive`) and ``graphs/0000.graphml`` and so on.

    GraphML files have kinds as the attribute ``label``. ``domain.folder`` reads both.

    Molecules also as ``molecules.smi`` and ``molecules.sdf`` (with flat coordinates), named by the number of the graph;
    graphs that are none are listed with rdkit's reason in ``invalid.txt``.

    Args:
        graphs: packed ones bring the names of their kinds.
        node_kinds: names of the kinds of nodes.
        edge_kinds: names of the kinds of edges.
    """
    import networkx as nx

    packed = graphs if isinstance(graphs, PackedGraphs) else _pack(graphs, node_kinds, edge_kinds)
    paths = [write_npz(folder / "graphs.npz", packed)]
    width = max(4, len(str(len(packed) - 1)))
    single = folder / "graphs"
    single.mkdir(parents=True, exist_ok=True)
    for i, graph in enumerate(packed):  # thousands of files: not worth a sync each
        paths.append(single / f"{i:0{width}d}.graphml")
        nx.write_graphml(graph.to_networkx(packed.node_kinds, packed.edge_kinds), paths[-1])
    if not are_molecules(packed.node_kinds, packed.edge_kinds):
        return Saved(paths)
    molecules, invalid = _save_molecules(packed, folder, width)
    return Saved(paths + molecules, invalid)


def _pack(graphs: Sequence[Graph], node_kinds: Sequence[str], edge_kinds: Sequence[str]) -> PackedGraphs:
    return PackedGraphs.of(graphs, node_kinds or None, edge_kinds or None)


def _save_molecules(graphs: PackedGraphs, folder: Path, width: int) -> tuple[list[Path], dict[int, str]]:
    from rdkit.Chem import rdDepictor

    Chem = chemistry()
    smi, sdf, listed = folder / "molecules.smi", folder / "molecules.sdf", folder / "invalid.txt"
    lines: list[str] = []
    invalid: dict[int, str] = {}
    with atomic_write(sdf) as temporary, Chem.SDWriter(str(temporary)) as writer:
        for i, graph in enumerate(graphs):
            try:
                mol = build(graph, graphs.node_kinds, graphs.edge_kinds)
            except ValueError as error:
                invalid[i] = " ".join(str(error).split())
                continue
            name = f"{i:0{width}d}"
            lines.append(f"{Chem.MolToSmiles(mol)} {name}\n")
            mol.SetProp("_Name", name)
            rdDepictor.Compute2DCoords(mol)
            writer.write(mol)
    write_text(smi, "".join(lines))
    listed.unlink(missing_ok=True)
    if invalid:
        head = f"{len(invalid)} of {len(graphs)} graphs are no possible molecules\n"
        write_text(listed, head + "".join(f"{i:0{width}d} {why}\n" for i, why in invalid.items()))
    return [smi, sdf, *([listed] if invalid else [])], invalid
