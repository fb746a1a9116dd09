"""What a watch has to know of a pipeline's variant: its inputs, and what its last model puts out. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edge.config.pipeline import INPUT, TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.inference.graph import Graph
    from edge.models.contract import Input

MAX_CHANNELS: Final = 16  # of one input that are watched; a wider one is watched by its first
SMALLEST_PX: Final = 4  # a smaller picture has no sharpness
_KEY_LENGTH: Final = 16


@dataclass(frozen=True)
class WatchedInput:
    """One input. `spans`: the width of each channel's expected range, None where nothing says it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    channels: tuple[str, ...]
    spans: tuple[float | None, ...]

    @property
    def is_image(self) -> bool:
        """Rows, columns and colour planes."""
        return len(self.shape) == 3

    @property
    def is_series(self) -> bool:
        """Readings of tags, one after the other; what is neither is tags alone."""
        return len(self.shape) == 2 and self.shape[0] > 1


@dataclass(frozen=True)
class Subject:
    """`output`: which of `Answer.outputs` is judged; `models`: the digests of what runs; `variant`: the recipe."""

    inputs: tuple[WatchedInput, ...]
    kind: Literal["classifier", "anomaly"]
    labels: tuple[str, ...]
    output: str
    models: tuple[str, ...]
    variant: str = ""

    @property
    def inputs_key(self) -> str:
        """Whose baseline of inputs this is: it outlives a new model that takes the same."""
        return self._key("".join(f"{one.name} {one.dtype} {one.shape} {one.channels}" for one in self.inputs))

    @property
    def predictions_key(self) -> str:
        """Whose baseline of predictions this is: that of these very models."""
        return self._key(f"{self.kind} {self.output} {self.labels} {self.models}")

    def _key(self, text: str) -> str:
        digest = hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]
        return f"{digest}@{self.variant}" if self.variant else digest


def watched_input(name: str, dtype: str, shape: Sequence[int], said: Input | None) -> WatchedInput:
    """Return an input as its contract describes it; without one, channels are numbers."""
    count = min(shape[-1], MAX_CHANNELS)
    if said is not None and len(said.channels) == shape[-1]:
        channels = tuple(channel.name for channel in said.channels[:count])
        spans: tuple[float | None, ...] = tuple(channel.high - channel.low for channel in said.channels[:count])
    else:
        channels = tuple(str(index) for index in range(count))
        spans = (255.0 if dtype == np.dtype(np.uint8).name else None,) * count
    return WatchedInput(name, dtype, tuple(shape), channels, spans)


def subject_of(graph: Graph, variant: str = "") -> Subject | None:
    """Return the subject of a graph under a recipe; None for one whose output is neither classes nor a score."""
    contract, last = graph.judge.contract, graph.nodes[-1].name
    if contract.kind == "detector":
        return None
    said = {INPUT: graph.source, TAGS: graph.tags}
    inputs = tuple(
        watched_input(name, spec.dtype, spec.shape, said.get(name))
        for name, spec in graph.root.items()
        if len(spec.shape) < 3 or (len(spec.shape) == 3 and min(spec.shape[:2]) >= SMALLEST_PX)
    )
    output = contract.outputs[0]
    models = tuple(node.model.contract.sha256 for node in graph.nodes if node.model)
    return Subject(inputs, contract.kind, output.labels, f"{last}.{output.name}", models, variant)
