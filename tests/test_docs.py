"""README and docs say what is so: snippets run, commands are accepted, links lead somewhere, names and paths exist."""

from __future__ import annotations

import functools
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from test_rooms import ORDERS, modules

import refine
from refine import kinds
from refine.cli import main
from refine.commands.configure import accepted, configure
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.settings.compose import compose, config_keys
from refine.settings.overrides import take
from refine.studies.contest.write_up import STUDIES
from refine.studies.paper.claims import TABLES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
API = [page for page in PAGES if page.parent.name == "api"]
BLOCK = re.compile(r"^```([\w{}-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    return [body for language, body in BLOCK.findall(page.read_text()) if language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def between(page: Path, name: str) -> list[list[str]]:
    """The rows of the table behind the comment ``<!-- name -->``, without its head; each a list of cells."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n((?:\|.*\n)+)", page.read_text())
    assert found, f"{page.name} has no table {name}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()[2:]]


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package of the documentation, announced as an installed one would be."""
    example, folder = ROOT / "docs" / "examples" / "signals", tmp_path_factory.mktemp("site")
    for source in example.glob("*.py"):
        shutil.copy(source, folder)
    metadata = folder / "refine_signals-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: refine-signals\nVersion: 1.0\n")
    groups = tomllib.loads((example / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in entries.items()) for group, entries in groups.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(autouse=True)
def somewhere(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder to be in, the example package installed, and nothing registered afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    before = {kind: dict(kind._registered) for kind in kinds.ALL.values()}
    yield
    for kind, registered in before.items():
        kind._registered.clear()
        kind._registered.update(registered)


# -- what runs ---------------------------------------------------------------------------------------------------------


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


REFINE = {tuple(words[1:]): page for page, words in commands() if words[0] == "refine"}  # each once


@functools.cache
def defaults(domain: str) -> Any:
    """The configuration of a domain of which nothing is said; composing on top of it leaves it as it is."""
    return compose([f"domain={domain}"])


@pytest.mark.parametrize("words", REFINE, ids=lambda words: f"{REFINE[words].name}-{' '.join(words)}")
def test_commands_of_refine_are_accepted(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    name, *arguments = words
    if "--help" in words:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        assert stop.value.code == 0
        assert "image" in capsys.readouterr().out
        return
    command = kinds.COMMANDS.load(name)
    if not command.of_a_model:
        options = configure(name, command, arguments)
        assert name != "reproduce" or options.table in (*TABLES, "all")
        assert name != "study" or options.which in STUDIES
        assert name != "regrid" or Grid.parse(options.grid).name == options.grid
        return
    named = take(arguments, ("run", "domain", "experiment"))[0]
    bases: list[Any] = [None]
    if name != "train" or not {"domain", "experiment"} & named.keys():  # on top of a run, which the page has trained
        able = kinds.DOMAINS.names() if command.needs is None else command.needs.domains()
        bases = [defaults(domain) for domain in ([named["domain"]] if "domain" in named else able)]
    said = list[str]()
    for base in bases:
        try:
            assert compose(arguments, base, accepted(name, command)).run == named.get("run")
            return
        except RefineError as error:
            said.append(str(error))
    pytest.fail("; ".join(said))


def test_other_commands_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    others = [words for _, words in commands() if words[0] != "refine"]
    made = [words[1] for words in others if words[0] == "make"]
    scripts = [words[1] for words in others if words[0] == "python"]
    scripts += [s for page in PAGES for s in re.findall(r"`python\s+(\S+\.py)", page.read_text())]
    assert {"demo", "test"} <= set(made) <= set(targets)
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


# -- what is there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    targets = [t.partition("#") for t in LINK.findall(prose(page)) if "://" not in t]
    missing = [path for path, _, _ in targets if path and not (page.parent / path).exists()]
    assert not missing
    for path, _, anchor in targets:
        headings = re.findall(r"^#+ (.+)$", (page.parent / path if path else page).read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
        assert not anchor or anchor in slugs, f"{path}#{anchor} is none of {slugs}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_exist(page: Path) -> None:
    codes = " ".join(CODE.findall(prose(page)))
    paths = re.findall(r"(?<![\w/.:-])(?:refine|domains|tests|configs|docs|benchmarks)/[\w./*-]*", codes)
    assert [p for p in paths if not list(ROOT.glob(p.rstrip("/.")))] == []


def test_a_path_that_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("See `refine/nowhere.py`, `refine.nowhere.at_all`, `Refiner.nothing` and `train.nothing=3`.\n")
    for test in (test_paths_exist, test_names_of_python_exist, test_keys_exist):
        with pytest.raises(AssertionError):
            test(page)


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute or a field of something."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return has(found, parts[cut:])
    return False


def has(found: Any, parts: list[str]) -> bool:
    """Whether ``found`` has the attribute, the attribute of that attribute, and so on."""
    for i, part in enumerate(parts):
        if not hasattr(found, part):  # fields without defaults, and attributes that a class only declares
            declared = {n for c in getattr(found, "__mro__", ()) for n in getattr(c, "__annotations__", {})}
            return i == len(parts) - 1 and (part in declared or _in_docstring(found, part))
        found = getattr(found, part)
    return True


def _in_docstring(cls: Any, name: str) -> bool:
    """Whether a class says that its instances have an attribute."""
    return any(re.search(rf"^ +{name}: ", getattr(c, "__doc__", "") or "", re.M) for c in getattr(cls, "__mro__", ()))


GROUPS = {kind.group for kind in kinds.ALL.values()} | {"refine.configs"}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in API], ids=name_of)
def test_names_of_python_exist(page: Path) -> None:
    text = prose(page) + "\n".join(blocks(page, "toml"))
    names = set(re.findall(r"(?<![\w/.-])refine(?:\.[A-Za-z_]\w*)+", text)) - GROUPS - {"refine.X", "refine.NAME"}
    public = [match for code in CODE.findall(prose(page)) if (match := re.match(r"([A-Z]\w+)((?:\.\w+)+)", code))]
    names |= {f"refine.{m[0]}" for m in public if m[1] in refine.__all__}
    assert sorted(name for name in names if not exists(name)) == []


SECTIONS = ("domain", "model", "train", "trainer", "sampler", "sample", "evaluate", "ensemble", "inpaint")


def known_keys() -> set[str]:
    """Every key of every domain, and the sections that they stand in."""
    keys = {key for name in kinds.DOMAINS.names() for key in config_keys(name)}
    return keys | {key.rsplit(".", n)[0] for key in keys for n in range(1, key.count(".") + 1)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_exist(page: Path) -> None:
    found = re.findall(
        rf"(?<![\w./-])((?:{'|'.join(SECTIONS)})(?:\.\w+)+)(?=[`=\s,]|$)", "\n".join(CODE.findall(prose(page)))
    )
    known = known_keys()
    of_models = {key.split(".")[1] for key in known if key.startswith("model.")}
    keys = {key for key in found if not key.startswith("model.") or key.split(".")[1] in of_models}
    keys = {key for key in keys if not key.endswith((".py", ".png", ".json", ".md"))}
    wrong = [key for key in keys if key not in known and f"{key.partition('.options.')[0]}.options" not in known]
    assert sorted(wrong) == []


# -- what follows from the classes -------------------------------------------------------------------------------------


def test_table_of_commands() -> None:
    shipped = [(n, c) for n, c in kinds.COMMANDS.all() if isinstance(c, type) and c.__module__.startswith("refine.")]
    rows = []
    for name, command in sorted(shipped, key=lambda pair: (pair[1].place, pair[0])):
        able = "all" if command.needs is None else ", ".join(f"`{d}`" for d in of_refine(command.needs.domains()))
        needs = "" if command.needs is None else f"`{command.needs.__name__}`"
        rows.append([f"`refine {name}`", " ".join(command.__doc__.split("\n\n")[0].split()), needs, able])
    assert between(ROOT / "docs" / "command-line.md", "commands") == rows


def of_refine(domains: dict[str, type]) -> list[str]:
    return [name for name, domain in domains.items() if domain.__module__.startswith("refine.")]


def test_table_of_kinds() -> None:
    announced = PROJECT["project"]["entry-points"]
    rows = [
        [
            kind.word,
            f"`refine.{kind._base.__name__}`",
            f"`{kind.group}`",
            f"`{kind.key}`",
            ", ".join(f"`{name}`" for name in sorted(announced.get(kind.group, {}))),
        ]
        for kind in kinds.ALL.values()
        if kind._base is not None
    ]
    assert between(ROOT / "docs" / "design.md", "kinds") == rows


@pytest.mark.parametrize("house", [name for name in ORDERS if name != "refine.studies"])
def test_drawing_of_the_house(house: str) -> None:
    name = house.removeprefix("refine.").replace(".", "/")
    drawing = re.search(rf"<!-- house {name} -->\n```text\n(.*?)```", (ROOT / "docs" / "design.md").read_text(), re.S)
    assert drawing
    entries = re.findall(r"^    (\S+)", drawing[1], re.M)
    folder = ROOT / name
    assert all((folder / entry).exists() for entry in entries)
    order = [room for room in ORDERS[house] if not room.startswith("__")]
    assert [entry.removesuffix(".py").rstrip("/") for entry in entries] == order


def test_table_of_pyramids_methods() -> None:
    listed = [
        name for row in between(ROOT / "docs" / "library.md", "methods refine.Pyramid") for name in CODE.findall(row[0])
    ]
    public = {name for name in vars(refine.Pyramid) if not name.startswith("_")} - {"build", "Options"}
    assert {name.partition("(")[0] for name in listed} == public


def test_table_of_extras() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    listed = {n for row in between(ROOT / "README.md", "extras") for n in CODE.findall(row[0])}
    assert listed == set(extras)
    for row in between(ROOT / "README.md", "extras"):
        names = [name for extra in CODE.findall(row[0]) for name in extras[extra]]
        brought = {re.match(r"[\w-]+", name)[0].lower() for name in names}  # type: ignore[index]
        assert set(re.findall(r"[\w-]+", row[2].lower())) <= brought | {"includes"} or not CODE.findall(row[0])


def test_reference_has_every_public_name_once() -> None:
    text = "\n".join(page.read_text() for page in API)
    described = re.findall(r"^\.\. auto(?:class|function|data):: refine\.(\w+)$", text, re.MULTILINE)
    assert sorted(described) == sorted(name for name in refine.__all__ if name != "__version__")
    listed = re.findall(r"^   (\w+)$", (ROOT / "docs" / "api" / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(described)


def test_reference_has_every_module() -> None:
    described = set(re.findall(r"^\.\. automodule:: (\S+)$", "\n".join(page.read_text() for page in API), re.MULTILINE))
    left_out = ("refine.domains", "refine.configs", "refine.studies.paper.", "refine.studies.contest.")
    rooms = {p for name in modules(ROOT) for p in [name.rpartition(".")[0]] if p != "refine"}
    alone = {"refine", "refine.__main__", "refine.version"}
    wanted = {n for n in modules(ROOT) if not n.startswith(left_out) and n not in alone}
    assert described - rooms == wanted - rooms


def test_sections_of_the_documented_configuration_are_dataclasses() -> None:
    assert all(is_dataclass(getattr(refine, name)) for name in refine.__all__ if name.endswith("Config"))


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package)
    line = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "dummy", "docs", str(tmp_path / "site")]
    line += ["-d", str(tmp_path / "doctrees")]  # all but the writing of pages
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
