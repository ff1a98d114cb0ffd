"""A store in the making: its record, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from refine.domains.weather.ensembles.unfinished import Unfinished, partial_folder
from refine.errors import RefineError


def nothing(path: Path) -> None:
    path.mkdir()


def test_goes_on_with_its_record(tmp_path: Path) -> None:
    target, plan = tmp_path / "f.zarr", {"members": 5, "start": ["a", "b", "c", "d"]}
    first = Unfinished(target, plan, nothing)
    first.record("one")
    first.record("two")
    with (partial_folder(target) / "finished.txt").open("a") as file:
        file.write("thr")  # killed while it wrote
    again = Unfinished(target, plan, nothing)
    assert again.finished == {"one", "two"}
    again.record("four")
    assert Unfinished(target, plan, nothing).finished == {"one", "two", "four"}
    assert not target.exists()
    assert again.publish() == target and target.is_dir() and not partial_folder(target).exists()


def test_another_plan_is_refused_with_the_difference(tmp_path: Path) -> None:
    target = tmp_path / "f.zarr"
    Unfinished(target, {"members": 5, "start": ["a", "b", "c", "d"], "lead": "1d"}, nothing).record("one")
    with pytest.raises(RefineError) as error:
        Unfinished(target, {"members": 7, "start": ["a"], "lead": "1d", "new": True}, nothing)
    message = str(error.value)
    assert "members=5 (now 7)" in message and '[a, ..., d] (4) (now ["a"])' in message and "new=null" in message
    assert "lead" not in message
    assert (partial_folder(target) / "finished.txt").read_text() == "one\n"


@pytest.mark.parametrize(
    ("saved", "now", "said"),
    [
        (
            {"model": "5e1", "run": "runs/a", "grid": "gaussian:4x8", "seed": 1},
            {"model": "77f", "run": "runs/b", "grid": "gaussian:8x16", "seed": 1},
            "was begun with the model of runs/a (now that of runs/b); give",
        ),
        (
            {"model": "5e1", "run": "runs/a"},
            {"model": "77f", "run": "runs/a"},
            "was begun with the model of runs/a as it was then (it was trained or replaced since); give",
        ),
        ({"model": "5e1"}, {"model": "77f", "run": "runs/b"}, "the model of another folder (now that of runs/b)"),
        (
            {"ensemble.start": ["a", "b", "c", "d", "e"]},
            {"ensemble.start": ["a", "b", "x", "d", "e"]},
            'ensemble.start: "c" as number 3 of 5 (now "x" as number 3 of 5); give',
        ),
        ({"ensemble.start": list("abcd")}, {"ensemble.start": list("abcde")}, "[a, ..., d] (4) (now [a, ..., e] (5))"),
    ],
)
def test_a_refused_plan_is_told_in_words(tmp_path: Path, saved: dict, now: dict, said: str) -> None:
    Unfinished(tmp_path / "f.zarr", saved, nothing)
    with pytest.raises(RefineError) as error:
        Unfinished(tmp_path / "f.zarr", now, nothing)
    assert said in str(error.value) and "5e1" not in str(error.value) and "77f" not in str(error.value)


def test_a_run_that_was_moved_goes_on(tmp_path: Path) -> None:
    Unfinished(tmp_path / "f.zarr", {"model": "5e1", "run": "runs/a"}, nothing).record("one")
    assert Unfinished(tmp_path / "f.zarr", {"model": "5e1", "run": "runs/b"}, nothing).finished == {"one"}


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "f.zarr").write_text("mine")
    with pytest.raises(RefineError, match="already"):
        Unfinished(tmp_path / "f.zarr", {}, nothing)
    assert (tmp_path / "f.zarr").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    folder = partial_folder(tmp_path / "g.zarr")
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(RefineError, match="in the way"):
        Unfinished(tmp_path / "g.zarr", {}, nothing)
    assert (folder / "thesis.txt").read_text() == "mine"


def test_killed_before_it_had_a_plan_starts_anew(tmp_path: Path) -> None:
    target = tmp_path / "f.zarr"
    partial_folder(target).mkdir()
    (partial_folder(target) / "store.zarr").mkdir()
    assert Unfinished(target, {"members": 1}, nothing).finished == set()


def test_published_it_comes_back_to_what_is_made_from_it(tmp_path: Path) -> None:
    target, plan = tmp_path / "f.zarr", {"members": 1}

    def stopped(folder: Path) -> None:
        assert target.is_dir() and folder.is_dir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Unfinished(target, plan, nothing).publish(stopped)
    with pytest.raises(RefineError, match="already"):
        Unfinished(target, {"members": 2}, nothing)
    again, made = Unfinished(target, plan, nothing), list[Path]()
    assert again.published and again.publish(made.append) == target and made == [partial_folder(target)]
    assert [path.name for path in tmp_path.iterdir()] == ["f.zarr"]
    with pytest.raises(RefineError, match="already"):
        Unfinished(target, plan, nothing)


def test_a_store_that_was_taken_away_is_made_anew(tmp_path: Path) -> None:
    target, plan = tmp_path / "f.zarr", {"members": 1}
    work = Unfinished(target, plan, nothing)
    work.record("one")
    work.store.rename(tmp_path / "elsewhere")
    anew = Unfinished(target, plan, nothing)
    assert anew.finished == set() and anew.store.is_dir() and not anew.published
