"""The data of the graph domain by its options."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Protocol

from refine.domain import Domain
from refine.domains.graph.config import GraphConfig
from refine.domains.graph.graphs.archive import SPLITS
from refine.domains.graph.graphs.benchmarks import BENCHMARKS, read_benchmark
from refine.domains.graph.graphs.folder import read_folder
from refine.domains.graph.graphs.formats.options import Reading, ReadingOptions
from refine.domains.graph.graphs.generators import RECIPES, generate
from refine.domains.graph.graphs.molecules import are_molecules
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.graphs.pyg import read_pyg
from refine.domains.graph.graphs.smiles import SOURCES, read_molecules
from refine.domains.graph.graphs.told import require_columns, tell
from refine.errors import not_accepted, require
from refine.types import ConditionSpec

DATA = (*BENCHMARKS, *SOURCES, "folder", "pyg")
DEFAULT = "community_small"


class DataOptions(ReadingOptions, Protocol):
    """The options that say which graphs.

    Attributes:
        data: one of ``DATA``; None: folder or pyg where one is given, else community_small.
        folder: path, read with data=folder.
        pyg: name of a set of torch-geometric, read with data=pyg.
        generate: 0: the official graphs; N: so many new ones by the recipe of the set, split 64, 16 and 20 %.
        max_nodes: graphs with more nodes are left out; None: none are.
    """

    @property
    def data(self) -> str | None: ...
    @property
    def folder(self) -> str | None: ...
    @property
    def pyg(self) -> str | None: ...
    @property
    def generate(self) -> int: ...
    @property
    def max_nodes(self) -> int | None: ...


def source_of(options: DataOptions) -> str:
    """Which of ``DATA`` the options mean.

    Raises:
        RefineError: none of them, or options that do not fit each other.
    """
    implied = "folder" if options.folder else "pyg" if options.pyg else DEFAULT
    data = options.data or implied
    if data not in DATA:
        raise not_accepted("domain.data", data, DATA)
    require(data != "folder" or bool(options.folder), "domain.data=folder needs domain.folder=PATH, a folder of graphs")
    require(data != "pyg" or bool(options.pyg), "domain.data=pyg needs domain.pyg=NAME, like TUDataset:ENZYMES")
    for key in ("folder", "pyg"):
        value = getattr(options, key)
        require(not value or data == key, f"domain.{key}={value!r} is read only with domain.data={key}, not {data}")
    require(options.generate >= 0, f"domain.generate={options.generate} is not accepted; accepted: 0 or more")
    if options.generate and data not in RECIPES:
        raise not_accepted("domain.data with domain.generate", data, RECIPES)
    most = options.max_nodes
    require(most is None or most >= 1, f"domain.max_nodes={most} is not accepted; accepted: 1 or more, or null")
    return data


def load_split(options: DataOptions, split: str) -> PackedGraphs:
    """The graphs of ``train``, ``val`` or ``test`` (of MOSES also ``test_scaffolds``), in memory.

    Graph i of a split is always the same.

    Raises:
        RefineError: options that do not fit, data that cannot be had or read, or no graph left.
    """
    data, reading = source_of(options), Reading.of(options)
    if split not in SPLITS and data != "moses":
        raise not_accepted("split", split, SPLITS)
    if options.generate:
        graphs = generate(data, options.generate, split)
    elif data == "folder":
        graphs = read_folder(str(options.folder), split, reading)
    elif data == "pyg":
        graphs = read_pyg(str(options.pyg), split, reading)
    elif data in SOURCES:
        graphs = read_molecules(data, split)
    else:
        graphs = read_benchmark(data, split)
    require_columns(graphs, reading.columns)
    if options.max_nodes is None:
        return graphs
    small = graphs.num_nodes <= options.max_nodes
    left_out = len(graphs) - int(small.sum())
    limit = f"domain.max_nodes={options.max_nodes}"
    require(bool(small.any()), f"{limit} leaves no graph of {graphs.origin}; they have {min(graphs.sizes())} or more")
    if left_out:
        warnings.warn(f"{limit} leaves out {left_out} of the {len(graphs)} graphs of {graphs.origin}", stacklevel=2)
    return graphs.select(small)


class GraphData(Domain):
    """The half of the graph domain that knows the graphs; it is what the model needs of its domain.

    What a configuration leaves to the data (which kinds of nodes and edges there are) is looked up when the domain is
    made and written into ``config``, so that a checkpoint draws samples where its training data is not at hand.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    config: GraphConfig

    def __init__(self, config: GraphConfig) -> None:
        super().__init__(replace(config, data=source_of(config)))
        self._splits: dict[str, PackedGraphs] = {}
        require(
            config.vector is None or len(set(config.vector)) == len(config.vector),
            f"domain.vector={config.vector} has a name twice",
        )
        if config.label is not None and config.classes is None:
            self.config = replace(self.config, classes=list(self.dataset("train").classes))
        if config.node_labels is None or config.edge_labels is None:
            train = self.dataset("train")
            names = list(train.node_kinds), list(train.edge_kinds)
            self.config = replace(self.config, node_labels=names[0], edge_labels=names[1])

    @property
    def labels(self) -> tuple[list[str], list[str]]:
        """Names of the kinds of nodes and of edges; empty where they have none."""
        return self.config.node_labels or [], self.config.edge_labels or []

    @property
    def label_counts(self) -> tuple[int, int]:
        """How many kinds of nodes and of edges there are."""
        nodes, edges = self.labels
        return len(nodes), len(edges)

    @property
    def kind(self) -> str:
        """What graphs have to be: planar, tree, sbm, molecule, or other."""
        if are_molecules(*self.labels):
            return "molecule"
        return str(self.config.data) if self.config.data in ("planar", "tree", "sbm") else "other"

    @property
    def condition(self) -> ConditionSpec:
        classes = self.config.classes or () if self.config.label is not None else ()
        return ConditionSpec(num_classes=len(classes), vector=len(self.config.vector or ()), size=True)

    def class_names(self) -> list[str]:
        return list(self.config.classes or ()) if self.config.label is not None else []

    def dataset(self, split: str) -> PackedGraphs:  # type: ignore[override]
        """The graphs of a split; read once."""
        if split not in self._splits:
            told = self.config.label, self.config.vector, self.config.classes
            self._splits[split] = tell(load_split(self.config, split), *told)
        return self._splits[split]
