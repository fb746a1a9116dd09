"""The distribution: its locks, its wheel, its start script."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("edge", "bus", "cloud", "schemas")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def pins(lock: Path) -> dict[str, str]:
    """Name and version of each locked package."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


def run(*argv: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert text.startswith("# Generated from pyproject.toml by ./run lock")
    assert "://" not in text
    requirements = re.findall(r"^[a-z0-9].*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert requirements
    assert [line for line in requirements if "--hash=sha256:" not in line] == []


@pytest.mark.parametrize(("name", "extras"), [("device", ()), ("cloud", ("cloud",)), ("dev", ("cloud", "compiler"))])
def test_a_lock_satisfies_what_the_project_declares(name: str, extras: tuple[str, ...]) -> None:
    declared = list(PROJECT["dependencies"])
    for extra in extras:
        declared += PROJECT["optional-dependencies"][extra]
    locked = pins(ROOT / "requirements" / f"{name}.txt")
    for requirement in map(Requirement, declared):
        version = locked.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{requirement}: run ./run lock"


def test_all_locks_fit_into_one_environment() -> None:
    union = pins(ROOT / "requirements" / "dev.txt")
    for lock in LOCKS:
        shared = {name: version for name, version in pins(lock).items() if name in union}
        assert shared == {name: union[name] for name in shared}


def test_each_dependency_says_who_uses_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    tables = text[text.index("dependencies = [") : text.index("[tool.hatch")]
    entries = re.findall(r'^    "[^"]+",.*$', tables[tables.index("\n") :], re.MULTILINE)
    assert len(entries) > len(PROJECT["dependencies"])
    assert [entry for entry in entries if not re.search(r",\s+# \S+", entry)] == []


def test_an_unknown_command_is_refused_with_the_list_of_commands(tmp_path: Path) -> None:
    answer = run(ROOT / "run", "uP", cwd=tmp_path)
    assert answer.returncode == 2
    assert "no command 'uP'" in answer.stderr
    assert "./run test" in answer.stderr


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    checkout = tmp_path / "a folder with spaces"
    (checkout / "requirements").mkdir(parents=True)
    for name in ("run", "pyproject.toml", "requirements/cloud.txt", "requirements/build.txt"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("cat", "cksum", "cut", "date", "dirname", "grep", "id", "ls", "mkdir", "rm", "tail", "uname"):
        (programs / name).symlink_to(
            next(path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists())
        )
    answer = run("/bin/sh", checkout / "run", "doctor", PATH=str(programs))
    assert answer.returncode == 1
    assert "apt-get install python3" in answer.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("plantedge-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel; the dependencies come from this one, without its editable install."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (own,) = {path for path in map(Path, sys.path) if (path / "msgspec").is_dir()}
    (site / "dependencies.pth").write_text(f"{own}\n")  # lines of .pth files inside it are not read
    return folder


def files_of(package: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"}.intersection(path.parts)
    }


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    pages = ("cloud/ui/", "edge/operator_page/ui/")  # sources of what is in static/
    wanted = {name for package in PACKAGES for name in files_of(package) if not name.startswith(pages)}
    wanted.add("bus/amqtt.txt")  # the lock of the broker that is installed on demand
    wanted.update(f"edge/boards/{path.name}" for path in (ROOT / "deploy" / "boards").glob("*.toml"))
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted


@pytest.mark.slow
def test_an_installed_wheel_imports_from_its_own_folder(installed: Path, tmp_path: Path) -> None:
    code = "import edge, bus, cloud, schemas; print(*(m.__file__ for m in (edge, bus, cloud, schemas)), sep='\\n')"
    answer = run(installed / "bin" / "python", "-c", code, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert all(line.startswith(str(installed)) for line in answer.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(PROJECT["scripts"]))
def test_the_commands_of_an_installed_wheel_answer(script: str, installed: Path, tmp_path: Path) -> None:
    module, _, function = PROJECT["scripts"][script].partition(":")
    start = f"import sys; sys.argv = [{script!r}, '--help']; from {module} import {function}; sys.exit({function}())"
    answer = run(installed / "bin" / "python", "-c", start, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert script in answer.stdout
