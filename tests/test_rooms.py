"""The house: every folder is a room, and imports go down only, wherever in a file they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES, LINES = 14, 350  # of a folder, of a file; at most

CORE = [  # files of the ground floor and rooms of refine/, lowest first
    *("errors", "linear", "items", "progress", "version", "extras", "types", "noise", "kinds", "capabilities"),
    *("settings", "storage", "scales", "codes", "network", "drawing", "models"),
    *("domain", "pipelines", "learning", "testing", "studies", "commands", "cli", "__main__"),
]
STUDIES = ["store", "paper", "contest"]
WEATHER = [
    *("config", "sphere", "fields", "ensembles", "scores", "forecaster", "pictures"),
    *("regrid_command", "ensemble_command", "evaluate_command", "domain"),
]
GRAPH = ["config", "graphs", "splitting", "network", "metrics", "pictures", "model", "domain"]
IMAGE = ["config", "data", "codecs", "image_data", "pictures", "judging", "var", "domain"]
ORDERS = {
    "refine": CORE,
    "refine.studies": STUDIES,
    "refine.domains.weather": WEATHER,
    "refine.domains.graph": GRAPH,
    "refine.domains.image": IMAGE,
}

Imports = Mapping[str, set[str]]


# -- the checker -------------------------------------------------------------------------------------------------------


def modules(root: Path) -> dict[str, Path]:
    """Files by dotted name: of ``refine/``, and of ``domains/`` as ``refine.domains``; links are not followed."""
    found: dict[str, Path] = {}
    for folder, package in ((root / "refine", ("refine",)), (root / "domains", ("refine", "domains"))):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if not any(parent.is_symlink() for parent in list(path.parents)[: len(parts)]):
                found[".".join([*package, *parts]).removesuffix(".__init__")] = path
    return found


def imports(files: Mapping[str, Path]) -> Imports:
    """What each module imports of the others: at the top, in functions, under ``TYPE_CHECKING``, and by what the
    public face gives (``from refine import Model`` is an import of the module that has it)."""
    face = public_face(files)
    out: dict[str, set[str]] = {}
    for name, path in files.items():
        found: set[str] = set()
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        for node in [] if name == "refine" else ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    found.add(face.get(alias.name, base) if base == "refine" and full not in files else full)
                    found |= set() if full in files or base == "refine" else {base}
        out[name] = (found & files.keys()) - {name, "refine"}
    return out


def public_face(files: Mapping[str, Path]) -> dict[str, str]:
    """The module behind each name of ``refine/__init__.py``'s table of lazy imports."""
    tree = ast.parse(files["refine"].read_text(encoding="utf-8")) if "refine" in files else ast.Module([], [])
    tables = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "_HOME"]
    return dict(ast.literal_eval(tables[0])) if tables else {}


def circles(found: Imports) -> list[list[str]]:
    """Groups of modules each of which reaches the others by imports (strongly connected components)."""

    def reached(start: str, edges: Imports) -> set[str]:
        seen, todo = set[str](), [start]
        while todo:
            for other in edges.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    back: dict[str, set[str]] = {}
    for name, others in found.items():
        for other in others:
            back.setdefault(other, set()).add(name)
    groups = {tuple(sorted(reached(name, found) & reached(name, back))) for name in found}
    return sorted(list(group) for group in groups if group)


def upward(found: Imports, house: str, order: Sequence[str]) -> Iterator[str]:
    """Imports of what stands higher in a house, and everything that has no place in its order."""
    place = {room: i for i, room in enumerate(order)}
    inside = {name: name.removeprefix(f"{house}.").partition(".")[0] for name in found if name.startswith(f"{house}.")}
    inside = {name: room for name, room in inside.items() if (house, room) != ("refine", "domains")}
    yield from (f"{house}: {room} has no place in the order" for room in sorted({*inside.values()} - {*order}))
    yield from (f"{house}: {room} is in the order and not there" for room in order if room not in inside.values())
    for name, room in inside.items():
        for other in sorted(found[name]):
            if other.startswith("refine.domains.") and house == "refine":
                yield f"{name} imports {other}, a domain"
            elif other in inside and place.get(inside[other], -1) > place.get(room, len(order)):
                yield f"{name} imports {other}, which stands higher"
    if house != "refine":  # what a package shows to others is not for its own rooms
        yield from (f"{name} imports its own package" for name in inside if house in found[name])


