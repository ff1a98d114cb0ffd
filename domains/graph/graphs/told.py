"""What is told of whole graphs: a class, and a vector of numbers, from the columns of their files or computed.

A name of :data:`~refine.domains.graph.graphs.properties.PROPERTIES` is always computed. Any other is a column: an
attribute of the graph in GraphML and GML, an array of an ``.npz`` with an entry for each graph, a column beside SMILES,
a data item of an SDF file, ``y`` (or ``y0``, ``y1``, ...) of torch-geometric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from refine.domains.graph.graphs.kinds import Kinds
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.domains.graph.graphs.properties import PROPERTIES, compute
from refine.errors import RefineError, not_accepted, require, shown


def columns_of(label: str | None, vector: Sequence[str] | None) -> tuple[str, ...]:
    """The names that have to be read, because they are not computed."""
    names = ([] if label is None else [label]) + list(vector or ())
    return tuple(dict.fromkeys(name for name in names if name not in PROPERTIES))


def require_columns(graphs: PackedGraphs, names: Sequence[str], there: Sequence[str] = ()) -> PackedGraphs:
    """``graphs``, if they have all columns.

    Args:
        graphs: read of one file or set.
        names: of the columns that are asked for.
        there: names of columns that there are, for the message.

    Raises:
        RefineError: one is missing.
    """
    for name in names:
        if name not in graphs.columns:
            known = f"; it has {', '.join(map(shown, there[:10]))}" if there else ""
            known += f"; computed are {', '.join(PROPERTIES)}"
            raise RefineError(
                f"{graphs.origin} says no {shown(name)} of its graphs (domain.label, domain.vector){known}"
            )
    return graphs


def with_columns(graphs: PackedGraphs, given: Mapping[str, Sequence[object]]) -> PackedGraphs:
    """``graphs`` with a column of numbers or texts for each name; None, of a graph that lacks it, is refused.

    Raises:
        RefineError: a value that is missing, or neither a number nor a text.
    """
    columns: dict[str, Array] = {}
    for name, values in given.items():
        for i, value in enumerate(values):
            good = isinstance(value, str | int | float | np.number | np.bool_)
            require(good, f"{graphs.origin}: graph {i} has no {shown(name)}; accepted: a number or a text")
        columns[name] = np.array([value if isinstance(value, str) else float(value) for value in values], dtype=object)  # type: ignore[arg-type]
    return replace(graphs, columns={**graphs.columns, **columns})


def tell(
    graphs: PackedGraphs, label: str | None, vector: Sequence[str] | None, classes: Sequence[str] | None
) -> PackedGraphs:
    """``graphs`` with the class and the vector of each.

    Args:
        graphs: with the columns that are asked for.
        label: the name of what is their class; None: they have none.
        vector: the names of the numbers of their vector.
        classes: names of the classes; None: those that occur, whole numbers by value, else as text.

    Raises:
        RefineError: a class that is none of them, or a number that is none; the message names the graph.
    """
    if label is not None:
        values = _values(graphs, label)
        kinds = Kinds(classes or (), fixed=classes is not None)
        numbers = []
        for i, value in enumerate(values):
            where = f"{graphs.origin}, graph {i} ({shown(label)})"
            text = str(int(value)) if isinstance(value, float) and value.is_integer() else value
            require(isinstance(text, str), f"{where} is of the class {value!r}; accepted: a text or a whole number")
            if classes is not None and text not in classes:
                raise not_accepted(f"the class of {where}", text, classes)
            numbers.append(kinds.number(text, where))
        place = np.array(numbers, dtype=np.int64)
        graphs = replace(graphs, label=place if classes is not None else kinds.sort()[place], classes=kinds.names)
    if vector:
        table = np.stack([_numbers(graphs, name) for name in vector], axis=1)
        graphs = replace(graphs, vector=table.astype(np.float32))
    return replace(graphs, columns={})


def _values(graphs: PackedGraphs, name: str) -> list[object]:
    if name not in PROPERTIES:
        return graphs.columns[name].tolist()  # type: ignore[no-any-return]
    return compute(name, graphs, graphs.node_kinds, graphs.edge_kinds).tolist()  # type: ignore[no-any-return]


def _numbers(graphs: PackedGraphs, name: str) -> Array:
    out = np.empty(len(graphs))
    for i, value in enumerate(_values(graphs, name)):
        try:
            out[i] = float(value)  # type: ignore[arg-type]
        except ValueError:
            out[i] = np.nan
        finite = abs(out[i]) < np.finfo(np.float32).max  # not of NaN
        require(bool(finite), f"{graphs.origin}, graph {i}: {shown(name)} is {shown(value)}; accepted: a number")
    return out
