"""What all tests share: where real data is, one thread a process, nobody's cache touched, and things made once."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # of this process, and of those that tests start

import pytest  # noqa: E402
import torch  # noqa: E402
from filelock import FileLock  # noqa: E402

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
if "REFINE_DATA" not in os.environ and SHARED.is_dir():
    os.environ["REFINE_DATA"] = str(SHARED)
torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What was imported stays; looking for garbage in it again and again takes time."""
    gc.collect()
    gc.freeze()


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes which run these tests share (``pytest -n 2`` has two)."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(common: Path) -> Once:
    """``once(name, make)``: a folder that ``make(folder)`` filled, by whichever process came first.

    All tests see the same folder, in any order: what changes it works on a copy.
    """

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = common / name, common / f"{name}.done"
        with FileLock(common / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(autouse=True, scope="session")
def _own_cache(common: Path) -> Iterator[None]:
    """Downloads and fitted classifiers of the tests go to a folder of their own, unless one was named."""
    with pytest.MonkeyPatch.context() as patch:
        if "REFINE_CACHE" not in os.environ:
            patch.setenv("REFINE_CACHE", str(common / "cache"))
        yield


@pytest.fixture(autouse=True)
def _said_anew() -> None:
    """What is said once only may be said again by every test."""
    from refine.progress import warn

    warn.cache_clear()


@pytest.fixture(scope="session")
def judge(once: Once, _own_cache: None) -> None:
    """The classifier of the digits is in the cache, trained once for all tests."""

    def trained(folder: Path) -> None:
        from refine.domains.image import ImageConfig, ImageDomain
        from refine.domains.image.judging.classifier import trained_classifier

        digits = ImageDomain(ImageConfig())
        trained_classifier(digits.images("train"), digits.images("test"), 10)

    once("judge", trained)
