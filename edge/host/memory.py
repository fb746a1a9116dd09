"""Memory that was freed and is still ours: given back to the system."""

from __future__ import annotations

import ctypes
from typing import Final

# glibc keeps what was freed between blocks that are still in use. musl and others give it back, or have no such call.
_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Hand freed pages of the heap back; 0.5 ms (0.8 at worst) for a runtime, during which others may allocate.

    Over 200 reloads of a 64x64x3 model the resident memory grew by 3 MB without it, by none with it.
    """
    if _TRIM is not None:
        _TRIM(0)
