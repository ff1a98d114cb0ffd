"""Samples, forecasts and trained weights are what they were before the modules moved, bit by bit.

``golden/before_the_move.json`` was written by ``golden/record.py`` with the code as it was. Where torch and the CPU are
those of the record every bit is compared, elsewhere means and deviations.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import record
from golden.record import GROUPS, Summary, compute, group_of, machine, summary, text_of
from processes import finished, start

from refine.cli import main

RECORD = json.loads((Path(__file__).parent / "golden" / "before_the_move.json").read_text(encoding="utf-8"))
RESULTS: dict[str, dict[str, Summary]] = RECORD["results"]
SAME_MACHINE = RECORD["machine"] == machine()
RTOL, ATOL = 1e-2, 5e-3  # on other machines; weights without a gradient go wherever rounding sends them, so far
SLOW = ("ensemble_command",)
Group = Callable[[str], dict[str, dict[str, Summary]]]


def hangs_on_one_draw(array: str) -> bool:
    """Whether a single draw that falls differently, for a last bit of a probability, may change all of an array."""
    return array == "edges" or (array.startswith("codes_") and array != "codes_0")


def differences(
    found: Mapping[str, Summary] | None, recorded: Mapping[str, Summary] | None, same_machine: bool
) -> list[str]:
    """In what a result is not the recorded one, a line for each array; nothing where it is."""
    if found is None or recorded is None:
        return ["the result is not there" if found is None else "the result was not recorded"]
    lines = [f"{key}: not there" for key in recorded.keys() - found.keys()]
    lines += [f"{key}: not recorded" for key in found.keys() - recorded.keys()]
    for key in sorted(recorded.keys() & found.keys()):
        new, old = found[key], recorded[key]
        same = new["sha256"] == old["sha256"] if same_machine else _alike(key, new, old)
        if not same:
            lines.append(f"{key}: {new} instead of {old}")
    return lines


def _alike(key: str, new: Summary, old: Summary) -> bool:
    """Whether two arrays may be of the same code on two machines."""
    if new["dtype"] != old["dtype"] or new.get("finite") != old.get("finite"):
        return False
    if new["size"] != old["size"] and key != "edges":
        return False
    if hangs_on_one_draw(key):
        return True
    figures = ("mean", "std") if "mean" in old else ("sum",)
    scale = max(abs(old[name]) for name in figures)
    return all(abs(new[name] - old[name]) <= ATOL + RTOL * scale for name in figures)


def command(folder: Path, *arguments: str) -> None:
    """As the one of :mod:`golden.record`, in a forked process instead of a new one."""
    finished(start(run, folder, arguments))


def run(folder: Path, arguments: tuple[str, ...]) -> None:
    for name in record.OWN_DATA:
        os.environ.pop(name, None)
    os.environ |= record.ONE_THREAD | record.PLAIN
    os.chdir(folder)
    if arguments[0] == "ensemble":  # the store was recorded; its pictures take longer
        from refine.domains.weather.pictures import forecast_pictures, report

        forecast_pictures.forecast_pictures = lambda *_, **__: []
        report.report_forecast = lambda *given: given[3] / "report.html"
    main(arguments)


@pytest.fixture(scope="module")
def group(once: Any) -> Group:
    """Gives the results of a group, computed once for all processes that run these tests."""

    def computed(name: str, folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record, "command", command)
            found = compute(name, work)
        (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")

    def results(name: str) -> dict[str, dict[str, Summary]]:
        folder = once(f"golden-{name}", lambda folder: computed(name, folder))
        found: dict[str, dict[str, Summary]] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        return found

    return results


def _cases() -> list[Any]:
    marks = {name: [pytest.mark.slow] if group_of(name) in SLOW else [] for name in RESULTS}
    return [pytest.param(name, marks=marks[name], id=name) for name in RESULTS]


@pytest.mark.parametrize("name", _cases())
def test_as_before_the_move(name: str, group: Group) -> None:
    found = group(group_of(name))
    wrong = differences(found.get(name), RESULTS[name], SAME_MACHINE)
    assert not wrong, "\n".join([f"recorded by {RECORD['commit']} on {RECORD['machine']}", *wrong])
    assert found.keys() <= RESULTS.keys(), "results that were not recorded"


def test_every_group_was_recorded() -> None:
    assert {group_of(name) for name in RESULTS} == set(GROUPS)
    assert json.loads(text_of(RECORD)) == RECORD


@pytest.mark.parametrize("same_machine", [True, False])
def test_a_changed_result_is_found(same_machine: bool) -> None:
    for name, arrays in RESULTS.items():
        assert differences(arrays, arrays, same_machine) == []
        assert differences(None, arrays, same_machine) and differences(arrays, None, same_machine)
        for key, old in arrays.items():
            broken = copy.deepcopy(arrays)
            broken[key]["sha256"] = "0" * 64
            for figure in {"mean", "std", "sum"} & old.keys():
                broken[key][figure] = old[figure] * 1.05 + 0.05
            free = not same_machine and hangs_on_one_draw(key)
            assert len(differences(broken, arrays, same_machine)) == (0 if free else 1), (name, key)
            del broken[key]
            assert differences(broken, arrays, same_machine) == [f"{key}: not there"]
            assert differences(arrays, broken, same_machine) == [f"{key}: not recorded"]


def test_one_bit_makes_another_fingerprint() -> None:
    values = np.linspace(-1, 1, 1000, dtype=np.float32)
    changed = values.copy()
    changed.view(np.int32)[7] ^= 1
    one, other = {"items": summary(values)}, {"items": summary(changed)}
    assert differences(other, one, same_machine=True) and not differences(other, one, same_machine=False)
    assert differences({"items": summary(-values + 0.1)}, one, same_machine=False)
    for same_size in (values.reshape(10, 100), values.view(np.int32), values[::-1]):
        assert differences({"items": summary(same_size)}, one, same_machine=True)
    assert summary(values[::2]) == summary(values[::2].copy())
    values[3] = np.nan
    for same_machine in (True, False):
        assert differences({"items": summary(values)}, one, same_machine)
    codes = np.arange(6)
    assert {"sum": 15, "size": 6, "dtype": "int64"}.items() <= summary(codes).items()
