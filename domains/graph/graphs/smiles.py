"""Files of SMILES, and the published sets QM9 and MOSES, as packed graphs; what was parsed once is kept in the cache.

QM9 (Ramakrishnan et al. 2014, Sci. Data 1:140022) has the split of DiGress, which is the field's: 97,734 train, 20,042
val, 13,055 test. MOSES (Polykovskiy et al., arXiv 1811.12823) has its own train, test and test_scaffolds; val is 10,000
of its training molecules, drawn once and for all. Both come from ``REFINE_DATA/graphs``, else out of wheels on the
package index, which are opened as archives and never installed.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from refine.domains.graph.graphs.archive import SPLITS, read_npz, write_npz
from refine.domains.graph.graphs.benchmarks import hold_out
from refine.domains.graph.graphs.formats.content import read_text
from refine.domains.graph.graphs.kinds import Kinds
from refine.domains.graph.graphs.molecules import BONDS, element_and_charge, read
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.errors import RefineError, not_accepted, require
from refine.progress import track
from refine.storage.downloads import cache_dir, fetch, local_file

SHOWN = 5  # of the lines that cannot be used
WORTH_KEEPING = 10_000  # molecules
FORMAT = 1  # of what is kept in the cache
WHEELS = "https://files.pythonhosted.org/packages/"
GDB9 = 133885  # molecules that QM9 was made from; DiGress drew its split over all of these
UNREADABLE = (OSError, EOFError, KeyError, ValueError, csv.Error, lzma.LZMAError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Source:
    """Where a set of molecules comes from.

    Attributes:
        wheel: address on the package index, below ``WHEELS``.
        sha256: of the wheel.
        atoms: kinds of atoms that occur.
        local: name in ``REFINE_DATA/graphs`` of the file for a part.
        parts: files that it consists of.
    """

    wheel: str
    sha256: str
    atoms: tuple[str, ...]
    local: str
    parts: tuple[str, ...]


SOURCES = {
    "qm9": Source(
        "fd/8f/ce586cc7801ebd0880483904127b1e50a81d31d3af287379edfe1af10fc7/qm9pack-1.0.3-py3-none-any.whl",
        "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0",
        ("C-", "C", "N-", "N", "N+", "O-", "O", "F"),
        "qm9.csv.gz",
        ("qm9",),
    ),
    "moses": Source(
        "ca/04/335f23e9ae95ca381ac7c3f335303dbbeb0f8a604d167891cf60c9360178/molsets-0.3.1-py3-none-any.whl",
        "7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
        ("C", "N", "O", "F", "S", "Cl", "Br"),
        "moses_{part}.smi.xz",
        ("train", "test", "test_scaffolds"),
    ),
}


def read_molecules(name: str, split: str) -> PackedGraphs:
    """One split of QM9 or MOSES; of MOSES also ``test_scaffolds``.

    The first time takes a quarter of a minute (QM9) or some minutes (MOSES' training set), later ones a second.

    Raises:
        RefineError: no such split, rdkit is missing, or the data cannot be had or read.
    """
    splits = SPLITS if name == "qm9" else (*SPLITS, "test_scaffolds")
    if split not in splits:
        raise not_accepted(f"split of {name}", split, splits)
    if name == "qm9":
        graphs, numbers = _part(name, "qm9")
        assert numbers is not None
        chosen = graphs.select(numbers == SPLITS.index(split))
    else:
        graphs, _ = _part(name, "train" if split == "val" else split)
        held = np.isin(np.arange(len(graphs)), hold_out(np.arange(len(graphs))))
        chosen = graphs if split.startswith("test") else graphs.select(held == (split == "val"))
    return replace(chosen, origin=f"{name} ({split})")


def read_smiles(path: Path) -> tuple[PackedGraphs, list[str]]:
    """The molecules of a ``.smi`` file, and the SMILES of each.

    Every line is SMILES and, after a space or tab, anything. Empty lines and a first line that says ``smiles`` are
    passed over.

    Raises:
        RefineError: it cannot be read, or lines that cannot be used, by number.
    """
    words = [(number, line.split()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    lines = [(number, found[0]) for number, found in words if found]
    lines = lines[1:] if lines and lines[0][1].lower() == "smiles" else lines
    return keep_smiles(lines, path)


def keep_smiles(lines: Sequence[tuple[int, str]], path: Path) -> tuple[PackedGraphs, list[str]]:
    """The molecules of SMILES by the number of their line, and the SMILES; many are kept in the cache.

    Raises:
        RefineError: there is none, or lines cannot be used, by number.
    """
    require(bool(lines), f"{path} has no SMILES")
    smiles = [text for _, text in lines]
    if len(lines) < WORTH_KEEPING:
        return pack_smiles(lines, str(path)), smiles
    key = hashlib.sha256("\n".join(smiles).encode()).hexdigest()
    graphs, _ = _kept("smiles", key, lambda: (pack_smiles(lines, str(path)), None))
    return replace(graphs, origin=str(path)), smiles


def pack_smiles(
    lines: Sequence[tuple[int, str]], where: str, atoms: Sequence[str] | None = None, item: str = "line"
) -> PackedGraphs:
    """Molecules as packed graphs.

    Args:
        lines: number and SMILES of each line.
        where: what the lines are of, for errors.
        atoms: accepted kinds of atoms; None: those that occur, by element and charge.
        item: what a number counts, for errors.

    Raises:
        RefineError: lines that cannot be used; the first few are named with their reasons.
    """
    kinds = Kinds(atoms or (), fixed=atoms is not None)
    nodes, edges, labels, ends, orders = array("i"), array("i"), array("i"), array("i"), array("b")
    wrong = []
    for number, smiles in track(lines, f"Reading {where}"):
        try:
            names, pairs, bonds = read(smiles)
            labels.extend([kinds.number(name, f"an atom of {smiles!r}") for name in names])
        except RefineError as error:
            wrong.append(f"{item} {number}: {error}")
            continue
        nodes.append(len(names))
        edges.append(len(bonds))
        ends.extend(pairs)
        orders.extend(bonds)
    shown = "; ".join(wrong[:SHOWN])
    require(not wrong, f"{where} has {len(wrong)} {item}s that cannot be used: {shown}")
    label = np.array(labels) if atoms is not None else kinds.sort(element_and_charge)[np.array(labels)]
    return PackedGraphs.checked(nodes, edges, np.array(ends).reshape(-1, 2), label, orders, kinds.names, BONDS, where)


def _part(name: str, part: str) -> tuple[PackedGraphs, Array | None]:
    """All molecules of one file of a set, and their splits where the file decides them."""
    source = SOURCES[name]
    local = local_file("graphs", source.local.format(part=part))
    checksum = hashlib.sha256(local.read_bytes()).hexdigest() if local else source.sha256

    def make() -> tuple[PackedGraphs, Array | None]:
        path = local or _wheel(source)
        try:
            smiles, split = READERS[name](path, part)
        except UNREADABLE as error:
            raise RefineError(f"{path} cannot be read ({error!r}); expected the molecules of {name}") from error
        return pack_smiles(list(enumerate(smiles, 1)), f"{name} ({part})", source.atoms), split

    return _kept(f"{name}-{part}", checksum, make)


def _wheel(source: Source) -> Path:
    try:
        return fetch(WHEELS + source.wheel, f"sha256:{source.sha256}", "graph")
    except RefineError as error:
        files = ", ".join(source.local.format(part=part) for part in source.parts)
        raise RefineError(
            f"{error}; or put {files} into graphs/ of a folder that the environment variable REFINE_DATA names"
        ) from error


def _kept(
    name: str, checksum: str, make: Callable[[], tuple[PackedGraphs, Array | None]]
) -> tuple[PackedGraphs, Array | None]:
    """What was made of a file with this checksum before, else what is made of it now."""
    path = cache_dir() / "graph" / f"{name}-{FORMAT}-{checksum[:16]}.npz"
    if path.is_file():
        try:
            return read_npz(path)
        except RefineError:  # damaged: made again
            pass
    made = make()
    write_npz(path, *made)
    return made


def _read_qm9(path: Path, part: str) -> tuple[list[str], Array]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = [(row["smiles"], int(row["split_digress"])) for row in csv.DictReader(file)]
        return [smiles for smiles, _ in rows], np.array([split for _, split in rows])
    numbers, smiles = [], []
    with zipfile.ZipFile(path) as wheel:
        for i in (1, 2, 3):
            with wheel.open(f"qm9pack/data/qm9_part{i}.csv") as raw:
                for row in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline="")):
                    numbers.append(int(row["Index"]))
                    smiles.append(row["SMILES"])
    # DiGress: pandas' sample(frac=1, random_state=42), the first 100,000 train, the last tenth test
    place = np.empty(GDB9, dtype=np.int64)
    place[np.random.RandomState(42).permutation(GDB9)] = np.arange(GDB9)
    drawn = place[np.array(numbers) - 1]
    return smiles, np.where(drawn < 100_000, 0, np.where(drawn < GDB9 - GDB9 // 10, 1, 2))


def _read_moses(path: Path, part: str) -> tuple[list[str], None]:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes()).decode().split(), None
    with zipfile.ZipFile(path) as wheel:
        text = gzip.decompress(wheel.read(f"moses/dataset/data/{part}.csv.gz")).decode()
    return sorted(text.split()[1:]), None  # so that the order, and with it val, is that of the other file


READERS: dict[str, Callable[[Path, str], tuple[Iterable[str], Array | None]]] = {
    "qm9": _read_qm9,
    "moses": _read_moses,
}