def folders() -> list[Path]:
    """Every folder of ``refine/`` and ``domains/`` that has modules."""
    return sorted({path.parent for path in modules(ROOT).values()})


# -- the house as it stands --------------------------------------------------------------------------------------------


@cache
def as_it_stands() -> Imports:
    return imports(modules(ROOT))


def test_no_circles_anywhere() -> None:
    assert circles(as_it_stands()) == []


@pytest.mark.parametrize("house", ORDERS)
def test_rooms_import_downwards_only(house: str) -> None:
    assert list(upward(as_it_stands(), house, ORDERS[house])) == []


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_are_small_and_say_what_they_are(folder: Path) -> None:
    files = list(folder.glob("*.py"))
    assert len([path for path in files if path.stem != "__init__"]) <= MODULES
    assert {path.name: n for path in files if (n := len(path.read_text().splitlines())) > LINES} == {}
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), "no docstring"


# -- planted faults ----------------------------------------------------------------------------------------------------


def house(folder: Path, **files: str) -> Imports:
    """The imports of a house of these files; ``__`` in a name is a folder."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / "refine" / f"{name if name == '__init__' else name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return imports(modules(folder))


UPSTAIRS = {
    "at the top": "from refine.upstairs.attic import Lamp",
    "a module": "import refine.upstairs.attic",
    "from its package": "from refine.upstairs import attic",
    "relative": "from ..upstairs.attic import Lamp",
    "in a function": "def lamp():\n    from refine.upstairs import attic\n    return attic",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from refine.upstairs.attic import Lamp",
    "in a branch": "try:\n    import refine.upstairs.attic as a\nexcept ImportError:\n    a = None",
}


@pytest.mark.parametrize("way", UPSTAIRS)
def test_an_import_upstairs_is_found(way: str, tmp_path: Path) -> None:
    found = house(tmp_path, downstairs__cellar=UPSTAIRS[way], upstairs__attic="class Lamp: ...")
    fault = "refine.downstairs.cellar imports refine.upstairs.attic, which stands higher"
    assert list(upward(found, "refine", ["downstairs", "upstairs"])) == [fault]
    assert list(upward(found, "refine", ["upstairs", "downstairs"])) == [] and circles(found) == []


@pytest.mark.parametrize("way", UPSTAIRS)
def test_a_circle_is_found(way: str, tmp_path: Path) -> None:
    attic = "from refine.downstairs.cellar import Coal\nclass Lamp: ..."
    found = house(tmp_path, downstairs__cellar=UPSTAIRS[way], upstairs__attic=attic)
    assert circles(found) == [["refine.downstairs.cellar", "refine.upstairs.attic"]]


def test_a_longer_circle_within_a_room_is_found(tmp_path: Path) -> None:
    steps = {f"room__{a}": f"def go():\n    import refine.room.{b}" for a, b in ("ab", "bc", "ca")}
    found = house(tmp_path, **steps, room__d="import refine.room.a")
    assert circles(found) == [["refine.room.a", "refine.room.b", "refine.room.c"]]


def test_what_goes_through_the_public_face_is_seen(tmp_path: Path) -> None:
    face = '_HOME = {"Lamp": "refine.upstairs.attic"}'
    rooms = {"downstairs__cellar": "from refine import Lamp", "upstairs__attic": "import refine.downstairs.cellar"}
    found = house(tmp_path, **rooms, __init__=face)
    assert circles(found) == [["refine.downstairs.cellar", "refine.upstairs.attic"]]
    assert any("which stands higher" in fault for fault in upward(found, "refine", ["downstairs", "upstairs"]))


def test_what_has_no_place_is_found(tmp_path: Path) -> None:
    found = house(tmp_path, hall="", shed__spade="")
    assert list(upward(found, "refine", ["hall", "tower"])) == [
        "refine: shed has no place in the order",
        "refine: tower is in the order and not there",
    ]


def test_the_core_may_not_know_a_domain(tmp_path: Path) -> None:
    (tmp_path / "domains" / "sea").mkdir(parents=True)
    (tmp_path / "domains" / "sea" / "waves.py").write_text("import refine.hall")
    found = house(tmp_path, hall="def go():\n    from refine.domains.sea import waves")
    assert list(upward(found, "refine", ["hall"])) == ["refine.hall imports refine.domains.sea.waves, a domain"]
    assert circles(found) == [["refine.domains.sea.waves", "refine.hall"]]
