"""README and docs say what is so: snippets run, commands are accepted, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from strangers import install

import refine
from refine.cli import SECTIONS, cli, main
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.settings.compose import compose
from refine.settings.overrides import take
from refine.studies.contest.write_up import STUDIES
from refine.studies.paper.claims import TABLES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    return [body for language, body in BLOCK.findall(page.read_text()) if language in languages]


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example domain of the documentation, announced as an installed package would."""
    source = (ROOT / "docs" / "examples" / "signals" / "signals.py").read_text()
    return install(tmp_path_factory.mktemp("site"), "signals", source, "signal = signals:SignalDomain")


@pytest.fixture(autouse=True)
def somewhere(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to be in, and the example domain installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name_of)
def test_snippets_run(page: Path) -> None:
    snippets = blocks(page, "python")
    if "refine.starter(" in "".join(snippets):
        try:
            refine.starter("image")
        except RefineError as error:
            pytest.skip(str(error))
    namespace: dict[str, object] = {"__name__": "snippets"}
    for number, snippet in enumerate(snippets, 1):
        name = f"{name_of(page)}, python block {number}"
        exec(compile(snippet, name, "exec", dont_inherit=True), namespace)  # not with this file's __future__
    assert "refine" in namespace


def commands() -> list[tuple[Path, list[str]]]:
    """Every command line of the pages, without its comment."""
    lines = [(page, line) for page in PAGES for block in blocks(page, "sh", "console") for line in block.splitlines()]
    words = [(page, shlex.split(line.removeprefix("$ "), comments=True)) for page, line in lines]
    return [(page, words) for page, words in words if words]


REFINE = [(page, words[1:]) for page, words in commands() if words[0] == "refine"]


@pytest.mark.parametrize(("page", "words"), REFINE, ids=lambda v: " ".join(v) if isinstance(v, list) else v.name)
def test_commands_of_refine_are_accepted(page: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command, *arguments = words
    if command == "domains" or "--help" in words:
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        assert "image" in capsys.readouterr().out
    elif command == "inspect":
        assert len(arguments) == 1 and "=" not in arguments[0]
    elif command == "reproduce":
        assert cli.commands[command].make_context(command, list(arguments)).params["table"] in (*TABLES, "all")
    elif command == "study":
        assert cli.commands[command].make_context(command, list(arguments)).params["which"] in STUDIES
    elif command == "regrid":
        found = cli.commands["regrid"].make_context("regrid", list(arguments)).params
        assert Grid.parse(found["grid"]).name == found["grid"]
    elif command == "import":
        kind, *given = arguments
        assert cli.commands["import"].commands[kind].make_context(kind, given).params["to"]  # type: ignore[attr-defined]
    else:
        named = take(arguments, ("run", "domain", "experiment"))[0]
        if command == "train" and ("domain" in named or "experiment" in named):
            base = None
        else:  # on top of a run, which the page has trained before
            base = compose([f"domain={named.get('domain', 'image')}"])
        config = compose(arguments, base, SECTIONS[command])
        assert config.run == named.get("run")


def test_other_commands_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    others = [words for _, words in commands() if words[0] != "refine"]
    made = [words[1] for words in others if words[0] == "make"]
    scripts = [words[1] for words in others if words[0] == "python"]
    assert {"demo", "test"} <= set(made) <= set(targets)
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [t.partition("#") for t in LINK.findall(text) if "://" not in t]
    missing = [path for path, _, _ in targets if path and not (page.parent / path).exists()]
    assert not missing
    for path, _, anchor in targets:
        headings = re.findall(r"^#+ (.+)$", (page.parent / path if path else page).read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
        assert not anchor or anchor in slugs, f"{path}#{anchor} is none of {slugs}"
