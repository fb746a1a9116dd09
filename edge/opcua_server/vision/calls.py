"""The standard's methods: who may call each, and what it does.

What the standard means to start, stop or halt a line is there and is never executable: this server moves no pipeline,
least of all one of the safety lane. Whether a call was allowed and carried out is its StatusCode; whether what it asks
for exists is the standard's `Error`: 0, or less than 0 for what this application says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, cast

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge.history.query import HistoryError
from edge.opcua_server.access.people import Right
from edge.opcua_server.methods.calls import Audit
from edge.opcua_server.methods.recipes import RecipeTag, select_recipe
from edge.opcua_server.vision.archive import Archive
from edge.opcua_server.vision.instance import MACHINES, recipe_path
from edge.opcua_server.vision.listings import LISTED, Handles, Listing
from edge.opcua_server.vision.results import UNKNOWN, Record, fields_of, filter_of, recipe_id
from edge.opcua_server.vision.structures import read_arguments, variant
from edge.opcua_server.vision.system import VisionSystem
from edge.opcua_server.vision.table import (
    AUTOMATIC,
    METHODS,
    RECIPE,
    RECIPE_MANAGEMENT,
    RESULT_MANAGEMENT,
    STATE_MACHINE,
    Member,
    Method,
)
from edge.opcua_server.writing import Writes

_SECOND_NS: Final = 10**9
_RESULT_LIST: Final = Member("ResultList", "ResultDataType", many=True)
_ANY: Final = 2  # of TriStateBooleanDataType


class Error(IntEnum):
    """What a method says of what it was asked for."""

    NONE = 0
    UNKNOWN = -1  # there is nothing with this id or handle
    UNREADABLE = -2  # the historian's store can't be read now


class CallRefused(Exception):
    """A call that is not carried out; `code` is its StatusCode."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(hex(code))
        self.code = code


@dataclass(frozen=True)
class Caller:
    """Who calls: a name, rights, and what the session holds."""

    name: str
    may: Callable[[Right], bool]
    handles: Handles


Given = Mapping[str, Any]
Outputs = Mapping[str, Any]  # by the names of the arguments, some as Variants already; what is missing is empty


@dataclass(frozen=True)
class Target:
    """An object that has methods: of which system, of which type, and which recipe it is."""

    system: VisionSystem
    kind: str
    recipe: str = ""


RIGHTS: Final[Mapping[str, Right]] = MappingProxyType({
    "GetResultById": Right.HISTORY, "GetResultComponentsById": Right.HISTORY, "GetResultListFiltered": Right.HISTORY,
    "ReleaseResultHandle": Right.HISTORY, "GetRecipeListFiltered": Right.READ, "PrepareRecipe": Right.WRITE,
    "Prepare": Right.WRITE,
})  # fmt: skip


