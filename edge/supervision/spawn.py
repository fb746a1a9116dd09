"""One child process of a supervisor: it dies with its parent, writes to a bounded log, and leaves nothing behind.

Linux only: PR_SET_PDEATHSIG (prctl(2)), SCHED_FIFO (sched(7)), /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_COOKIE = "PLANTEDGE_RUN"  # marks every process below one supervisor, grandchildren too
_FILES = 65_536  # open files: a broker has one per connection, and the soft limit is often 1024
LOG_BYTES = 2_000_000

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs one of our modules in this interpreter.

    `-P`: a folder `edge` where the person stands must not be imported in place of ours.
    """
    return (sys.executable, "-P", "-m", module, *arguments)


async def spawn(
    argv: Sequence[str], *, log: Path, run: Path, env: Mapping[str, str], cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Start a process in a session of its own, its output appended to `log`; it is killed when we die.

    Raises:
        OSError: the program can't be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} start: {' '.join(argv)}\n".encode())
        output.flush()
        return await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd,
            env=_environment(run) | dict(env), start_new_session=True, preexec_fn=_tied_to(os.getpid()),
        )  # fmt: skip


def _environment(run: Path) -> dict[str, str]:
    """Return our environment for a child; a hung Python prints its stacks when it is told to abort."""
    own = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    return own | {_COOKIE: str(run), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def _tied_to(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold models and keys in the clear
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _FILES) if most > 0 else _FILES, most))

    return in_child


def signal_process(pid: int, number: signal.Signals) -> None:
    """Signal one process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal every process of the group that `pid` leads or led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def sweep(run: Path) -> list[int]:
    """Kill what is left of earlier supervisors of the folder `run`, and return the process ids."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in spared and process.environ().get(_COOKIE) == str(run):
                process.kill()
                found.append(process.pid)
    return found


def rotate(log: Path, limit: int = LOG_BYTES) -> bool:
    """Keep a log within `limit` bytes and one older file; the writer holds it open for appending all the while."""
    try:
        if log.stat().st_size <= limit:
            return False
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)
    except OSError:  # a full disk: better a long log than a lost process
        return False
    return True


def last_lines(log: Path, count: int = 12, size: int = 16_384) -> list[str]:
    """Return the last lines of a log, none if there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def prioritise(pid: int, priority: int) -> bool:
    """Put every thread of a process under SCHED_FIFO; return whether the kernel permits it."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all we need
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
    except OSError:  # EPERM without CAP_SYS_NICE, ESRCH when a thread ended meanwhile
        return False
    return True


def yield_to_others(pid: int, nice: int) -> None:
    """Lower every thread of a process; those that it starts later inherit it."""
    with contextlib.suppress(OSError):  # ESRCH when a thread ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all we need
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)


def pin(pid: int, cpus: Sequence[int]) -> bool:
    """Let every thread of a process run on these cores alone; return whether that can be."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all we need
            os.sched_setaffinity(int(thread), cpus)
    except OSError:  # EINVAL where none of them exists, ESRCH when a thread ended meanwhile
        return False
    return True


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB, 0 when it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0
