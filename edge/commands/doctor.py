"""`plantedge doctor`: one verdict per line, ok, warn or fail, and what to do. It changes nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bus.broker_ladder import find_broker
from edge.commands.deployed import expected, read_deployed, trouble
from edge.commands.hardware import hardware_verdicts
from edge.commands.installation import installation_problems
from edge.commands.verdict import Level, Verdict
from edge.config.contents import missing_models
from edge.config.files import read_settings
from edge.host.clock import clock_state
from edge.host.ports import holder, is_free
from edge.models.contract import Contract
from edge.security.identity import IdentityError, read_identity
from edge.settings import Settings
from edge.supervision.run_state import Phase, RunState, command_name, read_state, work_folder
from edge.supervision.spawn import last_lines
from schemas.errors import ContractError, PlantEdgeError, SettingsError, StartError
from schemas.messages import Status

DAY_NS = 86_400 * 10**9
_FREE_WARN, _FREE_FAIL = 2e9, 2e8
_RENEW_DAYS = 30
_UNTRIED = (3, 14)


def doctor(home: Path | None) -> int:
    """Print all verdicts; 1 if one of them is a failure."""
    worst = Level.OK
    for verdict in examine(home):
        print(verdict, flush=True)
        if verdict.level is Level.FAIL:
            worst = Level.FAIL
    return 1 if worst is Level.FAIL else 0


def examine(home: Path | None) -> Iterator[Verdict]:
    """Look at this machine, and at the device of `home` (without one: the demo's, if it was ever started)."""
    work = work_folder(home)
    state = read_state(work)
    yield from (_python(), _installation(), _broker(work), _realtime(), _clock(), _disk(work))
    device = home.resolve() if home else work / "demo" / "device"
    if home is None and not device.is_dir():
        yield from _processes(work, state)
        return
    settings, verdicts = _settings(device)
    yield from verdicts
    deployed = None
    if settings is not None:
        yield from _models(device, settings)
        yield from hardware_verdicts(device, settings)
        yield from _identity(device, settings)
        if state is None:
            with contextlib.suppress(PlantEdgeError):
                deployed = read_deployed(device)
        yield from _ports(settings, state, deployed)
    yield from _processes(work, state) if deployed is None else _deployed(device, deployed)


def _python() -> Verdict:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _UNTRIED:
        return Verdict(Level.WARN, "python", f"{version} in {sys.prefix}", "newer than what PlantEdge was tried with")
    return Verdict(Level.OK, "python", f"{version} in {sys.prefix}")


def _installation() -> Verdict:
    if problems := installation_problems():
        return Verdict(Level.FAIL, "packages", "; ".join(problems))
    return Verdict(Level.OK, "packages", f"ours, from {Path(__file__).parents[2]}")


def _broker(work: Path) -> Verdict:
    try:
        program = find_broker(work, allow_install=False, amqtt=True)
    except StartError as error:
        text = " ".join(str(error).split())
        return Verdict(Level.WARN, "broker", text, "`plantedge up` tries to fetch one")
    if program.warning:
        return Verdict(Level.WARN, "broker", f"{program}: {program.warning}")
    return Verdict(Level.OK, "broker", str(program))


def _realtime() -> Verdict:
    """Try a real-time priority on a thread of our own; the thread's end takes it away again."""
    allowed: list[bool] = []

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            allowed.append(False)
        else:
            allowed.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    if allowed == [True]:
        return Verdict(Level.OK, "real time", "SCHED_FIFO is permitted for broker and safety lane")
    remedy = "run by systemd (deploy/systemd), or give CAP_SYS_NICE; in a container: --ulimit rtprio=50"
    return Verdict(
        Level.WARN, "real time", "SCHED_FIFO is not permitted: expect longer tails on a busy machine", remedy
    )


def _clock() -> Verdict:
    synced, offset_ms = clock_state()
    if synced is None:
        return Verdict(Level.WARN, "clock", "the kernel does not say whether it is synchronised")
    if not synced:
        return Verdict(
            Level.WARN, "clock", "not synchronised: records carry a doubtful time", "run chrony or timesyncd"
        )
    return Verdict(Level.OK, "clock", f"synchronised, offset {offset_ms or 0.0:.3f} ms")


def _disk(work: Path) -> Verdict:
    folder = next(path for path in (work, *work.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    level = Level.OK if free > _FREE_WARN else Level.WARN if free > _FREE_FAIL else Level.FAIL
    remedy = "" if level is Level.OK else "make room: the historian and the outbox need it"
    return Verdict(level, "disk", f"{free / 1e9:.1f} GB free at {folder}", remedy)


def _settings(device: Path) -> tuple[Settings | None, list[Verdict]]:
    try:
        settings = read_settings(device, with_contents=True)
    except SettingsError as error:
        count = len(error.problems)
        return None, [Verdict(Level.FAIL, "settings", "\n      ".join((f"{count} problems:", *error.problems)))]
    absent = [Verdict(Level.WARN, "model", text) for text in missing_models(settings, device)]
    return settings, [Verdict(Level.OK, "settings", f"{device} has no problem"), *absent]


def _models(device: Path, settings: Settings) -> Iterator[Verdict]:
    """Read each model's contract and compare digests; running them is the runtime's own test."""
    for folder in sorted(path.parent for path in (device / settings.runtime.folder).glob("*/*/model.toml")):
        name = f"{folder.parent.name} {folder.name}"
        try:
            contract = Contract.load(folder)
            contract.read_golden()
        except ContractError as error:
            yield Verdict(Level.FAIL, "model", f"{name}: " + "; ".join(error.problems))
        else:
            yield Verdict(Level.OK, "model", f"{name} is complete, SHA-256 {contract.sha256[:12]}")


def _identity(device: Path, settings: Settings) -> Iterator[Verdict]:
    if not settings.uplink.host:
        return
    try:
        identity = read_identity(device / settings.uplink.identity)
    except IdentityError as error:
        yield Verdict(Level.FAIL, "identity", str(error))
        return
    days = (identity.until_ns - time.time_ns()) / DAY_NS
    if days < 0:
        yield Verdict(Level.FAIL, "identity", f"{identity.node}'s certificate has ended", "enrol the device again")
    elif days < _RENEW_DAYS:
        yield Verdict(Level.WARN, "identity", f"{identity.node}'s certificate ends in {days:.0f} days", "renew it")
    else:
        yield Verdict(Level.OK, "identity", f"{identity.node}, certificate good for {days:.0f} days")


def _ports(settings: Settings, state: RunState | None, deployed: Mapping[str, Status] | None) -> Iterator[Verdict]:
    """A port of a running device is taken by itself; of one that stands still, by somebody else."""
    endpoint = settings.opcua.endpoint.rpartition(":")[2].partition("/")[0]
    ports = {"broker": settings.broker.port} | ({"opcua": int(endpoint)} if endpoint.isdigit() else {})
    runs = {"broker": deployed is not None, "opcua": deployed is not None and not trouble("opcua", deployed)}
    for name, port in ports.items():
        free, ours = is_free(port), state is not None or runs[name]
        if name == "broker" and settings.broker.socket and ours and free:
            yield Verdict(Level.OK, "port", f"broker answers at {settings.broker.socket}")
        elif not ours and not free:
            yield Verdict(
                Level.WARN, "port", f"{port} of {name} is taken by {holder(port)}", "stop it or change the port"
            )
        elif ours and free:
            yield Verdict(Level.FAIL, "port", f"nobody listens on {port} of {name}", f"see `{command_name()} logs`")
        else:
            yield Verdict(Level.OK, "port", f"{port} of {name} " + ("is free" if free else "is ours"))


def _deployed(device: Path, deployed: Mapping[str, Status]) -> Iterator[Verdict]:
    """What the processes of a device under systemd say of themselves."""
    names = expected(device)
    for name in names:
        if found := trouble(name, deployed):
            unit = f"journalctl -u 'plantedge@{name.replace('-', '@', 1)}'"
            yield Verdict(Level.FAIL, "process", f"{name}: {found}", f"see `{unit}`")
    if not any(trouble(name, deployed) for name in names):
        yield Verdict(Level.OK, "processes", f"all {len(names)} run, at the device's own broker")


def _processes(work: Path, state: RunState | None) -> Iterator[Verdict]:
    if state is None:
        yield Verdict(Level.OK, "processes", "nothing runs here")
        return
    for child in state.children:
        text = f"{child.name} is {child.phase}"
        if child.phase is not Phase.READY:
            last = next(iter(last_lines(work / "log" / f"{child.name}.log", 1)), "no log yet")
            yield Verdict(
                Level.FAIL, "process", f"{text}: {child.reason or last}", f"see `{command_name()} logs {child.name}`"
            )
        elif child.restarts:
            yield Verdict(Level.WARN, "process", f"{text} after {child.restarts} restarts, last: {child.reason}")
        else:
            yield Verdict(Level.OK, "process", text)
    if all(child.phase is Phase.READY for child in state.children):
        yield Verdict(Level.OK, "processes", f"all {len(state.children)} are ready")