class Calls:
    """Carries out what is called. `recipes`: the tags that choose a recipe, by pipeline."""

    def __init__(
        self, index: int, systems: Mapping[str, VisionSystem], archives: Mapping[str, Archive], writes: Writes,
        recipes: Mapping[str, RecipeTag], audit: Audit,
    ) -> None:  # fmt: skip
        """`index`: of the standard's namespace; `audit` hears who prepared a recipe."""
        self.index = index
        self._archives, self._writes, self._recipes, self._audit = archives, writes, recipes, audit
        self._turn = asyncio.Semaphore(1)  # reads on a thread, which shares the interpreter with the loop
        self._targets = {one.instance.identifier(path): target for one in systems.values()
                         for path, target in _targets(one)}  # fmt: skip
        self._does: Mapping[str, Callable[[Target, Given, Caller], Awaitable[Outputs]]] = {
            "GetResultById": self._result_by_id, "GetResultComponentsById": self._components_by_id,
            "GetResultListFiltered": self._list, "ReleaseResultHandle": self._release,
            "GetRecipeListFiltered": self._recipe_list, "PrepareRecipe": self._prepare_recipe, "Prepare": self._prepare,
        }  # fmt: skip

    def knows(self, method: ua.NodeId) -> bool:
        """Whether a method is of the standard's namespace."""
        return bool(method.NamespaceIndex == self.index)

    def executable(self, node: ua.NodeId, may: Callable[[Right], bool]) -> bool | None:
        """Whether a user may call a method, None where it is not one of the standard's."""
        _, method = METHODS.get(cast(int, node.Identifier), ("", None))
        if method is None or not self.knows(node):
            return None
        return method.executable and may(_right(method))

    async def call(self, asked: Any, caller: Caller) -> Any:
        """Answer one call of a method of the standard's namespace."""
        kind, method = METHODS.get(asked.MethodId.Identifier, ("", None))
        given = cast("list[Any]", asked.InputArguments or [])
        try:
            target = self._target(asked.ObjectId)
            if method is None or target.kind != kind:
                raise CallRefused(StatusCodes.BadMethodInvalid)
            _allow(method, caller)
            wanted = method.inputs.members if method.inputs else ()
            if len(given) != len(wanted):
                few = len(given) < len(wanted)
                raise CallRefused(StatusCodes.BadArgumentsMissing if few else StatusCodes.BadTooManyArguments)
            read = read_arguments(wanted, given, self.index)
            if isinstance(read, int):
                return _mismatch(read, len(wanted))
            named = {member.name: one for member, one in zip(wanted, read, strict=True)}
            outputs = await self._does[method.name](target, named, caller)
        except CallRefused as error:
            return ua.CallMethodResult(StatusCode=_status(error.code))
        return ua.CallMethodResult(
            StatusCode=_status(StatusCodes.Good),
            OutputArguments=[self._output(one, outputs.get(one.name)) for one in method.outputs.members],
        )

    def _output(self, member: Member, held: Any) -> ua.Variant:
        return held if isinstance(held, ua.Variant) else variant(member, held, self.index)

    def _target(self, node: ua.NodeId) -> Target:
        found = self._targets.get(str(cast(object, node.Identifier))) if node.NamespaceIndex else None
        if found is None:
            raise CallRefused(StatusCodes.BadNodeIdUnknown)
        return found

    # -- results ------------------------------------------------------------------------------------------------------

    async def _result_by_id(self, target: Target, given: Given, caller: Caller) -> Outputs:
        record, error = await self._find(target, given)
        if record is None:
            return {"Result": UNKNOWN, "Error": error}
        held = fields_of(record, simulated=target.system.pipeline.simulated)
        return {"ResultHandle": caller.handles.keep(None, given["Timeout"]), "Result": held}

    async def _components_by_id(self, target: Target, given: Given, caller: Caller) -> Outputs:
        record, error = await self._find(target, given)
        if record is None:
            return {**UNKNOWN, "Error": error}
        held = fields_of(record, simulated=target.system.pipeline.simulated)
        return {"ResultHandle": caller.handles.keep(None, given["Timeout"]), **held}

    async def _find(self, target: Target, given: Given) -> tuple[Record | None, Error]:
        wanted = _id(given["ResultId"])
        archive = self._archives[target.system.pipeline.name]
        found = archive.kept(wanted)
        try:
            if found is None:
                async with self._turn:
                    found = await asyncio.to_thread(archive.find, wanted, time.time_ns() + _SECOND_NS)
        except HistoryError:
            return None, Error.UNREADABLE
        return found, Error.NONE if found is not None else Error.UNKNOWN

    async def _list(self, target: Target, given: Given, caller: Caller) -> Outputs:
        name, wanted = target.system.pipeline.name, filter_of(given)
        most, start = min(given["MaxResults"] or LISTED, LISTED), given["StartIndex"]
        going = caller.handles.following(name, wanted, start) if start else None
        if going is None:
            walk = self._archives[name].newest_first(time.time_ns() + _SECOND_NS)
            handle, listing, skip = 0, Listing(name, wanted, walk), start
        else:
            (handle, listing), skip = going, 0
        try:
            async with self._turn:
                count, over, results = await asyncio.to_thread(self._page, listing, skip, most, target.system)
        except HistoryError:
            caller.handles.release(handle)
            return {"Error": Error.UNREADABLE}
        listing.next = start + (given["MaxResults"] or count)
        return {
            "IsComplete": over, "ResultCount": count, "ResultList": results,
            "ResultHandle": handle or caller.handles.keep(None if over else listing, given["Timeout"]),
        }  # fmt: skip

    def _page(self, listing: Listing, skip: int, most: int, system: VisionSystem) -> tuple[int, bool, ua.Variant]:
        """Read and encode a page of a list: it runs on a thread."""
        found, over = listing.go_on(skip, most)
        told = [fields_of(one, simulated=system.pipeline.simulated) for one in found]
        return len(found), over, variant(_RESULT_LIST, told, self.index)

    async def _release(self, _: Target, given: Given, caller: Caller) -> Outputs:
        return {"Error": Error.NONE if caller.handles.release(given["ResultHandle"]) else Error.UNKNOWN}

    # -- recipes ------------------------------------------------------------------------------------------------------

    async def _recipe_list(self, target: Target, given: Given, _: Caller) -> Outputs:
        system = target.system
        external, product, prepared = _id(given["ExternalId"]), _id(given["ProductId"]), given["IsPrepared"]
        found = [
            {"Id": recipe_id(system.pipeline.name, one)}
            for one in system.pipeline.recipes
            if external in ("", one) and not product and prepared in (_ANY, int(one == system.recipe))
        ]
        start, most = given["StartIndex"], given["MaxResults"] or len(found)
        page = found[start : start + most]
        return {"IsComplete": start + most >= len(found), "ResultCount": len(page), "RecipeList": page}

    async def _prepare_recipe(self, target: Target, given: Given, caller: Caller) -> Outputs:
        system = target.system
        internal, external = _id(given["InternalIdIn"]), _id(given["ExternalId"])
        for one in system.pipeline.recipes:
            own = recipe_id(system.pipeline.name, one)
            if internal == own or (not internal and external == one):
                await self._select(system, one, caller)
                return {"InternalIdOut": {"Id": own}, "IsCompleted": True}
        return {"Error": Error.UNKNOWN}

    async def _prepare(self, target: Target, _: Given, caller: Caller) -> Outputs:
        await self._select(target.system, target.recipe, caller)
        return {"IsCompleted": True}

    async def _select(self, system: VisionSystem, recipe: str, caller: Caller) -> None:
        """Write the PLC's tag; Good once the PLC was read back to hold it."""
        where = self._recipes.get(system.pipeline.name)
        code = StatusCodes.BadNotWritable
        if where is not None:
            code = await select_recipe(self._writes, where, recipe, caller.name)
        self._audit(f"{system.instance.path}/RecipeManagement/PrepareRecipe", caller.name, [recipe], code)
        if ua.StatusCode(ua.UInt32(code)).is_bad():
            raise CallRefused(code)


