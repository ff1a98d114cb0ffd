"""A folder of graphs as data.

| file | what is in it |
|---|---|
| ``.graphml`` | graphs; the attribute ``label`` of nodes and of edges is their kind |
| ``.edgelist``, ``.edges``, ``.txt``, ``.csv`` | one graph: :mod:`refine.domains.graph.graphs.edge_list` |
| ``.npz`` | any number of graphs: :mod:`refine.domains.graph.graphs.archive` |
| ``.smi`` | a molecule in each line: :func:`refine.domains.graph.graphs.smiles.read_smiles` |

Isolated nodes, disconnected graphs and graphs of one node are graphs like others; directed, weighted, empty graphs,
multigraphs and self-loops are refused by the name of their file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from refine.domains.graph.graphs.archive import SPLITS, read_npz
from refine.domains.graph.graphs.edge_list import read_edge_list
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.kinds import Kinds
from refine.domains.graph.graphs.molecules import BONDS, are_molecules, element_and_charge
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.domains.graph.graphs.smiles import read_smiles
from refine.errors import RefineError, require
from refine.progress import track
from refine.settings.places import opened

EDGE_LISTS = (".edgelist", ".edges", ".txt", ".csv")
ACCEPTED = (".graphml", ".npz", ".smi", *EDGE_LISTS)
HELD_OUT = 0.1  # for val, and as much for test
OUTPUT = "graphs.npz"  # of refine sample, with the same graphs beside it in other formats


@dataclass(frozen=True)
class _File:
    """What one file held: graphs, a name of each that its split depends on, and its split where the file says it."""

    graphs: PackedGraphs
    names: Sequence[str]
    split: Array | None = None


def read_folder(folder: str, split: str) -> PackedGraphs:
    """One split of the graphs below a folder.

    Files ``train.*``, ``val.*`` and ``test.*``, folders of these names, and the key ``split`` of an ``.npz`` say where
    their graphs belong. All others are in a split by the hash of their name (a molecule by that of its SMILES), about
    a tenth in test, a tenth in val: more files do not move those that were there, but where a split would be empty. A
    folder that ``refine sample`` wrote is its ``graphs.npz``.

    Raises:
        RefineError: no such folder, nothing in it, a file that cannot be used, or nothing in this split.
    """
    root = Path(opened(folder, "domain.folder")).expanduser()
    require(root.is_dir(), f"domain.folder={folder!r} is not a folder")
    found = [p for p in root.rglob("*") if p.suffix.lower() in ACCEPTED and p.is_file()]
    found = [p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts)]
    found = [root / OUTPUT] if root / OUTPUT in found else sorted(found)
    require(bool(found), f"domain.folder={folder!r} has no graphs; accepted: files {', '.join(ACCEPTED)}")
    state = tuple((p.stat().st_size, p.stat().st_mtime_ns) for p in found)
    graphs, numbers = _read_all(root, tuple(found), state)
    chosen = graphs.select(numbers == SPLITS.index(split))
    require(len(chosen) > 0, f"domain.folder={folder!r} has {len(graphs)} graphs, none of them for {split}")
    return replace(chosen, origin=f"folder {root.name} ({split})")


@lru_cache(maxsize=1)  # all splits come from one reading
def _read_all(root: Path, paths: tuple[Path, ...], state: tuple[tuple[int, int], ...]) -> tuple[PackedGraphs, Array]:
    said = {path: path.relative_to(root).parts[0].split(".")[0] for path in paths}
    stray = [str(path.relative_to(root)) for path in paths if said[path] not in SPLITS]
    named = len(stray) < len(paths)
    require(not (named and stray), f"{root} has {', '.join(SPLITS)} and other files beside them: {stray[:3]}")
    files = [_read(path, root) for path in track(paths, f"Reading {root}")]
    numbers = []
    for path, file in zip(paths, files, strict=True):
        own = np.full(len(file.graphs), -1) if file.split is None else file.split.astype(np.int64)
        numbers.append(np.full(len(own), SPLITS.index(said[path])) if named else own)
    split = np.concatenate(numbers)
    free = ~np.isin(split, range(len(SPLITS)))
    names = [name for file in files for name in file.names]
    split[free] = hash_split([names[i] for i in np.flatnonzero(free)])
    return join([file.graphs for file in files]), split


def hash_split(names: Sequence[str]) -> Array:
    """The number of the split that each name falls into; three names or more are in all of them."""
    digests = (hashlib.sha256(name.encode()).digest()[:8] for name in names)
    share = np.array([int.from_bytes(digest, "big") / 2**64 for digest in digests])
    split = np.zeros(len(names), dtype=np.int64)
    if len(names) >= 3:
        test = min(max(1, int((share < HELD_OUT).sum())), len(names) - 2)
        val = min(max(1, int((share < 2 * HELD_OUT).sum()) - test), len(names) - test - 1)
        order = np.argsort(share, kind="stable")
        split[order[:test]], split[order[test : test + val]] = SPLITS.index("test"), SPLITS.index("val")
    return split


def join(parts: Sequence[PackedGraphs]) -> PackedGraphs:
    """Graphs of several files as one, their kinds by name.

    Raises:
        RefineError: some have kinds and some have none.
    """
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for key in ("node", "edge"):
        labels = [getattr(part, f"{key}_label") for part in parts]
        kinds = [getattr(part, f"{key}_kinds") for part in parts]
        bare = [part for part, label in zip(parts, labels, strict=True) if label is None]
        if key == "edge":
            bare = [part for part in bare if len(part.edges)]
        if all(label is None for label in labels):
            continue
        example = next(part for part, label in zip(parts, labels, strict=True) if label is not None)
        require(not bare, f"{example.origin} has kinds of {key}s and {bare[0].origin if bare else ''} has none")
        known = Kinds(kinds[0])
        places = [np.array([known.number(name, "") for name in names], dtype=np.int64) for names in kinds]
        if len(set(kinds)) > 1:  # else they keep the order in which they were written
            atoms = key == "node" and are_molecules(known.names, BONDS)
            moved = known.sort(element_and_charge if atoms else None)
            places = [moved[place] for place in places]
        mapped = [place[label] for place, label in zip(places, labels, strict=True) if label is not None]
        columns[f"{key}_label"], columns[f"{key}_kinds"] = np.concatenate(mapped), known.names
    stack = {key: np.concatenate([getattr(part, key) for part in parts]) for key in ("num_nodes", "num_edges", "edges")}
    return PackedGraphs.checked(**stack, **columns)


def _read(path: Path, root: Path) -> _File:
    name, suffix = path.relative_to(root).as_posix(), path.suffix.lower()
    if suffix == ".npz":
        graphs, split = read_npz(path)
        return _File(graphs, [f"{name}#{i}" for i in range(len(graphs))], split)
    if suffix == ".smi":
        return _File(*read_smiles(path))
    if suffix == ".graphml":
        graphs = read_graphml(path)
        return _File(graphs, [f"{name}#{i}" for i in range(len(graphs))] if len(graphs) > 1 else [name])
    return _File(PackedGraphs.of([read_edge_list(path)], origin=str(path)), [name])


def read_graphml(path: Path) -> PackedGraphs:
    """The graphs of a GraphML file, the attribute ``label`` of nodes and edges as their kinds.

    Raises:
        RefineError: it is not GraphML, or a graph in it is directed, weighted, empty, a multigraph or has a self-loop.
    """
    import networkx as nx

    try:
        found = list(nx.GraphMLReader(node_type=_node_id)(path=path))
    except (OSError, ParseError, nx.NetworkXException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefineError(f"{path} cannot be read ({error}); expected GraphML") from error
    require(bool(found), f"{path} has no graphs")
    nodes, edges, graphs = Kinds(), Kinds(), []
    for i, g in enumerate(found):
        name = str(path) if len(found) == 1 else f"{path}, graph {i}"
        graphs.append(Graph.from_networkx(g, node_kinds=nodes, edge_kinds=edges, name=name))
    return PackedGraphs.of(graphs, nodes.names, edges.names, origin=str(path))


def _node_id(text: str | None) -> str:
    if text is None:
        raise ValueError("a node or the end of an edge has no name")
    return text
