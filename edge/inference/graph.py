"""A pipeline's steps as a graph that can be run: checked once against the models in memory, then only executed.

A graph of row-wise steps runs a batch of inputs at once. One that finds things in an input (boxes, crops) takes one
input at a time, and what it found is the batch of the models after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.config.pipeline import INPUT, TAGS, FrameInput, WindowInput
from edge.inference.steps import Spec, Specs, Value, make_step
from edge.inference.steps import Step as RunStep
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge.config.pipeline import Pipeline, Step
    from edge.models.contract import Input
    from edge.models.loaded import LoadedModel

_WINDOW_DTYPE = "float64"  # of a window that no model takes as it is


@dataclass(frozen=True)
class ModelStep:
    """Runs a model on any number of rows, in batches that are warm."""

    model: LoadedModel
    gives: Specs
    rowwise: bool = True
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Feed the model's inputs in their order.

        Raises:
            ContractError: the engine could not run it.
        """
        arrays = [array for value in taken for array in value.values()]
        model, rows = self.model, len(arrays[0])
        names = [tensor.name for tensor in model.inputs]
        if rows in model.batches:
            return model.session.run(dict(zip(names, arrays, strict=True)))
        parts: list[Value] = []
        first = 0
        while first < rows:
            count = model.batch(rows - first)
            part = [np.ascontiguousarray(array[first : first + count]) for array in arrays]
            parts.append(model.session.run(dict(zip(names, part, strict=True))))
            first += count
        if not parts:
            return {name: np.empty((0, *spec.shape), spec.dtype) for name, spec in self.gives.items()}
        return {name: np.concatenate([part[name] for part in parts]) for name in self.gives}


@dataclass(frozen=True)
class Node:
    """A step with where its inputs come from: (step, its output, "" for all of them)."""

    name: str
    step: RunStep
    takes: tuple[tuple[str, str], ...]
    model: LoadedModel | None


class Graph:
    """Runs inputs through the steps. `root` is what it takes: `input`, and `tags` where tags are joined."""

    def __init__(self, nodes: Sequence[Node], root: Specs, source: Input | None, tags: Input | None) -> None:
        """See `compile_graph`."""
        self.nodes, self.root = tuple(nodes), root
        self.source, self.tags = source, tags
        self.dtype, self.shape = np.dtype(root[INPUT].dtype), (1, *root[INPUT].shape)  # of one input
        self.root_bytes = self.dtype.itemsize * prod(self.shape)
        self.batchable = all(node.step.rowwise for node in nodes)
        last = nodes[-1].model
        if last is None:
            raise ContractError(["the last step of a pipeline must be a model"])
        self.judge = last
        self.concurrent = all(node.model.session.concurrent for node in nodes if node.model)
        contracts = [node.model.contract for node in nodes if node.model]
        # A result names its judge in full; the other models of a graph stand beside it.
        self.versions = {c.name: f"{c.version} {c.sha256}" for c in contracts} if len(contracts) > 1 else {}
        self.worst_ms = self._worst_ms()

    def run(self, inputs: Value) -> dict[str, Value]:
        """Return every step's outputs, by step.

        Raises:
            ContractError: a model could not be run.
        """
        found: dict[str, Value] = {name: {name: array} for name, array in inputs.items()}
        for node in self.nodes:
            taken = [found[step] if not output else {output: found[step][output]} for step, output in node.takes]
            found[node.name] = node.step.run(*taken)
        return found

    def batch(self, waiting: int) -> int:
        """Return how many of the inputs that wait run at once: a size in which every model is warm."""
        if not self.batchable:
            return min(waiting, 1)
        return max((size for size in self.worst_ms if size <= waiting), default=0)

    def outputs(self, found: Mapping[str, Value], batch: int) -> list[dict[str, NDArray[Any]]]:
        """Return what the steps gave for each input of a batch, as `step.output`, with its first axis."""
        flat = {f"{node.name}.{name}": array for node in self.nodes for name, array in found[node.name].items()}
        if not self.batchable:
            return [flat]
        return [{name: array[row : row + 1] for name, array in flat.items()} for row in range(batch)]

    def _worst_ms(self) -> dict[int, float]:
        """The models' measured worst times by batch size; an op's own time is small beside them and not in it."""
        if self.batchable:
            models = [node.model for node in self.nodes if node.model]
            sizes = [size for size in models[0].batches if all(size in model.batches for model in models)]
            return {size: sum(model.worst_ms[size] for model in models) for size in sizes}
        total, rows = 0.0, 1
        for node in self.nodes:
            rows = node.step.most_rows or rows
            if node.model:
                total += _rows_ms(node.model, rows)
        return {1: total}


