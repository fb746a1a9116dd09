"""A small reconcile loop: keeps the wanted commands running, in order, healthy, and leaves none behind.

What systemd does for a device (deploy/systemd), this does for `plantedge up`: it starts a command when those that it
comes after are ready, waits for its READY (or asks a probe), kills it when its WATCHDOG falls silent, starts it again
with backoff, and stops all within five seconds. Its own death kills every child (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Self

import msgspec

from edge.supervision import spawn
from edge.supervision.child import Child, Command
from edge.supervision.notify_socket import NotifySocket
from edge.supervision.run_state import RunState, command_name, of_home, own_state, read_state, state_file, write_state
from schemas.errors import StartError

log = logging.getLogger(__name__)
HOUSEKEEPING_S = 1.0
STOP_ALL_S = 4.5
LAST_GRACE_S = 1.0  # kept for what the others come after


class Supervisor:
    """Runs what `apply` was last given; an async context manager whose end stops everything."""

    def __init__(self, work: Path, home: Path | None = None) -> None:
        """Supervise under a work folder, which holds logs and state."""
        self.work = work
        self.children: dict[str, Child] = {}
        self.about: RunState = msgspec.structs.replace(own_state(), home=str(home or ""))
        self._notify = NotifySocket(self._heard)
        self._news = asyncio.Event()
        self._early: dict[int, list[str]] = {}
        self._tasks: dict[Child, asyncio.Task[None]] = {}
        self._lock: IO[bytes] | None = None
        self._housekeeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Take the folder for ourselves, and end what an earlier supervisor may have left.

        Raises:
            StartError: another one runs there.
        """
        self._take_folder()
        for pid in spawn.sweep(self.work):
            log.warning("process %d was left by an earlier run; killed", pid)
        self._notify.__enter__()
        self._housekeeper = asyncio.create_task(self._keep_house())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop everything within `STOP_ALL_S`."""
        self.about = msgspec.structs.replace(self.about, stopping=True)
        self._write_state()
        try:
            await self.stop()
        finally:
            if self._housekeeper:
                self._housekeeper.cancel()
                await asyncio.gather(self._housekeeper, return_exceptions=True)
            self._notify.__exit__()
            self._write_state()
            spawn.sweep(self.work)
            if self._lock:
                self._lock.close()

    def apply(self, commands: Iterable[Command]) -> None:
        """Make these the wanted commands: start what is new, replace what changed, stop what is gone."""
        wanted = {command.name: command for command in commands}
        for name, child in list(self.children.items()):
            if name not in wanted:
                child.stop(child.command.stop_s)
                del self.children[name]
        for name, command in wanted.items():
            held = self.children.get(name)
            if held is None or held.command != command:
                self._start(command, held)

    async def stop(self) -> None:
        """Stop all: first what nothing comes after, and everything within `STOP_ALL_S`."""
        deadline = time.monotonic() + STOP_ALL_S
        await asyncio.gather(*(self._stop_one(child, deadline) for child in self.children.values()))
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def kill(self) -> None:
        """Kill every child at once: a person has asked a second time."""
        for child in self._tasks:
            if child.pid:
                spawn.signal_group(child.pid, signal.SIGKILL)

    async def until(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something holds of the children; return whether it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not true():
                    await self._news.wait()
        return true()

    def ready(self, *names: str) -> bool:
        """Return whether all of these are ready; without names, whether all children are."""
        return all(self.children[name].ready for name in names or self.children)

    def state(self) -> RunState:
        """Return what is written down."""
        children = [child.state() for child in self.children.values()]
        return msgspec.structs.replace(self.about, children=children, time_ns=time.time_ns())

    # -- inside -------------------------------------------------------------------------------------------------------

    def _take_folder(self) -> None:
        lock = state_file(self.work).with_name("lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock.open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise StartError(already_running(self.work, read_state(self.work))) from None

    def _start(self, command: Command, before: Child | None) -> None:
        child = Child(command, self.work, self._pulse)
        self.children[command.name] = child
        if before:
            before.stop(before.command.stop_s)

        async def ordered() -> None:
            if before:
                await before.gone.wait()
            while not all(self._settled(name) for name in command.after):
                await self._news.wait()

        environment = {"NOTIFY_SOCKET": self._notify.address}
        task = asyncio.create_task(child.keep(environment, ordered), name=command.name)
        self._tasks[child] = task
        task.add_done_callback(lambda _: self._tasks.pop(child, None))

    def _settled(self, name: str) -> bool:
        return name not in self.children or self.children[name].ready

    async def _stop_one(self, child: Child, deadline: float) -> None:
        name = child.command.name
        dependents = [
            other
            for other in self.children.values()
            if name in other.command.after or (name in other.command.before and other is not child)
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic() - LAST_GRACE_S)):
                for other in dependents:
                    await other.gone.wait()
        child.stop(min(child.command.stop_s, max(0.1, deadline - time.monotonic())))
        await child.gone.wait()

    def _heard(self, pid: int, state: str) -> None:
        for child in self._tasks:
            if child.pid == pid:
                child.told(state)
                return
        if any(child.spawning for child in self._tasks):  # it can be ready before we are told its process id
            self._early.setdefault(pid, []).append(state)

    def _pulse(self) -> None:
        """Wake who waits for a change."""
        if self._early:
            for child in self._tasks:
                for state in self._early.pop(child.pid, ()):
                    child.told(state)
            if not any(child.spawning for child in self._tasks):
                self._early.clear()
        self._news.set()
        self._news = asyncio.Event()

    async def _keep_house(self) -> None:
        while True:
            self._write_state()
            self._pulse()
            for child in self.children.values():
                spawn.rotate(child.log)
            await asyncio.sleep(HOUSEKEEPING_S)

    def _write_state(self) -> None:
        try:
            write_state(self.work, self.state())
        except OSError as error:  # a full disk must not end the line
            log.warning("%s: the state can't be written: %s", self.work, os.strerror(error.errno or 0))


def already_running(work: Path, other: RunState | None) -> str:
    """Return what to say of another supervisor of a work folder, and how to end it."""
    who = f" (process {other.pid})" if other else ""
    if other and other.stopping:
        return f"{work}: one that ran here{who} is stopping; try again in some seconds"
    return f"{work}: already running{who}; `{command_name()} down{of_home(work)}` stops it"
