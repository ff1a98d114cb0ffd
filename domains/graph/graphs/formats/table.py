"""A text as rows of fields, and what its first row says about the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refine.domains.graph.graphs.formats.content import MOST_ITEMS, read_text, shown, suffix_of
from refine.errors import RefineError, require

TABLES = (".csv", ".tsv")
ENDS = (("source", "target"), ("from", "to"), ("src", "dst"), ("u", "v"), ("node1", "node2"))
SMILES = ("smiles", "canonical_smiles", "smi")
OF_NODES = ({"id", "label"}, {"id", "name"})  # columns of a table of nodes
WORD = re.compile(r'"((?:[^"]|"")*)"|([^\s,;]+)')
LIKE_SMILES = re.compile(r"(?:\[[^\[\]\s]+\]|Br|Cl|[BCNOSPFIbcnops]|[=#$:/\\.\-()]|%\d\d|\d)+")
ONLY_IN_SMILES = re.compile(r"[=#()\[\]]")


@dataclass(frozen=True)
class Row:
    """A line that is no comment.

    Attributes:
        number: of the line, from 1.
        where: the file and the line, for messages.
        fields: what stands in the columns, without quotes and blanks around.
        attributes: a dictionary in braces behind them, as networkx writes it, or an empty text.
    """

    number: int
    where: str
    fields: list[str]
    attributes: str = ""


@dataclass(frozen=True)
class Table:
    """Rows below a heading.

    Attributes:
        rows: without the heading.
        columns: the place of each column by its name in lower case; empty where there is no heading.
    """

    rows: list[Row]
    columns: dict[str, int]


def read_table(path: Path) -> Table:
    """The rows of a text, separated by commas, semicolons, tabs or blanks, as they are in all of its lines.

    Lines that begin with ``#`` or ``%`` are comments. The first row is a heading if it names columns that are known
    (``ENDS``, ``SMILES``), or if it has words where all others have numbers.

    Raises:
        RefineError: it cannot be read, is too large, or nobody can say whether its first row is a heading.
    """
    rows = _rows(path)
    if not rows:
        return Table(rows, {})
    first = [field.lower() for field in rows[0].fields]
    names = {name: place for place, name in reversed(list(enumerate(first)))}
    if any({u, v} <= set(names) for u, v in ENDS) or any(name in SMILES for name in first):
        return Table(rows[1:], names)
    known = "accepted: source and target, or smiles, among others"
    nodes = any(columns <= set(names) for columns in OF_NODES)
    require(not nodes, f"{rows[0].where}: a table of nodes has no edges; {known}")
    if len(first) >= 2 and _numbers_below(rows):
        require(len(first) == 2, f"{rows[0].where}: the columns {shown(', '.join(first))} are not known; {known}")
        return Table(rows[1:], {"source": 0, "target": 1})
    return Table(rows, {})


def _numbers_below(rows: Sequence[Row]) -> bool:
    """Whether the first row begins with two words, and one of their columns has nothing but numbers below."""
    if any(_is_number(field) for field in rows[0].fields[:2]):
        return False
    below = [[row.fields[place] for row in rows[1:] if len(row.fields) > place] for place in range(2)]
    return any(column and all(map(_is_number, column)) for column in below)


def require_edge(table: Table) -> None:
    """Raise RefineError if the first row may be a heading: it has two words that are found nowhere below."""
    if table.columns or not table.rows or len(table.rows[0].fields) < 2:
        return
    first, *others = table.rows
    ends = first.fields[:2]
    again = {name for row in others for name in row.fields[:2]} & set(ends)
    plain = bool(again) or any(_is_number(end) for end in ends)
    what = f"{shown(', '.join(ends))} are found in no other line: a heading or an edge?"
    require(plain, f"{first.where}: {what} Give the file the first line 'source,target'")


def smiles_column(table: Table) -> int | None:
    """The column that holds SMILES: the one called so, else the first that has nothing else; None where none does."""
    for name in SMILES:
        if name in table.columns:
            return table.columns[name]
    if table.columns or not table.rows:
        return None
    width = min(len(row.fields) for row in table.rows)
    for place in range(width):
        column = [row.fields[place] for row in table.rows]
        alike = [_like_smiles(field) for field in column]
        typical = any(ok and ONLY_IN_SMILES.search(field) for ok, field in zip(alike, column, strict=True))
        lonely = width == 1 and all(len(row.fields) == 1 for row in table.rows)  # else it has edges
        if typical and (all(alike) or lonely or 2 * sum(alike) > len(alike)):
            return place
        if lonely and all(alike) and not all(field.isdecimal() for field in column):
            return place
    return None


def _like_smiles(text: str) -> bool:
    rings = re.findall(r"\d", re.sub(r"\[.*?\]|%\d\d", "", text))
    closed = all(rings.count(ring) % 2 == 0 for ring in set(rings)) and text.count("(") == text.count(")")
    return len(text) <= 2000 and LIKE_SMILES.fullmatch(text) is not None and closed


def _is_number(text: str) -> bool:
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def _rows(path: Path) -> list[Row]:
    lines = read_text(path).splitlines()
    require(len(lines) <= MOST_ITEMS, f"{path} has {len(lines)} lines; accepted: {MOST_ITEMS} at most, more as .npz")
    numbers, texts, attributes = [], [], []
    for number, line in enumerate(lines, 1):
        line = line.strip(" \r\n\f\v") if "\t" in line else line.strip()
        if not line.strip() or line.lstrip()[0] in "#%":
            continue
        begin = line.find("{") if line.endswith("}") else -1
        numbers.append(number)
        texts.append(line[:begin].rstrip(" \t,;") if begin >= 0 else line)
        attributes.append(line[begin:] if begin >= 0 else "")
    delimiter = _delimiter(texts, path)
    if delimiter is None:
        split = [[quoted.replace('""', '"') or plain for quoted, plain in WORD.findall(text)] for text in texts]
        parts = list(zip(range(len(texts)), split, strict=True))
    else:
        reader = csv.reader(texts, delimiter=delimiter, skipinitialspace=True)
        try:
            parts = [(reader.line_num - 1, [field.strip() for field in fields]) for fields in reader]
        except csv.Error as error:
            raise RefineError(f"{path}, line {numbers[max(0, reader.line_num - 1)]} cannot be read ({error})") from error
    rows = []
    for place, fields in parts:
        while len(fields) > 1 and not fields[-1]:
            fields.pop()
        rows.append(Row(numbers[place], f"{path}, line {numbers[place]}", fields, attributes[place]))
    return [row for row in rows if row.fields != [""]]


def _delimiter(lines: Sequence[str], path: Path) -> str | None:
    """The character between fields; None: blanks, or any mixture.

    In a table it is the one that its first line has; elsewhere one that every line of more than one word has.
    """
    if suffix_of(path) in TABLES:
        unquoted = re.sub(r'"(?:[^"]|"")*"', "", lines[0]) if lines else ""
        return max(",;\t", key=unquoted.count) if re.search("[,;\t]", unquoted) else None
    several = [line for line in lines if len(WORD.findall(line)) > 1]
    return next((d for d in "\t,;" if several and all(d in line for line in several)), None)