def _rows_ms(model: LoadedModel, rows: int) -> float:
    total = 0.0
    while rows:
        size = model.batch(rows)
        total += model.worst_ms[size]
        rows -= size
    return total


def compile_graph(settings: Pipeline, steps: Sequence[Step], models: Mapping[str, LoadedModel]) -> Graph:
    """Return the graph of `steps`, whose models are all in `models`.

    Raises:
        ContractError: every step that can't take what it is given.
    """
    root = _root(settings, steps, models)
    known: dict[str, Specs] = {name: {name: spec} for name, spec in root.items()}
    nodes: list[Node] = []
    problems: list[str] = []
    before = INPUT
    for step in steps:
        takes = _takes(step, before, models, TAGS in root and not nodes)
        before = step.name
        try:
            taken = [_specs(step, known, source) for source in takes]
            made = _model_step(models[step.model], taken) if step.model else make_step(step.op, step.options, taken)
        except ContractError as error:
            problems += [f"step {step.name}: {problem}" if settings.steps else problem for problem in error.problems]
            break  # what comes after it takes what it does not give
        known[step.name] = made.gives
        nodes.append(Node(step.name, made, tuple(takes), models[step.model] if step.model else None))
    if problems:
        raise ContractError(problems)
    return Graph(nodes, root, _contract_input(INPUT, nodes), _contract_input(TAGS, nodes))


def _takes(step: Step, before: str, models: Mapping[str, LoadedModel], joined: bool) -> list[tuple[str, str]]:
    """Where a step takes its inputs from; the first one of a model with two inputs takes the joined tags too."""
    if step.takes:
        return [(name, output) for name, _, output in (taken.partition(".") for taken in step.takes)]
    both = joined and step.model and len(models[step.model].inputs) > 1
    return [(before, ""), (TAGS, "")] if both else [(before, "")]


def _specs(step: Step, known: Mapping[str, Specs], source: tuple[str, str]) -> Specs:
    name, output = source
    specs = known[name]
    if not output:
        return specs
    if output not in specs:
        raise ContractError([f"takes {name}.{output}; {name} gives {', '.join(specs)}"])
    return {output: specs[output]}


def _model_step(model: LoadedModel, taken: Sequence[Specs]) -> ModelStep:
    contract = model.contract
    given = [spec for specs in taken for spec in specs.values()]
    wanted = [Spec(tensor.dtype, tensor.shape) for tensor in model.inputs]
    if given != wanted:
        raise ContractError(
            [f"model {contract.name} {contract.version} takes {_told(wanted)}, and is given {_told(given)}"]
        )
    gives = {
        output.name: Spec(output.dtype, tuple(axis for axis in output.shape[1:] if isinstance(axis, int)))
        for output in contract.outputs
    }
    return ModelStep(model, gives)


def _told(specs: Sequence[Spec]) -> str:
    return " and ".join(f"{spec.dtype} {list(spec.shape)}" for spec in specs)


def _root(settings: Pipeline, steps: Sequence[Step], models: Mapping[str, LoadedModel]) -> dict[str, Spec]:
    """What the graph takes: as its first model says, or the settings where no model takes the input itself."""
    spec = settings.input
    first = next((models[step.model] for step in steps[:1] if step.model), None)
    root: dict[str, Spec] = {}
    if isinstance(spec, WindowInput):
        root[INPUT] = Spec(first.dtype if first else _WINDOW_DTYPE, (spec.length, len(spec.tags)))
        if first and first.shape != root[INPUT].shape:
            raise ContractError(
                [
                    f"windows of {spec.length} readings of {len(spec.tags)} tags don't fit model {first.contract.name}"
                    f" {first.contract.version}, which takes {first.shape}"
                ]
            )
    elif first:
        root[INPUT] = Spec(first.dtype, first.shape)
        if len(first.shape) < 2 and not spec.shape:
            raise ContractError([f"it gives frames, model {first.contract.name} takes {first.shape}"])
    else:
        root[INPUT] = _frame(spec)
    if settings.join:
        root[TAGS] = Spec("float32", (len(settings.join.tags),))
    return root


def _frame(spec: FrameInput) -> Spec:
    if not spec.shape:
        raise ContractError(["the first step is no model, so `input` must say the `shape` and `dtype` of its frames"])
    return Spec(spec.dtype, tuple(spec.shape))


def _contract_input(name: str, nodes: Sequence[Node]) -> Input | None:
    """What the contract of the model that takes a root says of it: units, ranges, time between samples."""
    for node in nodes:
        for position, (step, _) in enumerate(node.takes):
            if step == name and node.model:
                return node.model.contract.inputs[position]
    return None
