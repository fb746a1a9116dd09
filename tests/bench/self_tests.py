"""Plays a person who has a model tested while it serves, in place of the agent who has it reloaded (`reload.py`)."""

import asyncio
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bus import Address
from bus.hot import HotBus
from edge.models.self_test_client import ask_self_tests
from edge.settings import load_settings


@dataclass(frozen=True)
class Done:
    """One request, in nanoseconds of CLOCK_MONOTONIC, and what the runtime's process held afterwards."""

    asked_ns: int
    served_ns: int
    rss_mb: float


@dataclass(frozen=True)
class Told:
    """How many requests to make within how many seconds."""

    reloads: int
    seconds: float


def ask_for_tests(pipe: Connection, address: Address, home: Path, runtime_pid: int) -> None:
    """For each `Told` that comes through `pipe`, have the model tested so often and tell what came of it."""
    asyncio.run(_ask(pipe, address, home, runtime_pid))


async def _ask(pipe: Connection, address: Address, home: Path, runtime_pid: int) -> None:
    settings = load_settings(home)
    async with HotBus(address, "bench-cli") as bus:
        pipe.send("ready")
        while told := await asyncio.to_thread(pipe.recv):
            start, done = time.monotonic(), list[Done]()
            for number in range(told.reloads):
                await asyncio.sleep(max(0.0, start + (number + 0.5) * told.seconds / told.reloads - time.monotonic()))
                asked_ns = time.monotonic_ns()
                (report,) = await ask_self_tests(bus, settings, "caps", origin="cli", timeout_s=20.0)
                if not report.passed:
                    raise RuntimeError(f"the self-test did not pass: {report.code} {report.reason}")
                done.append(Done(asked_ns, time.monotonic_ns(), rss_mb(runtime_pid)))
            pipe.send(done)


def rss_mb(pid: int) -> float:
    """Return what a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6
