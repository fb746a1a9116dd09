"""camera@NAME: pictures onto the bus.

In: the camera itself; raw, where a PLC's tag triggers or chooses the recipe. Out: frame, event, status.

Frames leave on a connection of their own: a frame never delays a scalar. A camera that is lost is an event until it is
back, and is opened again with a growing pause. A part that was triggered gets a frame whatever happens to its picture.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from bus.link import Backoff
from edge.cameras import Picture, Shooter, Tunable, load_grabber
from edge.grabbing.address import shown
from edge.grabbing.frames import FrameSender
from edge.grabbing.recipe import RecipeWatch
from edge.grabbing.triggered import Triggered
from edge.host import metric_names as names
from schemas.errors import ConnectorError, Oversized
from schemas.messages import Frame, Phase, Quality, Reading, Severity, State
from schemas.topics import FRAME, READING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

    from bus import Delivery
    from bus.typed import Publisher
    from edge.process import Process
    from edge.settings import Camera as CameraSettings

IDLE_S: Final = 2.0
SOUND_S: Final = 10.0  # without a fault, until triggers count as sound again
LEAST_CONTRAST: Final = 4  # grey levels of a uint8 picture between its darkest and its brightest value


class Camera:
    """One camera, opened again and again."""

    def __init__(self, process: Process, frames: Publisher[Frame]) -> None:
        """Nothing is opened yet."""
        self.settings: CameraSettings = process.settings.cameras[process.instance]
        self._process = process
        self.sender = FrameSender(process, frames, self.settings.stream or process.instance)
        self.triggered: Triggered | None = None
        if self.settings.trigger:
            self.triggered = Triggered(process, self._publish, self._trigger_fault)
        self._faulty_s = 0.0
        self.recipe = RecipeWatch(self.settings.recipe) if self.settings.recipe else None
        self._tunable: Tunable | None = None
        self._sent_s = 0.0
        self._faults: set[str] = set()
        self._backoff = Backoff()
        self._counters = process.counters
        self._counters.update(frames=0, lost=0)
        camera, metrics = process.instance, process.metrics
        self._seen = {one: metrics.counter(names.FRAMES, camera=camera, quality=one.value) for one in Quality}
        self._failed = metrics.counter(names.GRAB_FAILURES, camera=camera)

    async def run(self) -> None:
        """Open the camera and publish what it takes, until it has no more."""
        while True:
            try:
                grabber = load_grabber(self.settings.driver)
                async with grabber.open_camera(self.settings, self._process.home) as pictures:
                    self._mended("camera_lost", f"{shown(self.settings.address)} answers")
                    self._backoff.reset()
                    await self._publish_all(pictures)
                    return
            except ConnectorError as error:
                self._counters["lost"] += 1
                self._failed.inc()
                self._fault("camera_lost", str(error))
            await asyncio.sleep(self._backoff.take())

    async def _publish_all(self, pictures: AsyncIterator[Picture]) -> None:
        self._tunable = pictures if isinstance(pictures, Tunable) else None
        self._tune()
        triggered = self.triggered
        if triggered is None:
            async for picture in pictures:
                self._publish(picture)
            return
        triggered.shooter = pictures if isinstance(pictures, Shooter) else None
        try:
            async for picture in pictures:
                triggered.picture(picture)
        finally:
            triggered.shooter = None

    @property
    def sources(self) -> set[str]:
        """The sources whose readings it takes."""
        return {of.source for of in (self.triggered, self.recipe) if of is not None}

    def reading(self, reading: Reading, delivery: Delivery) -> None:
        """Take a reading: a trigger, another recipe."""
        if self.triggered is not None:
            self.triggered.reading(reading, delivery)
        if self.recipe is None:
            return
        if self.recipe.read(reading):
            self._tune()
        if self.recipe.problem:
            self._fault("recipe_unknown", self.recipe.problem)
        else:
            self._mended("recipe_unknown", "the recipe is known")

    def _tune(self) -> None:
        """Set what the recipe asks for: when it changes, and when the camera has been opened again."""
        if self.recipe is not None and self.recipe.values and self._tunable is not None:
            self._tunable.adjust(self.recipe.values)

    def _publish(self, picture: Picture) -> None:
        picture = judged(picture)
        try:
            self.sender.send(picture)
        except Oversized as error:
            self._fault("frame_oversized", str(error))
            return
        self._sent_s = time.monotonic()
        self._counters["frames"] += 1
        self._seen[picture.quality].inc()
        self._mended("frame_oversized", "pictures fit again")
        if not self._faults:
            self._process.report(State.ACTIVE)

    def _trigger_fault(self, why: str) -> None:
        self._faulty_s = time.monotonic()
        self._fault("triggers_faulty", why)

    def _fault(self, code: str, why: str) -> None:
        if code not in self._faults:
            self._faults.add(code)
            self._process.event(code, Phase.NEW, Severity.ALARM, why[:1000], camera=self._process.instance)
        self._process.report(State.DEGRADED, why)

    def _mended(self, code: str, text: str) -> None:
        if code in self._faults:
            self._faults.discard(code)
            self._process.event(code, Phase.END, Severity.INFO, text, camera=self._process.instance)
        if not self._faults and not self._sent_s:
            self._process.report(State.IDLE, "no picture yet")

    async def watch_triggers(self, triggered: Triggered) -> None:
        """Settle the triggers that nothing came for, and say when the tag can't be read."""
        while True:
            await asyncio.sleep(triggered.wait_s / 4)
            triggered.overdue()
            if trouble := triggered.trouble():
                self._fault("trigger_lost", f"{self.settings.trigger}: {trouble}")
            else:
                self._mended("trigger_lost", f"{self.settings.trigger} is read again")
            if "triggers_faulty" in self._faults and time.monotonic() - self._faulty_s > SOUND_S:
                self._mended("triggers_faulty", f"no fault for {SOUND_S:g} s")

    async def watch(self) -> None:
        """Say when no pictures come."""
        while True:
            await asyncio.sleep(IDLE_S / 2)
            if not self._faults and time.monotonic() - self._sent_s > IDLE_S:
                self._process.report(State.IDLE, f"no picture for {IDLE_S:g} s")


