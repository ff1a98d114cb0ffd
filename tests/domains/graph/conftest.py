"""Fixtures of the tests of graphs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that REFINE_DATA names."""
    monkeypatch.setenv("REFINE_DATA", str(tmp_path))
    (tmp_path / "graphs").mkdir()
    return tmp_path / "graphs"
