"""The options of the graph domain and of its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from refine.commands.inpaint import InpaintConfig
from refine.commands.sample import SampleConfig
from refine.settings.bounds import VECTORS, Text, above, below, each, either, one_of, real, whole
from refine.settings.places import Place

MOST_NODES = 20_000  # of a drawn graph; 1,000 take about two seconds


@dataclass
class GraphSampleConfig(SampleConfig):
    """Keys of ``refine sample`` for graphs."""

    # nodes of a graph, or a list of such numbers in turn; null: as in training
    size: Annotated[Any, either(whole(1, MOST_NODES), each(whole(1, MOST_NODES)))] = None


@dataclass
class GraphInpaintConfig(InpaintConfig):
    """Keys of ``refine inpaint`` for graphs."""

    graph: Place = None  # a file with one graph, as domain.folder reads them: the part that is kept
    # nodes in all, or a list of such numbers in turn; null: as in training, but not fewer than the part has
    size: Annotated[Any, either(whole(1, MOST_NODES), each(whole(1, MOST_NODES)))] = None
    # of a model that is conditioned on one: a vector in the data's units, or a list of vectors in turn
    vector: Annotated[Any, VECTORS] = None


@dataclass
class GraphConfig:
    """Options of the graph domain; null where the data itself answers."""

    # planar | sbm | tree | community_small | ego_small | enzymes | grid | qm9 | moses | folder | pyg;
    # null: folder or pyg where one is given, else community_small
    data: Place = None
    folder: Place = None  # graphs as GraphML, GEXF, GML, edge lists, SMILES, SDF or npz
    pyg: Place = None  # a torch-geometric InMemoryDataset by name, as TUDataset:ENZYMES
    # 0: the published graphs; N: that many new ones by the set's recipe, where it has one
    generate: Annotated[int, whole(0, 1_000_000)] = 0
    max_nodes: Annotated[int, whole(1, 1_000_000)] = 1000  # larger graphs are refused
    # of files: the attribute that holds the kind of a node; null: none does
    node_attribute: Annotated[str | None, Text()] = "label"
    edge_attribute: Annotated[str | None, Text()] = "label"  # the same of edges
    undirected: bool = False  # directed edges are read, as undirected ones
    # refuse: edges that differ in weight | drop: weights are not read
    weights: Annotated[str, one_of("refuse", "drop")] = "refuse"
    # what a graph's class is called in its file, or a property that is computed: the model is conditioned on it
    label: Annotated[str | None, Text()] = None
    # names of classes; null: those of the training graphs
    classes: Annotated[list[str] | None, each(Text(), 1, 10_000)] = None
    # numbers of a graph that the model is conditioned on, by name in its file, or computed: nodes, edges, density,
    # degree, clustering, triangles; of molecules weight, logp, qed, rings
    vector: Annotated[list[str] | None, each(Text(), 1, 100)] = None
    # names of the kinds of nodes; null: the data's own
    node_labels: Annotated[list[str] | None, each(Text(), 0, 10_000)] = None
    # names of the kinds of edges; null: the data's own
    edge_labels: Annotated[list[str] | None, each(Text(), 0, 10_000)] = None


@dataclass
class GraphModelConfig:
    """The predictor on graphs."""

    width: Annotated[int, whole(1)] = 64  # D; a multiple of heads
    depth: Annotated[int, whole(1, 1000)] = 6  # blocks of the network
    triangle: Annotated[int, whole(1)] = 16  # channels of the triangle update
    mlp_ratio: Annotated[float, above(0, 1000)] = 2.0  # hidden width of the MLPs, in widths
    dropout: Annotated[float, below(1)] = 0.0  # of both branches of a block
    counts: bool = False  # coarse edges tell how many edges they stand for; for graphs that are dense near the top
    # coarse nodes know how many nodes they stand for, and with counts how many edges lie inside them; masses are shared
    # out exactly, and no sizes are drawn but the last
    masses: bool = False
    # cardinality: as many pairs as there can be | blocks: pairs among the edges that stand for more than chance
    pairing: Annotated[str, one_of("cardinality", "blocks")] = "cardinality"
    # in training: pyramids of a graph whose scales of at most 32 nodes are looked at for one that is looked at whole
    coarse_pyramids: Annotated[int, whole(1, 1000)] = 1
    # in training: 0, every answer counts alike; 1, every scale does
    balance: Annotated[float, real(0, 1)] = 0.0
    # star: one pass a colour class, then the star head | rounds: one pass for each answer of a star
    head: Annotated[str, one_of("star", "rounds")] = "star"
    heads: Annotated[int, whole(1)] = 4  # head=star: attention heads
    star_depth: Annotated[int, whole(1, 1000)] = 2  # head=star: blocks
    # share of graphs trained without any condition, for guidance; a label and a vector are left out alone as often
    condition_dropout: Annotated[float, real(0, 1)] = 0.1
    # rounds in which kinds are revealed at most; smaller graphs reveal one after another
    label_rounds: Annotated[int, whole(1, 10_000)] = 32
