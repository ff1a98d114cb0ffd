"""Atomic writes under failures, and paths that stay inside their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from refine.errors import RefineError
from refine.storage.files import atomic_write, inside, own, read_text, temporary_beside, write_text, writing


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")])
def test_failure_leaves_the_old_file_and_no_other(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(type(failure)), atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise failure
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_the_system_refuses_names_the_file(tmp_path: Path) -> None:
    message = rf"^{tmp_path / 'a.txt'} cannot be written: .*No space left on device$"
    for error in (OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")):
        with pytest.raises(RefineError, match=message), writing(tmp_path / "b.txt"), atomic_write(tmp_path / "a.txt"):
            raise error
    (tmp_path / "file").touch()
    with pytest.raises(RefineError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "")


def test_what_dead_processes_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    """And nothing else: not what a living process is writing, nor one of another machine, nor files of others."""
    path = tmp_path / "a.b-c.npz"
    mine = temporary_beside(path)
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}.npz", "-99999999.npz"))
    assert dead != mine
    elsewhere = dead.with_name(dead.name.replace(dead.name.split("-")[3], "00000000"))
    kept = [
        mine,
        elsewhere,
        tmp_path / ".a.b-c-notes.npz",
        tmp_path / ".a.b-cd-01234567.npz",
        tmp_path / "a-01234567.npz",
    ]
    for file in (*kept, dead, tmp_path / ".a.b-c-01234567.npz"):
        file.touch()
    (tmp_path / ".a.b-c-89abcdef.npz").mkdir()
    write_text(path, "new")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, path])


def test_the_new_file_appears_at_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with atomic_write(path) as temporary:
        temporary.write_text("ne")
        assert not path.exists()
        assert temporary.parent == path.parent and temporary.suffix == ".npz"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_inside(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "run2").mkdir()
    (folder / "link").symlink_to(tmp_path / "run2")
    (folder / "fine").symlink_to(folder / "sub")
    assert inside(folder, "sub/x.png") == (folder / "sub" / "x.png").resolve()
    assert inside(folder, "fine/x") == (folder / "sub" / "x").resolve()
    for path in ("../x", "sub/../../x", "/etc/passwd", tmp_path / "run2" / "x", "link/x"):
        with pytest.raises(RefineError, match="leads out of"):
            inside(folder, path)


def test_unreadable_text(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfd")
    for name in ("latin", "missing", "."):
        with pytest.raises(RefineError, match="cannot be read"):
            read_text(tmp_path / name)


def test_what_is_written_to_has_no_links_out_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "pictures" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (run / "pictures" / "deep" / "fine.png").symlink_to(run / "pictures" / "other.png")
    assert own(run, "pictures") == run / "pictures" and own(run, "new") == run / "new"
    (run / "pictures" / "deep" / "a.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (run / "cache").symlink_to(tmp_path / "elsewhere")
    (run / "loop").symlink_to("loop")
    os.mkfifo(run / "pipe")
    for name, why in (("pictures", "leads out"), ("cache", "leads out"), ("loop", "refused"), ("pipe", "no regular")):
        with pytest.raises(RefineError, match=why):
            own(run, name)
