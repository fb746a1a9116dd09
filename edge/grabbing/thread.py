"""A blocking camera in a thread of its own: the loop gets the newest picture, and a hung driver is a lost camera."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

from edge.grabbing.newest import Newest
from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from edge.cameras import Picture

log = logging.getLogger(__name__)
_LOOK_S: Final = 0.2
_END_S: Final = 2.0  # what a thread gets to notice that it shall end, over its own timeout


class Device(Protocol):
    """A camera as its driver sees it; all of it is called from one thread. Each method raises ConnectorError."""

    name: str
    timeout_s: float

    def open(self) -> None:
        """Connect."""
        ...

    def take(self) -> Picture | None:
        """Wait for the next picture, well under `timeout_s` or until it is lost; None: none yet, and all is well."""
        ...

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set options while it runs."""
        ...

    def close(self) -> None:
        """Let go of it; called after `open` failed too."""
        ...


class Pictures:
    """The pictures of one device, the newest first."""

    def __init__(self, device: Device, shoot: Callable[[], None] | None) -> None:
        """Nothing is opened yet."""
        self._device, self._shoot = device, shoot
        self._newest: Newest[Picture | ConnectorError] = Newest()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._wanted: dict[str, float] = {}
        self._shooting = ThreadPoolExecutor(1, "camera-shoot")  # the device's own thread waits for pictures meanwhile
        self._beat_s = time.monotonic()
        # A daemon: a driver that hangs in the kernel must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name=f"camera-{device.name}"[:15], daemon=True)

    def __aiter__(self) -> Pictures:
        """Go through them."""
        return self

    async def __anext__(self) -> Picture:
        """Wait for the next picture."""
        while True:
            with contextlib.suppress(TimeoutError):
                found = await self._newest.take(_LOOK_S)
                if isinstance(found, ConnectorError):
                    raise found
                return found
            silent_s = time.monotonic() - self._beat_s
            if silent_s > self._device.timeout_s + _END_S:
                raise ConnectorError(f"camera {self._device.name} hangs in its driver for {silent_s:.1f} s")

    def shoot(self) -> None:
        """Take a picture now, where the camera can be told so; it is not waited for (see `edge.cameras.Shooter`)."""
        if self._shoot is not None:
            self._shooting.submit(self._fire, self._shoot)

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set options before one of the next pictures; see `edge.cameras.Tunable`."""
        with self._lock:
            self._wanted.update(values)

    def _fire(self, shoot: Callable[[], None]) -> None:
        try:
            shoot()
        except ConnectorError as error:
            self._newest.put(error)

    async def open(self) -> None:
        """Start the thread, and wait until the device is open."""
        self._thread.start()
        try:
            async with asyncio.timeout(self._device.timeout_s + _END_S):
                await asyncio.shield(self._opened)
        except TimeoutError as error:
            raise ConnectorError(
                f"camera {self._device.name} does not open within {self._device.timeout_s:g} s; is it there?"
            ) from error

    async def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._shooting.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._thread.join, self._device.timeout_s + _END_S)
        if self._thread.is_alive():
            log.warning("camera %s: its driver hangs and keeps a thread", self._device.name)
        if self._opened.done() and not self._opened.cancelled():
            self._opened.exception()  # whoever waited for it has given up

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._device.open()
            self._tell(None)
            while not self._stop.is_set():
                self._adjust()
                picture = self._device.take()
                self._beat_s = time.monotonic()
                if picture is not None:
                    self._newest.put(picture)
        except BaseException as error:
            self._lose(error)
            if not isinstance(error, ConnectorError):
                raise
        finally:
            self._device.close()

    def _adjust(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        if wanted:
            self._device.adjust(wanted)

    def _lose(self, error: BaseException) -> None:
        if not isinstance(error, ConnectorError):
            error = ConnectorError(f"camera {self._device.name}: its driver failed: {error!r}")
        self._tell(error)
        self._newest.put(error)

    def _tell(self, error: ConnectorError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: ConnectorError | None) -> None:
        if self._opened.done():
            return
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)


@asynccontextmanager
async def pictures_of(device: Device, shoot: Callable[[], None] | None = None) -> AsyncGenerator[Pictures, None]:
    """Open a device; see `edge.cameras.Grabber`. `shoot` triggers it, where it can be triggered."""
    pictures = Pictures(device, shoot)
    try:
        await pictures.open()
        yield pictures
    finally:
        await pictures.close()