def _targets(system: VisionSystem) -> list[tuple[str, Target]]:
    found = [(MACHINES[one], Target(system, one)) for one in (STATE_MACHINE, AUTOMATIC)]
    found.append(("ResultManagement", Target(system, RESULT_MANAGEMENT)))
    if system.pipeline.recipes:
        found.append(("RecipeManagement", Target(system, RECIPE_MANAGEMENT)))
    return found + [(recipe_path(one), Target(system, RECIPE, one)) for one in system.pipeline.recipes]


def _right(method: Method) -> Right:
    return RIGHTS.get(method.name, Right.CALL)


def _allow(method: Method, caller: Caller) -> None:
    if not caller.may(_right(method)):
        raise CallRefused(StatusCodes.BadUserAccessDenied)
    if not method.executable:
        raise CallRefused(StatusCodes.BadNotExecutable)


def _id(given: Mapping[str, Any]) -> str:
    return str(given.get("Id") or "").strip()


def _mismatch(at: int, count: int) -> Any:
    codes = [StatusCodes.BadTypeMismatch if number == at else StatusCodes.Good for number in range(count)]
    return ua.CallMethodResult(
        StatusCode=_status(StatusCodes.BadInvalidArgument), InputArgumentResults=[_status(code) for code in codes]
    )


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
