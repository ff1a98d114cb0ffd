"""Some of the malformed and hostile runs of :mod:`malformed.runs`, each in a process with bounds.

All of them are run by ``python tests/malformed run``.
"""

from __future__ import annotations

import sys

import pytest
from malformed import runs
from malformed.frame import bad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is bounded on Linux"),
]
EVERY = 40


def test_malformed_runs_are_refused_in_one_line_and_left_as_they_are() -> None:
    cases = list(runs.cases())
    assert len(cases) > 150
    hostile = [case for case in cases if "link out" in case.name or "removed" in case.name or "pipe" in case.name]
    assert bad([*hostile[::3], *cases[::EVERY]]) == []
