"""One file of `pipelines/`: what comes in, which steps it takes, by when, and what the scores mean.

Batching and queues are in Triton's words (`dynamic_batching` of its model configuration), where Triton has them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from edge.config.drift import Drift
from edge.config.section import Field, Milliseconds, Options, Section, Slug, model_validator

SAFETY_LANE: Final = "safety"
INPUT: Final = "input"  # what a step takes that takes the pipeline's frame or window
TAGS: Final = "tags"  # what a step takes that takes the joined tags
BadInput = Literal["skip", "hold", "substitute"]
Overload = Literal["shed_oldest", "shed_lowest_priority", "sample"]


class TagInput(Section):
    """One tag of an input, and what stands in for it while it is Bad.

    `skip`: nothing does, the input is dropped. `hold`: its last Good value, for at most `max_age_ms`. `substitute`: the
    number of that name. What stands in makes the result Uncertain, never Good.
    """

    tag: str
    bad: BadInput = "skip"
    substitute: float | None = None
    max_age_ms: Milliseconds | None = None

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if (self.bad == "substitute") is (self.substitute is None):
            raise ValueError('`substitute` is the number that stands in with bad = "substitute", and only then')
        if self.max_age_ms is not None and self.bad != "hold":
            raise ValueError('`max_age_ms` says how long a value is held; it needs bad = "hold"')
        return self


class FrameInput(Section):
    """A pipeline fed by one camera stream. `shape` and `dtype`: where the first step is no model that says them."""

    frames: Slug
    shape: list[Annotated[int, Field(gt=0)]] = []
    dtype: Literal["uint8", "int32", "int64", "float32", "float64"] = "uint8"


class WindowInput(Section):
    """A pipeline fed by the last `length` readings of `tags` of one source's poll group, every `every` readings.

    With `request`, a bool of the same group, only by the reading in which it has risen: the PLC asks.
    """

    source: Slug
    group: str
    tags: Annotated[list[str | TagInput], Field(min_length=1)]
    length: Annotated[int, Field(ge=1, le=100_000)]
    every: Annotated[int, Field(ge=1)] = 1
    request: str = ""


class Join(Section):
    """Tags that go with each frame: their newest values at its trigger, not older than `max_age_ms`."""

    source: Slug
    tags: Annotated[list[str | TagInput], Field(min_length=1)]
    max_age_ms: Milliseconds = 1000


class DecisionRule(Section):
    """How scores become a verdict.

    Classifier: NOK when the probabilities of `reject` labels add up to `threshold`. Anomaly: NOK when the score does;
    it ends when the score falls under `clear` (hysteresis). Where one input gives several rows (crops), one NOK row
    rejects it; `empty` is the verdict when there is no row at all. `confirm`: with `event`, how many NOK in a row begin
    an alarm, and how many OK in a row end it.
    """

    reject: list[str] = []
    threshold: Annotated[float, Field(ge=0)] = 0.5
    clear: Annotated[float, Field(ge=0)] | None = None
    empty: Literal["ok", "nok", "unknown"] = "unknown"
    confirm: Annotated[int, Field(ge=1, le=1000)] = 1


class Step(Section):
    """One node of a pipeline's graph: a `model`, or an `op` (a file of edge/inference/steps/) with its `options`.

    `takes`: steps before it whose outputs it takes (`find`, or one of them: `find.boxes`), `input` for the pipeline's
    input, `tags` for the joined tags. Without it, the step before.
    """

    name: Slug
    model: Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,64}$")] = ""
    op: Annotated[str, Field(pattern=r"^[a-z0-9_]{0,64}$")] = ""
    takes: list[str] = []
    options: Options = {}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.model) is bool(self.op):
            raise ValueError("a step has either a `model` or an `op`")
        if self.model and self.options:
            raise ValueError("`options` are an op's; a model's are in its contract")
        if self.name in (INPUT, TAGS):
            raise ValueError(f"{self.name!r} is the name of what comes in; call the step otherwise")
        return self


class QueuePolicy(Section):
    """What waits, how long, and what then. A timeout of 0 is the deadline itself.

    `REJECT` drops what has timed out. `DELAY` runs it when nothing else waits; after its deadline it is a late result.
    `max_queue_size` 0 is four batches.
    """

    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"
    default_timeout_microseconds: Annotated[int, Field(ge=0)] = 0
    max_queue_size: Annotated[int, Field(ge=0, le=65_536)] = 0


class DynamicBatching(Section):
    """When what waits becomes a batch, in Triton's words. By default at once: nothing is waited for.

    With `max_queue_delay_microseconds` a batch waits that long after its first input for one of the
    `preferred_batch_size` to come together. `priority_level` 1 goes first in a lane.
    """

    preferred_batch_size: list[Annotated[int, Field(ge=1, le=256)]] = []
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    priority_level: Annotated[int, Field(ge=1, le=100)] = 1
    default_queue_policy: QueuePolicy = QueuePolicy()


class Choice(Section):
    """One recipe: models that stand in for those of steps (by step name), and its own rule."""

    models: dict[Slug, Slug] = {}
    decision: DecisionRule | None = None


class Recipe(Section):
    """Which variant of the pipeline runs, by a tag's value at the trigger.

    A value that no choice names, or one that is not Good, takes the pipeline as it is written with `otherwise =
    "default"`, and drops the input without. `hold`: what is Bad keeps the last Good value for `max_age_ms`.
    """

    source: Slug
    tag: str
    choices: Annotated[dict[str, Choice], Field(min_length=1)]
    otherwise: Literal["skip", "default"] = "skip"
    max_age_ms: Milliseconds = 10_000


class KeptEvidence(Section):
    """What is kept on the device for `plantedge replay`: the inputs of each kind in `keep`, and every n-th OK.

    `sample_ok` 0 keeps no OK. What goes over `max_kb_per_s` is not kept, and counted.
    """

    keep: list[Literal["nok", "unknown", "late"]] = ["nok"]
    sample_ok: Annotated[int, Field(ge=0)] = 0
    max_kb_per_s: Annotated[float, Field(gt=0, le=20_000)] = 1_000


class Pipeline(Section):
    """A graph of models behind one input under one deadline; `model` alone is a graph of one step.

    `bad_input`: what to do when a tag is Bad that does not say it itself. `overload`: what gives way when the queue is
    full: the pipeline's oldest input, the oldest of the lane's lowest priority, or all but every n-th (`sample`).
    `instances`: what waits is shared out among so many batches that run side by side, each on a core of its own.
    """

    lane: Slug = "bulk"
    model: Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,64}$")] = ""
    steps: list[Step] = []
    input: FrameInput | WindowInput
    join: Join | None = None
    recipe: Recipe | None = None
    deadline_ms: Milliseconds
    decision: DecisionRule = DecisionRule()
    max_batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    instances: Annotated[int, Field(ge=1, le=16)] = 1
    dynamic_batching: DynamicBatching = DynamicBatching()
    overload: Overload = "shed_oldest"
    bad_input: Literal["hold", "skip"] = "skip"
    event: bool = False
    evidence: KeptEvidence = KeptEvidence()
    drift: Drift = Drift()

    @property
    def graph(self) -> tuple[Step, ...]:
        """The steps in their order."""
        return tuple(self.steps) or (Step(name="model", model=self.model),)

    @property
    def judge(self) -> str:
        """The model whose output is the verdict: the last step's."""
        return self.graph[-1].model

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that the graph or a recipe names, each once."""
        of_recipes = [model for choice in self.choices.values() for model in choice.models.values()]
        return tuple(dict.fromkeys([*(step.model for step in self.graph if step.model), *of_recipes]))

    @property
    def choices(self) -> dict[str, Choice]:
        """The recipes, none without a recipe tag."""
        return self.recipe.choices if self.recipe else {}

    @model_validator(mode="after")
    def _graph_fits(self) -> Self:
        if bool(self.model) is bool(self.steps):
            raise ValueError("a pipeline has either a `model` or [[steps]]")
        if not self.graph[-1].model:
            raise ValueError(f"the last step ({self.graph[-1].name}) must be a model: its output is judged")
        known = [INPUT, *([TAGS] if self.join else [])]
        for step in self.graph:
            for taken in step.takes:
                if taken.partition(".")[0] not in known:
                    raise ValueError(f"step {step.name} takes {taken!r}; before it there are {', '.join(known)}")
            if step.name in known:
                raise ValueError(f"two steps are named {step.name!r}")
            known.append(step.name)
        return self

    @model_validator(mode="after")
    def _recipes_fit(self) -> Self:
        names = {step.name for step in self.graph if step.model}
        for key, choice in self.choices.items():
            if strange := choice.models.keys() - names:
                raise ValueError(f"recipe {key} names the step {min(strange)!r}; models run in {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _batching_fits(self) -> Self:
        batching = self.dynamic_batching
        if self.lane == SAFETY_LANE and batching.max_queue_delay_microseconds:
            raise ValueError("nothing waits on the safety lane; take max_queue_delay_microseconds away, or the lane")
        if any(size > self.max_batch_size for size in batching.preferred_batch_size):
            raise ValueError(f"a preferred_batch_size is over max_batch_size, which is {self.max_batch_size}")
        return self


def tag_inputs(tags: list[str | TagInput], default: Literal["hold", "skip"]) -> tuple[TagInput, ...]:
    """Return every tag with its policy; a tag that is only named has the pipeline's `bad_input`."""
    return tuple(tag if isinstance(tag, TagInput) else TagInput(tag=tag, bad=default) for tag in tags)
