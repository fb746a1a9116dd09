"""The PLC's side of a pipeline's outputs as text to paste: IEC 61131-3 structured text, SCL for S7, a ladder. Pure.

One program, written for the tags that `[outputs.PIPELINE]` names; `edge/sim/ladder.py` is its runnable model. It
reaches what the device writes where it lies, and reads the number that is written last before anything else: a PLC that
copies all of it into a block's inputs may copy the old verdict before, and the new number after, the device wrote both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge.plc.outputs.machine import plc_watchdog_ms
from edge.plc.outputs.table import used
from edge.plc.tags.tag import Tag
from edge.settings import Outputs

PLACES: Final = 512  # parts between camera and ejector, at most: the slots of the shift register
_IEC: Final = {
    "bool": "BOOL", "int8": "SINT", "uint8": "USINT", "int16": "INT", "uint16": "UINT", "int32": "DINT",
    "uint32": "UDINT", "int64": "LINT", "uint64": "ULINT",
}  # fmt: skip
_NAMES: Final = {
    "data_valid": "DataValid", "part": "PartId", "result_id": "ResultId", "result_ack": "ResultAck", "armed": "Armed",
    "rearm": "Rearm", "heartbeat": "Heartbeat", "request": "Request", "busy": "Busy", "done": "Done", "error": "Error",
    "manual": "Manual",
}  # fmt: skip


@dataclass(frozen=True)
class _Variable:
    """One variable of the PLC's block."""

    name: str
    kind: str
    comment: str = ""
    start: str = ""


def structured_text(outputs: Outputs, tags: Mapping[str, Tag]) -> str:
    """Return the function block in structured text (IEC 61131-3: CODESYS, TwinCAT, Sysmac, Unity and others)."""
    program = _Program(outputs, tags)
    shared = program.hooks(written=True) + program.hooks(written=False)
    lines = ['VAR_GLOBAL  // global variable list "Edge": what the device reads and writes; retain nothing']
    lines += [*(_declared(one, "    ") for one in shared), "END_VAR", ""]
    lines += ["FUNCTION_BLOCK FB_Edge  // call it once per cycle"]
    for section, variables in program.sections():
        lines += [section, *(_declared(one, "    ") for one in variables), "END_VAR"]
    lines += ["", *program.body("Edge.", ""), "", "END_FUNCTION_BLOCK"]
    return "\n".join(lines) + "\n"


def scl(outputs: Outputs, tags: Mapping[str, Tag]) -> str:
    """Return data block, function block and call in SCL (S7-1200 and S7-1500; import as an external source file)."""
    program = _Program(outputs, tags)
    lines = [*program.data_block(), "", 'FUNCTION_BLOCK "FB_Edge"', "VERSION : 0.1"]
    for section, variables in program.sections():
        lines += [section, *(_declared(one, "    ").replace(": TON;", ": TON_TIME;") for one in variables), "END_VAR"]
    lines += [
        "BEGIN",
        *(_indented(line) for line in program.body('"DB_Edge".', "#")),
        "END_FUNCTION_BLOCK",
        "",
        *program.call(),
    ]
    return "\n".join(lines) + "\n"


def ladder(outputs: Outputs, tags: Mapping[str, Tag]) -> str:
    """Return the same program as rungs: `-] [-` closed where true, `-]/[-` where false, `-( )-` coil, `(S)`/`(R)`."""
    program = _Program(outputs, tags)
    lines: list[str] = []
    for number, (title, rungs) in enumerate(program.rungs(), start=1):
        lines += [f"// {number}. {title}", *rungs, ""]
    return "\n".join(lines).rstrip() + "\n"


