"""What zarr stores say of their arrays: no code among the codecs, no array without its metadata, chunks that are not
there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.fields.names import VARIABLES, known
from refine.errors import RefineError

if TYPE_CHECKING:
    import xarray as xr

ZARR = ("zarr.json", ".zgroup", ".zmetadata")
_CHUNK = re.compile(r"c|\d+(\.\d+)*")  # how files and folders of chunks are called


def store_of(source: str) -> Any:
    """What zarr opens: a path or URL, or a zip of the local disk."""
    if not source.endswith(".zip") or "://" in source:
        return source
    from zarr.storage import ZipStore

    return ZipStore(source, mode="r")


def refuse_code(store: Any, where: str) -> None:
    """Look at the codecs of all arrays of a store before anything of it is decoded.

    Raises:
        RefineError: an array that decodes through pickle, which can run code, whatever the installed numcodecs makes of
            it; or one whose metadata cannot be.
    """
    import zarr

    group: Any = zarr.open_group(store, mode="r")
    for name, array in group.members(max_depth=None):
        if not isinstance(array, zarr.Array):
            continue
        bad = next((codec for codec in _codecs(array.metadata.to_dict()) if "pickle" in codec.lower()), None)
        if bad is not None:
            raise RefineError(f"{where}: array {name!r} is refused: it decodes through {bad!r}, which can run code")
        if 0 in array.chunks and 0 not in array.shape:
            raise RefineError(f"{where}: array {name!r} has chunks of size 0; is it damaged?")


def _codecs(metadata: Any) -> Iterator[str]:
    """Names of codecs anywhere in the metadata of an array but its attributes."""
    if isinstance(metadata, Mapping):
        for key, value in metadata.items():
            if key in ("id", "name") and isinstance(value, str):
                yield value
            elif key != "attributes":
                yield from _codecs(value)
    elif isinstance(metadata, list | tuple):
        for value in metadata:
            yield from _codecs(value)


def lost(store: Path, ds: xr.Dataset) -> str | None:
    """An array of a store whose metadata is missing: zarr would pass it over."""
    for folder in (path for path in store.iterdir() if path.is_dir() and path.name not in ds.variables):
        described = any((folder / name).is_file() for name in (*ZARR, ".zarray"))
        if not described and any(_CHUNK.fullmatch(path.name) for path in folder.iterdir()):
            return folder.name
    return None


def unwritten(store: str, fields: Iterable[xr.DataArray], where: str) -> list[str]:
    """What has to be said of the chunks that a local store does not have.

    Zarr leaves chunks unwritten that hold nothing but the fill value, and reads those that were lost like them. Where
    that is a missing value, they count as missing. Fields of precipitation, snow or ice may rest at zero, and of
    unknown ones nobody can tell; others, like temperatures and winds, are never constant over a chunk.

    Args:
        store: path of a zarr store.
        fields: arrays that matter, as they are stored.
        where: the store, for messages.

    Returns:
        A sentence for each field with such chunks.

    Raises:
        RefineError: chunks are missing, in an array that could not be a constant there.
    """
    import zarr

    group: Any = zarr.open_group(store_of(store), mode="r")
    said = []
    for field in fields:
        name, found = str(field.name), known(str(field.name), str(field.attrs.get("standard_name", "")))
        absent = group[name].nchunks - group[name].nchunks_initialized if name in group else 0
        if not absent:
            continue
        count, fill = f"{absent} of {group[name].nchunks}", group[name].fill_value
        missing = _is_missing(fill, field.encoding.get("_FillValue"))
        if found and not VARIABLES[found].rests and not missing:
            text = f"chunks of {name} that are missing: {count}"
            raise RefineError(f"{where}: {text}; is it cut off? They would be read as a constant")
        read = "missing" if missing else f"{fill}, the fill value, as zarr leaves them out"
        said.append(f"{count} chunks of {name} are not in the store and are read as {read}")
    return said


def _is_missing(fill: Any, declared: Any) -> bool:
    """Whether a fill value is read as a missing value: not a number, or the one that is declared for them."""
    return fill is not None and (fill != fill or (declared is not None and bool(np.all(fill == np.asarray(declared)))))
