"""A folder of images as a camera: each PNG or JPEG in the order of its name, at a steady rate, over and over.

`address` is the folder, relative to the device's home. Options: `rate_hz` (10), `width` and `height` (the images' own),
`mode` (RGB; L for grey), `loop` (true). Part ids count from 1. An image that can't be read becomes a Bad picture.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from edge.cameras import Picture
from schemas.errors import ConnectorError
from schemas.messages import Quality

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.settings import Camera

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg"})
_OPTIONS: Final = frozenset({"rate_hz", "width", "height", "mode", "loop"})


@dataclass(frozen=True)
class _Plan:
    """What the options say."""

    rate_hz: float
    size: tuple[int, int] | None
    mode: str
    loop: bool


@asynccontextmanager
async def open_camera(settings: Camera, home: Path) -> AsyncGenerator[AsyncIterator[Picture], None]:
    """Look into the folder; see `edge.cameras.Grabber`."""
    plan = _plan(settings)
    folder = home / settings.address
    with ThreadPoolExecutor(1, "camera-folder") as thread:
        files = await asyncio.get_running_loop().run_in_executor(thread, _files, folder)
        async with aclosing(_pictures(files, plan, thread)) as pictures:
            yield pictures


def _plan(settings: Camera) -> _Plan:
    options = settings.options
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ConnectorError(f"camera option {unknown[0]}: not known; there are {', '.join(sorted(_OPTIONS))}")
    try:
        width, height = int(options.get("width", 0)), int(options.get("height", 0))
        plan = _Plan(
            float(options.get("rate_hz", 10.0)), (width, height) if width and height else None,
            str(options.get("mode", "RGB")), bool(options.get("loop", True)),
        )  # fmt: skip
    except ValueError as error:
        raise ConnectorError(f"camera options: {error}") from error
    if plan.rate_hz <= 0 or min(width, height) < 0 or bool(width) != bool(height) or plan.mode not in ("RGB", "L"):
        raise ConnectorError("camera options: rate_hz over 0, both width and height or none, mode RGB or L")
    return plan


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ConnectorError(f"camera folder {folder} holds no PNG or JPEG; put some there")
    return found


async def _pictures(files: list[Path], plan: _Plan, thread: ThreadPoolExecutor) -> AsyncGenerator[Picture, None]:
    loop = asyncio.get_running_loop()
    part_id, due_s = 0, time.monotonic()
    while part_id < len(files) or plan.loop:
        file = files[part_id % len(files)]
        part_id += 1
        pixels, reason = await loop.run_in_executor(thread, _read, file, plan)
        now_s = time.monotonic()
        due_s = max(due_s, now_s - 1 / plan.rate_hz)  # what was missed is not caught up with
        await asyncio.sleep(due_s - now_s)
        due_s += 1 / plan.rate_hz
        quality = Quality.BAD if reason else Quality.GOOD
        yield Picture(part_id, time.monotonic_ns(), pixels, quality, reason)


def _read(file: Path, plan: _Plan) -> tuple[NDArray[Any], str]:
    try:
        with Image.open(file) as image:
            kept = image.convert(plan.mode)
            if plan.size:
                kept = kept.resize(plan.size)
            pixels = np.asarray(kept)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        width, height = plan.size or (1, 1)
        return np.zeros((height, width, 3), np.uint8), f"{file.name} can't be read: {error}"[:200]
    return pixels if pixels.ndim == 3 else pixels[:, :, None], ""
