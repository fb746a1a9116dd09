"""Where pictures come from: one file per kind of camera, its name is the `driver` of the settings.

A driver is a module with `open_camera(settings, home)`, an async context manager: entering it connects, and what it
gives is iterated for shots. A link that fails raises ConnectorError; `edge.camera` then opens the camera again.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from schemas.errors import ConnectorError
from schemas.messages import Quality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.settings import Camera


@dataclass(frozen=True, slots=True)
class Picture:
    """What a camera took. `trigger_ns`: CLOCK_MONOTONIC of the trigger, on this machine."""

    part_id: int
    trigger_ns: int
    pixels: NDArray[Any]
    quality: Quality = Quality.GOOD
    reason: str = ""


@runtime_checkable
class Shooter(Protocol):
    """Pictures of a camera that takes one when it is told to."""

    def shoot(self) -> None:
        """Take a picture now; it comes like any other, and so does the ConnectorError where the camera refuses."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """Pictures of a camera that can be changed while it runs."""

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set options before one of the next pictures; the ConnectorError where it refuses comes like a lost camera."""
        ...


class Grabber(Protocol):
    """A file of this folder."""

    def open_camera(self, settings: Camera, home: Path) -> AbstractAsyncContextManager[AsyncIterator[Picture]]:
        """Connect, and give the pictures as they are taken; the iterator ends when there are no more.

        Raises:
            ConnectorError: no connection, or it failed; the message says what to do.
        """
        ...


def camera_drivers() -> tuple[str, ...]:
    """Return the names of the drivers that this installation has files of."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))


def load_grabber(name: str) -> Grabber:
    """Return the driver `edge/cameras/{name}.py`.

    Raises:
        ConnectorError: there is no such file, or a package that it needs is not installed.
    """
    if name not in camera_drivers():
        raise ConnectorError(f"there is no camera driver {name!r}; there are {', '.join(camera_drivers())}")
    try:
        return cast(Grabber, importlib.import_module(f"{__name__}.{name}"))
    except ImportError as error:
        raise ConnectorError(f"camera driver {name!r} needs a package that is not installed: {error}") from error
