"""Paths of unix sockets: the kernel takes at most 107 bytes (unix(7)), and folders can be deeper than that."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from schemas.errors import StartError

MOST_BYTES = 107


def socket_path(folder: Path, name: str) -> Path:
    """Return `folder`/`name`, or one of our own below the system's temporary folder where that is too long."""
    path = folder / name
    if len(os.fsencode(path)) <= MOST_BYTES:
        return path
    short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return private_folder() / f"{short}-{name}"


def private_folder() -> Path:
    """Return a folder of this user's own below the system's temporary folder.

    Raises:
        StartError: somebody else has made it before us.
    """
    private = Path(tempfile.gettempdir()) / f"plantedge-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.is_symlink() or private.stat().st_uid != os.getuid():
        raise StartError(f"{private} belongs to another user; remove it, or set TMPDIR to a folder of yours")
    return private
