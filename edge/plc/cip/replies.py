"""What a CIP device answers to a service, checked before anything of it is a value. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pycomm3.cip.status_info import SERVICE_STATUS

DONE, PARTIAL, EMBEDDED = 0x00, 0x06, 0x1E
_SERVICE, _EXTENDED = 0x08, 0xFF
_REASONS: Final = {
    0x04: "no such tag or member (or its External Access is None)",
    0x05: "no such tag, class or instance", 0x08: "the device does not have this service",
    0x0E: "can only be read", 0x0F: "access refused; is its External Access Read/Write?",
    0x13: "the request was too short", 0x14: "no such attribute", 0x15: "the request was too long",
    0x16: "no such class or instance",
}  # fmt: skip
_EXTENDED_REASONS: Final = {
    0x2101: "access refused in the controller's present mode", 0x2104: "beyond the end of the tag",
    0x2105: "beyond the end of the array", 0x2107: "the tag has another type",
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """A service's reply. `partial`: there is more of it."""

    status: int
    extended: int | None
    data: bytes

    @property
    def done(self) -> bool:
        """Whether all was done."""
        return self.status == DONE

    @property
    def partial(self) -> bool:
        """Whether the data did not fit into the reply."""
        return self.status == PARTIAL

    @property
    def reason(self) -> str:
        """The reason of a Bad sample."""
        if self.status == _EXTENDED and self.extended is not None:
            known = _EXTENDED_REASONS.get(self.extended, "refused")
            return f"{known} (CIP error 16#FF, 16#{self.extended:04X})"
        known = _REASONS.get(self.status) or str(SERVICE_STATUS.get(self.status, "refused"))
        return f"{known} (CIP error 16#{self.status:02X})"


def reply_of(data: bytes, service: int) -> Reply:
    """Return a service's reply.

    Raises:
        ValueError: it is none, or one to another service.
    """
    if len(data) < 4 or data[0] != service | 0x80 or data[1]:
        raise ValueError(f"{data[:4].hex(' ')} is no reply to service 16#{service:02X}")
    begin = 4 + 2 * data[3]
    if begin > len(data):
        raise ValueError("a reply is cut short")
    extended = struct.unpack_from("<H", data, 4)[0] if data[3] else None
    return Reply(data[2], extended, data[begin:])


def several(data: bytes, services: list[int]) -> list[Reply]:
    """Return the replies in that of a Multiple Service Packet.

    Raises:
        ValueError: they are not as many, or not to these services.
    """
    count = int.from_bytes(data[:2], "little")
    if count != len(services) or len(data) < 2 + 2 * count:
        raise ValueError(f"{count} replies came for {len(services)} asked")
    starts = struct.unpack_from(f"<{count}H", data, 2)
    ends = (*starts[1:], len(data))
    if starts[0] != 2 + 2 * count or any(start > end for start, end in zip(starts, ends, strict=True)):
        raise ValueError("replies lie over each other")
    return [reply_of(data[start:end], one) for start, end, one in zip(starts, ends, services, strict=True)]
