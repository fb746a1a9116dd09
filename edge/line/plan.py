"""What a device's settings ask for: one command per process of the second table, one broker account per identity."""

from __future__ import annotations

from pathlib import Path

from bus.broker import Account
from edge.config.boards import board_of
from edge.config.held import HELD
from edge.processes import PROCESSES, ProcessRow
from edge.settings import Settings
from edge.supervision.child import Command
from edge.supervision.spawn import python
from schemas.topics import Role

CLI = "cli"
MES = "mes"
BROKER = "broker"
BROKER_FIFO = 50  # above every process that it serves


def wanted(settings: Settings) -> list[tuple[ProcessRow, str]]:
    """Return each process that the settings ask for, with its instance ("" for a single one)."""
    found: list[tuple[ProcessRow, str]] = []
    for row in PROCESSES:
        if row.name == "uplink" and not settings.uplink.host:
            continue
        if row.name == "hmi" and settings.hmi is None:
            continue
        found += [(row, instance) for instance in settings.instances(row.instances_of)]
    return found


def accounts(settings: Settings) -> list[Account]:
    """Return who may connect to the device's broker: every process, a person's commands, and MES readers."""
    processes = [Account(row.identity(instance), row.role) for row, instance in wanted(settings)]
    return [*processes, Account(CLI, Role.CLI), Account(MES, Role.MES)]


def process_commands(
    home: Path, settings: Settings, after: tuple[str, ...] = (BROKER,), before: tuple[str, ...] = ()
) -> list[Command]:
    """Return the commands that run a device's processes; what is in `before` must outlive them (a PLC, a fleet)."""
    named = wanted(settings)
    board = board_of(settings.device.hardware)
    commands: list[Command] = []
    for row, instance in named:
        earlier = [other.identity(its) for other, its in named if other.name in row.after]
        commands.append(
            Command(
                name=row.identity(instance), argv=python("edge.process", _argument(row, instance), "--home", str(home)),
                after=(*after, *earlier), before=before, watchdog_s=row.watchdog_s, stop_s=row.stop_s,
                env={} if row.checks else {HELD: "held"},
                fifo=row.priority(instance), nice=row.nice, cpus=board.cpus(row.name, instance) if board else (),
            )
        )  # fmt: skip
    return commands


def _argument(row: ProcessRow, instance: str) -> str:
    return f"{row.name}@{instance}" if instance else row.name
