"""Runs kept evidence again: the same models, graph, engine, batch size and row, and compares bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError

from edge.config.pipeline import Pipeline as PipelineSettings
from edge.engines import Engine, load_engine
from edge.inference.pipeline import Pipeline
from edge.inference.verdicts import AnomalyRule, Judgement, rule_for, worst_of
from edge.models.contract import CONTRACT_FILE, Contract
from edge.models.engine_choice import CACHE_FOLDER, machine
from edge.models.loaded import LoadedModel, load_model
from schemas.errors import ContractError, PlantEdgeError
from schemas.messages import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.config.pipeline import DecisionRule
    from edge.inference.graph import Graph
    from edge.settings import Engine as EngineSettings
    from schemas.evidence import Evidence, ModelUsed, Tensor

_SHORT: Final = 12  # of a digest, for people


class ReplayError(PlantEdgeError):
    """Evidence that can't be run here; the message says what to do."""


@dataclass(frozen=True)
class Compared:
    """One output, then and now; `now` is None where the graph does not give it any more."""

    name: str
    then: NDArray[Any]
    now: NDArray[Any] | None

    @property
    def same(self) -> bool:
        """Whether every bit is the same, NaNs included."""
        now = self.now
        return now is not None and (now.dtype, now.shape) == (self.then.dtype, self.then.shape) and (
            now.tobytes() == self.then.tobytes()
        )  # fmt: skip

    @property
    def most(self) -> float | None:
        """The largest absolute difference, None where they can't be compared."""
        now = self.now
        if now is None or now.shape != self.then.shape:
            return None
        if not now.size:
            return 0.0
        with np.errstate(invalid="ignore"):  # inf - inf
            return float(np.max(np.abs(np.subtract(now, self.then, dtype=np.float64))))


