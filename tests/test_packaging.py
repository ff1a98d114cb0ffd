"""What is installed: one package with its domains and settings, light to import, and no import where none may be."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    "module", ["refine", "refine.cli", "refine.models.refiner", "refine.settings.compose", "refine.storage.runs"]
)
def test_importing_the_core_loads_no_domain_and_no_data_library(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
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
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel of this checkout; other packages are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "runs", "samples", "data", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "source")]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(folder / "source")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    subprocess.run([*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)], check=True)
    return folder / "venv"


def elsewhere(installed: Path, folder: Path, *command: str) -> str:
    """Standard output of a program of the environment, run in another folder."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    program = [str(installed / "bin" / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=folder, env=environment | {"COLUMNS": "200"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    code = """if True:
        import refine, refine.settings.compose, refine.configs, refine.domains.image
        print(refine.__file__, refine.domains.__file__, refine.configs.__file__)
        print(refine.settings.compose.compose(["experiment=mnist", "sampler=var"]).sampler.top_k)
        for group in refine.settings.compose.GROUPS: print(group, *refine.settings.compose.group_files(group))
    """
    first, *rest = elsewhere(installed, tmp_path, "python", "-c", code).splitlines()
    assert all(path.startswith(str(installed)) for path in first.split())
    from refine.settings.compose import GROUPS, group_files

    assert rest == ["900", *(" ".join([group, *group_files(group)]) for group in GROUPS)]
    assert "image" in elsewhere(installed, tmp_path, "refine", "domains")
    assert "domain.factor=1" in elsewhere(installed, tmp_path, "refine", "train", "domain=image", "--help")


@pytest.mark.slow
def test_wheel_holds_every_file_and_nothing_beside_refine(installed: Path) -> None:
    site = next((installed / "lib").glob("python*/site-packages"))
    assert not (site / "domains").exists() and not (site / "configs").exists()
    kinds = {".py", ".yaml", ".json", ".safetensors", ".npz", ".typed"}
    for source, target in [
        (ROOT / "refine", "refine"),
        (ROOT / "domains", "refine/domains"),
        (ROOT / "configs", "refine/configs"),
    ]:
        for path in source.rglob("*"):
            if path.is_file() and path.suffix in kinds:
                assert (site / target / path.relative_to(source)).is_file(), path


@pytest.mark.slow
def test_wheel_draws_from_the_starter(installed: Path, tmp_path: Path) -> None:
    if not (ROOT / "domains" / "image" / "starter" / "config.json").is_file():
        pytest.skip("this checkout has no starter checkpoint")
    elsewhere(installed, tmp_path, "refine", "sample", "domain=image", "--num", "2", "--label", "7")
    (folder,) = (tmp_path / "samples").iterdir()
    assert (folder / "samples.png").is_file()
