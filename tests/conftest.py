"""What all tests share: where real data is, few threads, and nobody's cache touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
if "REFINE_DATA" not in os.environ and SHARED.is_dir():
    os.environ["REFINE_DATA"] = str(SHARED)
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Downloads and fitted classifiers of the tests go to a folder of their own, unless one was named."""
    with pytest.MonkeyPatch.context() as patch:
        if "REFINE_CACHE" not in os.environ:
            patch.setenv("REFINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
