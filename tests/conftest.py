"""What tests share: independent peers, free ports, a scratch home, the data sets beside the checkout."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".plantedge" / "peers"
NODE_MODULES = PEERS / "node" / "node_modules"
# Programs that `./run` unpacked, and those that Debian keeps off a user's PATH, are found last.
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", str(PEERS / "bin")])

# As edge/models/ort_session.py does, for tests that load ONNX Runtime by themselves: it would report to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# pytest's timeout bounds a test; a deadline per example would measure what else the machine does.
settings.register_profile("plantedge", deadline=None)
settings.load_profile("plantedge")


def absent(what: str, remedy: str) -> NoReturn:
    """Skips the test with its reason; fails it under CI, where a skipped peer would hide a broken promise."""
    message = f"{what} is not on this machine: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def find_program(name: str) -> Path:
    """The path of an independent program such as `mbpoll`; skips (fails under CI) where there is none."""
    found = shutil.which(name, path=PROGRAMS)
    if found is None:
        absent(name, "./run test installs it as root on Debian")
    return Path(found)


def find_node_module(name: str) -> Path:
    """The folder of an npm package of tests/peers/package.json; skips (fails under CI) where there is none."""
    find_program("node")
    folder = NODE_MODULES / name
    if not folder.is_dir():
        absent(f"npm package {name}", "./run test installs it")
    return folder


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """`peer("mbpoll")` is the path of that program."""
    return find_program


@pytest.fixture(scope="session")
def node_module() -> Callable[[str], Path]:
    """`node_module("node-opcua")` is the folder of that package; run node with NODE_PATH=its parent."""
    return find_node_module


def bind_free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago, for programs that can't say which port they chose."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`free_port()` is another free TCP port of 127.0.0.1 at each call."""
    return bind_free_port


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home folder, so that nothing of the person's own configuration is read or written."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
    yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data sets that lie beside the checkout (Tennessee Eastman, Numenta)."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        absent(str(folder), "the data sets are not part of the repository")
    return folder
