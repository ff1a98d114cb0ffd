"""Downloads have the checksum that was expected, and are kept where the user says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from refine.errors import RefineError
from refine.storage.downloads import cache_dir, fetch, local_file

pooch = pytest.importorskip("pooch")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which it is served, with an empty cache."""
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "site").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once_and_checked_always(site: tuple[Path, str]) -> None:
    folder, url = site
    (folder / "a.txt").write_text("data")
    checksum = f"sha256:{hashlib.sha256(b'data').hexdigest()}"
    path = fetch(url + "a.txt", checksum, "set")
    assert path == cache_dir() / "set" / "a.txt" and path.read_text() == "data"
    (folder / "a.txt").unlink()
    assert fetch(url + "a.txt", checksum, "set").read_text() == "data"
    path.write_text("damaged")
    with pytest.raises(RefineError, match=r"a\.txt cannot be downloaded to .*set"):
        fetch(url + "a.txt", checksum, "set")
    (folder / "a.txt").write_text("data")
    assert fetch(url + "a.txt", checksum, "set").read_text() == "data"
    assert fetch(url + "a.txt", checksum, "set", "b.txt") == cache_dir() / "set" / "b.txt"


def test_another_file_than_expected_is_refused(site: tuple[Path, str]) -> None:
    folder, url = site
    (folder / "a.txt").write_text("other")
    with pytest.raises(RefineError, match="hash"):
        fetch(url + "a.txt", f"md5:{hashlib.md5(b'data').hexdigest()}", "set")
    assert not (cache_dir() / "set" / "a.txt").exists()


def test_folders_are_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("REFINE_CACHE")
    assert cache_dir() == Path(pooch.os_cache("refine"))
    monkeypatch.setenv("REFINE_DATA", str(tmp_path))
    assert local_file("graphs", "a.npz") is None
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "a.npz").touch()
    assert local_file("graphs", "a.npz") == tmp_path / "graphs" / "a.npz"
    monkeypatch.delenv("REFINE_DATA")
    assert local_file("graphs", "a.npz") is None
