"""What the reference of the address space says of VisionSystems; edge/opcua_server/reference.py writes it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from edge.opcua_server.vision.archive import KEPT, PAGE
from edge.opcua_server.vision.calls import RIGHTS, Error
from edge.opcua_server.vision.instance import FOLDER, SHOWN
from edge.opcua_server.vision.listings import HANDLES, LISTED, LONGEST_S, LOOKED_PAGES
from edge.opcua_server.vision.table import METHODS, URI

_SYSTEM: Final = f"""\
Each pipeline that a camera feeds is a VisionSystem of OPC 40100-1 (Machine Vision 1.0.0, namespace
`{URI}`), with VisionStateMachine, ResultManagement and, where the pipeline has recipes,
RecipeManagement. Of the standard the types that these use are there, with its own NodeIds and with the definitions of
their structures; configuration management, products, file transfer and step models are not. An export names the
standard's NodeSet as required, and has none of it."""
_RESULTS: Final = f"""\
A result is told as ResultReadyEventType by its VisionSystem, the device's object and the Server (besides the
ResultEventType of its pipeline); HistoryRead tells those of the past at the VisionSystem. `Results` shows the newest
{SHOWN}. The methods find {KEPT} in memory, and all others in the historian's store."""
_FIELDS: Final = MappingProxyType({
    "ResultId": "the result's id, the same on the bus and in the historian",
    "ResultState": "1 Completed; 3 Aborted: the input was dropped; 4 Failed: no verdict, or a Bad input",
    "IsPartial": "false",
    "IsSimulated": "whether the camera's driver is `plant` or `folder`, which show no line",
    "PartId": "the part's number, where the line counts parts",
    "InternalRecipeId": "`PIPELINE/RECIPE`; `PIPELINE` where it ran as it is written",
    "ExternalRecipeId": "the value of the PLC's tag that chose the recipe",
    "InternalConfigurationId": "the model that judged, and its version",
    "JobId": "how ResultId begins: the time in which the camera counts without a restart",
    "CreationTime": "when the result was published",
    "ProcessingTimes": "from the trigger until then; how long it took to receive and to judge the picture",
    "ResultContent": "KeyValuePairs: Verdict, Label, Score, Quality, Reason, Outcome, LatencyMs",
    "MeasId, ProductId, ExternalConfigurationId": "not there: nobody gives them to a line that runs by itself",
})  # fmt: skip
_LISTS: Final = f"""\
GetResultListFiltered lists the newest first: {LISTED} at once at most, after looking at {LOOKED_PAGES * PAGE:,} of
the store at most. While IsComplete is false there may be more, from StartIndex + MaxResults on. A list stands still
from its first page on. Its handle is kept for Timeout, {LONGEST_S:.0f} s at most; a session has {HANDLES}."""
_STATES: Final = """\
The state is what the device knows of the pipeline's camera, runtime and models. Each transition is an automatic one,
and is told as StateChangedEventType.

| state | while |
| --- | --- |
| Preoperational | camera or runtime starts, or a model is not loaded yet |
| Operational, Initialized | the value of the PLC's tag names no recipe |
| Operational, Ready | no pictures come |
| Operational, ContinuousExecution | pictures come |
| Error | camera or runtime has gone or can't work, or a model was rejected and none serves in its place |
| Halted | camera or runtime was stopped |"""
_METHODS: Final = """\
What would start, stop, halt or reset a line is there as the standard demands, and Executable is false for everybody: no
pipeline is stopped from here, least of all one of the safety lane. Reset deviates in that from 8.2.2.2, which wants it
executable always. A recipe is not reverted without another one, so UnprepareRecipe and Unprepare are not executable.
PrepareRecipe and Prepare select a recipe as SelectRecipe does, with its StatusCodes; RecipePreparedEventType tells when
another recipe holds, whoever chose it.

Whether a call was allowed and carried out is its StatusCode. Whether what it asks for exists is `Error`:"""
_ERRORS: Final = MappingProxyType({
    Error.NONE: "it does", Error.UNKNOWN: "there is nothing with this id or handle",
    Error.UNREADABLE: "the historian's store can't be read now",
})  # fmt: skip


def vision_page() -> list[str]:
    """Return the paragraphs."""
    fields = ["| of a result | is |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in _FIELDS.items())]
    methods = ["| method | of | who calls it |", "| --- | --- | --- |"]
    for kind, one in METHODS.values():
        who = f"the right `{RIGHTS[one.name]}`" if one.executable else "nobody: BadNotExecutable"
        methods.append(f"| `{one.name}` | {kind} | {who} |")
    errors = "\n".join(f"- {int(code)}: {text}" for code, text in _ERRORS.items())
    return [
        f"## {FOLDER}/PIPELINE", _SYSTEM, "### Results", _RESULTS, "\n".join(fields), _LISTS, "### States", _STATES,
        "### Methods of the standard", _METHODS, errors, "\n".join(methods),
    ]  # fmt: skip
