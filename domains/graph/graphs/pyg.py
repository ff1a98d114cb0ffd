"""Data sets of torch-geometric by name.

The library downloads a set and keeps it, processed, in files that it reads with ``torch.load``: those are its own
cache, made on this machine out of the published raw files. Nothing of that kind is read from anywhere else.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refine.domains.graph.graphs.archive import SPLITS
from refine.domains.graph.graphs.folder import hash_split, require_some
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.graphs import Graph, as_labels
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.domains.graph.graphs.told import require_columns, with_columns
from refine.errors import RefineError, not_accepted, require
from refine.extras import install_command
from refine.progress import track
from refine.storage.downloads import cache_dir, may_fetch


def read_pyg(text: str, split: str, reading: Reading | None = None) -> PackedGraphs:
    """One split of an ``InMemoryDataset`` of torch-geometric.

    The split is the set's own where it has train, val and test; else each graph is in one by the hash of its number.
    Atomic numbers ``z``, else integer or one-hot ``x``, become kinds of nodes, integer or one-hot ``edge_attr`` kinds
    of edges; other features are left out, with a warning.

    Args:
        text: ``CLASS`` or ``CLASS:NAME``, like ``QM9`` or ``TUDataset:ENZYMES``.
        split: which one.
        reading: of directions and weights.

    Raises:
        RefineError: no such set, one that needs more than a name, one that cannot be had, or graphs that are not
            undirected and simple.
    """
    graphs, numbers = _read_all(text, str(cache_dir() / "pyg"), reading or Reading())
    chosen = graphs.select(numbers == SPLITS.index(split))
    require_some(chosen, graphs, f"domain.pyg={text!r}", split)
    return replace(chosen, origin=f"{text} ({split})")


@lru_cache(maxsize=1)  # all splits have the same kinds, so they come from one reading
def _read_all(text: str, root: str, reading: Reading) -> tuple[PackedGraphs, Array]:
    name, _, inner = text.partition(":")
    cls = _find(name)
    parameters = inspect.signature(cls).parameters
    required = {key for key, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    beyond = sorted(required - {"root", "name"})
    require(not beyond, f"domain.pyg={text!r} needs {', '.join(beyond)}, which has no place in a name")
    accepted = f"{name}:NAME" if "name" in required else name
    require(("name" in required) == bool(inner), f"domain.pyg={text!r} is not accepted; accepted: {accepted}")
    message = f"domain.pyg={text!r}: the name {inner!r} is not accepted; accepted: letters, digits, _ and -"
    require(re.fullmatch(r"[\w-]*", inner) is not None, message)  # it becomes a folder
    given = {"root": str(Path(root) / name), "name": inner}
    given = {key: value for key, value in given.items() if key in parameters and value}
    may_fetch(f"domain.pyg={text!r}")
    own = "split" in parameters and parameters["split"].default == "train"
    try:
        sets = [cls(**given, split=split) for split in SPLITS] if own else [cls(**given)]
        items = [dataset[i] for dataset in sets for i in range(len(dataset))]
    except Exception as error:  # whatever the network, the disk or the library has against it
        raise RefineError(f"domain.pyg={text!r} cannot be had ({error!r})") from error
    hashed = hash_split([f"#{i}" for i in range(len(items))])
    return _pack(items, text, reading).compact(), np.repeat(range(3), [len(s) for s in sets]) if own else hashed


def _find(name: str) -> Any:
    try:
        from torch_geometric import datasets
        from torch_geometric.data import InMemoryDataset
    except ImportError as error:
        raise RefineError(
            f"domain.pyg needs torch-geometric ({error}); {install_command('torch_geometric')}"
        ) from error
    known = {key: getattr(datasets, key) for key in datasets.__all__}
    known = {k: v for k, v in known.items() if isinstance(v, type) and issubclass(v, InMemoryDataset)}
    if name not in known:
        raise not_accepted("domain.pyg", name, sorted(known))
    return known[name]


def _pack(items: list[Any], text: str, reading: Reading) -> PackedGraphs:
    from torch_geometric.data import Data

    odd = [type(item).__name__ for item in items if not isinstance(item, Data)]
    require(not odd, f"domain.pyg={text!r} has graphs of the type {odd[:1]}; accepted: torch_geometric.data.Data")
    found: dict[str, Sequence[torch.Tensor] | None] = {}
    for key, sources in (("x", ("z", "x")), ("edge_attr", ("edge_attr",))):
        source = next((s for s in sources if all(getattr(item, s, None) is not None for item in items)), None)
        labels = None
        if source is not None and len({item[source].shape[1:] for item in items}) == 1:
            labels = as_labels(torch.cat([item[source] for item in items]))
        if source and labels is None:
            warnings.warn(f"domain.pyg={text!r}: {source} is no kind and is left out", stacklevel=2)
        found[key] = None if labels is None else labels.split([len(item[source]) for item in items])
    graphs = []
    for i, item in enumerate(track(items, f"Reading {text}")):
        plain = Data(edge_index=item.edge_index, num_nodes=item.num_nodes)
        for key, parts in found.items():
            plain[key] = None if parts is None else parts[i]
        if "edge_weight" in item:
            plain.edge_weight = item.edge_weight
        graphs.append(Graph.from_data(plain, f"graph {i} of {text}", reading.undirected, reading.weights))
    packed = PackedGraphs.of(graphs, origin=text)
    targets = _targets(items) if reading.columns else {}
    told = {name: targets[name] for name in reading.columns if name in targets}
    return require_columns(with_columns(packed, told), reading.columns, list(targets))


def _targets(items: list[Any]) -> dict[str, list[float]]:
    """``y`` of every graph where that is one number, else ``y0``, ``y1``, ...; none where graphs differ in length."""
    rows = [[] if item.y is None else item.y.flatten().tolist() for item in items]
    lengths = {len(row) for row in rows}
    if lengths == {1}:
        return {"y": [row[0] for row in rows]}
    return {f"y{i}": [row[i] for row in rows] for i in range(lengths.pop())} if len(lengths) == 1 else {}
