"""One graph as text: an edge in every line, two names between blanks, commas, semicolons or tabs.

Lines that begin with ``#`` or ``%`` are comments; a first line like ``source,target`` is a heading; a line with one
name is a node, which is how a node without edges is had. Nodes are numbered by value where all names are whole numbers,
else in the order of the text. An edge may stand there in both directions and counts once.
"""

from __future__ import annotations

import re
from pathlib import Path

from refine.domains.graph.graphs.graphs import Graph
from refine.errors import RefineError, require

HEADINGS = ({"source", "target"}, {"from", "to"}, {"src", "dst"}, {"u", "v"}, {"node1", "node2"})


def read_edge_list(path: Path) -> Graph:
    """The graph of a file.

    Raises:
        RefineError: it cannot be read, a line is no edge, a self-loop, an edge that is there twice, edges of different
            weight, or no nodes; the message names the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RefineError(f"{path} cannot be read: {error}") from error
    names: set[str] = set()
    edges: dict[tuple[str, str], int] = {}
    weight: float | None = None
    rows = [(number, re.split(r"[\s,;]+", line.strip())) for number, line in enumerate(lines, 1)]
    rows = [(number, fields) for number, fields in rows if fields[0] and fields[0][0] not in "#%"]
    if rows and {field.lower() for field in rows[0][1][:2]} in HEADINGS:
        rows = rows[1:]
    for number, fields in rows:
        where = f"{path}, line {number}"
        names.update(fields[:2])
        if len(fields) == 1:
            continue
        u, v, *rest = fields
        require(u != v, f"{where}: a self-loop at {u!r}; only simple graphs are accepted")
        require((u, v) not in edges, f"{where}: {u!r}, {v!r} again; multigraphs are not accepted")
        if rest and rest != ["{}"]:  # networkx writes an empty {} where there are no attributes
            given = _weight(rest, where)
            weight = given if weight is None else weight
            hint = "edges of different weight, which would be lost; drop that column, or write GraphML with a label"
            require(given == weight, f"{where}: {hint}")
        edges[u, v] = number
    order = sorted(names, key=int) if all(re.fullmatch(r"-?[0-9]+", name) for name in names) else sorted(names)
    place = {name: i for i, name in enumerate(order)}
    return Graph.of(len(order), [(place[u], place[v]) for u, v in edges], name=str(path))


def _weight(rest: list[str], where: str) -> float:
    try:
        (text,) = rest
        return float(text)
    except ValueError:
        message = f"{where}: {' '.join(rest)!r} after two names; accepted: nothing, or the same number everywhere"
        raise RefineError(message) from None
