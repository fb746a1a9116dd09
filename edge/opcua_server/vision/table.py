"""THE TABLE of OPC 40100-1 (Machine Vision, 1.0.0), as far as this server has it: NodeIds, browse names, types. Pure.

tests/edge/opcua_server/test_vision_table.py compares each row with the NodeSet in npm's node-opcua-nodesets.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

URI: Final = "http://opcfoundation.org/UA/MachineVision"


class Member(NamedTuple):
    """A field of a structure or an argument of a method: name and data type; `many`: an array."""

    name: str
    type: str
    optional: bool = False
    many: bool = False


class Structure(NamedTuple):
    """A structured data type: its NodeId, that of its binary encoding, and what it adds to its base."""

    id: int
    binary: int
    members: tuple[Member, ...] = ()
    base: str = "Structure"
    abstract: bool = False


class Kind(Enum):
    """How a part hangs below its type."""

    PROPERTY = "HasProperty"
    VARIABLE = "HasComponent"
    OBJECT = "HasComponent of an object"


class Part(NamedTuple):
    """What each instance of a type has: a variable of a data type, or an object of a type."""

    name: str
    id: int
    type: str
    optional: bool = False
    kind: Kind = Kind.PROPERTY
    many: bool = False


class Arguments(NamedTuple):
    """The property that says what a method takes or gives."""

    id: int
    members: tuple[Member, ...]


class Method(NamedTuple):
    """A method of a type; one that is not `executable` is refused to everybody."""

    name: str
    id: int
    inputs: Arguments | None
    outputs: Arguments
    optional: bool = False
    executable: bool = True


class Stage(NamedTuple):
    """A state of a state machine; `number_id`: the node that says its number."""

    name: str
    id: int
    number: int
    number_id: int


class Transition(NamedTuple):
    """A transition between two states of a machine."""

    name: str
    id: int
    number: int
    number_id: int
    source: str
    target: str


class ObjectType(NamedTuple):
    """A type of objects or events, and what it adds to its base."""

    id: int
    base: str
    parts: tuple[Part, ...] = ()
    methods: tuple[Method, ...] = ()
    stages: tuple[Stage, ...] = ()
    transitions: tuple[Transition, ...] = ()


# -- data types -------------------------------------------------------------------------------------------------------

# Other names of simple types: NodeId, and what they are.
SIMPLE: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {"ResultStateDataType": (3009, "Int32"), "TrimmedString": (3017, "String"), "Handle": (3018, "UInt32")}
)
TRISTATE: Final = "TriStateBooleanDataType"
TRISTATE_ID: Final = 3014
TRISTATE_VALUES_ID: Final = 6367
TRISTATE_VALUES: Final = ("FALSE_0", "TRUE_1", "DONTCARE_2")  # each at its number
_DESCRIBED: Final = (Member("Id", "TrimmedString"), Member("Description", "LocalizedText", optional=True))
STRUCTURES: Final[Mapping[str, Structure]] = MappingProxyType({
    "BinaryIdBaseDataType": Structure(3019, 5027, (
        Member("Id", "TrimmedString"), Member("Version", "TrimmedString", optional=True),
        Member("Hash", "ByteString", optional=True), Member("HashAlgorithm", "String", optional=True),
        Member("Description", "LocalizedText", optional=True),
    ), abstract=True),
    "RecipeIdExternalDataType": Structure(3002, 5002, base="BinaryIdBaseDataType"),
    "RecipeIdInternalDataType": Structure(3013, 5268, base="BinaryIdBaseDataType"),
    "ConfigurationIdDataType": Structure(3008, 5090, base="BinaryIdBaseDataType"),
    "ProductIdDataType": Structure(3003, 5224, _DESCRIBED), "PartIdDataType": Structure(3004, 5013, _DESCRIBED),
    "MeasIdDataType": Structure(3015, 5006, _DESCRIBED),
    "JobIdDataType": Structure(3016, 5008, (Member("Id", "TrimmedString"),)),
    "ResultIdDataType": Structure(3021, 5274, (Member("Id", "TrimmedString"),)),
    "ProcessingTimesDataType": Structure(3005, 5016, (
        Member("StartTime", "UtcTime"), Member("EndTime", "UtcTime"),
        Member("AcquisitionDuration", "Duration", optional=True),
        Member("ProcessingDuration", "Duration", optional=True),
    )),
    "ResultDataType": Structure(3006, 5018, (
        Member("ResultId", "ResultIdDataType"), Member("HasTransferableDataOnFile", "Boolean", optional=True),
        Member("IsPartial", "Boolean"), Member("IsSimulated", "Boolean", optional=True),
        Member("ResultState", "ResultStateDataType"), Member("MeasId", "MeasIdDataType", optional=True),
        Member("PartId", "PartIdDataType", optional=True),
        Member("ExternalRecipeId", "RecipeIdExternalDataType", optional=True),
        Member("InternalRecipeId", "RecipeIdInternalDataType"),
        Member("ProductId", "ProductIdDataType", optional=True),
        Member("ExternalConfigurationId", "ConfigurationIdDataType", optional=True),
        Member("InternalConfigurationId", "ConfigurationIdDataType"), Member("JobId", "JobIdDataType"),
        Member("CreationTime", "UtcTime"), Member("ProcessingTimes", "ProcessingTimesDataType", optional=True),
        Member("ResultContent", "BaseDataType", optional=True, many=True),
    )),
})  # fmt: skip


# -- events and the variable of a result ------------------------------------------------------------------------------

RESULT_READY: Final = "ResultReadyEventType"
RECIPE_PREPARED: Final = "RecipePreparedEventType"
STATE_CHANGED: Final = "StateChangedEventType"
EVENT_TYPES: Final[Mapping[str, ObjectType]] = MappingProxyType({
    RESULT_READY: ObjectType(1024, "BaseEventType", (
        Part("ResultId", 6295, "ResultIdDataType"), Part("IsPartial", 6296, "Boolean"),
        Part("IsSimulated", 6297, "Boolean", optional=True), Part("ResultState", 6298, "ResultStateDataType"),
        Part("MeasId", 6299, "MeasIdDataType", optional=True), Part("PartId", 6304, "PartIdDataType", optional=True),
        Part("ExternalRecipeId", 6301, "RecipeIdExternalDataType", optional=True),
        Part("InternalRecipeId", 6302, "RecipeIdInternalDataType"),
        Part("ProductId", 6143, "ProductIdDataType", optional=True),
        Part("ExternalConfigurationId", 6045, "ConfigurationIdDataType", optional=True),
        Part("InternalConfigurationId", 6142, "ConfigurationIdDataType"), Part("JobId", 6300, "JobIdDataType"),
        Part("CreationTime", 6303, "UtcTime"),
        Part("ProcessingTimes", 6305, "ProcessingTimesDataType", optional=True),
        Part("ResultContent", 6306, "BaseDataType", optional=True, many=True),
    )),
    RECIPE_PREPARED: ObjectType(1022, "BaseEventType", (
        Part("ExternalId", 6291, "RecipeIdExternalDataType", optional=True),
        Part("InternalId", 6140, "RecipeIdInternalDataType"),
        Part("ProductId", 6292, "ProductIdDataType", optional=True),
    )),
    STATE_CHANGED: ObjectType(1018, "TransitionEventType"),
})  # fmt: skip
RESULT_TYPE: Final = "ResultType"
RESULT_TYPE_ID: Final = 2002  # a variable type, of ResultDataType
RESULT_PARTS: Final = tuple(
    one._replace(kind=Kind.VARIABLE) for one in (
        Part("ResultId", 6046, "ResultIdDataType"),
        Part("HasTransferableDataOnFile", 6047, "Boolean", optional=True), Part("IsPartial", 6052, "Boolean"),
        Part("IsSimulated", 6053, "Boolean", optional=True), Part("ResultState", 6054, "ResultStateDataType"),
        Part("MeasId", 6055, "MeasIdDataType", optional=True), Part("PartId", 6094, "PartIdDataType", optional=True),
        Part("ExternalRecipeId", 6095, "RecipeIdExternalDataType", optional=True),
        Part("InternalRecipeId", 6284, "RecipeIdInternalDataType"),
        Part("ProductId", 6327, "ProductIdDataType", optional=True),
        Part("ExternalConfigurationId", 6328, "ConfigurationIdDataType", optional=True),
        Part("InternalConfigurationId", 6329, "ConfigurationIdDataType"), Part("JobId", 6330, "JobIdDataType"),
        Part("CreationTime", 6331, "UtcTime"),
        Part("ProcessingTimes", 6332, "ProcessingTimesDataType", optional=True),
        Part("ResultContent", 6333, "BaseDataType", optional=True, many=True),
    )
)  # fmt: skip


# -- objects ----------------------------------------------------------------------------------------------------------

_ERROR: Final = Member("Error", "Int32")
_PAGE: Final = (Member("MaxResults", "UInt32"), Member("StartIndex", "UInt32"), Member("Timeout", "Int32"))
_CAUSE: Final = (Member("Cause", "Int32"), Member("CauseDescription", "String"))
_START: Final = (
    Member("MeasId", "MeasIdDataType"), Member("PartId", "PartIdDataType"),
    Member("RecipeId", "RecipeIdExternalDataType"), Member("ProductId", "ProductIdDataType"),
    Member("Parameters", "BaseDataType", many=True),
)  # fmt: skip
_RECIPE: Final = (Member("ExternalId", "RecipeIdExternalDataType"), Member("InternalIdIn", "RecipeIdInternalDataType"))
_ONE_RESULT: Final = (Member("ResultId", "ResultIdDataType"), Member("Timeout", "Int32"))

VISION_SYSTEM: Final = "VisionSystemType"
STATE_MACHINE: Final = "VisionStateMachineType"
AUTOMATIC: Final = "VisionAutomaticModeStateMachineType"
RESULT_MANAGEMENT: Final = "ResultManagementType"
RESULT_FOLDER: Final = "ResultFolderType"
RECIPE_MANAGEMENT: Final = "RecipeManagementType"
RECIPE_FOLDER: Final = "RecipeFolderType"
RECIPE: Final = "RecipeType"
OBJECT_TYPES: Final[Mapping[str, ObjectType]] = MappingProxyType({
    RESULT_FOLDER: ObjectType(1016, "FolderType"),
    RESULT_MANAGEMENT: ObjectType(1007, "BaseObjectType", (
        Part("Results", 5245, RESULT_FOLDER, optional=True, kind=Kind.OBJECT),
    ), (
        Method("GetResultById", 7026, Arguments(6209, _ONE_RESULT), Arguments(6210, (
            Member("ResultHandle", "Handle"), Member("Result", "ResultDataType"), _ERROR,
        ))),
        Method("GetResultComponentsById", 7007, Arguments(6024, _ONE_RESULT), Arguments(6025, (
            Member("HasTransferableDataOnFile", "Boolean"), Member("ResultHandle", "Handle"),
            Member("IsPartial", "Boolean"), Member("IsSimulated", "Boolean"),
            Member("ResultState", "ResultStateDataType"), Member("MeasId", "MeasIdDataType"),
            Member("PartId", "PartIdDataType"), Member("ExternalRecipeId", "RecipeIdExternalDataType"),
            Member("InternalRecipeId", "RecipeIdInternalDataType"), Member("ProductId", "ProductIdDataType"),
            Member("ExternalConfigurationId", "ConfigurationIdDataType"),
            Member("InternalConfigurationId", "ConfigurationIdDataType"), Member("JobId", "JobIdDataType"),
            Member("CreationTime", "UtcTime"), Member("ProcessingTimes", "ProcessingTimesDataType"),
            Member("ResultContent", "BaseDataType", many=True), _ERROR,
        ))),
        Method("GetResultListFiltered", 7089, Arguments(6213, (
            Member("ResultState", "ResultStateDataType"), Member("MeasId", "MeasIdDataType"),
            Member("PartId", "PartIdDataType"), Member("ExternalRecipeId", "RecipeIdExternalDataType"),
            Member("InternalRecipeId", "RecipeIdInternalDataType"),
            Member("ExternalConfigurationId", "ConfigurationIdDataType"),
            Member("InternalConfigurationId", "ConfigurationIdDataType"), Member("ProductId", "ProductIdDataType"),
            Member("JobId", "JobIdDataType"), *_PAGE,
        )), Arguments(6214, (
            Member("IsComplete", "Boolean"), Member("ResultCount", "UInt32"), Member("ResultHandle", "Handle"),
            Member("ResultList", "ResultDataType", many=True), _ERROR,
        ))),
        Method("ReleaseResultHandle", 7090, Arguments(6217, (Member("ResultHandle", "Handle"),)),
               Arguments(6218, (_ERROR,)), optional=True),
    )),
    RECIPE: ObjectType(1002, "BaseObjectType", (
        Part("ExternalId", 6023, "RecipeIdExternalDataType", optional=True),
        Part("InternalId", 6019, "RecipeIdInternalDataType"), Part("IsPrepared", 6605, "Boolean"),
        Part("LastModified", 6017, "UtcTime"),
    ), (
        Method("Prepare", 7064, None, Arguments(6202, (Member("IsCompleted", "Boolean"), _ERROR))),
        Method("Unprepare", 7065, None, Arguments(6205, (_ERROR,)), executable=False),
    )),
    RECIPE_FOLDER: ObjectType(1008, "FolderType"),
    RECIPE_MANAGEMENT: ObjectType(1004, "BaseObjectType", (
        Part("Recipes", 5005, RECIPE_FOLDER, optional=True, kind=Kind.OBJECT),
    ), (
        Method("GetRecipeListFiltered", 7014, Arguments(6156, (
            Member("ExternalId", "RecipeIdExternalDataType"), Member("ProductId", "ProductIdDataType"),
            Member("IsPrepared", TRISTATE), *_PAGE,
        )), Arguments(6157, (
            Member("IsComplete", "Boolean"), Member("ResultCount", "UInt32"), Member("RecipeHandle", "Handle"),
            Member("RecipeList", "RecipeIdInternalDataType", many=True), _ERROR,
        ))),
        Method("PrepareRecipe", 7015, Arguments(6148, _RECIPE), Arguments(6149, (
            Member("InternalIdOut", "RecipeIdInternalDataType"), Member("IsCompleted", "Boolean"), _ERROR,
        ))),
        Method("UnprepareRecipe", 7055, Arguments(6152, _RECIPE), Arguments(6153, (
            Member("InternalIdOut", "RecipeIdInternalDataType"), _ERROR,
        )), executable=False),
    )),
    AUTOMATIC: ObjectType(1021, "FiniteStateMachineType", methods=(
        Method("StartSingleJob", 7098, Arguments(6281, _START),
               Arguments(6282, (Member("JobId", "JobIdDataType"), _ERROR)), executable=False),
        Method("StartContinuous", 7009, Arguments(6086, _START),
               Arguments(6087, (Member("JobId", "JobIdDataType"), _ERROR)), executable=False),
        Method("Abort", 7097, Arguments(6285, _CAUSE), Arguments(6286, (_ERROR,)), executable=False),
        Method("Stop", 7096, Arguments(6287, _CAUSE), Arguments(6288, (_ERROR,)), executable=False),
    ), stages=(
        Stage("Initialized", 5056, 5, 6259), Stage("Ready", 5057, 6, 6260), Stage("SingleExecution", 5058, 7, 6261),
        Stage("ContinuousExecution", 5059, 8, 6262),
    ), transitions=(
        Transition("InitializedToReadyRecipe", 5060, 561, 6263, "Initialized", "Ready"),
        Transition("InitializedToReadyAuto", 5061, 560, 6264, "Initialized", "Ready"),
        Transition("InitializedToReadyProduct", 5045, 562, 6084, "Initialized", "Ready"),
        Transition("ReadyToInitializedRecipe", 5062, 651, 6265, "Ready", "Initialized"),
        Transition("ReadyToInitializedAuto", 5063, 650, 6266, "Ready", "Initialized"),
        Transition("ReadyToInitializedProduct", 5044, 652, 6243, "Ready", "Initialized"),
        Transition("ReadyToSingleExecution", 5064, 671, 6267, "Ready", "SingleExecution"),
        Transition("ReadyToSingleExecutionAuto", 5065, 670, 6268, "Ready", "SingleExecution"),
        Transition("ReadyToContinuousExecution", 5066, 681, 6269, "Ready", "ContinuousExecution"),
        Transition("ReadyToContinuousExecutionAuto", 5067, 680, 6270, "Ready", "ContinuousExecution"),
        Transition("SingleExecutionToReadyStop", 5068, 761, 6271, "SingleExecution", "Ready"),
        Transition("SingleExecutionToReadyAbort", 5069, 762, 6272, "SingleExecution", "Ready"),
        Transition("SingleExecutionToReadyAuto", 5070, 760, 6273, "SingleExecution", "Ready"),
        Transition("ContinuousExecutionToReadyStop", 5071, 861, 6274, "ContinuousExecution", "Ready"),
        Transition("ContinuousExecutionToReadyAbort", 5072, 862, 6275, "ContinuousExecution", "Ready"),
        Transition("ContinuousExecutionToReadyAuto", 5073, 860, 6276, "ContinuousExecution", "Ready"),
    )),
    STATE_MACHINE: ObjectType(1017, "FiniteStateMachineType", (
        Part("AutomaticModeStateMachine", 5024, AUTOMATIC, optional=True, kind=Kind.OBJECT),
    ), (
        Method("Halt", 7094, Arguments(6254, _CAUSE), Arguments(6255, (_ERROR,)), executable=False),
        Method("Reset", 7093, Arguments(6256, _CAUSE), Arguments(6257, (_ERROR,)), executable=False),
        Method("SelectModeAutomatic", 7095, None, Arguments(6258, (_ERROR,)), optional=True, executable=False),
    ), (
        Stage("Preoperational", 5028, 1, 6226), Stage("Halted", 5029, 2, 6227), Stage("Error", 5030, 3, 6228),
        Stage("Operational", 5031, 4, 6229),
    ), (
        Transition("PreoperationalToHalted", 5032, 121, 6230, "Preoperational", "Halted"),
        Transition("PreoperationalToHaltedAuto", 5033, 120, 6231, "Preoperational", "Halted"),
        Transition("PreoperationalToErrorAuto", 5034, 130, 6232, "Preoperational", "Error"),
        Transition("PreoperationalToOperational", 5253, 141, 6171, "Preoperational", "Operational"),
        Transition("PreoperationalToOperationalAuto", 5254, 140, 6221, "Preoperational", "Operational"),
        Transition("PreoperationalToInitialized", 5035, 151, 6233, "Preoperational", "Initialized"),
        Transition("PreoperationalToInitializedAuto", 5036, 150, 6234, "Preoperational", "Initialized"),
        Transition("HaltedToPreoperational", 5037, 211, 6235, "Halted", "Preoperational"),
        Transition("HaltedToPreoperationalAuto", 5038, 210, 6236, "Halted", "Preoperational"),
        Transition("ErrorToPreoperational", 5039, 311, 6237, "Error", "Preoperational"),
        Transition("ErrorToPreoperationalAuto", 5040, 310, 6238, "Error", "Preoperational"),
        Transition("ErrorToHalted", 5041, 321, 6239, "Error", "Halted"),
        Transition("ErrorToHaltedAuto", 5042, 320, 6240, "Error", "Halted"),
        Transition("ErrorToOperationalAuto", 5255, 340, 6341, "Error", "Operational"),
        Transition("OperationalToPreoperational", 5047, 411, 6245, "Operational", "Preoperational"),
        Transition("OperationalToPreoperationalAuto", 5048, 410, 6246, "Operational", "Preoperational"),
        Transition("OperationalToHalted", 5049, 421, 6247, "Operational", "Halted"),
        Transition("OperationalToHaltedAuto", 5050, 420, 6248, "Operational", "Halted"),
        Transition("OperationalToErrorAuto", 5051, 430, 6249, "Operational", "Error"),
    )),
    VISION_SYSTEM: ObjectType(1003, "BaseObjectType", (
        Part("VisionStateMachine", 5053, STATE_MACHINE, kind=Kind.OBJECT),
        Part("ResultManagement", 5020, RESULT_MANAGEMENT, optional=True, kind=Kind.OBJECT),
        Part("RecipeManagement", 5015, RECIPE_MANAGEMENT, optional=True, kind=Kind.OBJECT),
    )),
})  # fmt: skip
METHODS: Final[Mapping[int, tuple[str, Method]]] = MappingProxyType(
    {method.id: (name, method) for name, kind in OBJECT_TYPES.items() for method in kind.methods}
)


def members_of(structure: str) -> tuple[Member, ...]:
    """Return all fields of a structure, those of its base first."""
    found = STRUCTURES[structure]
    inherited = members_of(found.base) if found.base in STRUCTURES else ()
    return (*inherited, *found.members)
