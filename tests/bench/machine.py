"""The machine that a benchmark runs on: who steals from it, and the real-time class where it is permitted."""

import os
import platform
from pathlib import Path


def steal_and_all() -> tuple[int, int]:
    """Return (stolen, all) clock ticks of all cores since boot: /proc/stat, proc(5)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return fields[7], sum(fields[:8])


def steal_share(before: tuple[int, int]) -> float:
    """Return the share of all cores' time that the hypervisor gave to others since `before`."""
    stolen, all_ticks = steal_and_all()
    return (stolen - before[0]) / max(all_ticks - before[1], 1)


def real_time(pid: int, priority: int) -> bool:
    """Put a process (0: this thread) into SCHED_FIFO, or with priority 0 back; return whether that was permitted."""
    policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
    try:
        for task in [pid] if pid == 0 else [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]:
            os.sched_setscheduler(task, policy, os.sched_param(priority))
    except (PermissionError, ProcessLookupError, FileNotFoundError):
        return False
    return True


def described() -> str:
    """Return one line that says what was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},"
        f" Linux {platform.release()}, Python {platform.python_version()}"
    )
