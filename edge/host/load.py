"""How busy and how full the machine is, as its operating system says it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Machine:
    """Shares are 0 to 1, the temperature in Celsius, None on a board without a thermometer."""

    uptime_s: float
    cpu_share: float
    memory_share: float
    disk_share: float
    temperature_c: float | None


def read_machine(uptime_s: float, path: str) -> Machine:
    """Read it; the processor's share since the last call of this process, the disk that holds `path`."""
    temperatures = [
        entry.current for entries in psutil.sensors_temperatures().values() for entry in entries if entry.current
    ]
    return Machine(
        uptime_s=uptime_s, cpu_share=min(1.0, psutil.cpu_percent(None) / 100),
        memory_share=psutil.virtual_memory().percent / 100, disk_share=psutil.disk_usage(path).percent / 100,
        temperature_c=max(temperatures, default=None),
    )  # fmt: skip
