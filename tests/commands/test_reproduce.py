"""The command: refusals, going on after a kill, and what it writes; on made-up images, with one epoch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from refine.cli import main
from refine.errors import RefineError
from refine.studies.paper import mnist as paper_data
from refine.studies.paper import reproduction, training
from refine.studies.paper.claims import TABLES
from refine.studies.paper.experiments import EXPERIMENTS, Setting
from refine.studies.paper.mnist import Digits
from refine.studies.store import Key, Store

LIGHT = ["autoencoder", "latent", "softmax", "cascade_2"]


@pytest.fixture(scope="module")
def data() -> Digits:
    generator = torch.Generator().manual_seed(0)
    strokes = torch.rand(20, 1, 28, 28, generator=generator)
    return Digits(
        *((torch.rand(n, 20, generator=generator) @ strokes.flatten(1)).view(n, 1, 28, 28) / 20 for n in (520, 60))
    )


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[object]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["reproduce", *arguments])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "") and err.count("\n") == 1
        return err

    yield run
    assert [p.name for p in tmp_path.iterdir()] in ([], ["taken"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table=5"], "table='5' is not accepted; accepted: 1, 2, 3, 4, all"),
        ([], "table must be given"),
        (["table=1", "--seeds", "0"], "seeds=0 is not accepted; accepted: whole numbers from 1 to 100"),
        (["table=1", "seeds=two"], "seeds='two' is not accepted; accepted: whole numbers from 1 to 100"),
        (["table=1", "train_size=100"], "train_size=100 is not accepted; accepted: whole numbers from 256 to 60,000"),
        (
            ["table=1", "train_size=1e3"],
            "train_size=1000.0 is not accepted; accepted: whole numbers",
        ),
        (["table=1", "--train_size", "60001"], "train_size=60001 is not accepted; accepted: whole numbers from 256 to"),
        (["table=1", "epochs=3"], "'epochs' is not a key. Accepted: table, seeds, train_size, out"),
    ],
)
def test_what_is_refused(refused: object, arguments: list[str], message: str) -> None:
    assert callable(refused) and message in refused(*arguments)


def test_a_file_is_no_output_folder(refused: object) -> None:
    Path("taken").write_text("mine")
    assert callable(refused) and "out='taken' is not accepted: it is a file" in refused("table=1", "out=taken")
    assert Path("taken").read_text() == "mine"


def recorded(store: Store) -> list[dict[str, object]]:
    """What the file holds, without times."""
    return [{k: v for k, v in r.items() if k != "cpu_seconds"} for r in json.loads(store.path.read_text())["results"]]


def test_a_killed_command_goes_on_and_ends_with_the_same_file(
    data: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = Store(tmp_path / "a" / "reproduction.json", Key), Store(tmp_path / "b" / "reproduction.json", Key)
    expected = reproduction.measure(whole, LIGHT, range(2), 256, 1, data)
    pieces = itertools.count()

    def die(work: Iterator[None], *_: object, **__: object) -> Iterator[None]:
        for piece in work:
            if next(pieces) == 5:
                raise KeyboardInterrupt
            yield piece

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reproduction, "track", die)
        reproduction.measure(killed, LIGHT, range(2), 256, 1, data)
    done = recorded(killed)
    assert 0 < len(done) < len(LIGHT) * 2 and all(record in recorded(whole) for record in done)
    assert reproduction.measure(Store(killed.path, Key), LIGHT, range(2), 256, 1, data) == expected
    assert recorded(killed) == recorded(whole)


def test_nothing_is_measured_twice_and_a_lost_autoencoder_is_made_anew(
    data: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "reproduction.json", Key)
    reproduction.measure(store, ["autoencoder", "latent"], range(1), 256, 1, data)
    before = recorded(store)
    (weights,) = tmp_path.glob("*.safetensors")
    content = weights.read_bytes()
    weights.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(
            reproduction, "EXPERIMENTS", {name: None for name in EXPERIMENTS} | {n: EXPERIMENTS[n] for n in LIGHT}
        )
        ran: list[str] = []
        add = Store.add
        patch.setattr(Store, "add", lambda self, key, *rest: (ran.append(key.experiment), add(self, key, *rest)))
        reproduction.measure(store, ["autoencoder", "latent"], range(1), 256, 1, data)
        assert ran == []
        reproduction.measure(store, ["autoencoder", "latent", "softmax"], range(1), 256, 1, data)
        assert ran == ["autoencoder", "softmax"]
    assert weights.read_bytes() == content
    assert [r for r in recorded(store) if r["experiment"] != "softmax"] == before


def test_the_command_writes_figures_tables_and_curves(
    data: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paper_data, "mnist", lambda: data)
    monkeypatch.setattr(training, "EPOCHS", 1)
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "table=all", "--seeds", "2", "train_size=300"])
    assert end.value.code == 0
    assert "reproduced?" in capsys.readouterr().out
    written = {p.name for p in Path("reproduction").iterdir()}
    assert written == {
        "reproduction.json", "tables-300.md", "curves-300.png",
        "autoencoder-1-epochs-seed-0.safetensors", "autoencoder-1-epochs-seed-1.safetensors",
    }  # fmt: skip
    page = Path("reproduction/tables-300.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("|")]
    for table in TABLES.values():
        for cell in table.cells:
            (row,) = [r for r in rows if r[:2] == [f"| {cell.row}", cell.column] and r[2].startswith(f"{cell.paper:g}")]
            assert row[-1].removesuffix(" |") in ("yes", "no", "-") and row[3]
        assert all(f"| {claim.text} | {claim.paper} |" in page for claim in table.claims)
    assert not torch.tensor([1e-40]).mul(1.0).eq(0).item()  # denormals are numbers again


def test_figures_that_somebody_has_changed_are_named_with_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Digits
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paper_data, "mnist", lambda: data)
    store = Store(Path("reproduction/reproduction.json"), Key)
    for name in TABLES["1"].experiments:
        size = len(data.train) if EXPERIMENTS[name].all_images else 256
        store.add(Key(name, 0, size, training.EPOCHS), {"mse": "low"}, 1.0)
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "table=1", "--seeds", "1", "train_size=256"])
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.count("\n") == 1
    assert f"error: {store.path} lacks figures, or has others" in err and "move it away" in err
    assert [p.name for p in store.path.parent.iterdir()] == [store.path.name]


def test_a_damaged_autoencoder_is_named(data: Digits, tmp_path: Path) -> None:
    for content in (b"", b"junk" * 99):
        setting = Setting(data, 0, 256, 1, tmp_path)
        setting.codec_file.write_bytes(content)
        with pytest.raises(
            RefineError, match=r"seed-0\.safetensors cannot be read .*; remove it to have it made again"
        ):
            setting.trained_codec()
