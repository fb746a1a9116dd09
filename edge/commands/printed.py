"""What the tables say, as other programs want it: the broker's configuration and ACL, systemd drop-ins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bus.broker import device_acl
from bus.broker_config import PRODUCTION, device_config
from edge.line.plan import accounts, wanted
from edge.processes import MONITOR, PROCESSES, ProcessRow
from edge.settings import Monitor, load_settings

_FIRST = "# Generated from edge/processes.py by `plantedge units`; do not edit."
_LOOPBACK_ONLY = ("agent", "runtime")  # they speak to the broker and to nobody else
_DEVICES = ("camera",)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_BOUNDED = ("Nice=10", "MemoryMax=200M")  # whoever asks, the line comes first


def broker_configuration() -> str:
    """Return the committed mosquitto.conf."""
    return device_config(PRODUCTION)


def acl(home: Path) -> str:
    """Return the ACL file of a device's broker."""
    settings = load_settings(home)
    return device_acl(settings.place, accounts(settings))


def units(home: Path | None = None) -> dict[str, str]:
    """Return path below /etc/systemd/system -> drop-in, for a device's processes.

    Without a device: for those that every device has, and for the instances that the table itself names.
    """
    settings = load_settings(home) if home else None
    named = wanted(settings) if settings else _named_by_table()
    inside = (settings.monitor if settings else Monitor()).host in _LOOPBACK
    alone = {*_LOOPBACK_ONLY, *([MONITOR.name] if inside else [])}
    return {_path(row, instance): _drop_in(row, instance, row.name in alone) for row, instance in named}


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


def _drop_in(row: ProcessRow, instance: str, loopback_only: bool) -> str:
    service = [f"WatchdogSec={row.watchdog_s:g}", f"TimeoutStopSec={row.stop_s:g}"]
    unit = [f"After=plantedge@{name}.service" for name in row.after]
    if priority := row.priority(instance):
        service += ["CPUSchedulingPolicy=fifo", f"CPUSchedulingPriority={priority}", "RestrictRealtime=no"]
    if row is MONITOR:
        service += _BOUNDED
    if loopback_only:
        service += ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    if row.name in _DEVICES:
        service += ["PrivateDevices=no", "SupplementaryGroups=video"]
    head = ["[Unit]", *unit, ""] if unit else []
    return "\n".join([_FIRST, *head, "[Service]", *service]) + "\n"
