"""What a running `plantedge up` writes down for `status`, `logs` and `down`: `<work folder>/run/state.json`."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path

import msgspec
import psutil


class Phase(StrEnum):
    """Where a child is in its life."""

    WAITING = "waiting"  # for what it comes after
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ChildState(msgspec.Struct, frozen=True, kw_only=True):
    """One child. `reason`: why it last ended; `realtime`: whether it runs under SCHED_FIFO, None when not asked to."""

    name: str
    phase: Phase
    pid: int = 0
    restarts: int = 0
    reason: str = ""
    rss_mb: float = 0.0
    realtime: bool | None = None
    since_ns: int = 0


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """A supervisor and its children. `created`: its process's start, so that a reused pid is not taken for it.

    `stopping`: it was asked to end.
    """

    pid: int
    created: float
    home: str = ""
    ready_s: float | None = None
    stopping: bool = False
    urls: dict[str, str] = {}
    children: list[ChildState] = []
    time_ns: int = 0


def work_folder(home: Path | None = None) -> Path:
    """Return the folder for logs, state and demo: inside a device folder, else $PLANTEDGE_DIR or `.plantedge`.

    That is the checkout's where we run from its environment, whatever folder the person stands in.
    """
    if home is not None:
        return home.resolve() / ".plantedge"
    named, environment = os.environ.get("PLANTEDGE_DIR"), Path(sys.prefix)
    if not named and environment.parent.name == ".plantedge":
        return environment.parent
    return Path(named or ".plantedge").resolve()


def command_name() -> str:
    """Return how the person calls us: `./run` says so in $PLANTEDGE_COMMAND."""
    return os.environ.get("PLANTEDGE_COMMAND") or "plantedge"


def of_home(work: Path) -> str:
    """Return the option that a command needs for the device of this work folder, "" for the demo's."""
    return f" --home {shortened(work.parent)}" if (work.parent / "device.toml").exists() else ""


def shortened(path: Path) -> str:
    """Return a path as the person would type it: relative where it lies below their folder."""
    here = Path(os.environ.get("PWD") or Path.cwd())
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def state_file(work: Path) -> Path:
    """Return where the state of a work folder lies."""
    return work / "run" / "state.json"


def log_file(work: Path, name: str) -> Path:
    """Return where the log of a child lies."""
    return work / "log" / f"{name}.log"


def write_state(work: Path, state: RunState) -> None:
    """Replace the state file: a reader sees the old one or the new one."""
    path = state_file(work)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    fresh.replace(path)


def read_state(work: Path) -> RunState | None:
    """Return the state of a supervisor that is still alive, None without one."""
    try:
        state = msgspec.json.decode(state_file(work).read_bytes(), type=RunState)
        process = psutil.Process(state.pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - state.created) < 1.0
    except (OSError, msgspec.DecodeError, psutil.Error):
        return None
    return state if alive else None


def own_state() -> RunState:
    """Return the state of this process as a supervisor without children."""
    return RunState(pid=os.getpid(), created=psutil.Process().create_time(), time_ns=time.time_ns())
