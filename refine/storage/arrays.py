"""Archives of arrays that are longer than memory: rows are added as they come."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy

from refine.storage.files import atomic_write, writing

Array = np.ndarray[Any, Any]

BLOCK = 2**20  # numbers copied at once


class ArchiveWriter:
    """An ``.npz`` file whose arrays grow row by row; ``numpy.load`` reads it.

    Until :meth:`finish` rows wait in files without a name, on the disk of the archive, which vanish with the process.
    So memory does not grow with the number of rows, and the archive is there as a whole or not at all.

    Args:
        path: of the archive; its folder is made if needed.

    Example:
        >>> with ArchiveWriter(Path("samples.npz")) as archive:  # doctest: +SKIP
        ...     for batch in batches:
        ...         archive.add(items=batch)
        ...     archive.finish()
    """

    def __init__(self, path: Path) -> None:
        self.path, self._columns, self._open = path, dict[str, _Column](), ExitStack()
        path.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, **arrays: Array) -> None:
        """Rows of each array (n, ...). An array that comes in several types has the smallest that holds all of them."""
        with writing(self.path):
            for name, rows in arrays.items():
                if name not in self._columns:
                    file = self._open.enter_context(TemporaryFile(dir=self.path.parent))
                    self._columns[name] = _Column(file, rows.shape[1:])
                self._columns[name].add(rows)

    def finish(self, **whole: Array) -> Path:
        """Write the archive: the arrays that grew, and others as they are."""
        with atomic_write(self.path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, column in self._columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    column.write(file)
            for name, array in whole.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    npy.write_array(file, np.asanyarray(array), allow_pickle=False)
        return self.path


class _Column:
    """Rows of one shape in a file, in stretches of one type each."""

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]) -> None:
        self.file, self.shape, self.rows = file, shape, 0
        self.stretches: list[tuple[np.dtype[Any], int]] = []

    def add(self, rows: Array) -> None:
        self.file.write(np.ascontiguousarray(rows).data if rows.size else b"")
        self.rows += len(rows)
        if self.stretches and self.stretches[-1][0] == rows.dtype:
            self.stretches[-1] = (rows.dtype, self.stretches[-1][1] + rows.size)
        else:
            self.stretches.append((rows.dtype, rows.size))

    def write(self, file: IO[bytes]) -> None:
        dtype = np.result_type(*(kind for kind, _ in self.stretches))
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (self.rows, *self.shape)}
        npy.write_array_header_1_0(file, header)
        self.file.seek(0)
        for kind, count in self.stretches:
            for first in range(0, count, BLOCK):
                block = self.file.read(min(BLOCK, count - first) * kind.itemsize)
                file.write(np.frombuffer(block, kind).astype(dtype, copy=False).data)
