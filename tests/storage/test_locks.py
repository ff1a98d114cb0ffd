"""Locks: one process at a time, and none is left by a process that died."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest
from processes import die, killed, start

from refine.errors import RefineError
from refine.storage.locks import LOCK, alone, lock_beside


def hold(lock: Path) -> None:
    with alone(lock, "it is being made"):
        lock.with_name("held").touch()
        time.sleep(60)


def hold_and_die(lock: Path) -> None:
    """Killed while it has the lock, and a child that it had forked then lives on for a while."""
    with alone(lock, "it is being made"):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        die()


def test_another_process_is_named(tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    process = start(hold, lock)
    while not (tmp_path / "held").exists():
        assert process.is_alive()
        time.sleep(0.01)
    who = rf"process {process.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    with (
        pytest.raises(RefineError, match=rf"^run='a' is being trained by {who}; wait until"),
        alone(lock, "run='a' is being trained"),
    ):
        pass
    process.kill()
    process.join()
    with alone(lock, "it is being made"):
        assert f"process {os.getpid()} on" in lock.read_text()
    assert not lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_process_and_its_children_hold_nothing(tmp_path: Path) -> None:
    killed(hold_and_die, tmp_path / LOCK)
    assert (tmp_path / LOCK).exists()
    with alone(tmp_path / LOCK, "it is being made"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_is_refused_too_and_keeps_its_lock(tmp_path: Path) -> None:
    lock = lock_beside(tmp_path / "f.zarr")
    with alone(lock, "f.zarr is being made"):
        for _ in range(2):
            with (
                pytest.raises(RefineError, match=rf"f.zarr is being made by process {os.getpid()}"),
                alone(lock, "f.zarr is being made"),
            ):
                pass
        assert lock.exists()
        with alone(lock_beside(tmp_path / "g.zarr"), "g.zarr is being made"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_folders_that_stay_empty_go_with_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), alone(tmp_path / "a" / "b" / LOCK, "it is being made"):
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "a" / "b" / LOCK, "it is being made"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(RefineError, match="cannot be written"), alone(tmp_path / LOCK, "it is being made"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
