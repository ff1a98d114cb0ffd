"""What is installed: one package with its domains and settings, light to import, and no import where none may be."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import refine

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = ["PIL", "matplotlib", "networkx", "pandas", "pooch", "pyarrow", "scipy", "sklearn", "torch_geometric", "xarray"]


def packages(folder: Path, name: str) -> set[str]:
    """Dotted names of the packages in ``folder``, links not followed."""
    found = {name}
    for init in folder.rglob("__init__.py"):
        inner = init.parent.relative_to(folder)
        if not any((folder / part).is_symlink() for part in [inner, *inner.parents][:-1]):
            found.add(".".join([name, *inner.parts]))
    return found


def test_every_package_is_listed() -> None:
    found = {p for n, f in [("refine", "refine"), ("refine.domains", "domains")] for p in packages(ROOT / f, n)}
    assert found | {"refine.configs"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_links_give_the_checkout_the_installed_names() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("a source distribution has no links")
    for name in ("domains", "configs"):
        assert (ROOT / "refine" / name).readlink() == Path("..") / name


def test_all_is_everything() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert extras["all"] == [f"refine-var[{','.join(name for name in extras if name not in ('all', 'dev', 'docs'))}]"]


def imports(path: Path, package: str) -> set[str]:
    """Absolute names of what a module imports, at any depth of it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            parent = ".".join([*base, *([node.module] if node.module else [])])
            names |= {parent} | {f"{parent}.{alias.name}" for alias in node.names}
    return names


def test_domains_do_not_import_one_another() -> None:
    domains = [p.name for p in (ROOT / "domains").iterdir() if (p / "__init__.py").is_file()]
    assert "image" in domains
    for domain in domains:
        for path in (ROOT / "domains" / domain).rglob("*.py"):
            own = f"refine.domains.{domain}"
            package = ".".join([own, *path.parent.relative_to(ROOT / "domains" / domain).parts])
            for name in imports(path, package):
                other = name.startswith("refine.domains.") and not f"{name}.".startswith(f"{own}.")
                assert not other and not name.startswith("domains"), f"{path} imports {name}"


def test_importing_the_core_loads_no_domain_and_no_data_library() -> None:
    core = "refine, refine.cli, refine.models.refiner, refine.settings.compose, refine.storage.runs"
    code = f"import sys, {core}; print([m for m in {HEAVY} if m in sys.modules])"
    code += "; print([m for m in sys.modules if m.startswith('refine.domains.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_bare_import_is_light() -> None:
    code = "import sys, refine; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_domains_have_one_name_only() -> None:
    done = subprocess.run([sys.executable, "-c", "import domains"], cwd=ROOT, capture_output=True, text=True)
    assert "import this package as refine.domains" in done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution, and the wheel made of it; of a checkout with litter in it."""
    if find_spec("build") is None:
        pytest.skip("build is not installed")
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=lambda at, names: UNREAD if Path(at) == ROOT else set())
    for litter in LITTER:
        (source / litter).parent.mkdir(parents=True, exist_ok=True)
        (source / litter).write_text("litter")
    new = int(version("setuptools").split(".")[0]) >= 77
    build = [sys.executable, "-m", "build", *(["--no-isolation"] if new else []), "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shutil.rmtree(source)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


UNREAD = {".git", ".venv", ".mypy_cache", "runs", "samples", "forecasts", "data", "build", "dist"}
LITTER = [
    ".venv/lib/module.py",
    ".mypy_cache/x.json",
    "runs/mine/model.safetensors",
    "samples/x.png",
    "forecasts/x.png",
    "data/x",
    "study/x.json",
    "reproduction/x.json",
    "docs/_build/index.html",
    "tests/__pycache__/x.pyc",
    "domains/image/__pycache__/x.pyc",
    "notes.txt",
]
NOT_PACKED = re.compile(r"\.git/|\.github/|\.gitignore$|MANIFEST\.in$|refine/(configs|domains)$")


def tracked() -> set[str]:
    """The files of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("what belongs to the repository is known in a checkout only")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in out.splitlines() if (ROOT / name).is_file()}


