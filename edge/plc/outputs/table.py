"""THE TABLE of a pipeline's outputs: which tags of the PLC they may have, of which type, and who writes them. Pure.

`[outputs.PIPELINE]` names the tags; `edge/plc/outputs/ladder_text.py` writes the PLC's side of the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge.plc.tags.lists import INTEGERS, Access, Tag
from edge.settings import Outputs

_BOOL: Final = ("bool",)
_WHOLE: Final = tuple(INTEGERS)


@dataclass(frozen=True)
class Hook:
    """One tag of the outputs. `key`: of `[outputs.PIPELINE]`; `written`: by the device, else by the PLC."""

    key: str
    types: tuple[str, ...]
    written: bool
    meaning: str
    needs: tuple[str, ...] = ()  # keys without which it makes no sense

    def tag(self, outputs: Outputs) -> str:
        """Return the name of its tag, "" where there is none."""
        return str(getattr(outputs, self.key))


HOOKS: Final = (
    Hook("verdict", _BOOL, True, "verdict of the part that is written with it"),
    Hook("data_valid", _BOOL, True, "true: the verdict is the pipeline's own; false: the fail-safe stands in"),
    Hook("part", _WHOLE, True, "id of the part that the verdict is for, 0 for none; written after the verdict"),
    Hook(
        "result_id", _WHOLE, True, "number of the result, written last: its change latches the result", ("result_ack",)
    ),
    Hook("result_ack", _WHOLE, False, "the PLC copies `result_id` here once it has latched", ("result_id",)),
    Hook("armed", _BOOL, True, "true: verdicts are the pipeline's; false: fail-safe, or manual"),
    Hook("rearm", _BOOL, False, "the operator's reset: true releases the fail-safe"),
    Hook("heartbeat", _WHOLE, True, "counts while the device's lease holds; the PLC's watchdog watches it"),
    Hook("request", _BOOL, False, "rises: the PLC asks for a result; held until `done`", ("done",)),
    Hook("busy", _BOOL, True, "a request is in work", ("request",)),
    Hook("done", _BOOL, True, "the request's result stands in the outputs; until `request` falls", ("request",)),
    Hook("error", _BOOL, True, "with `done`: no decision in time, or the fail-safe stands in", ("request",)),
    Hook("manual", _BOOL, False, "true: the outputs are the operator's, decisions are not written"),
)
BY_DECISION: Final = ("verdict", "data_valid", "part", "result_id")  # what an operator may write in manual


def used(outputs: Outputs) -> list[Hook]:
    """Return the hooks that have a tag."""
    return [hook for hook in HOOKS if hook.tag(outputs)]


def own_tags(outputs: Outputs) -> set[str]:
    """Return the tags that only decisions may write."""
    return {hook.tag(outputs) for hook in used(outputs) if hook.written}


def manual_tags(outputs: Outputs) -> set[str]:
    """Return the tags that an operator may write while the outputs are manual."""
    return {hook.tag(outputs) for hook in used(outputs) if hook.key in BY_DECISION}


def read_tags(outputs: Outputs) -> dict[str, str]:
    """Return what the PLC says to these outputs: key -> tag."""
    return {hook.key: hook.tag(outputs) for hook in used(outputs) if not hook.written}


def output_problems(outputs: Mapping[str, Outputs], tags: Mapping[str, Tag]) -> list[str]:
    """Return what is wrong with the tags of a source's outputs, which are by pipeline."""
    problems = [problem for pipeline, one in outputs.items() for problem in _tag_problems(pipeline, one, tags)]
    writers: dict[str, list[str]] = {}
    for pipeline, one in outputs.items():
        for hook in used(one):
            if hook.written:
                writers.setdefault(hook.tag(one), []).append(f"outputs.{pipeline}")
    return problems + [
        f"{name!r} is written by {' and '.join(by)}; each output has a tag of its own"
        for name, by in writers.items()
        if len(by) > 1
    ]


def _tag_problems(pipeline: str, outputs: Outputs, tags: Mapping[str, Tag]) -> list[str]:
    problems: list[str] = []
    for hook in used(outputs):
        name = hook.tag(outputs)
        where, tag = f"outputs.{pipeline}: {hook.key} {name!r}", tags.get(name)
        if tag is None:
            problems.append(f"{where} is not in the source's tag list; add it there")
        elif tag.type not in hook.types or tag.scaled:
            problems.append(f"{where} is a {tag.type}; it has to be {' or '.join(hook.types)}, not scaled")
        elif hook.written and tag.access is not Access.WRITE:
            problems.append(f"{where} is read only; give it access rw in the tag list")
        problems += [
            f"{where} makes no sense without {key}; name its tag, or leave {hook.key} out"
            for key in hook.needs
            if not getattr(outputs, key)
        ]
    problems += _failsafe_problems(pipeline, outputs, tags) + _time_problems(pipeline, outputs)
    return problems + _ack_problems(pipeline, outputs, tags)


def _time_problems(pipeline: str, outputs: Outputs) -> list[str]:
    if outputs.heartbeat and outputs.heartbeat_ms >= outputs.lease_ms:
        return [f"outputs.{pipeline}: heartbeat_ms has to be under lease_ms"]
    return []


def _ack_problems(pipeline: str, outputs: Outputs, tags: Mapping[str, Tag]) -> list[str]:
    """The PLC answers with the number that it was given, so both tags must hold the same numbers."""
    given, answered = tags.get(outputs.result_id), tags.get(outputs.result_ack)
    if given is None or answered is None or given.type == answered.type:
        return []
    return [
        f"outputs.{pipeline}: result_id {given.name!r} is a {given.type} and result_ack {answered.name!r} a "
        f"{answered.type}; give both the same type"
    ]


def _failsafe_problems(pipeline: str, outputs: Outputs, tags: Mapping[str, Tag]) -> list[str]:
    """A fail-safe value in the tag list must be the one that the outputs write, where they have one."""
    held = {"verdict": outputs.failsafe, "armed": False, "data_valid": False}
    problems: list[str] = []
    for hook in used(outputs):
        name, value = hook.tag(outputs), held.get(hook.key)
        given = tags[name].failsafe if name in tags and hook.written else None
        if given is None or given is value:
            continue
        remedy = "leave it out there" if value is None else f"write {str(value).lower()}, or leave it out there"
        problems.append(
            f"outputs.{pipeline}: {hook.key} {name!r} has failsafe {str(given).lower()} in the tag list, which is "
            f"never written; {remedy}"
        )
    return problems
