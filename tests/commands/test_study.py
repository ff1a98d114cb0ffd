"""``refine study`` as a person meets it: refusals, what it hands on, Ctrl-C, and drawing again; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from refine.cli import main
from refine.studies.contest import runner

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in an empty folder: exit code and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["study", *arguments])
        return int(end.value.code or 0), capsys.readouterr().err

    return run


def recorded(path: Path) -> Path:
    """A study.json with one point."""
    figures = {"frechet": 0.5, "agreement": 0.9, "passes": 4, "seconds_per_image": 0.003}
    result = {"experiment": "scales_4/4", "seed": 0, "updates": 20, "cpu_seconds": 1.0, "figures": figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": {"updates": 20}, "results": [result]}))
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which must be given"),
        (["frontiers"], "study='frontiers' is not accepted; accepted: hypotheses, frontier. Did you mean 'frontier'?"),
        (["frontier", "domain=imag"], "domain='imag' is not accepted; accepted: graph, image, weather"),
        (["frontier", "domain=graph"], "domain 'graph' has no study; accepted: image"),
        (["frontier", "--seeds", "0"], "seeds=0 is not accepted; accepted: whole numbers from 1 to 100"),
        (["frontier", "seeds=two"], "seeds='two' is not accepted; accepted: whole numbers from 1 to 100"),
        (["hypotheses", "updates=1e3"], "updates=1000.0 is not accepted; accepted: whole numbers from 1 to 1,000,000"),
        (["hypotheses", "updates=0"], "updates=0 is not accepted; accepted: whole numbers from 1 to 1,000,000"),
        (["hypotheses", "out=taken"], "out='taken' is not accepted: it is a file"),
        (["hypotheses", "plot=nowhere.json"], "nowhere.json cannot be read"),
        (["frontier", "--plot", "taken"], "taken is not a file of refine study"),
        (["frontier", "epochs=3"], "'epochs' is not a key. Accepted: which, domain, seeds, updates, out, plot"),
    ],
)
def test_what_is_refused(study: Run, arguments: list[str], message: str) -> None:
    Path("taken").write_text("mine")
    code, err = study(*arguments)
    assert code == 2 and message in err and err.count("\n") == 1
    assert [p.name for p in Path.cwd().iterdir()] == ["taken"] and Path("taken").read_text() == "mine"


def test_one_command_draws_again_and_trains_nothing(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(runner, "study")
    path = recorded(Path("elsewhere") / "study.json")
    before = path.read_bytes()
    code, err = study("frontier", f"plot={path}", "--out", "pictures")
    assert code == 0 and str(Path("pictures/frontier.png")) in err
    assert {p.name for p in Path("pictures").iterdir()} == {"frontier.md", "frontier.png"}
    assert "| next scale, S scales | S = 4 | 4 | 0.00300 | 0.500 |" in Path("pictures/frontier.md").read_text()
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["study.json"]


def test_pictures_of_another_study_do_not_replace_those_of_a_folder(study: Run) -> None:
    recorded(Path("study") / "study.json")
    other = recorded(Path("other.json"))
    code, err = study("frontier", f"plot={other}")
    assert code == 2 and "out='study' is not accepted: it has a study.json that is not other.json" in err
    assert [p.name for p in Path("study").iterdir()] == ["study.json"]
    assert study("frontier", "plot=study/study.json")[0] == 0
    assert {p.name for p in Path("study").iterdir()} == {"study.json", "frontier.md", "frontier.png"}


def test_flags_may_be_written_as_keys_and_reach_the_runner(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def measured(*arguments: object) -> Path:
        asked.append(arguments)
        return recorded(Path(str(arguments[-1])) / "study.json")

    monkeypatch.setattr(runner, "study", measured)
    code, err = study("frontier", "domain=image", "--seeds=2", "updates=20", "--out", "here")
    assert code == 0 and all(str(Path("here") / name) in err for name in ("study.json", "frontier.md", "frontier.png"))
    assert study("frontier")[0] == 0
    assert asked == [("frontier", 2, 20, Path("here")), ("frontier", 3, 4000, Path("study"))]


@pytest.mark.parametrize("through", ["itself", "an exit"])
def test_ctrl_c_says_how_to_go_on(study: Run, monkeypatch: pytest.MonkeyPatch, through: str) -> None:
    def stop(*_: object) -> Path:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if through == "itself":
                raise
            raise SystemExit(1)  # noqa: B904  as Lightning does

    monkeypatch.setattr(runner, "study", stop)
    assert study("hypotheses") == (130, "stopped; run the same command again to continue with what is not finished\n")
