"""Which picture is of which part: triggers and pictures in the order in which they came, within a time. Pure.

Every trigger has one answer: a picture with its part, or a fault. `wait_ns` must be shorter than the time from part to
part: a picture that is lost then costs one part, and never lends the next one's picture to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.cameras import Picture
from edge.grabbing.triggers import Trigger
from schemas.messages import Quality

if TYPE_CHECKING:
    from collections.abc import Iterator

LATE: Final = "late"
NO_PICTURE: Final = "no_picture"
NO_TRIGGER: Final = "no_trigger"
_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Paired:
    """What becomes of one part. `fault`: why its picture is none to judge, "" for none."""

    picture: Picture
    fault: str = ""


class Pairing:
    """Pairs. `wired`: the camera was triggered itself, so that its picture may come before the tag's news of it."""

    def __init__(self, wait_ns: int, *, wired: bool) -> None:
        """Start with nothing waiting."""
        self.unasked = 0  # pictures of a camera that runs freely, between two parts
        self._wait_ns, self._wired = wait_ns, wired
        self._triggers: deque[Trigger] = deque()
        self._pictures: deque[Picture] = deque()

    def trigger(self, trigger: Trigger, now_ns: int) -> list[Paired]:
        """Take a trigger; return what it settles."""
        if trigger.fault:
            return [_fault(trigger, trigger.fault, trigger.why)]
        if now_ns - trigger.scan_ns > self._wait_ns:
            return [_fault(trigger, LATE, f"its trigger came {(now_ns - trigger.scan_ns) / 1e6:.0f} ms late")]
        self._triggers.append(trigger)
        return [*self._paired(), *self._overflow()]

    def picture(self, picture: Picture) -> list[Paired]:
        """Take a picture; return what it settles."""
        if not self._wired and not (self._triggers and picture.trigger_ns >= self._triggers[0].scan_ns):
            self.unasked += 1
            return []
        self._pictures.append(picture)
        return [*self._paired(), *self._overflow()]

    def overdue(self, now_ns: int) -> list[Paired]:
        """Return what has waited too long."""
        found: list[Paired] = []
        while self._triggers and now_ns - self._triggers[0].scan_ns > self._wait_ns:
            found.append(_fault(self._triggers.popleft(), NO_PICTURE, "no picture came for its trigger"))
        while self._pictures and now_ns - self._pictures[0].trigger_ns > self._wait_ns:
            found.append(_nameless(self._pictures.popleft()))
        return found

    def _paired(self) -> Iterator[Paired]:
        while self._triggers and self._pictures:
            trigger, picture = self._triggers.popleft(), self._pictures.popleft()
            since_ns = picture.trigger_ns if self._wired else trigger.scan_ns
            yield Paired(replace(picture, part_id=trigger.part_id, trigger_ns=since_ns))

    def _overflow(self) -> Iterator[Paired]:
        while len(self._triggers) > _MOST:
            yield _fault(self._triggers.popleft(), NO_PICTURE, "too many triggers wait for a picture")
        while len(self._pictures) > _MOST:
            yield _nameless(self._pictures.popleft())


def _fault(trigger: Trigger, fault: str, why: str) -> Paired:
    return Paired(Picture(trigger.part_id, trigger.scan_ns, np.zeros(0, np.uint8), Quality.BAD, why), fault)


def _nameless(picture: Picture) -> Paired:
    """The part is unknown: 0 is no part's number, and what was seen must not be judged as another's."""
    why = "no trigger told which part it shows"
    empty = replace(picture, part_id=0, pixels=np.zeros(0, np.uint8), quality=Quality.BAD, reason=why)
    return Paired(empty, NO_TRIGGER)