@pytest.mark.slow
def test_the_source_distribution_is_the_repository(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as file:
        names = [m.name.partition("/")[2] for m in file.getmembers() if m.isfile()]
    made = re.compile(r"PKG-INFO$|setup\.cfg$|refine_var\.egg-info/")
    packed = [name for name in names if not made.match(name) and name != "MANIFEST.in"]
    assert len(packed) == len(set(packed))
    assert set(packed) == {name for name in tracked() if not NOT_PACKED.match(name)}


@pytest.mark.slow
def test_the_wheel_is_refine_and_nothing_else(built: tuple[Path, Path]) -> None:
    with ZipFile(built[1]) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    moved = {re.sub(r"^(domains|configs)/", r"refine/\1/", name) for name in tracked()}
    inside = {name for name in moved if name.startswith("refine/") and not NOT_PACKED.match(name)}
    assert names == inside


@pytest.mark.slow
def test_the_index_accepts_both(built: tuple[Path, Path]) -> None:
    if find_spec("twine") is None:
        pytest.skip("twine is not installed")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel; other packages are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others) + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(built[1])], check=True)
    return folder / "venv"


def elsewhere(installed: Path, folder: Path, *command: str) -> str:
    """Standard output of a program of the environment, run in another folder."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    program = [str(installed / "bin" / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=folder, env=environment | {"COLUMNS": "80"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    code = """if True:
        import json, refine, refine.settings.compose, refine.configs, refine.domains.image
        from refine.kinds import ALL
        compose, kinds = refine.settings.compose, [*ALL.values()]
        print(json.dumps({
            "files": [m.__file__ for m in (refine, refine.domains, refine.configs)],
            "top_k": refine.compose(["experiment=mnist", "sampler=var"]).sampler.top_k,
            "groups": {group: list(compose.group_files(group)) for group in compose.GROUPS},
            "packages": {name: domain.packages for name, domain in kinds[0].all() if isinstance(domain, type)},
            "kinds": {kind.group: {n: kind.home(n) for n, c in kind.all() if isinstance(c, type)} for kind in kinds},
        }))
    """
    found = json.loads(elsewhere(installed, tmp_path, "python", "-c", code))
    assert all(path.startswith(str(installed)) for path in found["files"])
    from refine.extras import called
    from refine.settings.compose import GROUPS, group_files

    assert found["top_k"] == 900 and found["groups"] == {group: list(group_files(group)) for group in GROUPS}
    for group, parts in PROJECT["project"]["entry-points"].items():
        assert found["kinds"][group].items() >= parts.items()
    for name, needed in found["packages"].items():
        if extra := PROJECT["project"]["optional-dependencies"].get(name):
            brought = {re.split(r"[\[<>=]", line)[0] for line in extra}
            assert {called(package) for package in needed} <= brought


@pytest.mark.slow
def test_wheel_draws_from_the_starter(installed: Path, tmp_path: Path) -> None:
    if not (ROOT / "domains" / "image" / "starter" / "config.json").is_file():
        pytest.skip("this checkout has no starter checkpoint")
    elsewhere(installed, tmp_path, "refine", "sample", "domain=image", "--num", "2", "--label", "7")
    (folder,) = (tmp_path / "samples").iterdir()
    assert (folder / "samples.png").is_file()


CORE_ONLY = """
import sys

