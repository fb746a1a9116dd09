"""What the tables say, as other programs want it: the broker's configuration and ACL, systemd drop-ins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bus.broker import device_acl
from bus.broker_config import PRODUCTION, device_config
from edge.config.boards import Board, board_of, load_board
from edge.config.held import HELD
from edge.line.plan import BROKER, accounts, wanted
from edge.processes import HMI, MONITOR, PROCESSES, ProcessRow
from edge.settings import Engine, Hmi, Monitor, load_settings

_FIRST = "# Generated from edge/processes.py by `plantedge units`; do not edit."
_GOVERNOR = f"""{_FIRST}
# A processor that slows down between two parts answers the next one late. Machines without a governor are left alone.
[Unit]
Description=PlantEdge: processors at governor {{governor}}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for file in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do \\
    [ ! -e "$$file" ] || echo {{governor}} > "$$file"; done'

[Install]
WantedBy=plantedge.target
"""
_LOOPBACK_ONLY = ("agent", "runtime")  # they speak to the broker and to nobody else
_DEVICES = ("camera",)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_BOUNDED = ("MemoryMax=200M",)


def broker_configuration() -> str:
    """Return the committed mosquitto.conf."""
    return device_config(PRODUCTION)


def acl(home: Path) -> str:
    """Return the ACL file of a device's broker."""
    settings = load_settings(home)
    return device_acl(settings.place, accounts(settings))


def units(home: Path | None = None, board: str = "") -> dict[str, str]:
    """Return path below /etc/systemd/system -> drop-in, for a device's processes.

    Without a device: for those that every device has, and for the instances that the table itself names. `board`: the
    profile to take cores and governor from, instead of that of the device's `hardware`.
    """
    settings = load_settings(home) if home else None
    named = wanted(settings) if settings else _named_by_table()
    monitor, page = settings.monitor if settings else Monitor(), (settings.hmi if settings else None) or Hmi()
    inside = [row.name for row, host in ((MONITOR, monitor.host), (HMI, page.host)) if host in _LOOPBACK]
    alone = {*_LOOPBACK_ONLY, *inside}
    profile = load_board(board) if board else board_of(settings.device.hardware) if settings else None
    found: dict[str, str] = {}
    for row, instance in named:
        more = _accelerated(settings.runtime) if settings and row.name == "runtime" else []
        more += _pinned(profile.cpus(row.name, instance) if profile else ())
        found[_path(row, instance)] = _drop_in(row, instance, row.name in alone, more)
    return found | (_board_units(profile) if profile else {})


def write_units(folder: Path, drop_ins: Mapping[str, str]) -> None:
    """Write drop-ins below a folder of systemd units."""
    for path, text in drop_ins.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def _named_by_table() -> Iterable[tuple[ProcessRow, str]]:
    for row in PROCESSES:
        for instance in row.fifo if row.instances_of else [""]:
            if instance != "*":
                yield row, instance


def _path(row: ProcessRow, instance: str) -> str:
    name = f"{row.name}@{instance}" if instance else row.name
    return f"plantedge@{name}.service.d/10-table.conf"


def _accelerated(engine: Engine) -> list[str]:
    """What the runtime needs to see a GPU or NPU: `auto` may choose one."""
    device = str(engine.options.get("openvino", {}).get("device", "CPU"))
    plain = engine.engine == "cpu" or (engine.engine == "openvino" and device == "CPU")
    return [] if plain else ["PrivateDevices=no", "SupplementaryGroups=video render"]


def _pinned(cpus: tuple[int, ...]) -> list[str]:
    return [f"CPUAffinity={' '.join(map(str, cpus))}"] if cpus else []


def _board_units(board: Board) -> dict[str, str]:
    """What a profile asks of the broker, and of the whole machine."""
    broker = _pinned(board.cpus(BROKER))
    governor = _GOVERNOR.format(governor=board.governor)
    found = {"plantedge-governor.service": governor}
    if broker:
        found["plantedge-broker.service.d/10-board.conf"] = "\n".join([_FIRST, "[Service]", *broker]) + "\n"
    return found


def _drop_in(row: ProcessRow, instance: str, loopback_only: bool, more: Sequence[str]) -> str:
    service = [f"WatchdogSec={row.watchdog_s:g}", f"TimeoutStopSec={row.stop_s:g}"]
    unit = [f"After=plantedge@{name}.service" for name in row.after]
    if priority := row.priority(instance):
        service += ["CPUSchedulingPolicy=fifo", f"CPUSchedulingPriority={priority}", "RestrictRealtime=no"]
    if not row.checks:
        service.append(f"Environment={HELD}=held")
    if row.nice:
        service.append(f"Nice={row.nice}")
    if row in (MONITOR, HMI):
        service += _BOUNDED
    if loopback_only:
        service += ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    if row.name in _DEVICES:
        service += ["PrivateDevices=no", "SupplementaryGroups=video"]
    service += more
    head = ["[Unit]", *unit, ""] if unit else []
    return "\n".join([_FIRST, *head, "[Service]", *service]) + "\n"
