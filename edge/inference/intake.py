"""From a frame or a reading to work for a pipeline's graph, or the reason why not. Pure.

A Bad input becomes no work; one that is not Good makes a result that is not Good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.config.pipeline import INPUT, TAGS, WindowInput, tag_inputs
from edge.inference.reasons import BAD_INPUT, BAD_QUALITY, NO_MODEL
from edge.inference.recipes import RecipeChooser
from edge.inference.tag_history import Joiner
from edge.inference.windows import WindowBuffer
from edge.inference.work import Work
from schemas.messages import Frame, Quality, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge.config.pipeline import Pipeline as PipelineSettings
    from edge.inference.graph import Graph


class Taken(NamedTuple):
    """One input, and why it can't be run: "" if it can."""

    work: Work
    problem: str


class Intake:
    """Makes work of what comes in. `graphs`: variant -> what runs it, shared with the pipeline."""

    def __init__(self, settings: PipelineSettings, boot: str, graphs: Mapping[str, Graph]) -> None:
        """Start without a reading."""
        self._boot, self._graphs = boot, graphs
        self._budget_ns = int(settings.deadline_ms * 1e6)
        policy = settings.dynamic_batching.default_queue_policy
        self._timeout_ns = policy.default_timeout_microseconds * 1000 or self._budget_ns
        spec, join, recipe = settings.input, settings.join, settings.recipe
        self._window = WindowBuffer(spec, settings.bad_input) if isinstance(spec, WindowInput) else None
        self._fed_by = spec.source if isinstance(spec, WindowInput) else ""
        self._join = Joiner(tag_inputs(join.tags, settings.bad_input), join.max_age_ms) if join else None
        self._join_source = join.source if join else ""
        self._recipe = RecipeChooser(recipe) if recipe else None
        self._recipe_source = recipe.source if recipe else ""

    @property
    def sources(self) -> frozenset[str]:
        """The sources whose readings are wanted."""
        return frozenset({self._fed_by, self._join_source, self._recipe_source} - {""})

    def frame(self, frame: Frame, received_ns: int) -> Taken:
        """Take a frame."""
        trigger_ns, problem = self._clocked(frame.boot, frame.trigger_ns, received_ns)
        variant = ""
        if self._recipe:
            variant, unclear = self._recipe.at(trigger_ns)
            problem = problem or unclear
        graph = self._graphs.get(variant)
        problem = problem or _unfit(frame, graph)
        quality, reason = frame.quality, _told(frame)
        inputs: Mapping[str, NDArray[Any]] | None = None
        if graph is not None and not problem:
            kept = frame.data if frame.ring else bytes(frame.data)  # what came by a ring has been copied already
            picture: NDArray[Any] = np.ndarray(graph.shape, graph.dtype, kept)
            inputs = {INPUT: picture}
            if self._join:
                inputs, quality, reason, problem = self._joined(self._join, picture, frame, trigger_ns, graph)
        work = self._work(
            frame.stream, frame.epoch, frame.seq, frame.part_id, trigger_ns, received_ns, quality, reason, inputs,
            variant,
        )  # fmt: skip
        return Taken(work, problem)

    def _joined(
        self, join: Joiner, picture: NDArray[Any], frame: Frame, trigger_ns: int, graph: Graph
    ) -> tuple[Mapping[str, NDArray[Any]] | None, Quality, str, str]:
        """Put the joined tags beside a picture; inputs, quality, its reason, and the problem if there is one."""
        joined = join.at(trigger_ns, graph.tags)
        if joined.tensor is None:
            return None, Quality.BAD, joined.reason, f"{BAD_QUALITY}: {joined.reason}"
        good = frame.quality is Quality.GOOD
        quality, reason = (joined.quality, joined.reason) if good else (frame.quality, _told(frame))
        return {INPUT: picture, TAGS: joined.tensor}, quality, reason, ""

    def reading(self, reading: Reading, received_ns: int) -> Taken | None:
        """Take a reading; work if it completes a window that is due."""
        if self._join and reading.source == self._join_source:
            self._join.history.add(reading)
        if self._recipe and reading.source == self._recipe_source:
            self._recipe.history.add(reading)
        if self._window is None or reading.source != self._fed_by or not self._window.add(reading):
            return None
        scan_ns, _ = self._clocked(reading.boot, reading.scan_ns, received_ns)
        variant, problem = self._recipe.at(scan_ns) if self._recipe else ("", "")
        graph = self._graphs.get(variant)
        inputs, quality, reason = self._windowed(graph, scan_ns)
        work = self._work(
            reading.source, reading.epoch, reading.seq, None, scan_ns, received_ns, quality, reason, inputs, variant
        )
        if reading.boot != self._boot:
            return Taken(work, f"{BAD_INPUT}: its scan is a time of another boot of the machine")
        if problem:
            return Taken(work, problem)
        if inputs is None:
            return Taken(work, f"{BAD_QUALITY}: {reason}")
        return Taken(work, "" if graph else NO_MODEL)

    def _windowed(self, graph: Graph | None, scan_ns: int) -> tuple[Mapping[str, NDArray[Any]] | None, Quality, str]:
        """Take the window that is due, and what is joined to it."""
        if self._window is None:
            return None, Quality.BAD, "it has no window"
        taken = self._window.take(graph.source if graph else None, graph.root[INPUT].dtype if graph else "float64")
        if taken.tensor is None or self._join is None or graph is None:
            return {INPUT: taken.tensor} if taken.tensor is not None else None, taken.quality, taken.reason
        joined = self._join.at(scan_ns, graph.tags)
        if joined.tensor is None:
            return None, Quality.BAD, joined.reason
        good = taken.quality is Quality.GOOD
        quality, reason = (joined.quality, joined.reason) if good else (taken.quality, taken.reason)
        return {INPUT: taken.tensor, TAGS: joined.tensor}, quality, reason

    def _work(
        self, name: str, epoch: int, seq: int, part_id: int | None, trigger_ns: int, received_ns: int,
        quality: Quality, reason: str, inputs: Mapping[str, NDArray[Any]] | None, variant: str,
    ) -> Work:  # fmt: skip
        deadline_ns = trigger_ns + self._budget_ns
        timeout_ns = min(deadline_ns, received_ns + self._timeout_ns)
        return Work(
            name, epoch, seq, part_id, trigger_ns, received_ns, deadline_ns, timeout_ns, quality, reason, inputs,
            variant,
        )  # fmt: skip

    def _clocked(self, boot: str, trigger_ns: int, received_ns: int) -> tuple[int, str]:
        """Return the trigger, and what is wrong with it.

        A time of another boot, or of the future, says nothing to who reads the decision: then it is the receipt.
        """
        if boot != self._boot:
            return received_ns, f"{BAD_INPUT}: its trigger is a time of another boot of the machine"
        if trigger_ns > received_ns:
            return received_ns, f"{BAD_INPUT}: its trigger lies in the future"
        return trigger_ns, ""


def _told(frame: Frame) -> str:
    if frame.reason or frame.quality is Quality.GOOD:
        return frame.reason
    return f"the camera calls it {frame.quality.value}"


def _unfit(frame: Frame, graph: Graph | None) -> str:
    if frame.quality is Quality.BAD:
        return f"{BAD_QUALITY}: {_told(frame)}"
    if graph is None:
        return NO_MODEL
    spec = graph.root[INPUT]
    if frame.shape != spec.shape or frame.dtype != spec.dtype or len(frame.data) != graph.root_bytes:
        return (
            f"{BAD_INPUT}: {frame.dtype} {frame.shape} in {len(frame.data)} bytes,"
            f" the model takes {spec.dtype} {spec.shape}"
        )
    return ""
