"""What runs from here: `status`, `down` and `clean` read the state file of a running `plantedge up`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import msgspec

from edge.supervision import spawn
from edge.supervision.run_state import Phase, RunState, command_name, of_home, read_state, work_folder
from schemas.errors import PlantEdgeError

STOP_S = 8.0
NOT_RUNNING = 3  # as `systemctl status` says it


def status(home: Path | None, *, as_json: bool = False) -> int:
    """Print what runs; 0 when all is ready, 1 when something is not, 3 when nothing runs."""
    work = work_folder(home)
    state = read_state(work)
    if state is None:
        return _deployed(home, as_json=as_json) if home else _nothing(work, as_json=as_json)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    else:
        _print(state)
    return 0 if state.children and all(child.phase is Phase.READY for child in state.children) else 1


def _nothing(work: Path, *, as_json: bool) -> int:
    print("{}" if as_json else f"nothing runs in {work}; `{command_name()} up{of_home(work)}` starts it")
    return NOT_RUNNING


def _deployed(home: Path, *, as_json: bool) -> int:
    """Print what the processes say of themselves where somebody else, such as systemd, supervises them."""
    from edge.commands.deployed import expected, read_deployed, trouble  # it brings the bus

    try:
        statuses = read_deployed(home.resolve())
    except PlantEdgeError as error:
        if as_json:
            print("{}")
        print(f"plantedge status: {error}", file=sys.stderr)
        return NOT_RUNNING
    if not statuses:
        return _nothing(work_folder(home), as_json=as_json)
    names = expected(home.resolve())
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode({"processes": statuses})) + b"\n")
    else:
        print(f"{'process':<24} {'state':<9} {'pid':>7} {'MB':>6} {'up':>9}")
        for name in [*names, *sorted(statuses.keys() - set(names))]:
            said = statuses.get(name)
            numbers = f"{said.state:<9} {said.pid:>7} {said.rss_mb:>6.0f} {said.uptime_s:>7.0f} s" if said else ""
            print(f"{name:<24} {numbers:<34}  {trouble(name, statuses)}".rstrip())
    return 1 if any(trouble(name, statuses) for name in names) else 0


def _print(state: RunState) -> None:
    ready = "not ready yet" if state.ready_s is None else f"ready after {state.ready_s:.1f} s"
    print(f"process {state.pid}, {ready}")
    for name, url in state.urls.items():
        print(f"{name:<12} {url}")
    print(f"{'process':<24} {'state':<9} {'pid':>7} {'MB':>6} {'restarts':>8}  last end")
    for child in state.children:
        numbers = f"{child.pid or '-':>7} {child.rss_mb:>6.0f} {child.restarts:>8}"
        print(f"{child.name:<24} {child.phase:<9} {numbers}  {child.reason}")


def down(home: Path | None) -> int:
    """Stop a running `plantedge up` and whatever is left of one."""
    work = work_folder(home)
    state = read_state(work)
    if state is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while read_state(work) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if read_state(work) is not None:
            os.kill(state.pid, signal.SIGKILL)
    left = spawn.sweep(work)
    if state is None and not left:
        print(f"nothing runs in {work}")
    else:
        print("stopped" + (f", and {len(left)} processes of an earlier run" if left else ""))
    return 0


def clean(home: Path | None) -> int:
    """Stop, then remove what `plantedge up` made: logs, state, the demo's device and fleet."""
    down(home)
    work = work_folder(home)
    for name in ("run", "log", "demo", "fleet", "influx"):
        folder = work / name
        if name == "log" and home is None:
            for file in folder.glob("*.log*"):
                if file.name != "setup.log":
                    file.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0