@dataclass(frozen=True)
class Replayed:
    """What came of it."""

    evidence: Evidence
    inputs: Mapping[str, NDArray[Any]]
    outputs: tuple[Compared, ...]
    judgement: Judgement
    engine: str
    engine_version: str
    machine: str

    @property
    def same(self) -> bool:
        """Whether all is the same to the bit."""
        return all(output.same for output in self.outputs) and not self.verdict_changed

    @property
    def verdict_changed(self) -> bool:
        """Whether another verdict, label or score came out. One that was not believed then is not compared."""
        if self.evidence.verdict is Verdict.UNKNOWN:
            return False
        then = (self.evidence.verdict, self.evidence.label, self.evidence.score)
        return then != (self.judgement.verdict, self.judgement.label, self.judgement.score)

    def causes(self) -> list[str]:
        """Say what is not as it was, the likeliest cause of a difference first."""
        then, found = self.evidence, list[str]()
        if self.engine != then.engine:
            found.append(f"another engine: {self.engine}, then {then.engine}")
        elif self.engine_version != then.engine_version:
            found.append(f"another version of the engine: {self.engine_version}, then {then.engine_version}")
        if self.machine != then.machine:
            found.append(f"another machine: {self.machine}, then {then.machine}")
        if then.batch > 1:
            found.append(
                f"it ran in a batch of {then.batch}, whose other inputs are not kept: a model that quantises"
                " dynamically looks at all of them"
            )
        return found or ["nothing that is known: the same engine on the same machine gave other bits"]


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Return a kept tensor as an array.

    Raises:
        ReplayError: its bytes don't fit its shape.
    """
    try:
        return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
    except (TypeError, ValueError) as error:
        raise ReplayError(f"the kept tensor {tensor.name} can't be read: {error}") from error


def find_model(models: Path, used: ModelUsed) -> Path:
    """Return the folder of the very model that was used: its version's, or another that holds the same file.

    Raises:
        ReplayError: it is not on this device any more.
    """
    where = f"model {used.name} {used.version} ({used.digest[:_SHORT]}...)"
    if not all(_plain(part) for part in (used.name, used.version)):
        raise ReplayError(f"{where}: is no name of a model")
    first, others = models / used.name / used.version, sorted((models / used.name).glob(f"*/{CONTRACT_FILE}"))
    problems: list[str] = []
    for folder in dict.fromkeys([first, *(path.parent for path in others)]):
        try:
            if Contract.load(folder).sha256 == used.digest:
                return folder
            if folder == first:
                problems.append(f"{folder} holds another model of that version now")
        except ContractError as error:
            problems += error.problems if folder == first else []
    raise ReplayError(
        f"{where} is not in {models} any more: {'; '.join(problems)}; put its folder back, then run this again"
    )


def _plain(part: str) -> bool:
    return bool(part) and "/" not in part and not part.startswith(".")


def replay(evidence: Evidence, home: Path, settings: EngineSettings, engine: str = "") -> Replayed:
    """Run evidence again in a device folder: on the engine and with the options that it ran with, or on another engine.

    Raises:
        ReplayError: a model or the engine is not here, or this version can't run such a pipeline.
    """
    pipeline = _settings(evidence)
    folders = [(find_model(home / settings.folder, used), used) for used in evidence.models]
    loaded: list[LoadedModel] = []
    try:
        runs_on = _engine(evidence, home, settings, engine)
        for folder, used in folders:
            loaded.append(load_model(folder, runs_on, used.digest))
        inputs = {tensor.name: array_of(tensor) for tensor in evidence.inputs}
        graph = _graph(evidence, pipeline, loaded)
        found = graph.run({name: np.repeat(array, evidence.batch, axis=0) for name, array in inputs.items()})
        judgement = _judge(evidence, pipeline, graph, found)
    except ContractError as error:
        raise ReplayError(f"it can't be run here: {error}") from error
    finally:
        for model in loaded:
            model.session.close()
    now = graph.outputs(found, evidence.batch)[evidence.row]
    outputs = tuple(Compared(tensor.name, array_of(tensor), now.get(tensor.name)) for tensor in evidence.outputs)
    return Replayed(evidence, inputs, outputs, judgement, runs_on.setup.name, runs_on.version(), machine())


def _engine(evidence: Evidence, home: Path, settings: EngineSettings, name: str) -> Engine:
    if name in ("", evidence.engine):
        name, options = evidence.engine, msgspec.json.decode(evidence.engine_options, type=dict[str, object])
    else:
        options = dict(settings.options.get(name, {}))
    return load_engine(name, options, home / CACHE_FOLDER / name)


def _settings(evidence: Evidence) -> PipelineSettings:
    try:
        return PipelineSettings.model_validate_json(evidence.settings)
    except ValidationError as error:
        raise ReplayError(
            f"pipeline {evidence.pipeline} was kept by another version of PlantEdge, whose settings this one can't"
            f" read ({error.error_count()} problems); run the version that kept it"
        ) from error


def _graph(evidence: Evidence, settings: PipelineSettings, loaded: Iterable[LoadedModel]) -> Graph:
    pipeline = Pipeline(evidence.pipeline, settings, "")
    for model in loaded:
        pipeline.use(model)
    graph = pipeline.graph(evidence.recipe)
    if graph is None:
        raise ReplayError(f"recipe {evidence.recipe!r} of pipeline {evidence.pipeline} has a model that is not kept")
    return graph


def _judge(evidence: Evidence, settings: PipelineSettings, graph: Graph, found: Mapping[str, Any]) -> Judgement:
    """Judge the row alone; an anomaly that was there before it still was."""
    choice = settings.choices.get(evidence.recipe)
    decision: DecisionRule = choice.decision if choice and choice.decision else settings.decision
    rule = rule_for(graph.judge.contract, decision)
    if isinstance(rule, AnomalyRule):
        rule.alarmed = evidence.before is Verdict.NOK
    last: Mapping[str, NDArray[Any]] = found[graph.nodes[-1].name]
    if graph.batchable:
        return rule.judge({name: array[evidence.row : evidence.row + 1] for name, array in last.items()}, 1)[0]
    return worst_of(rule.judge(last, len(next(iter(last.values())))), Verdict(settings.decision.empty))
