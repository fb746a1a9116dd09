"""Clocks: the boot that monotonic times belong to, and whether the wall clock is disciplined."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache
from pathlib import Path

_STA_UNSYNC = 0x0040  # <sys/timex.h>
_STA_NANO = 0x2000


class _Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>, as far as we read it; the padding covers the rest on 32 and 64 bits."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return the kernel's boot id, shortened: monotonic times compare only within one boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:12]
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)


def clock_state() -> tuple[bool | None, float | None]:
    """Return whether the kernel's clock is synchronised, and its offset in milliseconds; None where it can't be read.

    Source: adjtimex(2), read-only (modes = 0).
    """
    timex = _Timex()
    if _libc().adjtimex(ctypes.byref(timex)) < 0:
        return None, None
    scale = 1e6 if timex.status & _STA_NANO else 1e3
    return not timex.status & _STA_UNSYNC, timex.offset / scale
