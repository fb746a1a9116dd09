"""A serial line of ptys: an adapter and units. A test may spoil, delay or swallow what is said.

A unit hears what is said to it alone: libmodbus' server takes the next request on the line for the answer of a silent
neighbour, and is deaf to it.
"""

import contextlib
import os
import select
import subprocess
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.peers.modbus_peer import server_program

Spoil = Callable[[bytes], list[bytes]]


class SerialBus:
    """The line. `port` is where the connector plugs in: a link that stays the same when the adapter is replugged."""

    def __init__(self, folder: Path) -> None:
        self.port = folder / "ttyUSB0"
        self.asked: list[bytes] = []  # what the connector said
        self.spoil: Spoil = lambda piece: [piece]  # what the connector hears of what a unit says
        self.echo = False  # whether the adapter hears itself
        self._ends: dict[int, int] = {}  # our side of each end -> the unit there
        self._kept: list[int] = []
        self._echoed: set[int] = set()
        self._lock = threading.Lock()
        self._wake, self._waker = os.pipe()
        self._stopped = False
        self._adapter = -1
        self.plug()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """Plug the adapter in."""
        self._adapter, name = self.end()
        self.port.unlink(missing_ok=True)
        self.port.symlink_to(name)

    def unplug(self) -> None:
        """Pull the adapter: its device goes away."""
        self.port.unlink()
        self._drop(self._adapter)

    def end(self, number: int = 0) -> tuple[int, str]:
        """A further end, of a unit: its side of the line, and the device that whoever speaks there opens."""
        master, slave = os.openpty()
        tty.setraw(master, termios.TCSANOW)
        name = os.ttyname(slave)
        os.set_blocking(master, False)
        with self._lock:
            self._ends[master] = number
            self._kept.append(slave)  # an end that nobody has open is an error to read
        os.write(self._waker, b"x")
        return master, name

    def say(self, data: bytes) -> None:
        """Let the connector hear something."""
        with contextlib.suppress(OSError):
            os.write(self._adapter, data)

    def babble(self, number: int) -> None:
        """Put a unit on the line that says each request back; `spoil` makes of it what it likes."""
        with self._lock:
            self._echoed.add(number)

    def close(self) -> None:
        self._stopped = True
        os.write(self._waker, b"x")
        self._thread.join(5)
        for descriptor in (*self._ends, *self._kept, self._wake, self._waker):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _drop(self, master: int) -> None:
        with self._lock:
            del self._ends[master]
        os.close(master)
        os.write(self._waker, b"x")

    def _run(self) -> None:
        while not self._stopped:
            with self._lock:
                ends = dict(self._ends)
            with contextlib.suppress(OSError, ValueError):  # an end was dropped meanwhile
                ready, _, _ = select.select([*ends, self._wake], [], [], 1.0)
                for speaker in ready:
                    self._forward(speaker, ends)

    def _forward(self, speaker: int, ends: dict[int, int]) -> None:
        piece = os.read(speaker, 4096)
        if speaker == self._adapter:
            self.asked.append(piece)
            if self.echo:
                self.say(piece)
            if piece[0] in self._echoed:
                self._answer(piece)
            for end, number in ends.items():
                if number == piece[0]:
                    os.write(end, piece)
        elif speaker != self._wake:
            self._answer(piece)

    def _answer(self, piece: bytes) -> None:
        for part in self.spoil(piece):
            self.say(part)


@contextlib.contextmanager
def serial_bus(folder: Path) -> Iterator[SerialBus]:
    """A line without units."""
    bus = SerialBus(folder)
    try:
        yield bus
    finally:
        bus.close()


@contextlib.contextmanager
def rtu_unit(bus: SerialBus, number: int) -> Iterator[subprocess.Popen[str]]:
    """libmodbus' server as a unit of the line."""
    _, device = bus.end(number)
    with subprocess.Popen([server_program(), "rtu", device, str(number)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == f"{number}\n"
            yield child
        finally:
            child.kill()
