"""One variant of a pipeline under its models: what it gathers, what it has learned, which of its alarms are up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge.inference.drift.inputs import InputGatherer, InputWindow
from edge.inference.drift.levels import Alarm, Level, Step
from edge.inference.drift.limits import Chance, InputLimits, PredictionLimits, Signal
from edge.inference.drift.predictions import PredictionGatherer, PredictionWindow

if TYPE_CHECKING:
    from edge.config.drift import Drift
    from edge.inference.drift.baselines import Baselines
    from edge.inference.drift.subject import Subject

MIN_SAMPLED: Final = 10  # inputs that a window must have looked at
_SAVE_EVERY: Final = 20  # windows learned between two writes: a restart costs at most so many


class Track:
    """Gathers, learns, then judges."""

    def __init__(
        self, pipeline: str, subject: Subject, settings: Drift, baselines: Baselines, inputs: Alarm | None = None
    ) -> None:
        """Go on with what is kept; `inputs`: the alarm of a track before it with the same inputs."""
        self.subject = subject
        self._settings, self.baselines = settings, baselines
        name = f"{pipeline}-{subject.variant}" if subject.variant else pipeline
        hits, of, repeat_s = settings.alarm_windows, settings.of_windows, settings.repeat_s
        self._chance = Chance(settings.false_alarms_per_week, hits, of)
        self.changed = inputs or Alarm(Level.INPUTS_CHANGED, name, hits, of, repeat_s)
        self.degraded = Alarm(Level.MODEL_DEGRADED, name, hits, of, repeat_s)
        self.inputs, self.predictions = InputGatherer(subject.inputs), PredictionGatherer(subject)
        self.seen = 0  # results of the open window
        self.unclean = ""  # why the open window can't be learned from
        self.why_unclean = ""  # the same of the last window
        self.entropy: float | None = None
        self.signals: list[Signal] = []
        self._input_limits: InputLimits | None = None
        self._prediction_limits: PredictionLimits | None = None
        self._learn()

    @property
    def learned(self) -> bool:
        """Whether both limits are known."""
        return self._input_limits is not None and self._prediction_limits is not None

    @property
    def level(self) -> Level:
        """The graver of what is up."""
        if self.degraded.latch.on:
            return Level.MODEL_DEGRADED
        if self.changed.latch.on:
            return Level.INPUTS_CHANGED
        return Level.OK if self.learned else Level.LEARNING

    @property
    def windows(self) -> int:
        """How many clean windows have been learned from: the fewer of inputs and predictions."""
        kept, subject = self.baselines, self.subject
        return min(kept.inputs.count(subject.inputs_key), kept.predictions.count(subject.predictions_key))

    def close(self, now_ns: int) -> tuple[list[Step], bool]:
        """End the open window; return what to tell, and whether to save."""
        inputs, predictions = self.inputs.window(), self.predictions.window()
        self.why_unclean = self.unclean
        self.clear()
        return self.judge(inputs, predictions, now_ns)

    def judge(self, inputs: InputWindow, predictions: PredictionWindow, now_ns: int) -> tuple[list[Step], bool]:
        """Judge a window, or learn from it if it is clean; return what to tell, and whether to save."""
        of_inputs = self._judge_inputs(inputs)
        of_model = self._judge_predictions(predictions)
        self.signals = of_inputs + of_model
        steps = [
            self.changed.see(of_inputs, now_ns) if of_inputs else None,
            self.degraded.see(self._counted(of_inputs, of_model), now_ns) if of_model else None,
        ]
        save = False
        if not (self.why_unclean or self.changed.latch.on or self.degraded.latch.on):
            save = self._take(inputs, predictions)
        return [step for step in steps if step], save

    def clear(self) -> None:
        """Throw the open window away."""
        self.inputs.clear()
        self.predictions.clear()
        self.seen, self.unclean = 0, ""

    def _judge_inputs(self, window: InputWindow) -> list[Signal]:
        return self._input_limits.judge(window) if self._input_limits and window.sampled >= MIN_SAMPLED else []

    def _judge_predictions(self, window: PredictionWindow) -> list[Signal]:
        if self.subject.kind == "classifier" and window.rows:
            self.entropy = window.unsure / window.rows
        enough = window.rows >= self._settings.min_results // 2
        return self._prediction_limits.judge(window) if self._prediction_limits and enough else []

    def _counted(self, of_inputs: list[Signal], of_model: list[Signal]) -> list[Signal]:
        """Of a classifier another mix of classes, or another sureness, counts only with other inputs.

        More rejects of pictures that look as always are a matter of the parts, not of the model.
        """
        if self.subject.kind != "classifier" or self.changed.latch.on or any(s.score > 1.0 for s in of_inputs):
            return of_model
        return of_model[:1]

    def _take(self, inputs: InputWindow, predictions: PredictionWindow) -> bool:
        """Learn from a clean window; return whether to save."""
        counts: list[int] = []
        if self._input_limits is None and inputs.sampled >= MIN_SAMPLED:
            counts.append(self.baselines.inputs.add(self.subject.inputs_key, inputs))
        if self._prediction_limits is None and predictions.rows >= self._settings.min_results // 2:
            counts.append(self.baselines.predictions.add(self.subject.predictions_key, predictions))
        if any(count >= self._settings.learn_windows for count in counts):
            self._learn()
            return True
        return any(count % _SAVE_EVERY == 0 for count in counts)

    def _learn(self) -> None:
        """Make the limits for which there are enough windows."""
        subject, kept, wanted = self.subject, self.baselines, self._settings.learn_windows
        if self._input_limits is None and kept.inputs.count(subject.inputs_key) >= wanted:
            seen = kept.inputs.windows(subject.inputs_key)[:wanted]
            self._input_limits = InputLimits(subject, seen, self._chance)
        if self._prediction_limits is None and kept.predictions.count(subject.predictions_key) >= wanted:
            said = kept.predictions.windows(subject.predictions_key)[:wanted]
            self._prediction_limits = PredictionLimits(subject, said, self._chance)
