"""What may break of a device, one after the other at one running line, and what the PLC must do of each.

In each cut the PLC has to come to its fail-safe by the device's write or by its own watchdog, to stay there after the
fault is mended until the operator presses the reset, and to let no part pass without an OK that the runtime had given
it just before.
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.plc_line import PROCESSES, PlcLine, until

NOTICED_S = 8.0  # until a fault has to show in the PLC, or to be found harmless
CALM_S = 0.7  # longer than lease or watchdog: what has not tripped by then was not noticed
PHASE_S = 0.12  # a fault falls into any phase of a heartbeat
WAKES_S = 0.25  # and ends at any time after the fail-safe
HELD_S = 0.15  # after the mend: several parts
FRESH_S = 0.5  # an OK that let a part pass is no older
HEARD_S = 5.0
ARMED_S = 90.0  # a machine under load takes its time to start everything
SLOW_S = 1.0  # of a slow cable, for each piece
CONNECT, RUNTIME, AGENT = "connect@plant", "runtime@safety", "agent"


@dataclass(frozen=True)
class Fault:
    """What is broken and mended. `killed`: what is started again.

    `trips`: the PLC gets to its fail-safe, which is `written` by the device, or else its own watchdog's.
    """

    inject: Callable[[PlcLine], object]
    mend: Callable[[PlcLine], object]
    killed: tuple[str, ...] = ()
    trips: bool = True
    written: bool = False
    lasts_s: float = 0.0


@dataclass(frozen=True)
class Cut:
    """One fault: the milliseconds until the PLC stood at its fail-safe, 0 if nothing happened, and by whose doing."""

    ms: float
    written: bool = False


def _killed(*names: str, trips: bool = True, written: bool = False) -> Fault:
    def mend(line: PlcLine) -> None:
        for name in names:
            line.start(name)

    return Fault(lambda line: line.kill(*names), mend, names, trips, written)


def _hung(*names: str, trips: bool = True, written: bool = False) -> Fault:
    return Fault(
        lambda line: line.signal(signal.SIGSTOP, *names), lambda line: line.signal(signal.SIGCONT, *names),
        trips=trips, written=written,
    )  # fmt: skip


def _all_killed(line: PlcLine) -> None:
    line.signal_broker(signal.SIGKILL)
    line.kill(*PROCESSES)


def _all_started(line: PlcLine) -> None:
    line.start_broker()
    for name in PROCESSES:
        line.start(name)


def _all_signalled(number: int) -> Callable[[PlcLine], None]:
    def send(line: PlcLine) -> None:
        line.signal_broker(number)
        line.signal(number, *PROCESSES)

    return send


def _unstuck(line: PlcLine) -> None:
    """What connect does itself after 6 s: it ends, and its supervisor starts it again."""
    line.kill(CONNECT)
    line.stuck.unlink()
    line.start(CONNECT)


def _cable(kind: str) -> Callable[[PlcLine], object]:
    return lambda line: line.plc(do="fault", kind=kind, for_s=60.0, delay_s=SLOW_S)


FAULTS: Mapping[str, Fault] = {
    "connect_killed": _killed(CONNECT),
    "connect_hung": _hung(CONNECT),
    "connect_loop_hung": Fault(
        lambda line: line.hang_loop(CONNECT), lambda line: line.wake_loop(CONNECT), written=True
    ),
    "connect_driver_hung": Fault(lambda line: line.stuck.touch(), _unstuck, (CONNECT,)),
    "runtime_killed": _killed(RUNTIME, written=True),
    "runtime_hung": _hung(RUNTIME, written=True),
    "broker_killed": Fault(
        lambda line: line.signal_broker(signal.SIGKILL), lambda line: line.start_broker(), written=True
    ),
    "broker_hung": Fault(
        lambda line: line.signal_broker(signal.SIGSTOP), lambda line: line.signal_broker(signal.SIGCONT), written=True
    ),
    "agent_killed": _killed(AGENT, trips=False),
    "agent_hung": _hung(AGENT, trips=False),
    "os_killed": Fault(_all_killed, _all_started, PROCESSES),
    "os_hung": Fault(_all_signalled(signal.SIGSTOP), _all_signalled(signal.SIGCONT)),
    "cable_cut": Fault(_cable("cut"), lambda line: line.plc(do="clear")),
    "cable_slow": Fault(_cable("slow"), lambda line: line.plc(do="clear"), lasts_s=1.5 * SLOW_S),
}  # fmt: skip


class Cuts:
    """Injects faults into one line and holds the PLC to what it must do."""

    def __init__(self, line: PlcLine) -> None:
        """Nothing was broken yet."""
        self._line = line
        self._checked_s = time.monotonic()

    async def cut(self, fault: Fault) -> Cut:
        """Break and mend once.

        Raises:
            RuntimeError: the PLC did not notice, did not stay at its fail-safe, or let a part pass that had no OK.
        """
        await self._armed()
        await asyncio.sleep(random.uniform(0, PHASE_S))
        at_s = time.monotonic()
        fault.inject(self._line)
        found = await self._noticed(fault, at_s)
        if fault.trips:
            await asyncio.sleep(max(random.uniform(0, WAKES_S), fault.lasts_s))
        mended_s = time.monotonic()
        fault.mend(self._line)
        if found.ms:
            await self._vouched(mended_s)
            await asyncio.sleep(HELD_S)
            self._held(at_s, found)
        await self._explained()
        self._line.load_spares(*fault.killed)
        return found

    async def _armed(self) -> None:
        """Press the reset until parts pass by fresh verdicts."""
        began_s, pressed_s = time.monotonic(), 0.0
        while time.monotonic() < began_s + ARMED_S:
            state = self._line.plc()
            if state["safe_since_s"] is None and any(at_s > began_s for _, at_s in self._line.passed()):
                return
            if not state["armed"] and time.monotonic() > pressed_s + 0.5:
                pressed_s = time.monotonic()
                self._line.plc(do="rearm")
            await asyncio.sleep(0.02)
        raise RuntimeError("\n".join([f"the line was not armed again: {self._line.plc()}", *self._line.logs()]))

    async def _noticed(self, fault: Fault, at_s: float) -> Cut:
        """Return when the PLC came to its fail-safe."""
        end = time.monotonic() + (NOTICED_S if fault.trips else CALM_S)
        while time.monotonic() < end:
            state = self._line.plc()
            if state["safe_since_s"] is not None:
                return Cut((state["safe_since_s"] - at_s) * 1e3, written=not state["watchdog_tripped"])
            await asyncio.sleep(0.01)
        if fault.trips:
            raise RuntimeError(f"the PLC noticed nothing within {NOTICED_S:g} s: {self._line.plc()}")
        return Cut(0.0)

    async def _vouched(self, since_s: float) -> None:
        """Wait until the device could let parts pass but for the latch: its heartbeat moves, the runtime decides."""
        beat = self._line.plc()["heartbeat"]

        def vouched() -> bool:
            state = self._line.plc()
            moves = not state["watchdog_tripped"] and state["heartbeat"] != beat
            return moves and any(at_s > since_s for at_s in list(self._line.ok.values())[-3:])

        try:
            await until(vouched, "a device that could let parts pass", 60.0)
        except RuntimeError as error:
            raise RuntimeError("\n".join([str(error), str(self._line.plc()), *self._line.logs()])) from error

    def _held(self, broken_s: float, found: Cut) -> None:
        state, safe_s = self._line.plc(), broken_s + found.ms / 1e3
        if state["safe_since_s"] is None or abs(state["safe_since_s"] - safe_s) > 1e-3:
            raise RuntimeError(f"the fail-safe of {safe_s} did not last until the reset: {state}")
        if passed := [part for part, at_s in self._line.passed() if at_s > safe_s + 1e-3]:
            raise RuntimeError(f"parts passed at the fail-safe: {passed}")

    async def _explained(self) -> None:
        """Hold each part that passed since the last look to a fresh OK, which we may hear after the PLC."""
        passed = [(part, at_s) for part, at_s in self._line.passed() if at_s > self._checked_s]
        end = time.monotonic() + HEARD_S
        while odd := [one for one in passed if one[1] - self._line.ok.get(one[0], 0.0) > FRESH_S]:
            if time.monotonic() > end:
                raise RuntimeError(f"parts passed without a fresh OK: {odd}")
            await asyncio.sleep(0.02)
        self._checked_s = max((at_s for _, at_s in passed), default=self._checked_s)
