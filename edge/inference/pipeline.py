"""One pipeline: an input becomes a Decision and a Result, whatever happens to it. Pure but for the engine's run.

Each input that was taken has exactly one answer: a result, a late result, or a drop with its reason
(`edge.inference.reasons`). Only a result in time, of an input that was not Bad, from a model whose golden vector still
holds, can say OK or NOK; all else says UNKNOWN, so that the outputs go to their fail-safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from edge.inference.graph import Graph, compile_graph
from edge.inference.intake import Intake, Taken
from edge.inference.queue import WorkQueue
from edge.inference.reasons import BAD_INPUT, EXPIRED
from edge.inference.runs import Beside, Ran, run
from edge.inference.verdicts import Judgement, Rule, rule_for, worst_of
from edge.inference.work import Answer, Identity, Work
from schemas.errors import ContractError
from schemas.messages import Decision, Frame, Proof, Reading, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.config.pipeline import Choice
    from edge.config.pipeline import Pipeline as PipelineSettings
    from edge.models.loaded import LoadedModel

DEFAULT = ""  # the variant that is no recipe
Admit = Callable[[Mapping[int, float]], int]


class Pipeline:
    """Takes inputs, gives answers. Every method but `problems_of` is called from one thread."""

    def __init__(
        self, name: str, settings: PipelineSettings, boot: str, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Start without a model. `clock` is CLOCK_MONOTONIC in nanoseconds, of `boot`."""
        self.name, self.settings = name, settings
        self.unproven = ""  # why a model is not believed, "" while the golden vectors hold
        self.queue = WorkQueue(settings)
        self.admit: Admit | None = None  # the lane's say: worst times by batch size -> the largest batch that fits
        self.room: Callable[[], bool] | None = None  # makes room elsewhere in the lane when the queue is full
        self.largest = settings.max_batch_size
        self._boot, self._clock = boot, clock
        self._loaded: dict[str, LoadedModel] = {}
        self._graphs: dict[str, Graph] = {}
        self._rules: dict[str, Rule] = {}
        self._budget_ns = int(settings.deadline_ms * 1e6)
        self._intake = Intake(settings, boot, self._graphs)
        self._identity = Identity(name, settings.judge, settings.deadline_ms, boot)
        self._empty = Verdict(settings.decision.empty)
        self._selftests = 0
        self._beside = Beside(name, settings.instances - 1)

    def close(self) -> None:
        """End its threads."""
        self._beside.close()

    @property
    def waiting(self) -> int:
        """How many inputs wait for `step`."""
        return len(self.queue)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it needs."""
        return self.settings.models

    @property
    def model(self) -> LoadedModel | None:
        """The model whose output is judged, without a recipe; None until it serves."""
        graph = self._graphs.get(DEFAULT)
        return graph.judge if graph else None

    @property
    def sources(self) -> frozenset[str]:
        """The sources whose readings it takes."""
        return self._intake.sources

    def graph(self, variant: str = DEFAULT) -> Graph | None:
        """Return what runs a variant, None while a model of it is missing."""
        return self._graphs.get(variant)

    # -- models -------------------------------------------------------------------------------------------------------

    def problems_of(self, model: LoadedModel) -> list[str]:
        """Say why a model does not fit this pipeline; nothing if it does. May be called from another thread."""
        try:
            graphs, _ = self._compiled(self._loaded | {model.contract.name: model})
            self._largest(graphs)
        except ContractError as error:
            mark = f"pipeline {self.name}: "
            return [problem if problem.startswith(mark) else mark + problem for problem in error.problems]
        return []

    def use(self, model: LoadedModel) -> list[Answer]:
        """Run `model` from now on; answers what waits and does not fit it.

        Raises:
            ContractError: it does not fit the pipeline; the model before it stays.
        """
        loaded = self._loaded | {model.contract.name: model}
        graphs, rules = self._compiled(loaded)
        self.largest = self._largest(graphs)
        self._loaded, self._rules, self.unproven = loaded, rules, ""
        self._graphs.clear()
        self._graphs.update(graphs)
        return [self._drop(work, f"{BAD_INPUT}: the model changed") for work in self.queue.filter(self._still_fits)]

    def _compiled(self, loaded: Mapping[str, LoadedModel]) -> tuple[dict[str, Graph], dict[str, Rule]]:
        """Return every variant whose models are there; an anomaly in progress outlives a change of model."""
        graphs: dict[str, Graph] = {}
        rules: dict[str, Rule] = {}
        for variant, choice in self._variants():
            models = choice.models if choice else {}
            steps = [
                step.model_copy(update={"model": models.get(step.name, step.model)}) for step in self.settings.graph
            ]
            if not all(step.model in loaded for step in steps if step.model):
                continue
            graph = compile_graph(self.settings, steps, loaded)
            if self.settings.instances > 1 and not graph.concurrent:
                raise ContractError([f"instances = {self.settings.instances}: {graph.judge.contract.name} runs on an "
                                     "engine whose sessions take one call at a time; take instances away"])  # fmt: skip
            decision = choice.decision if choice and choice.decision else self.settings.decision
            rules[variant] = rule_for(graph.judge.contract, decision, self._rules.get(variant))
            graphs[variant] = graph
        return graphs, rules

    def _variants(self) -> Iterator[tuple[str, Choice | None]]:
        yield DEFAULT, None
        yield from self.settings.choices.items()

    def _largest(self, graphs: Mapping[str, Graph]) -> int:
        """The largest batch that the lane admits; of variants, the slowest counts."""
        if self.admit is None or not graphs:
            return self.settings.max_batch_size
        times = [graph.worst_ms for graph in graphs.values()]
        sizes = [size for size in times[0] if all(size in of_graph for of_graph in times)]
        return self.admit({size: max(of_graph[size] for of_graph in times) for size in sizes})

    def _still_fits(self, work: Work) -> bool:
        graph = self._graphs.get(work.variant)
        if graph is None or work.inputs is None or work.inputs.keys() != graph.root.keys():
            return False
        return all(
            (work.inputs[name].dtype.name, work.inputs[name].shape[1:]) == spec for name, spec in graph.root.items()
        )

    # -- in -----------------------------------------------------------------------------------------------------------

    def offer_frame(self, frame: Frame, received_ns: int) -> Answer | None:
        """Take a frame; return an answer for what is dropped because of it."""
        return self._accept(self._intake.frame(frame, received_ns))

    def offer_reading(self, reading: Reading, received_ns: int) -> Answer | None:
        """Take a reading; return an answer if a window is due and refused, or drops another."""
        taken = self._intake.reading(reading, received_ns)
        return self._accept(taken) if taken else None

    def _accept(self, taken: Taken) -> Answer | None:
        if taken.problem:
            return self._drop(taken.work, taken.problem)
        for work, reason in self.queue.push(taken.work, self.room):
            return self._drop(work, reason)
        return None

    # -- out ----------------------------------------------------------------------------------------------------------

    def ready_ns(self, now_ns: int) -> int | None:
        """Return when `step` has a batch to run, None if nothing waits."""
        return self.queue.ready_ns(now_ns, self._fit)

    def step(self) -> list[Answer]:
        """Drop what has expired, run one batch of what waits, and answer it."""
        taken_ns = self._clock()
        expired, batch = self.queue.take(taken_ns, fit := self._share())
        batches = [batch] if batch else []
        while batch and len(batches) < self.settings.instances and self._goes_on(taken_ns):
            _, batch = self.queue.take(taken_ns, fit)  # nothing expires twice at one time
            batches += [batch] if batch else []
        answers = [self._drop(work, EXPIRED) for work in expired]
        graphs = [self._graphs[batch[0].variant] for batch in batches]
        jobs = [partial(run, graph, batch, taken_ns, self._clock) for graph, batch in zip(graphs, batches, strict=True)]
        for ran, graph in zip(self._beside.run(jobs), graphs, strict=True):
            answers += self._answers(ran, graph)
        return answers

    def _goes_on(self, now_ns: int) -> bool:
        ready_ns = self.queue.ready_ns(now_ns, self._fit)
        return ready_ns is not None and ready_ns <= now_ns

    def _share(self) -> Callable[[str, int], int]:
        """Return what fits a batch when those that wait are shared out among the instances."""
        if self.settings.instances == 1 or self.settings.dynamic_batching.preferred_batch_size:
            return self._fit
        share = -(-self.waiting // self.settings.instances)
        return lambda variant, waiting: self._fit(variant, min(waiting, share))

    def _fit(self, variant: str, waiting: int) -> int:
        graph = self._graphs.get(variant)
        return graph.batch(min(waiting, self.largest)) if graph else 0

    def _answers(self, ran: Ran, graph: Graph) -> list[Answer]:
        batch, variant, problem = ran.batch, ran.batch[0].variant, ran.problem
        judgements: list[Judgement] = []
        if not problem:
            try:
                judgements = self._judged(graph, self._rules[variant], ran.outputs, len(batch))
            except ContractError as error:
                problem = str(error)
        if problem:
            judgements = [Judgement(Verdict.UNKNOWN, reason=f"engine_failed: {problem}")] * len(batch)
        gave = graph.outputs(ran.outputs, len(batch)) if ran.outputs else [None] * len(batch)
        return [
            Answer(
                *self._identity.answer(work, judgement, self.unproven, ran.times, graph), work.inputs, gave[row],
                len(batch), row, variant,
            )
            for row, (work, judgement) in enumerate(zip(batch, judgements, strict=True))
        ]  # fmt: skip

    def _judged(self, graph: Graph, rule: Rule, outputs: Mapping[str, Any], batch: int) -> list[Judgement]:
        last = outputs[graph.nodes[-1].name]
        if graph.batchable:
            return rule.judge(last, batch)
        return [worst_of(rule.judge(last, len(next(iter(last.values())))), self._empty)]

    def shed(self) -> Answer:
        """Give up the oldest input for one of another pipeline."""
        return self._drop(self.queue.shed(), "overload: it gave way to a pipeline of higher priority")

    def selftest(self) -> Decision | None:
        """Run a golden vector; return a decision that renews the lease, or None with `unproven` saying why not.

        Of several models each has its turn; one that has failed is tried until it holds again.
        """
        graph = self._graphs.get(DEFAULT)
        if graph is None:
            return None
        now_ns = self._clock()
        models = [node.model for node in graph.nodes if node.model]
        tried = models if self.unproven else [models[self._selftests % len(models)]]
        self.unproven = next((why for model in tried if (why := model.prove())), "")
        if self.unproven:
            return None
        self._selftests += 1
        return Decision(
            pipeline=self.name, result_id=f"{self.name}-selftest-{self._selftests}", part_id=None,
            verdict=Verdict.UNKNOWN, proof=Proof.SELFTEST, boot=self._boot, trigger_ns=now_ns,
            deadline_ns=now_ns + self._budget_ns,
        )  # fmt: skip

    def _drop(self, work: Work, reason: str) -> Answer:
        decision, result = self._identity.drop(work, reason, self._clock(), self._graphs.get(work.variant))
        return Answer(decision, result)
