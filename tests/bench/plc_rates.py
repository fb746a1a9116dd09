"""How much gets through, in `bench plc`: tags a second from a PLC to `raw`, and changes a second to a SCADA client.

Real `connect`, `opcua` and mosquitto in the default scheduling class: throughput is what is asked here.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psutil

from bus.codec import decode
from bus.mosquitto import free_port
from edge.opcua_server.trust import CLIENTS, Folders
from schemas.messages import Quality, Reading
from schemas.topics import READING
from tests.bench.cast import Cast
from tests.bench.plc_players import be_changing_plc, be_scada
from tests.bench.raw_mqtt import RawMqtt, payload_of
from tests.bench.windows import until
from tests.device import Device
from tests.opcua_certificates import party
from tests.peers.modbus_peer import modbus_peer

TAGS: Final = 5000
PERIODS_MS: Final = (50.0, 20.0)
SUBSCRIBED: Final = (125, 250, 500)
CHANGES_MS: Final = 100.0
START_S, WARM_S, UP_S, SUBSCRIBE_S = 60.0, 2.0, 60.0, 60.0
USERS: Final = ("connect-p50", "connect-p20", "connect-plc", "opcua", "historian")
SOURCE = """
[sources.{name}]
driver = "modbus"
host = "127.0.0.1"
port = {port}
timeout_ms = 1000
tags = "tags/{name}.csv"
groups = {{ all = {period:g} }}
"""
OPCUA = """
[opcua]
endpoint = "{endpoint}"
anonymous = true
tick_ms = {tick:g}
"""


@dataclass(frozen=True)
class Rate:
    """What was asked for and what came, each a second; `busy`: of a core, by the process that brought it."""

    asked: float
    came: float
    busy: float


def _tag_list(count: int) -> str:
    return "\n".join(["name,address,type,access,group", *(f"R{at},hr:{at},uint16,r,all" for at in range(count)), ""])


def _read(link: RawMqtt, seconds: float, source: str) -> int:
    """Return how many Good tags of a source came; they are counted once the time is over."""
    link.ping()
    bodies = [body for _, body in link.messages(time.monotonic() + seconds)]
    readings = [decode(READING, Reading, payload_of(body)) for body in bodies]
    good = (sample.quality is Quality.GOOD for one in readings if one.source == source for sample in one.tags.values())
    return sum(good)


def _until_read(device: Device, link: RawMqtt, source: str) -> None:
    end = time.monotonic() + START_S
    while not _read(link, 0.5, source):
        if time.monotonic() > end:
            raise RuntimeError(f"{source} is not read; its log ends:\n{device.log(f'connect@{source}')[-1000:]}")


def to_raw(folder: Path, seconds: float, advance: Callable[[], object]) -> list[Rate]:
    """Read all registers at each period in turn."""
    rates = list[Rate]()
    device = Device(folder / "raw", USERS)
    try:
        device.start_broker()
        link = RawMqtt(device.address("historian"), "bench-rates")
        link.subscribe(READING.filter(device.place))
        for period_ms in PERIODS_MS:
            name = f"p{period_ms:g}"
            with modbus_peer(registers=TAGS) as (port, _):
                device.add("device.toml", SOURCE.format(name=name, port=port, period=period_ms))
                device.write(f"tags/{name}.csv", _tag_list(TAGS))
                child = device.start(f"connect@{name}")
                _until_read(device, link, name)
                _read(link, WARM_S, name)
                watched = psutil.Process(child.pid)
                before = watched.cpu_times()
                tags = _read(link, seconds, name)
                after = watched.cpu_times()
                child.terminate()
                child.wait(10)
            spent = after.user + after.system - before.user - before.system
            rates.append(Rate(TAGS * 1e3 / period_ms, tags / seconds, spent / seconds))
            advance()
        link.link.close()
    finally:
        device.stop()
    return rates


def to_opcua(folder: Path, seconds: float, advance: Callable[[], object]) -> list[Rate]:
    """Have a SCADA client subscribe to more and more tags that all change with each scan."""
    rates = list[Rate]()
    device, cast, endpoint = Device(folder / "opcua", USERS), Cast(), f"opc.tcp://127.0.0.1:{free_port()}"
    try:
        _, port = cast.add(be_changing_plc, 0)
        device.add("device.toml", SOURCE.format(name="plc", port=port, period=CHANGES_MS))
        device.add("device.toml", OPCUA.format(endpoint=endpoint, tick=CHANGES_MS))
        device.write("tags/plc.csv", _tag_list(SUBSCRIBED[-1]))
        mine, lists = party("PlantEdgeBench", 31), Folders(device.home / CLIENTS)
        lists.make()
        mine.put(lists.trusted)
        files = mine.files(device.home, "scada")
        device.start_broker()
        server = psutil.Process(device.start("opcua").pid)
        device.start("connect@plc")
        until(lambda: _listens(endpoint), UP_S, "the OPC UA server listens")
        for count in SUBSCRIBED:
            try:
                rates.append(_subscribed(device, server, endpoint, files, count, seconds))
            except RuntimeError as error:  # under too much of it the client's connection breaks
                if not rates:
                    raise
                logging.getLogger(__name__).warning("%d tags: %s", count, error)
                rates.append(Rate(count * 1e3 / CHANGES_MS, 0.0, 0.0))
            advance()
    finally:
        cast.close()
        device.stop()
    return rates


def _subscribed(
    device: Device, server: psutil.Process, endpoint: str, files: dict[str, str], count: int, seconds: float
) -> Rate:
    root = "/".join((device.place.site, device.place.line, device.place.node))
    nodes = [f"{root}/Sources/plc/R{at}" for at in range(count)]
    with contextlib.closing(Cast()) as cast:
        scada, _ = cast.add(be_scada, endpoint, files, nodes)
        _told(scada, SUBSCRIBE_S, device)
        came, spent = 0.0, 0.0
        for length in (WARM_S, seconds):
            before = server.cpu_times()
            scada.send(length)
            came = float(_told(scada, length + SUBSCRIBE_S, device))
            after = server.cpu_times()
            spent = (after.user + after.system - before.user - before.system) / length
    return Rate(count * 1e3 / CHANGES_MS, came, spent)


def _told(scada: Connection, within_s: float, device: Device) -> Any:
    with contextlib.suppress(EOFError):
        if scada.poll(within_s):
            return scada.recv()
    raise RuntimeError(f"the OPC UA client waits or has ended; the server's log ends:\n{device.log('opcua')[-1000:]}")


def _listens(endpoint: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 1.0):
        return True
    return False
