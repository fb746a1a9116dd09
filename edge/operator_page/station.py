"""One pipeline on the page: its line, its counts, its last rejects, and the parts that are drawn to be judged."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from bus.typed import RateLimit
from edge.operator_page.counts import Counts, Kind, Tally, kind_of, oee_of
from edge.operator_page.intervals import estimate
from edge.operator_page.judged import fairer, judged_view
from edge.operator_page.line_state import LineWatch
from edge.operator_page.parts import Judgement, Part, part_of
from edge.operator_page.sampling import Sample
from edge.operator_page.views import LatencyView, LineView, MinuteView, PartView, StationView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.operator_page.pictures import Album, FramePool
    from edge.settings import Hmi
    from schemas.messages import Insight, Output, Result

SHOWN: Final = 30  # of the last rejects
HELD: Final = 60
SHOWN_NEWEST: Final = 50  # newest parts, some 20 s of them: a finger is slower than the line
LATENCIES: Final = 2_000
LATENCY_S: Final = 300.0
LEAST_LATENCIES: Final = 20
THUMBNAILS_HZ: Final = 30.0  # of rejects and drawn parts: a line that rejects everything must not keep us busy


class Station:
    """Watches one pipeline. Times are seconds since the epoch."""

    def __init__(self, pipeline: str, settings: Hmi, line: LineWatch, deadline_ms: float) -> None:
        """Know nothing yet; `restore` gives it what it knew before."""
        self.pipeline, self.line, self._settings = pipeline, line, settings
        self._deadline_ms = deadline_ms
        self.counts = Counts(Tally(shift_ms=0))
        self.rejects: deque[Part] = deque(maxlen=HELD)
        self.newest: Result | None = None
        self.said: dict[str, tuple[Kind, Judgement]] = {}  # of this shift
        self._drawn = {kind: Sample(settings.sample) for kind in (Kind.GOOD, Kind.REJECT)}
        self._known: dict[str, Part] = {}
        self._fresh: dict[str, Part] = {}  # not in the store yet
        self._random = random.SystemRandom()
        self._thumbnails = RateLimit(THUMBNAILS_HZ)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES)
        self._insight: Insight | None = None
        self._shown: deque[Part] = deque(maxlen=SHOWN_NEWEST)

    # -- a shift ------------------------------------------------------------------------------------------------------

    def restore(self, tally: Tally, parts: Iterable[Part], said: Iterable[tuple[Part, Judgement]]) -> None:
        """Go on with a shift: parts, the newest first, and what was said of them."""
        self.counts = Counts(tally)
        for part in sorted(parts, key=lambda part: part.time_ms):
            self._hold(part)
        for part, judgement in said:
            self._known[part.result_id] = part
            self.said[part.result_id] = (part.kind, judgement)
        self._fresh.clear()

    def begin_shift(self, shift_ms: int) -> None:
        """Count anew; the last rejects stay to be looked at."""
        self.counts.begin_shift(shift_ms)
        self.said.clear()
        self._drawn = {kind: Sample(self._settings.sample) for kind in self._drawn}
        self._known = {part.result_id: part for part in self.rejects}

    # -- what is heard ------------------------------------------------------------------------------------------------

    def result(self, result: Result, now_s: float, pool: FramePool, album: Album) -> None:
        """Take a result."""
        kind = self.counts.take(result, now_s)
        if kind is None:
            return
        self.line.result(now_s)
        self.newest = result
        if kind is not Kind.UNKNOWN:
            self._maybe_keep(result, kind, pool, album)

    def _maybe_keep(self, result: Result, kind: Kind, pool: FramePool, album: Album) -> None:
        number = self._random.random()
        if kind is Kind.GOOD and number >= self._drawn[kind].limit:
            return
        part = part_of(result, kind, self.counts.tally.shift_ms, number)
        self._hold(part)
        if self._thumbnails.take() and (picture := pool.thumbnail(result)):
            album.put(part.result_id, picture)

    def _hold(self, part: Part) -> None:
        gone: list[str] = []
        sample = self._drawn[part.kind]
        if part.shift_ms == self.counts.tally.shift_ms and part.number < sample.limit:
            gone += [left] if (left := sample.offer(part.number, part.result_id)) else []
        if part.kind is Kind.REJECT:
            gone += [self.rejects[0].result_id] if len(self.rejects) == HELD else []
            self.rejects.append(part)
        self._known[part.result_id] = self._fresh[part.result_id] = part
        for name in gone:
            if not self._wanted(name):
                self._known.pop(name, None)
                self._fresh.pop(name, None)

    def _wanted(self, name: str) -> bool:
        shown = any(part.result_id == name for part in self.rejects)
        return shown or name in self.said or any(name in sample for sample in self._drawn.values())

    def output(self, output: Output, now_s: float) -> None:
        """Take what the PLC was told, and when it had it."""
        self.line.output(output)
        if not output.manual:
            self._latencies.append((now_s, output.total_ms))

    def insight(self, insight: Insight) -> None:
        """Take a window's figures."""
        self._insight = insight

    def tick(self, now_s: float, over_s: float) -> None:
        """Count `over_s` seconds as the line stands now."""
        tally = self.counts.tally
        tally.watched_s += over_s
        if self.line.now(now_s).state == "running":
            tally.ran_s += over_s

    # -- judging ------------------------------------------------------------------------------------------------------

    def part(self, result_id: str) -> Part | None:
        """Return a part that is held, or that was shown as the newest one not long ago."""
        return self._known.get(result_id) or next((one for one in self._shown if one.result_id == result_id), None)

    def draw(self, kind: Kind) -> Part | None:
        """Return the part of a kind whose turn it is to be judged, None if there is none."""
        for name in self._drawn[kind].in_turn():
            if name not in self.said:
                return self._known[name]
        return None

    def is_drawn(self, part: Part) -> bool:
        """Whether a part is among those that were drawn to be judged."""
        return part.result_id in self._drawn[part.kind]

    def judge(self, part: Part, judgement: Judgement) -> None:
        """Hold what was said of a part; it is stored already."""
        self._known[part.result_id] = part
        self.said[part.result_id] = (part.kind, judgement)
        tally, said = self.counts.tally, self._said_of(part.kind)
        if part.kind is Kind.GOOD:
            tally.fair_goods = fairer(tally.fair_goods, self._drawn[part.kind], said, judgement.at_ms)
        else:
            tally.fair_rejects = fairer(tally.fair_rejects, self._drawn[part.kind], said, judgement.at_ms)

    def _said_of(self, kind: Kind) -> dict[str, Judgement]:
        return {name: said for name, (its, said) in self.said.items() if its is kind}

    def take_unsaved(self) -> tuple[tuple[str, int, bytes], list[Part]]:
        """Return the tally and the parts that the store does not have yet."""
        parts = list(self._fresh.values())
        self._fresh.clear()
        tally = self.counts.tally
        return (self.pipeline, tally.shift_ms, msgspec.json.encode(tally)), parts

    def known(self) -> list[str]:
        """Return the ids that are held."""
        return list(self._known)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def view(self, now_s: float, album: Album, pictures: bool) -> StationView:
        """Return all of it at one moment."""
        tally, line = self.counts.tally, self.line.now(now_s)
        rejects = [self.part_view(part, pictures) for part in list(self.rejects)[: -SHOWN - 1 : -1]]
        minutes = [
            MinuteView(at_ms=one.minute * 60_000, good=one.good, reject=one.reject, unknown=one.unknown)
            for one in tally.minutes
            if one.minute > now_s // 60 - 60
        ]
        return StationView(
            pipeline=self.pipeline, good=tally.good, reject=tally.reject, unknown=tally.unknown, late=tally.late,
            line=LineView(state=line.state, why=line.why, since_ms=round(line.since_s * 1000), link=line.link),
            missed=tally.missed, reject_share=estimate(tally.reject, tally.total), trend=self.counts.trend(now_s),
            minutes=minutes, per_minute=self.counts.per_minute(now_s),
            oee=oee_of(tally, self._settings.ideal_per_min, now_s), latency=self._latency(now_s),
            newest=self._newest(album), rejects=rejects,
            judged=judged_view(
                tally, self._said_of(Kind.REJECT), self._said_of(Kind.GOOD), self._drawn[Kind.REJECT],
                self._drawn[Kind.GOOD],
            ),
        )  # fmt: skip

    def part_view(self, part: Part, picture: bool) -> PartView:
        """Return a part as lists show it."""
        _, said = self.said.get(part.result_id, (None, None))
        return PartView(
            result_id=part.result_id, part=part.part, kind=part.kind, verdict=part.verdict, label=part.label,
            score=part.score, late=part.late, time_ms=part.time_ms, picture=picture,
            really=said.really if said else None, by=said.by if said else "",
        )  # fmt: skip

    def _newest(self, album: Album) -> PartView | None:
        result = self.newest
        if result is None:
            return None
        part = part_of(result, kind_of(result), self.counts.tally.shift_ms, 1.0)
        if not self._shown or self._shown[-1].result_id != part.result_id:
            self._shown.append(part)
        return self.part_view(part, part.result_id in album)

    def _latency(self, now_s: float) -> LatencyView:
        recent = sorted(total for at, total in self._latencies if at > now_s - LATENCY_S)
        if len(recent) >= LEAST_LATENCIES:
            p99 = recent[min(len(recent) - 1, int(0.99 * len(recent)))]
            return LatencyView(p99_ms=p99, deadline_ms=self._deadline_ms, of=len(recent), acknowledged=True)
        window = self._insight
        fresh = window is not None and window.results > 0 and now_s - window.time_ns / 1e9 < 3 * window.window_s
        return LatencyView(
            p99_ms=window.p99_ms if window and fresh else None, deadline_ms=self._deadline_ms,
            of=window.results if window and fresh else 0, acknowledged=False,
        )  # fmt: skip
