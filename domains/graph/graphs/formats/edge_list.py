"""One graph as text: an edge in every line, two names between blanks, commas, semicolons or tabs.

A heading names the columns: ``source`` and ``target`` (or ``from`` and ``to``, ``src`` and ``dst``, ``u`` and ``v``,
``node1`` and ``node2``), ``weight``, ``type`` as Gephi writes it, and one called like the attribute of edges, their
kind; others are not read. Without a heading a number may stand behind two names, the weight, or what networkx writes,
``{'weight': 1.0}``. A line with one name is a node, which is how a node without edges is had. Nodes are numbered by
value where all names are whole numbers, else in the order of the text. An edge may stand there in both directions and
counts once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refine.domains.graph.graphs.formats.content import shown
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.formats.table import ENDS, Row, Table, read_table, require_edge
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.kinds import Kinds
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError, require

WHOLE = re.compile(r"-?[0-9]{1,18}")
DIRECTIONS = {"undirected": False, "": False, "directed": True, "mutual": False}  # of the column type
LONGEST = 1000  # characters of a dictionary behind an edge


def read_edge_list(path: Path, reading: Reading | None = None) -> PackedGraphs:
    """The graph of a file; :func:`edges_of` of its table."""
    return edges_of(read_table(path), path, reading)


def edges_of(table: Table, path: Path, reading: Reading | None = None) -> PackedGraphs:
    """The graph of a table of edges.

    Args:
        table: an edge or a node in each row.
        path: where it comes from.
        reading: of attributes, directions and weights.

    Raises:
        RefineError: a row is no edge, a self-loop, an edge that is there twice, directed or of different weight, only
            some edges have a kind, the first row may be a heading, or no nodes; the message names the file and line.
    """
    reading = reading or Reading()
    require_edge(table)
    names: set[str] = set()
    edges: dict[tuple[str, str], Mapping[str, Any]] = {}
    weight: float | None = None
    for row in table.rows:
        ends, attributes = _ends_and_attributes(row, table.columns, reading)
        names.update(ends)
        if len(ends) == 1:
            continue
        u, v = ends
        require(u != v, f"{row.where}: a self-loop at {shown(u)}; only simple graphs are accepted")
        require((u, v) not in edges, f"{row.where}: {shown(u)}, {shown(v)} again; multigraphs are not accepted")
        edges[u, v] = attributes
        if reading.weights == "refuse" and "weight" in attributes:
            given = _weight(attributes["weight"], row.where)
            weight = given if weight is None else weight
            hint = "edges of different weight, which would be lost; domain.weights=drop reads them without"
            require(given == weight, f"{row.where}: {hint}")
    order = sorted(names, key=int) if all(WHOLE.fullmatch(name) for name in names) else sorted(names)
    place = {name: i for i, name in enumerate(order)}
    kinds, labels = Kinds(), None
    if any("kind" in attributes for attributes in edges.values()):
        for (u, v), attributes in edges.items():
            require("kind" in attributes, f"{path}: the edge {shown(u)}, {shown(v)} has no kind, but others have")
        labels = [kinds.number(a["kind"], f"an edge of {path}") for a in edges.values()]
    graph = Graph.of(len(order), [(place[u], place[v]) for u, v in edges], edge_label=labels, name=str(path))
    return PackedGraphs.of([graph], edge_kinds=kinds.names, origin=str(path))


def _ends_and_attributes(row: Row, columns: Mapping[str, int], reading: Reading) -> tuple[list[str], dict[str, Any]]:
    """One or two names, and ``weight`` and ``kind`` where the row has them."""
    fields, found = row.fields, {}
    named = {name: fields[place] for name, place in columns.items() if place < len(fields) and fields[place]}
    if columns:
        u, v = next(pair for pair in ENDS if set(pair) <= set(columns))
        ends = [named[name] for name in (u, v) if name in named]
        require(bool(ends), f"{row.where}: no {u} and no {v}")
        direction = named.get("type", "").lower()
        require(not DIRECTIONS.get(direction, False) or reading.undirected, _directed(row.where))
        found = {key: named[key] for key in ("weight",) if key in named}
        if reading.edge_attribute is not None and reading.edge_attribute.lower() in named:
            found["kind"] = named[reading.edge_attribute.lower()]
    else:
        ends, rest = fields[:2], fields[2:]
        behind = "two names; accepted: nothing, or a number, the weight; else a heading that names the columns"
        require(len(rest) <= 1, f"{row.where}: {len(rest)} values after {behind}")
        require(all(ends), f"{row.where}: a name is missing")
        found = {"weight": rest[0]} if rest else {}
    if row.attributes:
        given = _dictionary(row)
        found |= {"weight": given["weight"]} if "weight" in given else {}
        if reading.edge_attribute in given:
            found["kind"] = given[reading.edge_attribute]
    return ends, found


def _directed(where: str) -> str:
    return f"{where}: a directed edge; only undirected graphs are accepted, or domain.undirected=true"


def _dictionary(row: Row) -> dict[Any, Any]:
    """What networkx writes behind an edge."""
    message = f"{row.where}: {shown(row.attributes)} after two names; accepted: a dictionary, like {{'weight': 1.0}}"
    require(len(row.attributes) <= LONGEST, message)
    try:
        given = ast.literal_eval(row.attributes)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        given = None
    if not isinstance(given, dict):
        raise RefineError(message)
    return given


def _weight(value: Any, where: str) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        message = f"{where}: {shown(value)} after two names; accepted: nothing, or the same number everywhere"
        raise RefineError(message) from None
