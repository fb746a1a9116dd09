"""`plantedge plc watch`: tags of a PLC again and again; what changed, and at the end how far and how fast."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.live import Live
from rich.text import Text

from edge.commands.plc.read import as_json
from edge.commands.plc.shown import clean, clock, console, quality_text, table, value_text
from edge.commands.plc.target import Scan, Target, connected, scan, tags_of, target_of
from edge.connectors import Connector
from edge.plc.tags.tag import Tag
from schemas.errors import ConnectorError
from schemas.fields import Value
from schemas.messages import Quality, Sample

_CHANGED = "bold black on yellow"
_SUMMARY = ("tag", "Good", "changes", "min", "max", "last", "unit", "mean rate", "fastest")


@dataclass
class Course:
    """What a tag did. `fastest`: the largest change from scan to scan, in units a second."""

    good: int = 0
    changes: int = 0
    low: float | None = None
    high: float | None = None
    fastest: float = 0.0
    first: tuple[float, float] | None = None
    last: tuple[float, float] | None = None
    value: Value = None

    def take(self, sample: Sample, at_s: float) -> bool:
        """Take the sample of a scan; return whether its value is another than that of the last one that was Good."""
        if sample.quality is not Quality.GOOD:
            return False
        changed = self.good > 0 and sample.value != self.value
        self.good += 1
        self.changes += changed
        self.value = sample.value
        if isinstance(sample.value, int | float) and not isinstance(sample.value, bool):
            self._number(float(sample.value), at_s)
        return changed

    @property
    def mean_rate(self) -> float | None:
        """Change a second from the first to the last number."""
        if not self.first or not self.last or self.last[0] <= self.first[0]:
            return None
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])

    def _number(self, value: float, at_s: float) -> None:
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        if self.last and at_s > self.last[0]:
            rate = (value - self.last[1]) / (at_s - self.last[0])
            self.fastest = max(self.fastest, rate, key=abs)
        self.first, self.last = self.first or (at_s, value), (at_s, value)


@dataclass
class Watched:
    """All that was seen."""

    courses: dict[str, Course]
    times_ms: list[float] = field(default_factory=list[float])
    late: int = 0
    lost: int = 0
    bad: int = 0

    def take(self, found: Scan) -> set[str]:
        """Take a scan; return the tags that changed."""
        self.times_ms.append(found.took_ms)
        self.bad += not found.good
        return {
            name
            for name, sample in found.samples.items()
            if self.courses[name].take(sample, found.times_ns[name] / 1e9)
        }


Show = Callable[[Scan, set[str]], None]


def run(given: argparse.Namespace) -> int:
    """Watch until told to end, then sum up; 0 if every tag was Good in every scan.

    Raises:
        PlantEdgeError: no such source, tag or address, or the PLC can't be reached at first.
    """
    target = target_of(given)
    tags = tags_of(target, given.tags)
    watched = Watched({tag.name: Course() for tag in tags})

    def show_json(found: Scan, _changed: set[str]) -> None:
        print(json.dumps(as_json(target, tags, found), ensure_ascii=False), flush=True)

    def show_lines(found: Scan, changed: set[str]) -> None:
        _lines(tags, found, changed, watched)

    try:
        if given.json:
            _watch(target, tags, watched, given, show_json)
        elif sys.stdout.isatty():
            with Live(console=console(), refresh_per_second=20, transient=True) as live:

                def show_live(found: Scan, changed: set[str]) -> None:
                    live.update(_picture(target, tags, found, changed, watched))

                _watch(target, tags, watched, given, show_live)
        else:
            _watch(target, tags, watched, given, show_lines)
    except KeyboardInterrupt:
        pass  # how a person ends it
    if given.json:
        print(json.dumps({"summary": _summary_json(tags, watched)}, ensure_ascii=False))
    else:
        _sum_up(target, tags, watched, given.period)
    return 0 if watched.times_ms and not watched.bad and not watched.lost else 1


def _watch(target: Target, tags: Sequence[Tag], watched: Watched, given: argparse.Namespace, show: Show) -> None:
    """Scan at the period; a scan that is late is counted and not made up for. A lost link is tried anew."""
    began = due = time.monotonic()
    until = began + given.for_s if given.for_s else float("inf")
    scans = 0
    while True:
        try:
            with connected(target, tags) as connector:
                while not given.count or scans < given.count:
                    if (found := _next(connector, tags, due, until)) is None:
                        return
                    scans += 1
                    show(found, watched.take(found))
                    due += given.period
                    if (behind := time.monotonic() - due) > 0:
                        watched.late += 1
                        due += behind // given.period * given.period
                return
        except ConnectorError as error:
            if not watched.times_ms:
                raise
            scans += 1
            watched.lost += 1
            show(_lost(tags, str(error)), set())
            due = time.monotonic() + given.period
            if due > until or (given.count and scans >= given.count):
                return
            time.sleep(given.period)


def _next(connector: Connector, tags: Sequence[Tag], due: float, until: float) -> Scan | None:
    if due > until:
        time.sleep(max(0.0, until - time.monotonic()))
        return None
    time.sleep(max(0.0, due - time.monotonic()))
    return scan(connector, tags)


def _lost(tags: Sequence[Tag], why: str) -> Scan:
    bad, now_ns = Sample(quality=Quality.BAD, reason=why), time.time_ns()
    return Scan({tag.name: bad for tag in tags}, {tag.name: now_ns for tag in tags}, now_ns, 0.0)


# -- shown ------------------------------------------------------------------------------------------------------------


def _lines(tags: Sequence[Tag], found: Scan, changed: set[str], watched: Watched) -> None:
    """Print a line for each tag that changed, or is not Good; all of them at the first scan."""
    width = max(len(clean(tag.name)) for tag in tags)
    for tag in tags:
        sample = found.samples[tag.name]
        if len(watched.times_ms) <= 1 or tag.name in changed or sample.quality is not Quality.GOOD:
            told = f"{value_text(tag, sample.value)} {clean(tag.unit)}".rstrip()
            quality = "" if sample.quality is Quality.GOOD else f"  {quality_text(sample).plain}"
            print(f"{clock(found.times_ns[tag.name])}  {clean(tag.name):<{width}}  {told}{quality}", flush=True)


def _picture(target: Target, tags: Sequence[Tag], found: Scan, changed: set[str], watched: Watched) -> Group:
    rows = [
        (
            clean(tag.name),
            Text(
                value_text(tag, found.samples[tag.name].value),
                style=_CHANGED if tag.name in changed else "bold",
            ),
            clean(tag.unit),
            *_ends(tag, watched.courses[tag.name]),
            quality_text(found.samples[tag.name]),
        )
        for tag in tags
    ]
    lines = table(("tag", "value", "unit", "min", "max", "quality"), rows, right=("value", "min", "max"))
    foot = (
        f"{clean(target.where)}  {clock(found.time_ns)}  scan {len(watched.times_ms)}, {found.took_ms:.1f} ms"
        + (f", {watched.late} late" if watched.late else "")
        + (f", link lost {watched.lost} times" if watched.lost else "")
        + "  Ctrl-C ends"
    )
    return Group(*lines, Text(foot, style="dim"))


def _ends(tag: Tag, course: Course) -> tuple[str, str]:
    return tuple("" if end is None else value_text(tag, _as_read(tag, end)) for end in (course.low, course.high))  # type: ignore[return-value]  # two of two


def _as_read(tag: Tag, number: float) -> Value:
    return int(number) if number == int(number) and not tag.scaled and tag.form.element[:5] != "float" else number


def _sum_up(target: Target, tags: Sequence[Tag], watched: Watched, period_s: float) -> None:
    """Print what each tag did, and how the scans went."""
    times = sorted(watched.times_ms)
    if not times:
        return
    out = console()
    rows = [_summary_row(tag, watched.courses[tag.name], len(times)) for tag in tags]
    out.print()
    for line in table(_SUMMARY, rows, right=tuple(head for head in _SUMMARY if head not in ("tag", "unit"))):
        out.print(line)
    out.print(
        Text(
            f"{clean(target.where)}: {len(times)} scans each {period_s:g} s, {watched.late} late, "
            f"link lost {watched.lost} times; a scan took {times[0]:.1f} to {times[-1]:.1f} ms, "
            f"median {times[len(times) // 2]:.1f} ms",
            style="dim",
        )
    )


def _summary_row(tag: Tag, course: Course, scans: int) -> tuple[str, ...]:
    mean = "" if course.mean_rate is None else f"{course.mean_rate:+.4g}/s"
    fastest = "" if course.mean_rate is None else f"{course.fastest:+.4g}/s"
    good = str(course.good) if course.good == scans else f"{course.good} of {scans}"
    last = value_text(tag, course.value)
    return clean(tag.name), good, str(course.changes), *_ends(tag, course), last, clean(tag.unit), mean, fastest


def _summary_json(tags: Sequence[Tag], watched: Watched) -> dict[str, object]:
    times = sorted(watched.times_ms)
    return {
        "scans": len(times), "late": watched.late, "link_lost": watched.lost,
        "scan_ms": {"min": times[0], "median": times[len(times) // 2], "max": times[-1]} if times else None,
        "tags": {
            tag.name: {
                "good": course.good, "changes": course.changes, "min": course.low, "max": course.high,
                "last": course.value, "mean_rate_per_s": course.mean_rate, "fastest_per_s": course.fastest,
            }
            for tag in tags
            for course in [watched.courses[tag.name]]
        },
    }  # fmt: skip
