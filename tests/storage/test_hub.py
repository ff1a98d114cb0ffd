"""Names of checkpoints: folders first, then repositories of the hub, and a clear word when there is neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from refine.storage import hub

ASK = """
import sys
from refine.errors import RefineError
from refine.storage.hub import locate
for name in sys.argv[1:]:
    try:
        locate(name)
    except RefineError as error:
        print(str(error).replace("\\n", " "))
"""


def test_folders_win_over_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.locate("owner/name") == Path("owner/name")


def test_what_would_be_in_a_folder_that_is_here_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.locate("runs/nime") == Path("runs/nime") and capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["runs/a/b", "./owner/name", "/owner", "name"])
def test_paths_are_not_asked_of_the_hub(name: str) -> None:
    assert hub.locate(name) == Path(name)


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    names = ["owner/name", "owner/not a name"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", ASK, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 2, done.stderr
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        assert line.startswith(f"{name!r} is neither a folder here nor a repository of the hub")
        assert f"{name} is no folder here; asking the Hugging Face hub for it" in done.stderr


def test_the_card_loads_what_was_uploaded() -> None:
    card = hub.CARD.format(domain="image", repo_id="owner/name", package="refine-var[image]")
    header, snippet = card.split("---\n")[1], card.split("```python\n")[1].split("```")[0]
    assert "library_name: refine" in header
    assert "pip install 'refine-var[image]'" in card
    assert 'from_pretrained("owner/name")' in snippet
    compile(snippet, "card", "exec")
