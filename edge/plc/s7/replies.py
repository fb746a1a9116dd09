"""What an S7 PLC answers, checked byte by byte before anything of it is a value. Pure.

python-snap7's own reader fails a whole multi-read for one item that is refused, and calls the reply of a missing data
block "truncated"; here each item is its bytes or its refusal.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

READ, WRITE, SETUP = 0x04, 0x05, 0xF0
_HEADER: Final = struct.Struct(">BBHHHHBB")
_ITEM: Final = struct.Struct(">BBH")
_DONE: Final = 0xFF
_IN_BITS, _IN_BYTES = (0x04, 0x05), (0x09,)
_ITEM_CODES: Final = {
    0x01: "hardware fault", 0x03: "access refused; is the block protected?",
    0x05: "no such address in the block or area",
    0x06: "type not supported", 0x07: "type does not fit", 0x0A: "no such data block, or it has optimized access",
}  # fmt: skip
_FORBIDDEN: Final = 0x8104
_HEADER_CODES: Final = {
    _FORBIDDEN: "refused; PUT/GET has to be permitted in the PLC's protection settings",
    0x8404: "no such object or address", 0x8500: "request too long for the PLC",
}  # fmt: skip


class Malformed(ValueError):
    """Not an answer to what was asked: nothing that this link says can be trusted any more."""


@dataclass(frozen=True)
class Refused:
    """An item or a whole request that the PLC turned down. `whole`: it said so of the request, not of its items."""

    code: int
    whole: bool = False

    @property
    def forbidden(self) -> bool:
        """Whether the PLC lets nobody read: asking for less does not help."""
        return self.whole and self.code == _FORBIDDEN

    def __str__(self) -> str:
        """Return the reason of a Bad sample."""
        known = _HEADER_CODES if self.whole else _ITEM_CODES
        return f"{known.get(self.code, 'refused')} (S7 error 16#{self.code:0{4 if self.whole else 2}X})"


def pdu_of(reply: bytes, sequence: int) -> int:
    """Return the PDU that a PLC agrees to."""
    refused, parameters, data = _parts(reply, sequence)
    if refused or len(parameters) != 8 or parameters[0] != SETUP or data:
        raise Malformed(str(refused) if refused else "no agreement on a PDU")
    return int.from_bytes(parameters[6:8], "big")


def read_items(reply: bytes, sequence: int, sizes: Sequence[int]) -> list[bytes | Refused]:
    """Return what each item of a multi-read holds, which were asked with these sizes."""
    refused, parameters, data = _parts(reply, sequence)
    if refused:
        return [refused] * len(sizes)
    if parameters != bytes([READ, len(sizes)]):
        raise Malformed("an answer to another request")
    found: list[bytes | Refused] = []
    at = 0
    for size in sizes:
        if at + _ITEM.size > len(data):
            raise Malformed(f"{len(found)} items came for {len(sizes)} asked")
        code, kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if code != _DONE:
            found.append(Refused(code))
            continue
        _check_length(kind, length, size)
        if at + size > len(data):
            raise Malformed("an item is cut short")
        found.append(data[at : at + size])
        at += size + size % 2
    if len(data) > at:
        raise Malformed("more came than was asked")
    return found


def written(reply: bytes, sequence: int) -> Refused | None:
    """Return why one item was not written, None where it was."""
    refused, parameters, data = _parts(reply, sequence)
    if refused:
        return refused
    if parameters != bytes([WRITE, 1]) or len(data) != 1:
        raise Malformed("no answer to a write")
    return None if data[0] == _DONE else Refused(data[0])


def refusal_of(reply: bytes, sequence: int) -> Refused | None:
    """Return why a whole request was refused, None where it was not."""
    return _parts(reply, sequence)[0]


def _parts(reply: bytes, sequence: int) -> tuple[Refused | None, bytes, bytes]:
    """Return the refusal of the whole request, if it is one, its parameters and its data."""
    if len(reply) < _HEADER.size:
        raise Malformed(f"{len(reply)} bytes are no S7 answer")
    protocol, kind, _, answered, parameters, data, error_class, error_code = _HEADER.unpack_from(reply)
    if protocol != 0x32 or kind not in (2, 3):
        raise Malformed("no S7 answer")
    if answered != sequence:
        raise Malformed(f"an answer to request {answered}, not {sequence}")
    begin = _HEADER.size + parameters
    if len(reply) != begin + data:
        raise Malformed("an answer of another length than it says")
    code = error_class << 8 | error_code
    return Refused(code, whole=True) if code else None, reply[_HEADER.size : begin], reply[begin:]


def _check_length(kind: int, length: int, size: int) -> None:
    told = length / 8 if kind in _IN_BITS else length if kind in _IN_BYTES else -1
    if told != size:
        raise Malformed(f"an item of kind {kind} and length {length} for {size} bytes asked")
