"""The account of a device's run: what became of every frame, from what was heard, what is stored, and the plant."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.sim.parts import PartStream
from schemas.messages import Outcome, Result, Verdict
from tests.integration.running_line import PIPELINE, Observer, Stored

EXPLAINED = ("decisions_lost", "decisions_expired", "outputs_failed", "decisions_repeated")
FATES = (
    "correct_rejects", "missed_rejects", "false_rejects", "correct_passes", "undecided_good", "undecided_bad",
    "failsafe_good", "failsafe_bad",
)  # fmt: skip


@dataclass(frozen=True)
class Frames:
    """What became of the frames of one camera start. `unheard`: before the runtime was there, so nobody's gap."""

    epoch: int
    published: int
    observed: int
    unheard: int
    results: int
    late: int
    dropped: dict[str, int]
    gaps: int
    missing: int

    @property
    def unaccounted(self) -> int:
        """0, or frames that nobody knows anything of."""
        accounted = self.unheard + self.results + self.late + sum(self.dropped.values()) + self.gaps
        return self.published - accounted


def frames_of(observer: Observer, gaps: int) -> list[Frames]:
    """One account per epoch; `gaps` as the insights tell them go to the one epoch that there is."""
    of_epoch: dict[int, dict[int, Result]] = {}
    for result in observer.of(PIPELINE):
        of_epoch.setdefault(result.source_epoch, {})[result.source_seq] = result
    found = []
    for epoch in sorted({*of_epoch, *observer.frames}):
        results, frames = of_epoch.get(epoch, {}), observer.frames.get(epoch, {})
        published = max([*results, *frames])
        unheard = min(results, default=published + 1) - 1
        outcomes = Counter(result.outcome for result in results.values())
        dropped = Counter(
            result.reason.partition(":")[0] for result in results.values() if result.outcome is Outcome.DROPPED
        )
        found.append(
            Frames(
                epoch, published, len(frames), unheard, outcomes[Outcome.RESULT], outcomes[Outcome.LATE], dict(dropped),
                gaps, published - unheard - len(results),
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class Kept:
    """What the store has of one start of one publisher. `before`: told before the historian's first subscription."""

    pipeline: str
    epoch: int
    before: int
    points: int
    holes: int


def kept(points: list[Stored]) -> list[Kept]:
    """One account per start of each publisher, in their order."""
    seqs: dict[tuple[str, int], set[int]] = {}
    for one in points:
        seqs.setdefault((one.pipeline, one.epoch), set()).add(one.seq)
    found = []
    for (name, epoch), known in sorted(seqs.items()):
        first, last = min(known), max(known)
        found.append(Kept(name, epoch, first - 1, len(known), last - first + 1 - len(known)))
    return found


def repeated(ids: list[str]) -> list[str]:
    """What is there more than once."""
    return [name for name, times in Counter(ids).items() if times > 1]


def verdicts(observer: Observer, seed: int, defect_rate: float) -> dict[str, int]:
    """How right the line was where its own verdict was written, beside the truth about each part."""
    truth = PartStream(seed, defect_rate)
    found: Counter[str] = Counter()
    for output in observer.outputs.values():
        if output.failsafe:
            found["failsafe"] += 1
        elif output.part_id is not None:
            good = truth.part(output.part_id).defect is None
            rejected = output.verdict is Verdict.NOK
            found[f"{'good' if good else 'bad'}_{'rejected' if rejected else 'passed'}"] += 1
    return dict(found)


def tell(name: str, figures: dict[str, Any], folder: Path) -> None:
    """Print the figures as a table and keep them as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1, default=asdict) + "\n")
    print(f"\n{name}")
    for key, value in figures.items():
        print(f"  {key:<28} {json.dumps(value, default=asdict)}")
