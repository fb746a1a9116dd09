"""What lies behind one verdict, kept on the device so that it can be reproduced bit for bit. It never leaves it.

The runtime publishes it after the decision and the result, the historian seals it into a ring on disk, and `plantedge
replay` runs it again. Nobody else may read it: it holds pixels, tags and predictions.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.fields import Integer, Number, Slug, Whole
from schemas.messages import Message, Outcome, Quality, Verdict


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One named tensor of one input: `data` is C-ordered `dtype` of `shape`, whose first axis is the batch of one."""

    name: str
    dtype: str
    shape: list[Whole]
    data: memoryview


class ModelUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the graph; `digest` is the SHA-256 of its file."""

    name: Slug
    version: str
    digest: str


class Evidence(Message, frozen=True, kw_only=True):
    """Everything that one result came from: what went in, what ran it, what came out.

    `kept_for`: why it was kept. `inputs` are the tensors as the graph got them, `outputs` what each step made of them,
    as `step.output`. It was row `row` of a batch of `batch`: the bits of a row depend on the batch's size. `models`:
    the one that judged is the last. `settings` is the pipeline's table as JSON. `before` is the verdict of the input
    before it: an anomaly lasts until its score is clear. `engine_options` are its table of the settings as JSON.
    `machine` names the processor and what it can: another one may round otherwise.
    """

    schema: str = "evidence/1"
    result_id: str
    pipeline: Slug
    input: Slug
    part_id: Integer | None
    kept_for: Annotated[str, Meta(pattern="^(nok|unknown|late|sample)$")]
    outcome: Outcome
    verdict: Verdict
    before: Verdict
    label: str
    score: Number
    quality: Quality
    reason: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    models: Annotated[list[ModelUsed], Meta(min_length=1)]
    recipe: str
    settings: str
    engine: str
    engine_version: str
    engine_options: str
    machine: str
    batch: Whole
    row: Whole
    time_ns: Whole
