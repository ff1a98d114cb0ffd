"""The graph domain: which graphs, which model; samples as files and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.domain import Domain
from refine.domains.graph.config import GraphConfig, GraphModelConfig
from refine.domains.graph.graphs.data import load_split, source_of
from refine.domains.graph.graphs.molecules import are_molecules
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.model import GraphModel
from refine.domains.graph.pictures.outputs import save_graphs
from refine.types import ConditionSpec, Samples

if TYPE_CHECKING:
    from refine.commands.evaluate import EvaluateConfig

SHOWN = 24  # graphs in a picture


class GraphDomain(Domain):
    """Graphs without an order of nodes.

    What a configuration leaves to the data (which kinds of nodes and edges there are) is looked up when the domain is
    made and written into ``config``, so that a checkpoint draws samples where its training data is not at hand.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    name = "graph"
    group = "permutations of the nodes"
    Config = GraphConfig
    ModelConfig = GraphModelConfig
    config: GraphConfig

    def __init__(self, config: GraphConfig) -> None:
        super().__init__(replace(config, data=source_of(config)))
        self._splits: dict[str, PackedGraphs] = {}
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
        return ConditionSpec(size=True)

    def dataset(self, split: str) -> PackedGraphs:  # type: ignore[override]
        """The graphs of a split; read once."""
        if split not in self._splits:
            self._splits[split] = load_split(self.config, split)
        return self._splits[split]

    def model(self, config: GraphModelConfig) -> GraphModel:
        return GraphModel(self, config)

    def describe(self, config: GraphModelConfig) -> dict[str, Any]:
        nodes, edges = self.label_counts
        return {"codes": {"node token": 3, "edge pattern": 15, "kinds of nodes": nodes, "kinds of edges": edges}}

    def save(self, samples: Samples, folder: Path, strip: int = 8, gif: bool = False, **options: Any) -> list[Path]:
        """``graphs.npz``, GraphML files, ``graphs.png``, the strip ``refinement.png``, and files of molecules."""
        from refine.domains.graph.pictures.drawings import plot_animation, plot_grid, plot_strip

        names = self.labels[0]
        paths = save_graphs(samples.items, folder, *self.labels).paths
        paths.append(plot_grid(samples.items[:SHOWN], folder / "graphs.png", node_kinds=names))
        if samples.trail:
            trails = [list(trail) for trail in zip(*samples.trail, strict=True)]
            parents = [[g.parent for g in trail[1:] if g.parent is not None] for trail in trails]
            if strip:
                paths.append(plot_strip(trails[:strip], folder / "refinement.png", parents[:strip], names))
            if gif:
                paths.append(plot_animation(trails[0], folder / "refinement.gif", parents[0], names))
        return paths

    def metrics(self, model: Any, samples: Samples, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        from refine.domains.graph.metrics.metrics import graph_metrics

        reference, train = self.dataset(config.split), self.dataset("train")
        return graph_metrics(samples.items, reference, train, self.kind, *self.labels)

    def starter(self) -> Path | None:
        """The planar model; its ``config.yaml`` names the command that made it."""
        folder = Path(__file__).parent / "starter"
        return folder if (folder / "config.json").is_file() else None
