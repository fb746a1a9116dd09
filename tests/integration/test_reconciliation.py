"""The historian tells which parts are not whole, behind a real broker."""

import msgspec
import pytest

from schemas.messages import Phase, Severity, State
from schemas.topics import EVENT, OUTPUT, RESULT, STATUS
from tests.device import Device
from tests.edge.test_reconciliation import output, result

pytestmark = [pytest.mark.alone, pytest.mark.slow]

LINE = """
[sources.plc]
driver = "modbus"
tags = "tags/plc.csv"
groups = { fast = 10 }
[outputs.cap]
source = "plc"
verdict = "Eject"
[cameras.cam1]
driver = "folder"
address = "images"
[pipelines.cap]
model = "caps"
input = { frames = "cam1" }
deadline_ms = 50
"""
TAGS = """name,address,type,access,group,scale,offset,unit,order,bit,deadband,min,max,failsafe,description
Eject,coil:0,bool,rw,fast,,,,,,,,,,
"""


async def test_a_part_without_output_and_one_without_decision_are_an_event_with_their_numbers(tmp_path):
    device = Device(tmp_path, ("historian", "runtime-safety", "connect-plc", "agent", "opcua"))
    device.add("device.toml", LINE)
    device.write("tags/plc.csv", TAGS)
    with device.running():
        async with (
            device.user("runtime-safety") as runtime,
            device.user("connect-plc") as connect,
            device.user("opcua") as reader,
        ):
            events, statuses = await reader.hear(EVENT), await reader.hear(STATUS)
            device.start("historian")
            await statuses.until(lambda status: (status.process, status.state) == ("historian", State.IDLE))
            connect.say(OUTPUT, stamped(output(1), 1), pipeline="cap")
            await statuses.until(lambda status: status.counters.get("stored") == 1)  # from now on outputs are owed
            for seq, number in enumerate((1, 2, 3, 5), 1):  # part 104 has no decision, part 102 no output
                runtime.say(RESULT, stamped(result(number), seq), pipeline="cap")
                if number > 2:
                    connect.say(OUTPUT, stamped(output(number), seq), pipeline="cap")
            event = await events.until(lambda event: event.code == "parts_unreconciled")
            assert (event.phase, event.severity, event.args["parts"]) == (Phase.NEW, Severity.ALARM, 2)
            assert event.text == "cap: no decision for part 104; cap: no output for part 102"
            status = await statuses.until(lambda status: status.counters.get("parts_unreconciled") == 2)
            assert status.process == "historian"


def stamped(message, seq):
    return msgspec.structs.replace(message, epoch=1, seq=seq)
