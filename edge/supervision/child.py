"""One supervised command: started, watched, started again with backoff, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.process import EXIT_SETTINGS
from edge.supervision import spawn
from edge.supervision.run_state import ChildState, Phase, log_file

log = logging.getLogger(__name__)
Probe = Callable[[], Awaitable[bool]]
BACKOFF_S = (0.2, 5.0)
SETTINGS_BACKOFF_S = 10.0  # the same settings give the same error
STEADY_S = 10.0  # ready for so long: the next failure is a new one
PROBE_S = 0.05
ABORT_S = 1.0  # from SIGABRT, which prints a hung Python's stacks, to SIGKILL
_LATE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. It is ready when it says so (sd_notify), or when `probe` says so.

    `watchdog_s`: silence after which it is hung (0: never); a probe then asks three times as often. `fifo`: priority
    under SCHED_FIFO where permitted. `after`: names that must be ready first, and stop only after it; `before`: names
    that stop after it too, though it may start without them. `start_s`: time to become ready. `cpus`: its cores, () for
    any. `nice`: once it is ready; to start is urgent.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: Path | None = None
    probe: Probe | None = field(default=None, compare=False)
    start_s: float = 30.0
    watchdog_s: float = 0.0
    stop_s: float = 3.0
    fifo: int = 0
    cpus: tuple[int, ...] = ()
    nice: int = 0


class Child:
    """Keeps one command running until it is told to stop."""

    def __init__(self, command: Command, work: Path, changed: Callable[[], None]) -> None:
        """Wait to be kept; `changed` is called at each step of its life."""
        self.command = command
        self.phase = Phase.WAITING
        self.pid = 0
        self.restarts = 0
        self.failures = 0  # starts in a row that never became ready
        self.reason = ""
        self.log = log_file(work, command.name)
        self.gone = asyncio.Event()
        self._work, self._changed = work, changed
        self._realtime: bool | None = None
        self._verdict = ""  # why we killed it
        self._since_ns = time.time_ns()
        self._heard = 0.0
        self._news = asyncio.Event()
        self._grace_s: float | None = None  # set once it shall stop

    @property
    def ready(self) -> bool:
        """Whether it is ready now."""
        return self.phase is Phase.READY

    @property
    def spawning(self) -> bool:
        """Whether its process may exist already, though its id is not known yet."""
        return self.phase is Phase.STARTING and not self.pid

    def state(self) -> ChildState:
        """Return what is written down of it."""
        return ChildState(
            name=self.command.name, phase=self.phase, pid=self.pid, restarts=self.restarts, reason=self.reason,
            rss_mb=round(spawn.resident_mb(self.pid), 1) if self.pid else 0.0, realtime=self._realtime,
            since_ns=self._since_ns,
        )  # fmt: skip

    def stop(self, grace_s: float) -> None:
        """Ask it to end; it is killed after `grace_s`. `gone` is set when it has."""
        self._grace_s = grace_s
        self._news.set()

    def told(self, state: str) -> None:
        """Take a state line of sd_notify."""
        self._heard = time.monotonic()
        if state == "READY=1":
            self._become_ready()

    async def keep(self, environment: Mapping[str, str], ordered: Callable[[], Awaitable[None]]) -> None:
        """Run it again and again until it is told to stop; `ordered` returns when it may start."""
        backoff_s = BACKOFF_S[0]
        try:
            while not self._stopping():
                await self._before_start(ordered)
                if self._stopping():
                    return
                ready_s, code = await self._live_once(environment)
                if self._stopping():
                    return
                backoff_s = BACKOFF_S[0] if ready_s > STEADY_S else backoff_s
                self.restarts += 1
                self._step(Phase.BACKOFF)
                log.warning("%s: %s; the end of its log is in %s", self.command.name, self.reason, self.log)
                await self._heed(SETTINGS_BACKOFF_S if code == EXIT_SETTINGS else backoff_s, until_stop=True)
                backoff_s = min(backoff_s * 2, BACKOFF_S[1])
        finally:
            self._step(Phase.STOPPED)
            self.gone.set()
            self._changed()

    async def _before_start(self, ordered: Callable[[], Awaitable[None]]) -> None:
        self._step(Phase.WAITING)
        waiting = asyncio.ensure_future(ordered())
        waiting.add_done_callback(lambda _: self._news.set())
        try:
            while not waiting.done() and not self._stopping():
                await self._heed(None)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _live_once(self, environment: Mapping[str, str]) -> tuple[float, int]:
        """Run it once; return for how long it was ready, and its exit status."""
        self._step(Phase.STARTING)
        env = {**environment, **self.command.env}
        try:
            process = await spawn.spawn(self.command.argv, log=self.log, run=self._work, env=env, cwd=self.command.cwd)
        except OSError as error:
            self.reason = f"can't be started: {error}"
            self.failures += 1
            return 0.0, 127
        self.pid, self._heard = process.pid, time.monotonic()
        self._changed()
        exited = asyncio.ensure_future(process.wait())
        exited.add_done_callback(lambda _: self._news.set())
        probing = asyncio.ensure_future(self._probe()) if self.command.probe else None
        ready_at = 0.0
        try:
            ready_at = await self._watch(process.pid, exited)
        finally:
            if probing:
                probing.cancel()
                await asyncio.gather(probing, return_exceptions=True)
            spawn.signal_group(process.pid, signal.SIGKILL)  # what it started itself
            code = await exited
            self.pid = 0
        self.reason = self._verdict or ended(code)
        self.failures = 0 if ready_at else self.failures + 1
        return (time.monotonic() - ready_at if ready_at else 0.0), code

    async def _watch(self, pid: int, exited: asyncio.Future[int]) -> float:
        """Return when it has ended, or must be killed; the value is when it became ready, 0.0 if it never did."""
        self._verdict = ""
        ready_at = 0.0
        started = time.monotonic()
        while not exited.done():
            if self._grace_s is not None:
                await self._end(pid, exited, signal.SIGTERM, self._grace_s)
                return ready_at
            if self.ready and not ready_at:
                ready_at = time.monotonic()
            due = self._due(started)
            if due is not None and time.monotonic() >= due:
                self._verdict = self._silence()
                log.warning("%s: %s; killing it", self.command.name, self._verdict)
                await self._end(pid, exited, signal.SIGABRT, ABORT_S)
                return ready_at
            await self._heed(None if due is None else due - time.monotonic())
            if due is not None and time.monotonic() > due + _LATE_S:
                self._heard = time.monotonic()  # it was us who slept (a stopped process, a suspended laptop)
        return ready_at or (time.monotonic() if self.ready else 0.0)

    def _due(self, started: float) -> float | None:
        """Return when it will count as hung unless it is heard of."""
        if not self.ready:
            return started + self.command.start_s
        return self._heard + self.command.watchdog_s if self.command.watchdog_s else None

    def _silence(self) -> str:
        if self.ready:
            return f"hung: silent for {self.command.watchdog_s:g} s"
        return f"not ready within {self.command.start_s:g} s"

    async def _end(self, pid: int, exited: asyncio.Future[int], number: signal.Signals, grace_s: float) -> None:
        self._step(Phase.STOPPING)
        spawn.signal_process(pid, number)
        await asyncio.wait([exited], timeout=grace_s)
        if not exited.done():
            spawn.signal_group(pid, signal.SIGKILL)

    async def _probe(self) -> None:
        """Ask whether it is ready, and then from time to time whether it still is."""
        probe, again_s = self.command.probe, self.command.watchdog_s / 3
        while probe is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2.0):
                    if await probe():
                        self.told("READY=1")
            if self.ready and not again_s:
                return
            await asyncio.sleep(again_s if self.ready else PROBE_S)

    def _become_ready(self) -> None:
        if self.phase is not Phase.STARTING:
            return
        if self.command.cpus:
            spawn.pin(self.pid, self.command.cpus)
        if self.command.nice:
            spawn.yield_to_others(self.pid, self.command.nice)
        if self.command.fifo:
            self._realtime = spawn.prioritise(self.pid, self.command.fifo)
        self._step(Phase.READY)
        self._news.set()

    def _stopping(self) -> bool:
        return self._grace_s is not None

    def _step(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase, self._since_ns = phase, time.time_ns()
            self._changed()

    async def _heed(self, timeout_s: float | None, *, until_stop: bool = False) -> None:
        """Wait for news, or for the time to pass."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            rest = None if until is None else max(0.0, until - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._news.wait()
            self._news.clear()
            if not until_stop or self._stopping() or rest == 0.0:
                return


def ended(code: int) -> str:
    """Return an exit status in words."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code == EXIT_SETTINGS:
        return "its settings can't be used"
    return f"ended with exit status {code}"
