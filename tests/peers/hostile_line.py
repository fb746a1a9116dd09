"""A serial line whose one unit says what another said, and spoils one answer."""

import contextlib
from collections.abc import Iterator

from pymodbus.framer.rtu import FramerRTU

from tests.peers.conversations import Exchange, Spoilt
from tests.peers.serial_bus import SerialBus


class Checksum:
    """RTU's framing: what is left of a message gets a checksum of its own."""

    def telling(self, cut: bytes) -> bytes:
        return cut + FramerRTU.compute_CRC(cut).to_bytes(2, "big")


@contextlib.contextmanager
def line_recorder(bus: SerialBus) -> Iterator[list[Exchange]]:
    """What is said on a line until then."""
    exchanges: list[Exchange] = []

    def note(piece: bytes) -> list[bytes]:
        if len(bus.asked) > len(exchanges):
            exchanges.append(Exchange(bus.asked[-1], b""))
        exchanges[-1] = Exchange(bus.asked[-1], exchanges[-1].answer + piece)
        return [piece]

    bus.spoil = note
    yield exchanges


class HostileLine:
    """Replays what a unit said; `spoilt` says what of the next conversation."""

    def __init__(self, bus: SerialBus, unit: int, exchanges: list[Exchange]) -> None:
        self.sent = False
        self.astray: list[bytes] = []
        self.library: dict[bytes, int] = {}
        for number, one in enumerate(exchanges):
            self.library.setdefault(one.request, number)
        self._exchanges = exchanges
        self._spoilt: Spoilt | None = None
        bus.spoil = self._answers
        bus.babble(unit)

    @property
    def spoilt(self) -> Spoilt | None:
        return self._spoilt

    @spoilt.setter
    def spoilt(self, case: Spoilt | None) -> None:
        self._spoilt, self.sent = case, False

    def _answers(self, request: bytes) -> list[bytes]:
        number = self.library.get(request)
        if number is None:
            self.astray.append(request)
            return []
        answer, spoilt = self._exchanges[number].answer, self._spoilt
        if spoilt is None or number != spoilt.number or self.sent:
            return [answer]
        self.sent = True
        return [spoilt.applied(answer, Checksum())]
