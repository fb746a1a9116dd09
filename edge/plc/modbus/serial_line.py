"""A serial line to Modbus RTU units: pymodbus' serial client with its own clock and an exclusive lock.

pymodbus waits for an answer by polling with sleeps of a millisecond and more, on the wall clock, and does not say why a
port can't be opened. Source of the pauses: MODBUS over Serial Line 1.02, 2.5.1.1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import time
from dataclasses import dataclass
from typing import Final, Protocol, cast

from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse
from serial import Serial, SerialException  # type: ignore[import-untyped]  # pyserial has no types

from edge.plc.modbus.requests import answer_size
from schemas.errors import ConnectorError

_FAST_BAUD: Final = 19_200
_FAST_PAUSE_S: Final = 0.00175  # over 19200 Bd the pause between two frames no longer shrinks
_PIECE: Final = 512
_BABBLE_S: Final = 0.5
_AROUND: Final = 3  # unit and checksum, around function code and data


@dataclass(frozen=True)
class LineSettings:
    """How a port is opened, and how long its units may think."""

    device: str
    baudrate: int
    parity: str
    stop_bits: int
    answer_s: float
    turnaround_s: float
    echo: bool

    @property
    def byte_s(self) -> float:
        """How long one byte takes: start bit, 8 data bits, parity, stop bits."""
        return (9 + (self.parity != "N") + self.stop_bits) / self.baudrate

    @property
    def pause_s(self) -> float:
        """The silence between two frames: 3.5 bytes, or what the units ask for."""
        frame = _FAST_PAUSE_S if self.baudrate > _FAST_BAUD else 3.5 * self.byte_s
        return max(frame, self.turnaround_s)


class _Port(Protocol):
    """What is used of pyserial, which has no types."""

    def fileno(self) -> int: ...
    def write(self, data: bytes) -> int: ...
    def set_low_latency_mode(self, low_latency_settings: bool) -> None: ...
    def close(self) -> None: ...


class SerialLine(ModbusSerialClient):
    """One port. `heard` is what came since the last request; `send` and `recv` are called by pymodbus."""

    def __init__(self, settings: LineSettings) -> None:
        """Open nothing yet."""
        super().__init__(
            settings.device, baudrate=settings.baudrate, parity=settings.parity, stopbits=settings.stop_bits,
            timeout=60, retries=0, handle_local_echo=settings.echo,
        )  # fmt: skip
        self.heard = b""
        self._settings = settings
        self._deadline = self._quiet_since = 0.0
        self._answer_bytes = 0

    def connect(self) -> bool:
        """Open the port, for us alone.

        Raises:
            ConnectorError: it can't be opened.
        """
        if self.socket is not None:
            return True
        settings = self._settings
        try:
            port = Serial(
                settings.device, baudrate=settings.baudrate, parity=_parity(settings), stopbits=settings.stop_bits,
                timeout=0, write_timeout=1.0, exclusive=True,
            )  # fmt: skip
        except (SerialException, OSError, ValueError, termios.error) as error:
            raise ConnectorError(f"{settings.device} can't be opened: {_remedy(error)}") from error
        with contextlib.suppress(ValueError, NotImplementedError, OSError):  # a driver that has no such mode
            cast(_Port, port).set_low_latency_mode(True)  # else a USB adapter may hold bytes for 16 ms
        self.socket = port
        return True

    def close(self) -> None:
        """Close the port."""
        if self.socket is not None:
            with contextlib.suppress(OSError, termios.error, SerialException):
                self._port.close()
        self.socket = None

    def listen(self, for_s: float) -> None:
        """Throw away what comes until nothing has come for a pause, but for at least `for_s`.

        Raises:
            ConnectorError: the line is never quiet.
        """
        now = time.monotonic()
        quiet_at, give_up_at = now + for_s, now + for_s + _BABBLE_S
        while self._take(max(0.0, quiet_at - now)):
            now = time.monotonic()
            quiet_at = max(quiet_at, now + self._settings.pause_s)
            if now > give_up_at:
                raise ConnectorError(f"{self._settings.device}: the line is never quiet; is there a second master?")

    def ask(self, request: ModbusPDU) -> ModbusPDU:
        """Make one request; raises what pymodbus raises."""
        self._answer_bytes = answer_size(request) + _AROUND
        answer = self.execute(False, request)
        frame = self._frame(answer)
        if not self.heard.endswith(frame):
            raise ModbusException(f"{len(self.heard)} bytes came, which do not end with the answer")
        return answer

    def send(self, request: bytes, addr: tuple[str, int] | None = None) -> int:
        """Throw away what came late, keep the pause between two frames, and send."""
        self.listen(max(0.0, self._quiet_since + self._settings.pause_s - time.monotonic()))
        self.heard = b""
        try:
            sent = self._port.write(request)
        except (OSError, SerialException) as error:
            self.close()
            raise ConnectionException(str(error)) from error
        wire_bytes = (2 if self._settings.echo else 1) * len(request) + self._answer_bytes
        self._quiet_since = time.monotonic() + len(request) * self._settings.byte_s
        self._deadline = time.monotonic() + wire_bytes * self._settings.byte_s + self._settings.answer_s
        return sent

    def recv(self, size: int | None) -> bytes:
        """Return what has come, "" once the answer is overdue."""
        data = self._take(max(0.0, self._deadline - time.monotonic()))
        self.heard += data
        return data

    def _frame(self, answer: ModbusPDU) -> bytes:
        """Return an answer as it travels."""
        if isinstance(answer, ReadDeviceInformationResponse):
            answer.number_of_objects = 0  # pymodbus counts them anew, on top
        return self.transaction.framer.buildFrame(answer)

    @property
    def _port(self) -> _Port:
        if self.socket is None:
            raise ConnectionException("the port is closed")
        return cast(_Port, self.socket)

    def _take(self, wait_s: float) -> bytes:
        """Return what comes within a time; raises ConnectionException where the port is gone."""
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], wait_s)
            if not ready:
                return b""
            data = os.read(self._port.fileno(), _PIECE)
        except (OSError, SerialException) as error:
            self.close()
            raise ConnectionException(str(error)) from error
        if not data:
            self.close()
            raise ConnectionException("the port was unplugged")
        self._quiet_since = time.monotonic()
        return data


def _parity(settings: LineSettings) -> str:
    """Return the parity to ask for: a pseudo-terminal (socat, a simulator) has none, and may refuse it."""
    return "N" if os.path.realpath(settings.device).startswith("/dev/pts/") else settings.parity


def _remedy(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return "there is no such device; plug the adapter in, and name it by its path in /dev/serial/by-id"
    if code in (errno.EACCES, errno.EPERM):
        return "not permitted; add the user that runs PlantEdge to the group dialout"
    if code in (errno.EAGAIN, errno.EBUSY):
        return "another program or source has it; one source serves all units of a line (3/hr:0 is unit 3)"
    return str(error)[:200]
