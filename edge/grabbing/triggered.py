"""A camera whose parts a PLC tells: triggers in, pictures in, parts out. Counts every fault and says it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.grabbing.pairing import Pairing
from edge.grabbing.triggers import Detector
from edge.host import metric_names as names
from schemas.topics import READING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus import Delivery
    from edge.cameras import Picture, Shooter
    from edge.grabbing.pairing import Paired
    from edge.process import Process
    from edge.settings import Camera
    from schemas.messages import Reading


class Triggered:
    """The triggers of one camera. `publish` takes a part's picture, `tell` a fault in words."""

    def __init__(self, process: Process, publish: Callable[[Picture], None], tell: Callable[[str], None]) -> None:
        """Start with nothing waiting."""
        settings: Camera = process.settings.cameras[process.instance]
        self.source, _, tag = settings.trigger.partition("/")
        wired = settings.triggered_by == "wire"
        self.detector = Detector(tag, settings.part.partition("/")[2], every=wired)
        self.shooter: Shooter | None = None  # while the camera is open, and can be told to take a picture
        self.wait_s = settings.wait_ms / 1e3
        self._pairing = Pairing(int(settings.wait_ms * 1e6), wired=wired)
        self._shoots, self._failsafe = not wired, settings.faulty == "failsafe"
        self._process, self._publish, self._tell = process, publish, tell
        self._counters = process.counters
        self._counters.update(triggers=0, trigger_faults=0)
        self._began_s = self._heard_s = time.monotonic()
        self._seen = process.metrics.counter(names.TRIGGERS, camera=process.instance)

    def trouble(self) -> str:
        """Return why no trigger can be seen, "" while all is well."""
        if time.monotonic() - self._heard_s > READING.stale_after_s:
            return f"no reading of {self.source} for {READING.stale_after_s:g} s; does its connect process run?"
        return self.detector.trouble if time.monotonic() - self._began_s > READING.stale_after_s else ""

    def reading(self, reading: Reading, _: Delivery) -> None:
        """Take a reading of the source."""
        if reading.source != self.source:
            return
        self._heard_s = time.monotonic()
        if reading.boot != self._process.boot:
            return
        for trigger in self.detector.read(reading):
            self._counters["triggers"] += 1
            self._seen.inc()
            if self._shoots and self.shooter is not None and not trigger.fault:
                self.shooter.shoot()
            self._settle(self._pairing.trigger(trigger, time.monotonic_ns()))

    def picture(self, picture: Picture) -> None:
        """Take a picture."""
        self._settle(self._pairing.picture(picture))

    def overdue(self) -> None:
        """Settle what has waited too long."""
        self._settle(self._pairing.overdue(time.monotonic_ns()))

    def _settle(self, parts: list[Paired]) -> None:
        for part in parts:
            if not part.fault:
                self._publish(part.picture)
                continue
            self._counters["trigger_faults"] += 1
            self._process.metrics.counter(
                names.TRIGGER_FAULTS, camera=self._process.instance, why=part.fault
            ).inc()  # fmt: skip
            self._tell(f"part {part.picture.part_id}: {part.picture.reason}")
            if self._failsafe:
                self._publish(part.picture)
