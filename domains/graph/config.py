"""The options of the graph domain and of its model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class GraphConfig:
    """Options of the graph domain; null where the data itself answers."""

    # planar | sbm | tree | community_small | ego_small | enzymes | grid | qm9 | moses | folder | pyg;
    # null: folder or pyg where one is given, else community_small
    data: str | None = None
    folder: str | None = None  # graphs as GraphML, GEXF, GML, edge lists, SMILES, SDF or npz
    pyg: str | None = None  # a torch-geometric InMemoryDataset by name, as TUDataset:ENZYMES
    generate: int = 0  # 0: the published graphs; N: that many new ones by the set's recipe, where it has one
    max_nodes: int = 1000  # larger graphs are refused
    node_attribute: str | None = "label"  # of files: the attribute that holds the kind of a node; null: none does
    edge_attribute: str | None = "label"  # the same of edges
    undirected: bool = False  # directed edges are read, as undirected ones
    weights: str = "refuse"  # refuse: edges that differ in weight | drop: weights are not read
    node_labels: list[str] | None = None  # names of the kinds of nodes; null: the data's own
    edge_labels: list[str] | None = None  # names of the kinds of edges; null: the data's own


@dataclass
class GraphModelConfig:
    """The predictor on graphs."""

    width: int = 64  # D; a multiple of heads
    depth: int = 6  # blocks of the network
    triangle: int = 16  # channels of the triangle update
    mlp_ratio: float = 2.0  # hidden width of the MLPs, in widths
    dropout: float = 0.0  # of both branches of a block
    counts: bool = False  # coarse edges tell how many edges they stand for; for graphs that are dense near the top
    head: str = "star"  # star: one pass a colour class, then the star head | rounds: one pass for each answer of a star
    heads: int = 4  # head=star: attention heads
    star_depth: int = 2  # head=star: blocks
    label_rounds: int = 32  # rounds in which kinds are revealed at most; smaller graphs reveal one after another
