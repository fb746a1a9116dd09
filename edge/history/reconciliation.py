"""Frames = decisions = acknowledged outputs, part by part: what is missing after a while is told. Pure.

Every frame that a runtime got has a result, and every result of a pipeline with outputs is answered by one acknowledged
output. A frame that never reached its runtime is a gap in the numbers of those that did. Triggers without a frame are
counted where they are seen (`plantedge_camera_trigger_faults`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.messages import Output, Result

K = TypeVar("K")
WINDOW_NS: Final = 3_000_000_000  # a decision is acknowledged in milliseconds; a broker that was away, in seconds
DECISION: Final = "decision"
OUTPUT: Final = "output"
_MOST_OPEN: Final = 10_000  # of a pipeline: two seconds at the most that a topic carries
_MOST_EARLY: Final = 1_000
_MOST_GAP: Final = 1_000
_MOST_LOST: Final = 100_000  # at once: a number may be anything, and each part that is told takes memory


class Lack(NamedTuple):
    """A part that is not whole. `lacks`: decision (of a frame) or output. `part_id` is None where nobody knows it."""

    pipeline: str
    lacks: str
    part_id: int | None


class _Gap(NamedTuple):
    part_id: int | None
    since_ns: int


@dataclass
class _Track:
    """One pipeline. `missing`: frames by number that no result has come for.

    `open`: results that lack their output; `early`: outputs that came before their result.
    """

    epoch: int = 0
    seq: int = 0
    part_id: int = 0
    missing: dict[int, _Gap] = field(default_factory=dict[int, _Gap])
    open: dict[str, _Gap] = field(default_factory=dict[str, _Gap])
    early: dict[str, None] = field(default_factory=dict[str, None])
    lost: deque[Lack] = field(default_factory=lambda: deque[Lack](maxlen=_MOST_LOST))
    decisions: int = 0
    outputs: int = 0


class Reconciliation:
    """Hears results and outputs of a device; times are of one monotonic clock. `actuated`: pipelines with outputs.

    A device's processes start one after another. Until a pipeline's first output nothing is owed, but for
    `owed_from_ns`: from then on silence counts.
    """

    def __init__(self, actuated: Iterable[str], window_ns: int = WINDOW_NS, owed_from_ns: int = 0) -> None:
        """Start now: what was before is not asked for."""
        self._owed_from_ns = owed_from_ns
        self._actuated, self._window_ns = frozenset(actuated), window_ns
        self._tracks: dict[str, _Track] = {}

    def result(self, result: Result, now_ns: int) -> None:
        """Take a result, a dropped one too. Windows of readings are no parts."""
        if result.part_id is None:
            return
        track = self._tracks.setdefault(result.pipeline, _Track())
        if not self._numbered(track, result, now_ns):
            return
        track.decisions += 1
        if result.result_id in track.early:
            del track.early[result.result_id]
            track.outputs += 1
        elif result.pipeline in self._actuated and (track.outputs or track.early or now_ns >= self._owed_from_ns):
            track.open[result.result_id] = _Gap(result.part_id, now_ns)
            if len(track.open) > _MOST_OPEN:
                oldest = track.open.pop(next(iter(track.open)))
                track.lost.append(Lack(result.pipeline, OUTPUT, oldest.part_id))

    def _numbered(self, track: _Track, result: Result, now_ns: int) -> bool:
        """Note which frames lie between this and the one before; False for a repeat."""
        part_id = result.part_id or 0
        if result.source_epoch != track.epoch:
            track.epoch, track.seq, track.part_id = result.source_epoch, result.source_seq, part_id
            track.missing.clear()  # of the camera's run before: what it sent last may never have been on its way
            return True
        if result.source_seq <= track.seq:
            return track.missing.pop(result.source_seq, None) is not None
        between = result.source_seq - track.seq - 1
        named = part_id - track.part_id - 1 == between  # the part ids go on like the frames
        for step in range(1, min(between, _MOST_GAP) + 1):
            track.missing[track.seq + step] = _Gap(track.part_id + step if named else None, now_ns)
        unnamed = max(0, min(between - _MOST_GAP, _MOST_LOST))
        track.lost.extend(repeat(Lack(result.pipeline, DECISION, None), unnamed))
        track.seq, track.part_id = result.source_seq, part_id
        return True

    def output(self, output: Output) -> None:
        """Take an acknowledged output; the PLC may be faster than the result, which leaves after the decision."""
        if output.part_id is None or output.pipeline not in self._actuated:
            return
        track = self._tracks.setdefault(output.pipeline, _Track())
        if track.open.pop(output.result_id, None) is not None:
            track.outputs += 1
            return
        track.early[output.result_id] = None
        if len(track.early) > _MOST_EARLY:  # of results that have been given up, or were never sent
            del track.early[next(iter(track.early))]

    def overdue(self, now_ns: int) -> list[Lack]:
        """Return each part once whose window is over."""
        found: list[Lack] = []
        for pipeline, track in self._tracks.items():
            found.extend(track.lost)
            track.lost.clear()
            before_ns = now_ns - self._window_ns
            found += [Lack(pipeline, DECISION, part_id) for part_id in _expired(track.missing, before_ns)]
            found += [Lack(pipeline, OUTPUT, part_id) for part_id in _expired(track.open, before_ns)]
        return found

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return pipeline -> decisions and acknowledged outputs since the start."""
        return {pipeline: (track.decisions, track.outputs) for pipeline, track in self._tracks.items()}


def _expired(waiting: dict[K, _Gap], before_ns: int) -> list[int | None]:
    """Take out what has waited since before a time."""
    over = [key for key, gap in waiting.items() if gap.since_ns < before_ns]
    return [waiting.pop(key).part_id for key in over]
