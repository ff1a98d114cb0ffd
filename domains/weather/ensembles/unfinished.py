"""A forecast store in the making: written beside its place, with a record of what is done, and moved there at the end.

``forecast.zarr`` is written as ``forecast.zarr.partial/store.zarr``. Beside that store, ``plan.json`` says what it is
to become and ``finished.txt`` has a line for every part that is on disk. Killed at any moment, the same plan goes on.
The record stays until what is made from the store, such as its pictures, is there too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from refine.errors import require
from refine.storage.files import WriteError, own, read_text, sync, write_text, writing
from refine.storage.plain_json import read_json

STORE, PLAN, FINISHED = "store.zarr", "plan.json", "finished.txt"
RUN, MODEL = "run", "model"  # of a plan: the folder of the model, which may be moved, and what its numbers depend on
OF_THE_MODEL = ("channels", "grid")  # entries of a plan that another model changes too
FEW = 3  # entries of a list that messages show
LONG = 80  # characters of a value that messages show


def partial_folder(target: Path) -> Path:
    """Where ``target`` is made."""
    return target.with_name(target.name + ".partial")


class Unfinished:
    """The store that is to become ``target``; begun, or gone on with if the plan is the same.

    Attributes:
        target: where the store will be.
        store: where it is now.
        finished: names of the parts that are on disk.
        published: whether the store is in its place already, and only what is made from it is missing.

    Raises:
        RefineError: there is something at ``target``, or something else is being made there; both stay as they are. Or
            what is being made there has links that lead out of its folder.
    """

    def __init__(self, target: Path, plan: Mapping[str, Any], create: Callable[[Path], None]) -> None:
        self.target, self.folder = target, partial_folder(target)
        self.store = self.folder / STORE
        taken = f"ensemble.out={str(target)!r} is not accepted: it is there already and is kept; name another store"
        self.published = target.exists() and is_free(target, plan)
        require(self.published or not target.exists(), taken)
        if (self.folder / PLAN).is_file() and (self.published or self.store.exists()):
            own(self.folder.parent, self.folder.name)
            self._same(plan)
        else:
            self._begin(plan, create)
        *lines, cut_off = read_text(self._record).split("\n") if self._record.is_file() else [""]
        if cut_off:
            write_text(self._record, "".join(f"{line}\n" for line in lines))
        self.finished = set(lines)

    @property
    def _record(self) -> Path:
        return self.folder / FINISHED

    def _begin(self, plan: Mapping[str, Any], create: Callable[[Path], None]) -> None:
        if self.folder.exists():
            names = {p.name for p in self.folder.iterdir()} if self.folder.is_dir() else {""}
            ours = all(name in (STORE, PLAN, FINISHED) or name.startswith(f".{Path(PLAN).stem}-") for name in names)
            require(ours, f"{self.folder} is in the way: it is no unfinished forecast; it is kept")
            shutil.rmtree(self.folder)  # killed before it had a plan: nothing but empty arrays; or its store was taken
        try:
            with writing(self.folder):
                self.folder.mkdir(parents=True)
                create(self.store)
                write_text(self.folder / PLAN, json.dumps(dict(plan), indent=2) + "\n")
        except WriteError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _same(self, plan: Mapping[str, Any]) -> None:
        saved, now = _read(self.folder), _plain(plan)
        differing = _differing(saved, now)
        if MODEL in differing:
            differing = [name for name in differing if name not in OF_THE_MODEL]
        changed = [_in_words(name, saved, now) for name in differing]
        message = f"{self.folder} was begun with {', '.join(changed)}; give the same command to go on, or another out"
        require(not changed, message)

    def discard(self) -> None:
        """Take away what was begun, unless a part is finished."""
        if not self.finished and not self.published:
            shutil.rmtree(self.folder, ignore_errors=True)

    def record(self, part: str) -> None:
        """Note that a part is on disk."""
        with writing(self._record), self._record.open("ab") as file:
            file.write(f"{part}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.finished.add(part)

    def publish(self, afterwards: Callable[[Path], None] = lambda _: None) -> Path:
        """Move the store to its place, unless it is there already, and clear up; called once every part is on disk.

        Args:
            afterwards: makes what is made from the store. Killed before it has ended, the same plan comes back to it.
                It is given a folder where it may keep what it has to know then.
        """
        if not self.published:
            sync(self.store)
            kept = f"{self.target} has appeared meanwhile and is kept; the forecast is {self.store}"
            require(not self.target.exists(), kept)
            self.store.rename(self.target)
            sync(self.target.parent)
        afterwards(self.folder)
        shutil.rmtree(self.folder)
        return self.target


def is_free(target: Path, plan: Mapping[str, Any]) -> bool:
    """Whether a store can be made at ``target``: nothing is there and nothing else is being made; or it is there, and
    only what is made from it is missing."""
    folder = partial_folder(target)
    if not (folder / PLAN).is_file() or (target.exists() and (folder / STORE).exists()):
        return not target.exists()
    return not _differing(_read(folder), _plain(plan))


def _read(folder: Path) -> dict[str, Any]:
    saved = read_json(folder / PLAN)
    require(isinstance(saved, dict), f"{folder / PLAN} is damaged: it is no plan of a forecast")
    return saved  # type: ignore[no-any-return]


def _plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as it would be read."""
    return dict(json.loads(json.dumps(dict(plan))))


def _differing(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in {**saved, **now} if name != RUN and saved.get(name) != now.get(name)]


def _in_words(name: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What an entry of a plan was, and is."""
    before, after = saved.get(name), now.get(name)
    if name == MODEL:
        folders = saved.get(RUN), now.get(RUN)
        if folders[0] == folders[1]:
            return f"the model of {folders[1]} as it was then (it was trained or replaced since)"
        return f"the model of {folders[0] or 'another folder'} (now that of {folders[1]})"
    if isinstance(before, list) and isinstance(after, list) and min(len(before), len(after)) > FEW:
        place = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
        if place is not None:
            of = [f"{_short(values[place])} as number {place + 1} of {len(values)}" for values in (before, after)]
            return f"{name}: {of[0]} (now {of[1]})"
    return f"{name}={_short(before)} (now {_short(after)})"


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > FEW:
        return f"[{value[0]}, ..., {value[-1]}] ({len(value)})"
    text = json.dumps(value)
    return text if len(text) <= LONG else f"{text[:LONG]} ..."
