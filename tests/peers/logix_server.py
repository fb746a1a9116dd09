"""The shipped Logix simulator with tags for tests: prints its port, then serves until it is killed.

Usage: logix_server.py [HOST [PORT [small]]]     small: without Large Forward Open, as controllers before 2013
"""

import asyncio
import struct
import sys

from edge.sim.ethernetip_server import EtherNetIpServer
from edge.sim.logix_memory import ATOMIC, Member, Memory, Tag
from edge.sim.logix_services import Router

TYPES = {
    "STRING": (Member("LEN", "DINT"), Member("DATA", "SINT", 82)),
    "Recipe": (
        Member("Number", "DINT"), Member("On", "BOOL"), Member("Off", "BOOL"), Member("Temps", "REAL", 4),
        Member("Name", "STRING"), Member("Total", "LINT"),
    ),
    "Cell": (Member("Recipe", "Recipe"), Member("Speed", "REAL")),
}  # fmt: skip
TAGS = [
    Tag("Speed", "REAL"), Tag("Count", "DINT"), Tag("Small", "SINT"), Tag("Word", "INT"), Tag("Big", "LINT"),
    Tag("Flags", "DWORD", 4), Tag("Temps", "REAL", 200), Tag("Many", "DINT", 2000), Tag("Text", "STRING"),
    Tag("Recipes", "Recipe", 3), Tag("Cell", "Cell"), Tag("Switch", "BOOL"), Tag("Set", "REAL"),
    Tag("Fixed", "REAL", read_only=True), Tag("Local", "DINT", program="Program:Main"), Tag("NotFinite", "REAL"),
    Tag("Bits", "DINT"),
]  # fmt: skip


def filled() -> Memory:
    """The tags with values that tests know."""
    memory = Memory(TYPES, [Tag(tag.name, tag.kind, tag.count, tag.program, tag.read_only) for tag in TAGS])
    put(memory, "Speed", 12.5)
    for name, value in {
        "Count": 11,
        "Small": -7,
        "Word": 0x1234,
        "Big": -(2**40),
        "Switch": 1,
        "Bits": 0x80000005,
    }.items():
        put(memory, name, value if value < 2**31 else value - 2**32)
    put(memory, "Flags", 1 << 5 | 1 << 31)
    put(memory, "Flags[1]", 1)
    put(memory, "NotFinite", float("nan"))
    memory.locate(["Fixed"]).tag.data[:] = struct.pack("<f", 5)
    put(memory, "Program:Main.Local", 55)
    for index in range(200):
        put(memory, f"Temps[{index}]", index / 2)
    memory.locate(["Many"]).tag.data[:] = struct.pack("<2000i", *range(2000))
    write_text(memory, "Text", "filler 1")
    put(memory, "Recipes[1].Number", 42)
    put(memory, "Recipes[1].Off", 1)
    put(memory, "Recipes[1].Temps[3]", 3.5)
    put(memory, "Recipes[1].Total", 2**40)
    write_text(memory, "Recipes[1].Name", "0.5 PET")
    put(memory, "Cell.Recipe.Temps[2]", -1.5)
    return memory


def steps(name: str) -> list[str | int]:
    found: list[str | int] = []
    rest = name
    if name.startswith("Program:"):
        program, _, rest = name.partition(".")
        found.append(program)
    for part in rest.split("."):
        base, _, index = part.partition("[")
        found.append(base)
        if index:
            found.append(int(index[:-1]))
    return found


def put(memory: Memory, name: str, value: float) -> None:
    place = memory.locate(steps(name))
    memory.write(place, memory.type_of(place.kind), 1, 0, struct.pack("<" + ATOMIC[place.kind][1], value))


def write_text(memory: Memory, name: str, text: str) -> None:
    place = memory.locate(steps(name))
    place.tag.data[place.at : place.at + 4 + len(text)] = struct.pack("<i", len(text)) + text.encode()


async def main() -> None:
    host, port = [*sys.argv[1:3], *("127.0.0.1", "0")[len(sys.argv[1:3]) :]]
    router = Router(filled(), lambda: None, lambda _: None)
    print(await EtherNetIpServer(router, large="small" not in sys.argv).listen(host, int(port)), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
