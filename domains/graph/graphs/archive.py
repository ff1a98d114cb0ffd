"""Graphs in one ``.npz`` file: what the benchmark sets are in, what ``refine sample`` writes, what ``folder=`` reads.

| key | type | meaning |
|---|---|---|
| ``num_nodes`` | int32 (G,) | nodes of each graph, which are called 0 to n - 1 |
| ``num_edges`` | int32 (G,) | undirected edges of each graph |
| ``edges`` | int16 or int32 (sum of ``num_edges``, 2) | edges, graph after graph, smaller node first, sorted |
| ``node_label`` | integers (sum of ``num_nodes``,) | optional: kind of each node |
| ``edge_label`` | integers (sum of ``num_edges``,) | optional: kind of each edge |
| ``split`` | int8 (G,) | optional: 0 train, 1 val, 2 test; any other number says nothing |
| any other | numbers or texts (G,) | optional: what ``domain.label`` and ``domain.vector`` ask for |
| ``meta`` | text | optional: JSON with ``node_kinds`` and ``edge_kinds``, the names of the kinds, and ``origin`` |

Nothing in it is pickled; ``numpy.load(path)`` reads it.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.domains.graph.graphs.told import with_columns
from refine.errors import RefineError, require, shown
from refine.storage.files import atomic_write
from refine.storage.plain_json import parse_json

SPLITS = ("train", "val", "test")
KEYS = ("num_nodes", "num_edges", "edges", "node_label", "edge_label", "split", "meta")
MOST_BYTES = 2**29  # of all arrays together; those of MOSES, 1.6 million molecules, have half of it
DAMAGED = (OSError, EOFError, ValueError, AttributeError, TypeError, RuntimeError, zlib.error, zipfile.BadZipFile)


def write_npz(path: Path, graphs: PackedGraphs, split: Array | None = None) -> Path:
    """Write graphs, and the number of each one's split where there is one."""
    kinds = {"node_kinds": graphs.node_kinds, "edge_kinds": graphs.edge_kinds}
    arrays: dict[str, Any] = {
        "num_nodes": graphs.num_nodes,
        "num_edges": graphs.num_edges,
        "edges": graphs.edges,
        "node_label": graphs.node_label,
        "edge_label": graphs.edge_label,
        "split": None if split is None else split.astype(np.int8),
        "meta": np.array(json.dumps({"origin": graphs.origin} | {k: v for k, v in kinds.items() if v})),
    }
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **{key: array for key, array in arrays.items() if array is not None})
    return path


def read_npz(path: Path, columns: Sequence[str] = ()) -> tuple[PackedGraphs, Array | None]:
    """Graphs, and the number of each one's split where the file says so. Kinds without names are called by number.
    ``columns`` are read too, where they are there.

    Raises:
        RefineError: not such a file, one that claims more than ``MOST_BYTES``, or what is in there are not simple
            graphs; the message names the file.
    """
    try:
        arrays = _arrays(path, columns)
        meta = parse_json(str(arrays.pop("meta", "{}")), f"{path}: meta")
        names: dict[str, Any] = {key: meta.get(key) for key in ("node_kinds", "edge_kinds")}
    except DAMAGED as error:
        raise RefineError(f"{path} cannot be read ({error}); expected an .npz file of graphs") from error
    missing = [key for key in ("num_nodes", "num_edges", "edges") if key not in arrays]
    require(not missing, f"{path} has no {missing}; expected an .npz file of graphs")
    for key, kinds in names.items():
        fits = kinds is None or (isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds))
        require(fits, f"{path}: {key} of meta is no list of names")
    fields = ("num_nodes", "num_edges", "edges", "node_label", "edge_label")
    graphs = PackedGraphs.checked(**{key: arrays.get(key) for key in fields} | names, origin=str(path))
    told = {name: arrays[name] for name in columns if name in arrays}
    for name, values in told.items():
        fits = values.shape == (len(graphs),) and values.dtype.kind in "iufbU"
        require(fits, f"{path}: {shown(name)} is not one number or text for each graph")
    graphs = with_columns(graphs, {name: values.tolist() for name, values in told.items()})
    split = arrays.get("split")
    good = split is None or (split.shape == (len(graphs),) and split.dtype.kind in "iu")
    require(good, f"{path}: split is not one whole number for each graph")
    return graphs, split


def _arrays(path: Path, columns: Sequence[str]) -> dict[str, Array]:
    """The arrays of :data:`KEYS`, and of ``columns``, that a file has. What a header claims is compared with the bytes
    that are there, and those with ``MOST_BYTES``, before anything is unpacked."""
    npy: Any = np.lib.format
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        inside = {key: f"{key}.npy" for key in (*KEYS, *columns) if f"{key}.npy" in sizes}
        total = sum(sizes[name] for name in inside.values())
        most = f"more than {MOST_BYTES >> 20} MiB, unpacked"
        require(total <= MOST_BYTES, f"{path} has {most}; accepted: less, in several files")
        for name in inside.values():
            with archive.open(name) as file:
                old = npy.read_magic(file) == (1, 0)
                shape, _, dtype = npy.read_array_header_1_0(file) if old else npy.read_array_header_2_0(file)
            there = math.prod(shape) * max(1, dtype.itemsize) <= sizes[name]
            require(there, f"{path}: {name} has not its {shape} items")
    with np.load(path, allow_pickle=False) as z:
        return {key: z[key] for key in inside}