def judged(picture: Picture) -> Picture:
    """Return a picture as Bad if it shows nothing: a covered lens, a light that is off, an overdriven or dead sensor.

    A classifier knows nothing of such pictures and may call them good with great confidence.
    """
    pixels = picture.pixels
    if picture.quality is Quality.BAD:
        return picture
    reason = ""
    if pixels.dtype == np.uint8:
        if not pixels.size or int(pixels.max()) - int(pixels.min()) < LEAST_CONTRAST:
            reason = "no contrast: is the lens covered, or the light off?"
    elif pixels.dtype.kind == "f":
        reason = _flaw(pixels)
    return replace(picture, quality=Quality.BAD, reason=reason) if reason else picture


def _flaw(samples: NDArray[np.floating]) -> str:
    """Say what is wrong with a window of samples [..., channels], "" if nothing is."""
    if not samples.size or not np.isfinite(samples).all():
        return "not a finite number among the samples"
    channels = samples.reshape(-1, samples.shape[-1])
    flat = np.flatnonzero(channels.max(axis=0) == channels.min(axis=0))
    return f"channel {flat[0]} never moves: is its sensor connected, or overdriven?" if flat.size else ""


async def main(process: Process) -> None:
    """Run until cancelled."""
    stream = process.settings.cameras[process.instance].stream or process.instance
    async with process.connection("frames") as bus:
        camera = Camera(process, process.publisher(FRAME, Frame, bus, stream=stream))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(camera.run(), name="camera")
                tasks.create_task(camera.watch(), name="watch")
                for source in camera.sources:
                    await process.read(READING, Reading, camera.reading, source=source)
                if (triggered := camera.triggered) is not None:
                    tasks.create_task(camera.watch_triggers(triggered), name="triggers")
        finally:
            camera.sender.close()