class _Program:
    """The program for one pipeline's outputs."""

    def __init__(self, outputs: Outputs, tags: Mapping[str, Tag]) -> None:
        self.outputs = outputs
        self._tags = tags
        self.keys = {hook.key for hook in used(outputs)}
        self.verdict = "Reject" if outputs.failsafe else "Pass"
        self.watchdog_ms = int(plc_watchdog_ms(outputs))
        self.part_kind = self.kind("part") or "UDINT"

    def kind(self, key: str) -> str:
        """The type of a hook's variable in the PLC, "" where the outputs have none."""
        tag = self._tags.get(str(getattr(self.outputs, key)))
        return _IEC.get(tag.type, "") if tag is not None else ""

    @property
    def _keeps(self) -> bool:
        """Whether the watchdog, once tripped, stays so though the heartbeat moves."""
        return {"heartbeat", "armed"} <= self.keys

    # -- declarations -------------------------------------------------------------------------------------------------

    def sections(self) -> list[tuple[str, list[_Variable]]]:
        """What the block declares."""
        own = [_Variable("AtCamera", "BOOL", "sensor")] if "part" in self.keys else []
        own += [_Variable("AtEjector", "BOOL", "sensor")]
        own += [_Variable("ResetButton", "BOOL")] if "rearm" in self.keys else []
        own += [_Variable("Start", "BOOL", "rises where a result is wanted")] if "request" in self.keys else []
        own += [_Variable("ManualSwitch", "BOOL")] if "manual" in self.keys else []
        told = [_Variable("Eject", "BOOL", "to the ejector")]
        if "part" in self.keys:
            told += [_Variable("PartCounter", self.part_kind, "the part at the camera: where the picture gets its id")]
        told += [_Variable("RequestFailed", "BOOL")] if "request" in self.keys else []
        told += [_Variable("WatchdogTripped", "BOOL", "", "TRUE")] if "heartbeat" in self.keys else []
        return [("VAR_INPUT", own), ("VAR_OUTPUT", told), ("VAR", self._statics())]

    def hooks(self, *, written: bool) -> list[_Variable]:
        """The variables that the device writes, or reads."""
        return [
            _Variable(_NAMES.get(hook.key, self.verdict), self.kind(hook.key), self._place(hook.tag(self.outputs)))
            for hook in used(self.outputs)
            if hook.written is written
        ]  # fmt: skip

    def _place(self, name: str) -> str:
        tag = self._tags.get(name)
        return f"{name}, {tag.address}" if tag is not None else name

    def _statics(self) -> list[_Variable]:
        found = [_Variable("VerdictReject", f"ARRAY[0..{PLACES - 1}] OF BOOL")]
        if "part" in self.keys:
            found.insert(0, _Variable("VerdictId", f"ARRAY[0..{PLACES - 1}] OF {self.part_kind}", "0: none"))
            found += [_Variable("Slot", "INT"), _Variable("GonePart", self.part_kind)]
            if "result_id" not in self.keys:
                found += [_Variable("NewPart", self.part_kind), _Variable("LastPartId", self.part_kind)]
            found += [_Variable("CameraEdge", "R_TRIG")]
        else:
            found = [_Variable("LastReject", "BOOL", "", "TRUE")]
        if "result_id" in self.keys:
            found += [_Variable("NewId", self.kind("result_id"))]
        if "heartbeat" in self.keys:
            found += [_Variable("LastBeat", self.kind("heartbeat")), _Variable("Silence", "TON")]
        found += [_Variable("EjectorEdge", "R_TRIG")]
        found += [_Variable("ResetEdge", "R_TRIG"), _Variable("Pulse", "TON")] if "rearm" in self.keys else []
        found += [_Variable("StartEdge", "R_TRIG"), _Variable("Patience", "TON")] if "request" in self.keys else []
        return found

    def data_block(self) -> list[str]:
        """The block that the device reads and writes, in the order of the tags' addresses."""
        variables = self.hooks(written=True) + self.hooks(written=False)
        variables.sort(key=lambda one: [int(digits) for digits in re.findall(r"\d+", one.comment.rpartition(", ")[2])])
        return [
            "// Standard access: the S7 driver reads by offset. Compare the offsets that TIA shows with the addresses",
            "// on the right. Over OPC UA, optimized access ('TRUE') is fine: there tags are reached by name.",
            'DATA_BLOCK "DB_Edge"', "{ S7_Optimized_Access := 'FALSE' }", "VERSION : 0.1", "NON_RETAIN", "STRUCT",
            *(_declared(one, "    ") for one in variables), "END_STRUCT;", "BEGIN", "END_DATA_BLOCK",
        ]  # fmt: skip

    def call(self) -> list[str]:
        """How the block is called."""
        names = [f"{one.name} := ..." for one in self.sections()[0][1]] + ["Eject => ..."]
        names += ["PartCounter => ..."] if "part" in self.keys else []
        return [
            "// In OB1, with the instance data block FB_Edge_DB and your own sensors, buttons and ejector:",
            f'// "FB_Edge_DB"({", ".join(names)});',
        ]

    # -- statements ---------------------------------------------------------------------------------------------------

    def body(self, shared: str, own: str) -> list[str]:
        """The statements; `shared` stands before what the device reads or writes, `own` before the block's own."""
        reached = {one.name for written in (True, False) for one in self.hooks(written=written)}
        parts = [
            self._camera(), self._latch(), self._watchdog(), self._rearm(), self._request(), self._manual(),
            self._ejector(),
        ]  # fmt: skip
        lines = [line for part in parts if part for line in ("", *part)]
        return [
            re.sub(r"@(\w+)", lambda name: (shared if name[1] in reached else own) + name[1], line)
            for line in lines[1:]
        ]

    @property
    def rejects(self) -> str:
        """The expression for: this result rejects."""
        verdict = f"@{self.verdict}" if self.outputs.failsafe else f"NOT @{self.verdict}"
        return f"{verdict} OR NOT @DataValid" if "data_valid" in self.keys else verdict

    def _camera(self) -> list[str]:
        if "part" not in self.keys:
            return []
        return [
            "// a part is at the camera", "@CameraEdge(CLK := @AtCamera);",
            "IF @CameraEdge.Q THEN @PartCounter := @PartCounter + 1; END_IF;",
        ]  # fmt: skip

    def _latch(self) -> list[str]:
        if "part" in self.keys:
            latch = [
                "    IF @PartId > @GonePart AND @PartId <= @PartCounter THEN  // not late, not unknown",
                *(f"        {line}" for line in self._slot("@PartId")), "        @VerdictId[@Slot] := @PartId;",
                f"        @VerdictReject[@Slot] := {self.rejects};", "    END_IF;",
            ]  # fmt: skip
        else:
            latch = [f"    @LastReject := {self.rejects};"]
        if "result_id" in self.keys:
            return [
                "// a result has come: its number is written last, so read first; nothing changes until the answer",
                "@NewId := @ResultId;", "IF @NewId <> @ResultAck THEN", *latch,
                "    @ResultAck := @NewId;  // the last statement of the latch", "END_IF;",
            ]  # fmt: skip
        if "part" in self.keys:
            return [
                "// the part's id has changed, so the verdict is this part's",
                "@NewPart := @PartId;  // written last, so read first", "IF @NewPart <> @LastPartId THEN",
                "    @LastPartId := @NewPart;", *latch, "END_IF;",
            ]  # fmt: skip
        return [f"@LastReject := {self.rejects};  // the newest verdict, for whichever part comes by"]

    def _slot(self, part: str) -> list[str]:
        return [f"@Slot := {self.part_kind}_TO_INT({part} MOD {PLACES});"]

    def _watchdog(self) -> list[str]:
        if "heartbeat" not in self.keys:
            return []
        moved = "IF NOT @Armed THEN @WatchdogTripped := FALSE; END_IF;" if self._keeps else "@WatchdogTripped := FALSE;"
        until = ", until the device has taken its arming back" if self._keeps else ""
        return [
            f"// the device's heartbeat stands still{until}",
            f"@Silence(IN := @Heartbeat = @LastBeat, PT := T#{self.watchdog_ms}MS);",
            "IF @Heartbeat <> @LastBeat THEN", "    @LastBeat := @Heartbeat;", f"    {moved}",
            "ELSIF @Silence.Q THEN", "    @WatchdogTripped := TRUE;", "END_IF;",
        ]  # fmt: skip

    def _rearm(self) -> list[str]:
        if "rearm" not in self.keys:
            return []
        allowed = "@ResetEdge.Q AND NOT @WatchdogTripped" if "heartbeat" in self.keys else "@ResetEdge.Q"
        until = "@Pulse.Q OR @Armed" if "armed" in self.keys else "@Pulse.Q"
        return [
            "// the operator's reset: one second" + (", or until the device is armed" if "armed" in self.keys else ""),
            "@ResetEdge(CLK := @ResetButton);",
            *(["IF @ResetEdge.Q AND NOT @Silence.Q THEN @WatchdogTripped := FALSE; END_IF;"] if self._keeps else []),
            f"IF {allowed} THEN @Rearm := TRUE; END_IF;",
            "@Pulse(IN := @Rearm, PT := T#1S);", f"IF {until} THEN @Rearm := FALSE; END_IF;",
        ]  # fmt: skip

    def _request(self) -> list[str]:
        if "request" not in self.keys:
            return []
        wait_ms = int(self.outputs.request_timeout_ms * 2)  # the device says so itself before
        failed = "@RequestFailed := @Error;" if "error" in self.keys else "@RequestFailed := FALSE;"
        return [
            "// ask for a result, and take the question back once it is answered: done falls then",
            "@StartEdge(CLK := @Start);", "IF @StartEdge.Q AND NOT @Done THEN @Request := TRUE; END_IF;",
            f"@Patience(IN := @Request AND NOT @Done, PT := T#{wait_ms}MS);", "IF @Request AND @Done THEN",
            "    @Request := FALSE;", f"    {failed}", "ELSIF @Patience.Q THEN  // nobody answers",
            "    @Request := FALSE;", "    @RequestFailed := TRUE;", "END_IF;",
        ]  # fmt: skip

    def _manual(self) -> list[str]:
        return ["@Manual := @ManualSwitch;  // the operator owns the outputs"] if "manual" in self.keys else []

    def _ejector(self) -> list[str]:
        dead = "@WatchdogTripped OR " if "heartbeat" in self.keys else ""
        lines = ["// a part is at the ejector: without a verdict it is rejected", "@EjectorEdge(CLK := @AtEjector);"]
        if "part" not in self.keys:
            return [*lines, f"IF @EjectorEdge.Q THEN @Eject := {dead}@LastReject; END_IF;"]
        return [
            *lines, "IF @EjectorEdge.Q THEN",
            "    @GonePart := @GonePart + 1;  // in step with PartCounter: no part may leave in between",
            *(f"    {line}" for line in self._slot("@GonePart")),
            f"    @Eject := {dead}@VerdictId[@Slot] <> @GonePart OR @VerdictReject[@Slot];",
            "    @VerdictId[@Slot] := 0;", "END_IF;",
        ]  # fmt: skip

    # -- rungs --------------------------------------------------------------------------------------------------------

    def rungs(self) -> list[tuple[str, list[str]]]:
        """The rungs with their titles; a box stands for what a contact can't say."""
        found = [self._latch_rung()]
        if "heartbeat" in self.keys:
            silence = f"[TON Silence {self.watchdog_ms} ms]"
            released = "--]/[Armed" if self._keeps else ""
            found.append((
                "watchdog: the heartbeat has to move",
                [f"|--[Heartbeat = LastBeat]--{silence}--(S WatchdogTripped)--|",
                 f"|--[Heartbeat <> LastBeat]--+{released}--(R WatchdogTripped)--|",
                 "|                           +--[MOVE Heartbeat -> LastBeat]--|"],
            ))  # fmt: skip
        if "rearm" in self.keys:
            allowed = "]/[WatchdogTripped--" if "heartbeat" in self.keys else ""
            found.append((
                "the operator's reset",
                (["|--] [ResetButton--[P]--]/[Silence.Q--(R WatchdogTripped)--|"] if self._keeps else [])
                + [f"|--] [ResetButton--[P]--{allowed}(S Rearm)--|",
                 "|--] [Rearm--[TON Pulse 1 s]--(R Rearm)--|"]
                + (["|--] [Armed--(R Rearm)--|"] if "armed" in self.keys else []),
            ))  # fmt: skip
        if "request" in self.keys:
            found.append((
                "request and answer",
                ["|--] [Start--[P]--]/[Done--(S Request)--|", "|--] [Request--] [Done--(R Request)--|"],
            ))  # fmt: skip
        found.append(("a part is at the ejector", self._ejector_rung()))
        return found

    def _latch_rung(self) -> tuple[str, list[str]]:
        changed = "[ResultId <> ResultAck]" if "result_id" in self.keys else "[PartId <> LastPartId]"
        if "part" not in self.keys and "result_id" not in self.keys:
            return "the newest verdict", [f"|--[{self._plain(self.rejects)}]--(LastReject)--|"]
        store = f"[MOVE ({self._plain(self.rejects)}) -> " + (
            "VerdictReject[PartId MOD 512]]" if "part" in self.keys else "LastReject]"
        )
        rungs = [f"|--{changed}--+--{store}--|"]
        gap = " " * len(changed)
        if "part" in self.keys:
            rungs.append(f"|  {gap}  +--[MOVE PartId -> VerdictId[PartId MOD 512]]--|")
        last = "ResultId -> ResultAck" if "result_id" in self.keys else "PartId -> LastPartId"
        rungs.append(f"|  {gap}  +--[MOVE {last}]--|  // the last branch")
        return "latch a result", rungs

    def _ejector_rung(self) -> list[str]:
        start = "|--] [AtEjector--[P]--"
        causes = ["] [LastReject"]
        if "part" in self.keys:
            start += "[ADD GonePart 1]--"
            causes = ["[VerdictId[GonePart MOD 512] <> GonePart]", "] [VerdictReject[GonePart MOD 512]"]
        causes += ["] [WatchdogTripped"] if "heartbeat" in self.keys else []
        widest = max(len(cause) for cause in causes)
        blank = "|" + " " * (len(start) - 1)
        first, *others = (f"+--{cause:-<{widest}}--+" for cause in causes)
        return [f"{start}{first}--(Eject)--|", *(blank + other for other in others)]

    @staticmethod
    def _plain(expression: str) -> str:
        return expression.replace("@", "")


def _declared(one: _Variable, indent: str) -> str:
    start = f" := {one.start}" if one.start else ""
    line = f"{indent}{one.name} : {one.kind}{start};"
    return f"{line:<44}// {one.comment}" if one.comment else line


def _indented(line: str) -> str:
    return f"    {line}" if line else line
