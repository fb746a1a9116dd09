"""Where engines keep what they compiled: a folder per model, setting and version; the oldest give way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

KEPT: Final = 16  # one device's models with their predecessors; each is about as large as its model


def place_for(cache: Path, key: str) -> Path:
    """Return the folder `key` of an engine's cache, made if need be; forget those that were not used for longest."""
    place = cache / key
    place.mkdir(parents=True, exist_ok=True)
    os.utime(place)
    others = [path for path in cache.iterdir() if path.is_dir() and path != place]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in others[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
    return place
