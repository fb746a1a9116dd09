"""What asyncua reads without a bound, bounded: 60 bytes from anybody who reaches the port could end the process.

Each seen with asyncua 2.1 as it is, also in a request that needs no session:
- an array is as long as it says: 2,147,483,647 nulls need no more bytes, and 16 GB of memory;
- a length of -4 goes four bytes back, so that an array of such strings is read for half an hour from the same place;
- a Variant's dimensions are believed: 30 bytes become a million lists.

asyncua has no hook there, so three functions of `ua_binary` are wrapped, for this process alone.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
# (asyncua's structures and calls carry no types there, and what is wrapped is its own)

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncua.common.utils import Buffer, ServiceError
from asyncua.ua import ua_binary
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.limits import REQUEST_ELEMENTS

Read = Callable[[Any], Any]


class Body(Buffer):
    """A request's bytes: read forwards only, and with a bound on the elements of all its arrays together."""

    def __init__(self, data: bytes, start_pos: int = 0, size: int = -1, spent: list[int] | None = None) -> None:
        """Begin at `start_pos`; `spent` is shared by all parts of a request."""
        super().__init__(data, start_pos, size)
        self._spent = [0] if spent is None else spent

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            ServiceError: a length that is none.
            NotEnoughData: there are fewer.
        """
        if size < 0:
            raise ServiceError(StatusCodes.BadDecodingError)
        return super().read(size)

    def copy(self, size: int = -1) -> Body:
        """Return a part that is read on its own and counted together."""
        return Body(self._data, self._cur_pos, self._size if size < 0 else min(size, self._size), self._spent)

    def spend(self, elements: int) -> None:
        """Count elements before they are made.

        Raises:
            ServiceError: too many for one request, or more than there are bytes.
        """
        self._spent[0] += max(elements, 0)
        if self._spent[0] > REQUEST_ELEMENTS:
            raise ServiceError(StatusCodes.BadEncodingLimitsExceeded)
        if elements > self._size:
            raise ServiceError(StatusCodes.BadDecodingError)


def _counted(create: Callable[[Any], Read]) -> Callable[[Any], Read]:
    """Wrap what makes the reader of an array: its length is looked at first."""

    @functools.cache
    def made(kind: Any) -> Read:
        inner = create(kind)

        def read(data: Any) -> Any:
            if isinstance(data, Body):
                data.spend(_COUNT.unpack(data.copy()))
            return inner(data)

        return read

    return made


_COUNT: Final = ua_binary.Primitives.Int32
_arrays, _lists, _shaped = (
    ua_binary._create_uatype_array_deserializer, ua_binary._create_list_deserializer, ua_binary._reshape,
)  # fmt: skip


def _array_reader(kind: Any) -> Read:
    """Numbers are one piece of memory, whose size their bytes have: only what becomes objects is counted.

    Nulls have no bytes. `edge/plc/opcua/session.py`, where it is loaded, makes them look like numbers.
    """
    plain = hasattr(ua_binary.Primitives1, kind.name) and kind.name != "Null"
    return _arrays(kind) if plain else _count_array(kind)


_count_array: Final = _counted(_arrays)


def _reshaped(flat: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Shape an array by dimensions that are its own."""
    if math.prod(sizes) != len(flat):
        raise ServiceError(StatusCodes.BadDecodingError)
    return _shaped(flat, sizes)  # type: ignore[arg-type]  # it takes any sequence


def bound_decoding() -> None:
    """Let this process read requests with these bounds."""
    for name, ours in {
        "_create_uatype_array_deserializer": _array_reader, "_create_list_deserializer": _counted(_lists),
        "_reshape": _reshaped,
    }.items():  # fmt: skip
        setattr(ua_binary, name, ours)
    ua_binary._create_type_deserializer.cache_clear()
    ua_binary._create_dataclass_deserializer.cache_clear()
