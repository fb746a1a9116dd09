"""THE TABLE of what stands below a pipeline, a model and a process in the address space: variables and methods.

`python -m edge.opcua_server.reference` writes docs/reference/opcua.md from here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncua.ua import VariantType


class Field(NamedTuple):
    """A variable: browse name, type, what it says, its unit, and its name in the historian, "" without."""

    name: str
    variant: VariantType
    text: str
    unit: str = ""
    stored: str = ""


class Method(NamedTuple):
    """A method: browse name, what it does, what it takes and what it gives."""

    name: str
    text: str
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()


RESULT: Final = (
    Field(
        "ResultId",
        VariantType.String,
        "the newest part's result, the same on the bus and in the historian",
        stored="result_id",
    ),
    Field("PartId", VariantType.Int64, "the part's number, where the line counts parts", stored="part_id"),
    Field("Verdict", VariantType.String, "`ok`, `nok` or `unknown`", stored="verdict"),
    Field("Label", VariantType.String, "what the model named", stored="label"),
    Field("Score", VariantType.Double, "how sure it was, 0 to 1", stored="score"),
    Field("Late", VariantType.Boolean, "whether the result came after its deadline", stored="late"),
    Field("Outcome", VariantType.String, "`result`, `late` or why there is none", stored="outcome"),
    Field("LatencyMs", VariantType.Double, "from trigger to published", "ms", stored="total_ms"),
    Field("IngestMs", VariantType.Double, "of that: from trigger to received", "ms", stored="ingest_ms"),
    Field("QueueMs", VariantType.Double, "of that: waiting", "ms", stored="queue_ms"),
    Field("PreprocessMs", VariantType.Double, "of that: preparing the input", "ms", stored="preprocess_ms"),
    Field("InferMs", VariantType.Double, "of that: the model", "ms", stored="infer_ms"),
    Field("Model", VariantType.String, "which model judged"),
    Field("Version", VariantType.String, "its version"),
    Field("Digest", VariantType.String, "its SHA-256"),
    Field("Accepted", VariantType.UInt64, "parts judged `ok` since the server started"),
    Field("Rejected", VariantType.UInt64, "parts judged `nok` since the server started"),
)
INSIGHT: Final = (
    Field("RatePerSecond", VariantType.Double, "results in the last ten seconds", "1/s"),
    Field("P50Ms", VariantType.Double, "median latency in the last ten seconds", "ms", stored="p50_ms"),
    Field("P99Ms", VariantType.Double, "99th percentile of it", "ms", stored="p99_ms"),
    Field("DefectRate", VariantType.Double, "`nok` of all judged in the last ten seconds, 0 to 1"),
    Field(
        "DriftLevel",
        VariantType.String,
        "`off`, `learning`, `ok`, `inputs_changed` or `model_degraded`",
        stored="drift",
    ),
    Field(
        "DriftScore",
        VariantType.Double,
        "the statistic that has gone furthest; 1 lies on its limit",
        stored="drift_score",
    ),
    Field("LateInWindow", VariantType.Int64, "results after their deadline in the last ten seconds", stored="late"),
    Field("DroppedInWindow", VariantType.Int64, "inputs that were dropped in the last ten seconds", stored="dropped"),
)
SLOT: Final = (
    Field(
        "SlotPhase",
        VariantType.String,
        "`loading`, `active` or `rejected`: of its models, the one furthest from serving",
    ),
    Field("SlotReason", VariantType.String, "why"),
)
OUTPUT: Final = (Field("Mode", VariantType.String, "`auto` or `manual`: who owns the outputs; operators write it"),)
MODEL: Final = (
    Field("Version", VariantType.String, "the version that serves, empty for none"),
    Field("Digest", VariantType.String, "SHA-256 of the version in the slot"),
    Field("Phase", VariantType.String, "`loading`, `active` or `rejected`"),
    Field("Reason", VariantType.String, "why"),
    Field("Process", VariantType.String, "the runtime whose slot this is; of two, the one further from serving"),
)
HEALTH: Final = (
    Field("State", VariantType.String, "`starting`, `active` (data flows), `idle`, `degraded` or `stopped`"),
    Field("Reason", VariantType.String, "why"),
)
SELECT_RECIPE: Final = Method(
    "SelectRecipe",
    "writes the tag that chooses the pipeline's recipe; Good once the PLC holds it",
    inputs=(Field("Recipe", VariantType.String, "one of the pipeline's recipes, as its settings name it"),),
)
SELF_TEST: Final = Method(
    "SelfTest",
    "lets the runtime load the model once more, beside the one that serves, and compare its golden vectors",
    outputs=(
        Field("Passed", VariantType.Boolean, "whether it answers as it must, and what is in memory has not failed"),
        Field("Vectors", VariantType.UInt32, "how many golden vectors were compared"),
        Field("LargestDeviation", VariantType.Double, "of all answers; NaN where they can't be compared"),
        Field("TookMs", VariantType.Double, "how long it took, in ms"),
        Field("Digest", VariantType.String, "SHA-256 of what serves"),
        Field("Version", VariantType.String, "its version"),
        Field("Process", VariantType.String, "the runtime that tested; of two, the one whose answer is worse"),
        Field("Reason", VariantType.String, "why it did not pass"),
    ),
)
