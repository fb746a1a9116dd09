"""When poll groups are due: on a grid that does not drift; a late scan is counted, never queued. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.plc.tags.lists import Tag

_MS = 1_000_000


@dataclass
class PollGroup:
    """One poll group of a source: its tags, its grid, and how well it is kept. Maxima are since `take_maxima`."""

    name: str
    period_ms: float
    tags: tuple[Tag, ...]
    due_ns: int = 0
    scans: int = 0
    late_scans: int = 0
    scan_ms_max: float = field(default=0.0)
    jitter_ms_max: float = field(default=0.0)

    def begin(self, now_ns: int) -> None:
        """A scan begins: move to the next point of the grid, past those that were missed."""
        period_ns = int(self.period_ms * _MS)
        behind_ns = max(0, now_ns - self.due_ns)
        missed = behind_ns // period_ns
        self.late_scans += missed
        self.jitter_ms_max = max(self.jitter_ms_max, behind_ns / _MS)
        self.due_ns += (missed + 1) * period_ns

    def end(self, scan_ms: float) -> None:
        """A scan is done."""
        self.scans += 1
        self.scan_ms_max = max(self.scan_ms_max, scan_ms)

    def restart(self, now_ns: int) -> None:
        """Begin a new grid now: what was missed while the link was down is no late scan."""
        self.due_ns = now_ns

    def take_maxima(self) -> tuple[float, float]:
        """Return the longest scan and the largest delay since the last call, in milliseconds."""
        taken = self.scan_ms_max, self.jitter_ms_max
        self.scan_ms_max = self.jitter_ms_max = 0.0
        return taken


def poll_groups(groups: dict[str, float], tags: dict[str, Tag]) -> list[PollGroup]:
    """Return the groups that have tags, the fastest first."""
    found = [
        PollGroup(name, period_ms, tuple(tag for tag in tags.values() if tag.group == name))
        for name, period_ms in groups.items()
    ]
    return sorted((group for group in found if group.tags), key=lambda group: group.period_ms)


def most_urgent(groups: list[PollGroup]) -> PollGroup:
    """Return the group that is due first; of those due together the one with the shorter period."""
    return min(groups, key=lambda group: (group.due_ns, group.period_ms))