GONE = {gone}


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocker())
"""
EXTRAS = [
    "sklearn",
    "pyarrow",
    "pooch",
    "torch_geometric",
    "rustworkx",
    "scipy",
    "polygraph",
    "pygsp",
    "rdkit",
    "fcd",
    "xarray",
    "zarr",
    "dask",
    "distributed",
    "netCDF4",
    "healpy",
    "e3nn",
    "xskillscore",
    "scores",
    "diffusers",
    "torchvision",
]  # without pillow, networkx and torchmetrics, which matplotlib, torch and lightning bring
COMMANDS = {
    "train domain=image": "refine-var[image]",
    "sample domain=image": "refine-var[image]",
    "sample domain=graph": "refine-var[graph]",
    "ensemble domain=weather": "refine-var[weather]",
    "study frontier": "refine-var[image]",
    "evaluate domain=graph": "refine-var[graph]",
}


def core_only(folder: Path, gone: list[str], code: str) -> str:
    """Standard output of a program that cannot import some packages, and last of all."""
    (folder / "sitecustomize.py").write_text(CORE_ONLY.format(gone=gone))
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_missing_extra_is_one_message(tmp_path: Path) -> None:
    code = f"""if True:
        import contextlib, io, json
        import refine
        from refine.cli import main
        out = {{}}
        for line in {[*COMMANDS, "domains"]!r}:
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                try:
                    main(line.split())
                except SystemExit as error:
                    out[line] = error.code, said.getvalue()
        for name in ("image", "graph", "weather"):
            try:
                refine.load_domain(name)
            except refine.RefineError as error:
                out[name] = str(error)
        print(json.dumps(out))
    """
    found = json.loads(core_only(tmp_path, EXTRAS, code))
    for line, extra in COMMANDS.items():
        code_, said = found[line]
        assert code_ == 2 and said.startswith("error: ") and said.count("\n") == 1, said
        assert f"pip install '{extra}'" in said, said
    code_, said = found["domains"]
    assert code_ == 0 and max(map(len, said.splitlines())) <= 80
    for name in ("image", "graph", "weather"):
        assert f"{name}  " in said and f"needs more: pip install 'refine-var[{name}]'" in said
        assert f"'refine-var[{name}]'" in found[name]
    assert not [p for p in tmp_path.iterdir() if p.name in ("runs", "samples", "study")]


def test_a_package_that_only_some_of_a_domain_needs_is_named_when_it_is_needed(tmp_path: Path) -> None:
    code = """if True:
        import refine
        from refine.domains.image.codecs.losses import lpips
        from refine.studies.contest.diffusion import scheduler
        from refine.domains.graph.metrics.molecule_metrics import chemnet_distances
        for call in (lpips, lambda: scheduler("DDIMScheduler")):
            try:
                call()
            except refine.RefineError as error:
                print(error)
        print(chemnet_distances(["C", "CC"], ["C", "CC"], ["C", "CC"])["fcd_missing"])
    """
    lines = core_only(tmp_path, ["torchvision", "diffusers", "fcd"], code).splitlines()
    extras = [re.search(r"pip install '?refine-var\[(\w+)\]|pip install torchvision", line) for line in lines]
    assert [m and (m.group(1) or "perceptual") for m in extras] == ["perceptual", "study", "molecules"], lines


def test_what_an_extra_brings_is_said(tmp_path: Path) -> None:
    from refine.extras import install_command

    assert install_command("sklearn") == "pip install 'refine-var[image]'"
    assert install_command("scipy", extra="weather") == "pip install 'refine-var[weather]'"
    assert install_command("nowhere") == install_command("nowhere", None) == "pip install nowhere"


def test_continuous_integration_runs_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow[True]["push"]["tags"] == ["v*"]  # "on" is a yes to YAML
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert os.access(ROOT / ".ci" / "run", os.X_OK) and ".ci/run" in commands
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {c.removeprefix("make ") for c in commands if c.startswith("make ")} == {"docs", "dist"} <= set(targets)
    stated = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line}
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) <= stated


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == refine.__version__ and citation["license"] == PROJECT["project"]["license"]
    (paper,) = citation["references"]
    assert paper["url"].removeprefix("https://") in (ROOT / "README.md").read_text()


def test_what_the_make_file_makes_is_ignored() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {
        ".venv/",
        "/runs/",
        "/samples/",
        "/forecasts/",
        "/study/",
        "/reproduction/",
        "/dist/",
        "/docs/_build/",
    } <= set(ignored)
