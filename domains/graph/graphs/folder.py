"""A folder of graphs as data.

| file | what is in it |
|---|---|
| ``.graphml``, ``.gexf``, ``.gml`` | graphs: :mod:`refine.domains.graph.graphs.formats.networks` |
| ``.edgelist``, ``.edges``, ``.txt``, ``.csv``, ``.tsv`` | one graph or molecules: :mod:`.formats.texts` |
| ``.npz`` | any number of graphs: :mod:`refine.domains.graph.graphs.archive` |
| ``.smi`` | a molecule in each line: :func:`refine.domains.graph.graphs.smiles.read_smiles` |
| ``.sdf`` | molecules: :mod:`refine.domains.graph.graphs.formats.sdf` |

All but ``.npz`` may be packed by gzip, as ``a.graphml.gz``. Isolated nodes, disconnected graphs and graphs of one node
are graphs like others; directed, weighted, empty graphs, multigraphs and self-loops are refused by the name of their
file.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refine.domains.graph.graphs.archive import SPLITS, read_npz
from refine.domains.graph.graphs.formats.content import suffix_of
from refine.domains.graph.graphs.formats.networks import NETWORKS, read_networks
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.formats.sdf import read_sdf
from refine.domains.graph.graphs.formats.texts import read_edges_or_smiles
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.kinds import Kinds
from refine.domains.graph.graphs.molecules import BONDS, are_molecules, element_and_charge
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.domains.graph.graphs.smiles import read_smiles
from refine.domains.graph.graphs.told import require_columns
from refine.errors import require
from refine.progress import track
from refine.settings.places import opened

TEXTS = (".edgelist", ".edges", ".txt", ".csv", ".tsv")
ACCEPTED = (*NETWORKS, ".npz", ".smi", ".sdf", *TEXTS)
MANY_KINDS = 9  # as many kinds as this, for half as many nodes, are names
HELD_OUT = 0.1  # for val, and as much for test
OUTPUT = "graphs.npz"  # of refine sample, with the same graphs beside it in other formats


@dataclass(frozen=True)
class _File:
    """What one file held: graphs, a name of each that its split depends on, and its split where the file says it."""

    graphs: PackedGraphs
    names: Sequence[str]
    split: Array | None = None


def read_folder(folder: str, split: str, reading: Reading | None = None) -> PackedGraphs:
    """One split of the graphs below a folder.

    Files ``train.*``, ``val.*`` and ``test.*``, folders of these names, and the key ``split`` of an ``.npz`` say where
    their graphs belong. All others are in a split by the hash of their name (a molecule by that of its SMILES), about
    a tenth in test, a tenth in val: more files do not move those that were there, but where a split would be empty. A
    folder that ``refine sample`` wrote is its ``graphs.npz``.

    Args:
        folder: path.
        split: train, val or test.
        reading: of attributes, directions and weights.

    Raises:
        RefineError: no such folder, nothing in it, a file that cannot be used, or nothing in this split.
    """
    root = Path(opened(folder, "domain.folder")).expanduser()
    require(root.is_dir(), f"domain.folder={folder!r} is not a folder")
    found = [p for p in root.rglob("*") if suffix_of(p) in ACCEPTED and p.is_file()]
    found = [p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts)]
    found = [root / OUTPUT] if root / OUTPUT in found else sorted(found)
    require(
        bool(found), f"domain.folder={folder!r} has no graphs; accepted: files {', '.join(ACCEPTED)}, or .gz of them"
    )
    state = tuple((p.stat().st_size, p.stat().st_mtime_ns) for p in found)
    graphs, numbers = _read_all(root, tuple(found), state, reading or Reading())
    chosen = graphs.select(numbers == SPLITS.index(split))
    require_some(chosen, graphs, f"domain.folder={folder!r}", split)
    return replace(chosen, origin=f"folder {root.name} ({split})")


def require_some(chosen: PackedGraphs, graphs: PackedGraphs, key: str, split: str) -> None:
    """Raise RefineError if a split has no graph; it says what to do where there are too few for three splits."""
    few = f"{len(graphs)} graph{'s' if len(graphs) > 1 else ''}"
    help = (
        "give three or more, or files train.*, val.* and test.*; of one large graph, cut parts, like networkx.ego_graph"
    )
    require(len(chosen) > 0, f"{key} has {few}, none of them for {split}; {help}")


@lru_cache(maxsize=1)  # all splits come from one reading
def _read_all(
    root: Path, paths: tuple[Path, ...], state: tuple[tuple[int, int], ...], reading: Reading
) -> tuple[PackedGraphs, Array]:
    said = {path: path.relative_to(root).parts[0].split(".")[0] for path in paths}
    stray = [str(path.relative_to(root)) for path in paths if said[path] not in SPLITS]
    named = len(stray) < len(paths)
    require(not (named and stray), f"{root} has {', '.join(SPLITS)} and other files beside them: {stray[:3]}")
    files = [_read(path, root, reading) for path in track(paths, f"Reading {root}")]
    numbers = []
    for path, file in zip(paths, files, strict=True):
        own = np.full(len(file.graphs), -1) if file.split is None else file.split.astype(np.int64)
        numbers.append(np.full(len(own), SPLITS.index(said[path])) if named else own)
    split = np.concatenate(numbers)
    free = ~np.isin(split, range(len(SPLITS)))
    names = [name for file in files for name in file.names]
    split[free] = hash_split([names[i] for i in np.flatnonzero(free)])
    graphs = join([file.graphs for file in files])
    _warn_of_names(graphs, root)
    return graphs, split


def _warn_of_names(graphs: PackedGraphs, root: Path) -> None:
    """Names that were taken for kinds make a model that learns nothing of kinds."""
    for what, kinds, total in (
        ("node", graphs.node_kinds, graphs.num_nodes.sum()),
        ("edge", graphs.edge_kinds, graphs.num_edges.sum()),
    ):
        if len(kinds) >= MANY_KINDS and 2 * len(kinds) > total:
            found = f"{total} {what}s of {root} have {len(kinds)} kinds, as if they were names"
            key = f"domain.{what}_attribute"
            warnings.warn(f"{found}; {key}=null reads none, {key}=NAME another attribute", stacklevel=2)


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
    told = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return replace(PackedGraphs.checked(**stack, **columns), columns=told)


def read_graph(
    path: str | Path, reading: Reading, node_kinds: Sequence[str] = (), edge_kinds: Sequence[str] = ()
) -> Graph:
    """The graph of a file, whatever :func:`read_folder` reads.

    Args:
        path: of the file.
        reading: of attributes, directions and weights.
        node_kinds: names that kinds of nodes may have, and are numbered by; () leaves kinds out.
        edge_kinds: the same of edges.

    Raises:
        RefineError: no such file, or one that cannot be used; not one graph; or kinds that are missing or not known.
    """
    path = Path(path).expanduser()
    good = path.is_file() and suffix_of(path) in ACCEPTED
    require(path.exists(), f"{path} is not there")
    require(good, f"{path} is no file of graphs; accepted: {', '.join(ACCEPTED)}")
    graphs = _read_file(path, path.parent, replace(reading, columns=())).graphs
    require(len(graphs) == 1, f"{path} has {len(graphs)} graphs; accepted: 1")
    graph = graphs[0]
    labels: list[torch.Tensor | None] = []
    for what, wanted, found, label in (
        ("node", node_kinds, graphs.node_kinds, graph.node_label),
        ("edge", edge_kinds, graphs.edge_kinds, graph.edge_label),
    ):
        if not wanted or label is None:
            labels.append(None)
            continue
        known = Kinds(wanted, fixed=True)
        there = [found[i] for i in label.tolist()]
        labels.append(torch.tensor([known.number(name, f"a {what} of {path}") for name in there], dtype=torch.int64))
    return replace(graph, node_label=labels[0], edge_label=labels[1])


def _read(path: Path, root: Path, reading: Reading) -> _File:
    file = _read_file(path, root, reading)
    require_columns(file.graphs, reading.columns)
    return file


def _read_file(path: Path, root: Path, reading: Reading) -> _File:
    name, suffix = path.relative_to(root).as_posix(), suffix_of(path)
    require(suffix != ".npz" or path.suffix.lower() != ".gz", f"{path} is packed twice; accepted: .npz as it is")
    if suffix == ".npz":
        graphs, split = read_npz(path, reading.columns)
        return _File(graphs, [f"{name}#{i}" for i in range(len(graphs))], split)
    if suffix in (".smi", ".sdf"):
        return _File(*(read_smiles(path) if suffix == ".smi" else read_sdf(path, reading.columns)))
    if suffix in TEXTS:
        graphs, smiles, split = read_edges_or_smiles(path, reading)
        return _File(graphs, smiles or [name], split)
    graphs = read_networks(path, reading)
    return _File(graphs, [f"{name}#{i}" for i in range(len(graphs))] if len(graphs) > 1 else [name])
