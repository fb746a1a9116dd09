"""The drift watch of one pipeline: sees its answers, and says at the end of each window how things stand.

Nothing is known of what is right: only whether inputs and predictions are as they were in clean windows. A window is
clean without Bad or Uncertain inputs, without more than a few drops, without an alarm. Pure but for the lot that
chooses which inputs are looked at.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge.inference.drift.levels import Alarm, Level, Step
from edge.inference.drift.track import MIN_SAMPLED, Track
from edge.inference.reasons import EXPIRED, OVERLOAD
from schemas.messages import Drift, DriftSignal, Outcome, Quality, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config.drift import Drift as Settings
    from edge.inference.drift.baselines import Baselines
    from edge.inference.drift.subject import Subject
    from edge.inference.work import Answer

MAX_TRACKS: Final = 16
MOST_SIGNALS: Final = 12  # in one message
SAMPLED_SHARE: Final = 0.25  # of the inputs
SAMPLED_MOST: Final = 200  # inputs of one window, at most
SHED: Final = 0.05  # of the inputs may be shed for load: what is left looks like the rest
_LOAD: Final = frozenset((EXPIRED, OVERLOAD))
_ORDER: Final = tuple(Level)
_MODEL_CHANGED: Final = "the model changed"

_Key = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a window: what the insight says, what events to send, and whether to save the baselines."""

    drift: Drift
    steps: list[Step]
    save: bool


class DriftWatch:
    """Watches one pipeline. `see` is called for each answer, the rest every ten seconds."""

    def __init__(
        self, pipeline: str, settings: Settings, baselines: Baselines, describe: Callable[[Answer], Subject | None],
        alarms: bool = False,
    ) -> None:  # fmt: skip
        """`describe`: the subject of an answer's variant and models, None where there is nothing to watch.

        `alarms`: a reject is an alarm, not one part of many; a window with one is not clean.
        """
        self._pipeline, self._settings, self._alarms = pipeline, settings, alarms
        self.baselines = baselines
        self._describe = describe
        self._tracks: dict[_Key, Track | None] = {}
        self._over: list[tuple[Alarm, str]] = []
        self._latest: Track | None = None
        self._draw = random.Random(pipeline).random  # noqa: S311 - a lot, no secret
        self._most = max(SAMPLED_SHARE, 2 * MIN_SAMPLED / settings.min_results)  # the share of small windows
        self._share = self._most
        self._answers = self._shed = 0
        self._unclean = ""

    def see(self, answer: Answer) -> None:
        """Take one answer."""
        result = answer.result
        self._answers += 1
        if result.outcome is Outcome.DROPPED:
            self._drop(result.reason)
            return
        if result.quality is not Quality.GOOD:
            self._unclean = self._unclean or (result.reason or result.quality.value)[:80]
            return
        inputs, outputs = answer.inputs, answer.outputs
        if inputs is None or outputs is None or result.verdict is Verdict.UNKNOWN:
            return
        key = (answer.variant, result.digest, tuple(result.models.values()) if result.models else ())
        track = self._tracks[key] if key in self._tracks else self._begin(key, answer)
        if track is None:
            return
        track.seen += 1
        if result.verdict is Verdict.NOK and (self._alarms or track.subject.kind == "anomaly"):
            track.unclean = "alarm"
        if result.verdict is Verdict.OK or track.subject.kind != "anomaly":  # an alarm's score says nothing of drift
            track.predictions.see(outputs[track.subject.output])
        if track.inputs.sampled < SAMPLED_MOST and self._draw() < self._share:
            track.inputs.see(inputs)

    def _drop(self, reason: str) -> None:
        word = reason.partition(":")[0]
        if word in _LOAD:
            self._shed += 1
        else:
            self._unclean = self._unclean or word

    def _begin(self, key: _Key, answer: Answer) -> Track | None:
        """Start to watch a variant under its models; what ran before it under other models is over."""
        subject = self._describe(answer)
        inputs: Alarm | None = None
        for other in [other for other in self._tracks if other[0] == key[0]]:
            before = self._tracks.pop(other)
            if before is None:
                continue
            if subject is not None and before.subject.inputs_key == subject.inputs_key:
                inputs = before.changed
            else:
                self._over.append((before.changed, _MODEL_CHANGED))
            self._over.append((before.degraded, _MODEL_CHANGED))
        made = Track(self._pipeline, subject, self._settings, self.baselines, inputs) if subject else None
        if len(self._tracks) < MAX_TRACKS:
            self._tracks[key] = made
        return made

    def close_window(self, now_ns: int) -> Report:
        """End the windows that have enough results; return how things stand."""
        unclean = self._unclean
        if not unclean and self._shed > SHED * self._answers:
            unclean = "shed"
        self._answers = self._shed = 0
        self._unclean = ""
        steps = [step for alarm, why in self._over if (step := alarm.end(now_ns, why))]
        self._over.clear()
        save = False
        for track in self._tracks.values():
            if track is None:
                continue
            track.unclean = track.unclean or unclean
            self._share = min(self._most, SAMPLED_MOST / max(1, track.seen))
            if track.seen >= self._settings.min_results:
                said, saved = track.close(now_ns)
                steps += said
                save = save or saved
                self._latest = track
        return Report(self._drift(), steps, save)

    def relearn(self, now_ns: int, who: str) -> list[Step]:
        """Forget what was learned under the models that run now, and begin again; `who` asked for it."""
        steps = self.end(now_ns, f"relearn by {who}")
        for track in self._tracks.values():
            if track is not None:
                self.baselines.inputs.forget(track.subject.inputs_key)
                self.baselines.predictions.forget(track.subject.predictions_key)
        self._tracks.clear()
        self._latest = None
        return steps

    def end(self, now_ns: int, why: str) -> list[Step]:
        """End every alarm that was told."""
        alarms = [alarm for track in self._tracks.values() if track for alarm in (track.changed, track.degraded)]
        return [step for alarm in alarms if (step := alarm.end(now_ns, why))]

    def _drift(self) -> Drift:
        tracks = [track for track in self._tracks.values() if track is not None]
        if not tracks:
            return Drift(level=Level.LEARNING.value, of=self._settings.learn_windows)
        shown = self._latest if self._latest in tracks else tracks[-1]
        signals = sorted(shown.signals, key=lambda signal: -signal.score)[:MOST_SIGNALS]
        return Drift(
            level=max((track.level for track in tracks), key=_ORDER.index).value,
            learned=all(track.learned for track in tracks),
            windows=min(shown.windows, self._settings.learn_windows), of=self._settings.learn_windows,
            unclean=shown.why_unclean, recipe=shown.subject.variant, entropy=shown.entropy,
            signals={s.name: DriftSignal(value=s.value, low=s.low, high=s.high, score=s.score) for s in signals},
        )  # fmt: skip
