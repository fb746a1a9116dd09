"""Whether a machine is what its device's settings and its board's profile take it for; part of `plantedge doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge.commands.verdict import Level, Verdict
from edge.config.boards import Board, board_names, board_of
from edge.config.problems import nearest
from edge.engines import engine_file
from edge.models.engine_choice import AUTO, choose_engine
from edge.settings import Settings
from schemas.errors import ContractError

_CPU: Final = Path("/sys/devices/system/cpu")


def hardware_verdicts(device: Path, settings: Settings) -> Iterator[Verdict]:
    """Look at the engine that runs the models, and at the board."""
    yield _engine(device, settings)
    hardware = settings.device.hardware
    board = board_of(hardware)
    if board is None:
        if near := nearest(hardware, board_names()):
            text = f"[device] hardware {hardware!r} has no profile"
            yield Verdict(Level.WARN, "board", text, f"did you mean {near}?")
        return
    yield from board_verdicts(hardware, board, len(settings.cameras))


def board_verdicts(name: str, board: Board, cameras: int, cpu: Path = _CPU) -> Iterator[Verdict]:
    """Compare a machine with the profile of what it is said to be; `cpu`: its folder in sysfs."""
    yield Verdict(Level.OK, "board", f"{name}: {board.title}; tried: {board.tried}")
    cores = os.cpu_count() or 1
    if cores < board.cores:
        text = f"{name} has {board.cores} cores, this machine {cores}: processes can't be where the profile wants them"
        yield Verdict(Level.FAIL, "board", text, "write another [device] hardware")
    if cameras > board.cameras:
        text = f"{cameras} cameras are configured, the ports of {name} take {board.cameras}"
        yield Verdict(Level.WARN, "board", text, "add ports of their own, or another board")
    governors = {path.read_text().strip() for path in cpu.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    if others := governors - {board.governor}:
        remedy = "`plantedge units --out` writes plantedge-governor.service: enable it"
        yield Verdict(Level.WARN, "governor", f"{', '.join(sorted(others))}, not {board.governor}", remedy)
    if missing := sorted(set(board.isolated) - _isolated(cpu / "isolated")):
        alone = ",".join(map(str, board.isolated))
        text = f"core {missing[0]} is not isolated: anything may run on the safety lane's core"
        yield Verdict(Level.WARN, "isolation", text, f"boot with isolcpus={alone} nohz_full={alone} rcu_nocbs={alone}")


def _engine(device: Path, settings: Settings) -> Verdict:
    name, why = choose_engine(settings.runtime, device)
    try:
        lacking = engine_file(name).missing()
    except ContractError as error:
        lacking = str(error)
    if lacking:
        return Verdict(Level.FAIL, "engine", f"{name}: {lacking}")
    if why:
        return Verdict(Level.WARN, "engine", f"auto is {name}: {why}", "run `plantedge probe`")
    how = " (auto)" if settings.runtime.engine == AUTO else ""
    return Verdict(Level.OK, "engine", f"{name}{how}, {engine_file(name).version()}")


def _isolated(path: Path) -> set[int]:
    """Return the isolated cores, of the kernel's notation (`2-3,5`)."""
    try:
        text = path.read_text().strip()
    except OSError:
        return set()
    ranges = [part.partition("-") for part in text.split(",") if part]
    return {core for first, _, last in ranges for core in range(int(first), int(last or first) + 1)}
