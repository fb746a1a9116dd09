"""Files in memory that several processes map: one writes, others read."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_mapped(path: Path, size: int) -> mmap.mmap:
    """Make a file of `size` bytes in place of what was there, for this user alone, and map it.

    Raises:
        OSError: it can't be made, or there is no memory for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # or a store would end us (SIGBUS) when memory is short
        return mmap.mmap(descriptor, size)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
