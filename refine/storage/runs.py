"""Run folders: where they are, how the newest is found, and the metrics they keep.

A run has ``config.yaml`` (its configuration), ``metrics.jsonl`` (a line of figures at a time), a checkpoint
(:mod:`refine.storage.checkpoint`), and the pictures and samples made from it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from refine.errors import RefineError, require, shown
from refine.progress import console
from refine.settings.compose import from_values, to_yaml
from refine.settings.config import Config
from refine.settings.places import plainly
from refine.settings.yaml_text import read_yaml
from refine.storage.checkpoint import read_header
from refine.storage.files import (
    atomic_write,
    inside,
    own,
    read_bytes,
    read_text,
    remove_left,
    require_writable,
    write_text,
    writing,
)
from refine.storage.locks import LOCK, alone
from refine.storage.plain_json import parse_json

RUNS = Path("runs")
CONFIG, METRICS = "config.yaml", "metrics.jsonl"
WRITTEN = (METRICS, "pictures", "resume", "cache")  # by a training, where they are
YAML_BYTES, METRICS_BYTES = 2**20, 2**28  # that such a file may have


@contextmanager
def run_of(config: Config) -> Iterator[Path]:
    """Where :func:`new_run` makes a run, which no other process trains at the same time; nothing is made yet.

    Raises:
        RefineError: another one does; or as :func:`new_run`.
    """
    path = _place(config)
    with alone(path / LOCK, f"run={shown(str(path))} is being trained"):
        config.run = str(path)
        yield path


def new_run(config: Config) -> Path:
    """The folder of a training run, made if needed, with its ``config.yaml``; ``config.run`` is set to it.

    It is ``config.run`` where that is given: a new folder, or a run to go on with, which must then be of the same
    domain and model. Otherwise ``runs/<domain>-<data>-<time>``.

    Raises:
        RefineError: the folder holds something else, a run of another domain or model, or links that lead out of it.
    """
    path = _place(config)
    config.run = str(path)
    _write(config, path)
    return path


def _write(config: Config, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / CONFIG, to_yaml(config))


def _place(config: Config) -> Path:
    """The folder that :func:`new_run` is about; errors are the same, nothing is written."""
    path = Path(config.run).expanduser() if config.run else unused(RUNS / _name(config))
    if (path / CONFIG).exists():
        _same_model(config, load_run_config(path), path)
        for name in WRITTEN:
            own(path, name)
    elif path.exists():
        remove_left(path / CONFIG)  # by a training that was killed before there was a run
        empty = path.is_dir() and not any(inner.name != LOCK for inner in path.iterdir())
        require(empty, f"run={shown(str(path))} is not accepted: it is there already, and is not a run")
    return path


@contextmanager
def begun(config: Config) -> Iterator[None]:
    """The configuration in the folder of :func:`run_of`, taken back where what follows fails before anything was
    trained: a value that is refused late does not stay in a run, and what cannot start leaves no folder."""
    path = Path(str(config.run))
    before = read_text(path / CONFIG) if (path / CONFIG).is_file() else None
    trained = _trained(path)
    try:
        _write(config, path)
        yield
    except Exception:
        if _trained(path) == trained:
            _take_back(path, before)
        raise


def _trained(path: Path) -> list[tuple[str, int]]:
    """What a training writes from its first step on, each with the time of its last change."""
    files = [path / METRICS, path / "config.json", *path.glob("resume/*.safetensors")]
    return [(file.name, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _take_back(path: Path, before: str | None) -> None:
    """Give a run the configuration that it had; of a new one nothing is left."""
    if before is not None:
        write_text(path / CONFIG, before)
        return
    (path / CONFIG).unlink(missing_ok=True)
    shutil.rmtree(path / "cache", ignore_errors=True)
    with suppress(OSError):  # there is none
        (path / "resume").rmdir()


def find_run(config: Config) -> Path | None:
    """The run that ``config`` means: ``config.run``, else the newest of its domain, else None.

    Raises:
        RefineError: ``config.run`` is given and holds no checkpoint.
    """
    return find(config.run, config.domain_name)


def find(run: str | None, domain: str | None) -> Path | None:
    """The folder ``run`` if given, else the newest under ``runs/`` with a checkpoint of ``domain`` (None: of any).

    Raises:
        RefineError: ``run`` is given and holds no checkpoint.
    """
    if run is not None:
        read_header(Path(run).expanduser())
        return Path(run).expanduser()
    found: list[tuple[float, Path]] = []
    for path in RUNS.iterdir() if RUNS.is_dir() else ():
        try:
            if domain in (None, read_header(path)["domain"]):
                found.append(((path / "config.json").stat().st_mtime, path))
        except (RefineError, OSError):
            continue  # not a run, or not a readable one: another is newest then
    return max(found)[1] if found else None


def load_run_config(folder: Path) -> Config:
    """The configuration of a run, from ``config.yaml``; of a bare checkpoint, from its header.

    Raises:
        RefineError: missing, damaged, or not accepted by this version.
    """
    path = folder / CONFIG
    if path.is_file():
        values = read_yaml(read_text(path, YAML_BYTES), str(path))
        require(isinstance(values, dict), f"{path} is not a configuration")
    else:
        path, header = folder / "config.json", read_header(folder)
        values = {"domain_name": header["domain"], "domain": header["domain_config"], "model": header["model"]}
    try:
        config = from_values(values, saved=True)
    except RefineError as error:
        if type(error) is not RefineError:  # a package that is missing
            raise
        raise RefineError(f"{path}: {error}") from None
    config.run = str(folder)
    return config


def log_metrics(folder: Path, figures: Mapping[str, Any]) -> None:
    """Append one line to ``metrics.jsonl``; what a crash left half written is closed off first."""
    with writing(folder / METRICS), own(folder, METRICS).open("ab+") as file:
        torn = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(dict(figures)).encode() + b"\n")


def forget_metrics(folder: Path, stage: str, step: int) -> None:
    """Take lines out of ``metrics.jsonl``: those of a stage from ``step`` on, which a training does again, and what a
    crash left half written at the end."""
    path = own(folder, METRICS)
    lines = read_bytes(path, METRICS_BYTES).splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if line.endswith(b"\n") and not _from(line, stage, step)]
    if len(kept) < len(lines):
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"".join(kept))


def _from(line: bytes, stage: str, step: int) -> bool:
    """Whether a line is of a stage, and not before a step."""
    try:
        row = json.loads(line)
        return bool(row["stage"] == stage and row["step"] >= step)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Every record of ``metrics.jsonl``, in order; none if there is no such file.

    A record is a mapping whose ``stage`` is a text, and whose ``step`` is a whole number from 0 or null, where it has
    them. Lines that are none are passed over, and said: a kill leaves half a line, and anybody may have written others.

    Raises:
        RefineError: no regular file, or a very large one.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    others: list[int] = []
    for number, line in enumerate(read_bytes(path, METRICS_BYTES).decode(errors="replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, path)
        except RefineError:
            row = None
        if _is_record(row):
            rows.append(row)
        else:
            others.append(number)
    if others:
        lines = ", ".join(map(str, others[:5])) + (f", ... ({len(others)} in all)" if len(others) > 5 else "")
        console.print(f"{path}: passed over, because it is no record: line {lines}", soft_wrap=True)
    return rows


def _is_record(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    step = row.get("step")
    counted = step is None or (type(step) is int and step >= 0)
    return counted and isinstance(row.get("stage", ""), str)


def timestamp() -> str:
    """Now, as it stands in folder names."""
    return time.strftime("%Y%m%d-%H%M%S")


def new_folder(key: str, given: str | None, run: Path | None, domain: str) -> Path:
    """The folder to write to: the one that is ``given``, else a new one under ``samples/`` of the run, or of here.

    Raises:
        RefineError: it is there already and not empty, it cannot be written to, or ``samples`` of the run is a link
            that leads out of it.
    """
    if given is None:
        if run is not None:
            inside(run, "samples")
        new = unused(Path("samples", f"{domain}-{timestamp()}") if run is None else run / "samples" / timestamp())
        require_writable(new, f"{new} cannot be made, name another {key}")
        return new
    out = Path(given).expanduser()
    free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    require(free, f"{key}={given!r} is not accepted: it is there already; give a new or an empty folder")
    require_writable(out, f"{key}={given!r} is not accepted")
    return out


def unused(path: Path) -> Path:
    """``path``, with a number behind it where that is taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _name(config: Config) -> str:
    data = getattr(config.domain, "data", None)
    return "-".join(
        [config.domain_name, *([data] if isinstance(data, str) and data.isidentifier() else []), timestamp()]
    )


def _same_model(config: Config, saved: Config, path: Path) -> None:
    """Refuse to go on with a run under a configuration that its weights do not fit."""
    names = ("domain_name", "domain", "model")
    new, old = (_flat({n: plainly(c.plain()[n]) for n in names}) for c in (config, saved))
    changed = [f"{n}={shown(old.get(n))} (now {shown(new.get(n))})" for n in {**old, **new} if old.get(n) != new.get(n)]
    require(not changed, f"run={str(path)!r} was started with {', '.join(changed)}; keep that, or choose another run")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out
