"""A device folder with its real broker and real processes, for integration tests and benchmarks."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from bus import Address, Bus, Delivery
from bus.broker import Account, device_acl, new_password, password_file
from bus.broker_config import development, device_config
from bus.codec import decode, encode
from bus.hot import HotBus
from bus.mosquitto import BrokerProcess, find_broker, free_port
from edge.config.held import HELD
from edge.host.metric_file import forget
from edge.processes import row
from schemas.messages import Message
from schemas.topics import Place, Role, Topic

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 20.0  # a machine under load takes seconds to start a process
# A PLC whose tags are in tags/plc.csv, a camera, and a pipeline of its pictures.
LINE = """
[sources.plc]
driver = "modbus"
tags = "tags/plc.csv"
groups = { fast = 20 }
[cameras.cam1]
driver = "folder"
address = "images"
[pipelines.caps]
model = "caps"
lane = "safety"
input = { frames = "cam1" }
deadline_ms = 50
"""
# What judges a camera's pictures, `caps` of tests/edge/small_models.py; more of its keys may follow.
INSPECT = """
[pipelines.inspect]
lane = "safety"
model = "caps"
input = { frames = "cam1" }
deadline_ms = 2000
decision = { reject = ["bad"] }
"""
DEVICE = """
[device]
site = "s"
line = "l"
node = "n"
[broker]
port = {port}
socket = "{socket}"
credentials = "broker/credentials.json"
"""


class Device:
    """A home folder below `folder`; `users` are the identities that may connect, by the role of their first word."""

    def __init__(self, folder: Path, users: tuple[str, ...], *, socket: bool = True) -> None:
        """Write device.toml and what the broker needs; nothing runs yet."""
        self.home = folder / "device"
        self.place = Place("s", "l", "n")
        self._folder = self.home / "broker"
        self._folder.mkdir(parents=True)
        self._config = development(self._folder, free_port(), socket=socket)
        self._passwords = {user: new_password() for user in users}
        accounts = [Account(user, Role(user.partition("-")[0])) for user in users]
        self._config.passwords.write_text(password_file(self._passwords))
        self._config.acl.write_text(device_acl(self.place, accounts))
        for secret in (self._config.passwords, self._config.acl):
            secret.chmod(0o600)
        (self._folder / "credentials.json").write_text(json.dumps(self._passwords))
        path = self._config.socket
        self.socket = str(path.relative_to(self.home)) if path else ""
        self.write("device.toml", DEVICE.format(port=self._config.port, socket=self.socket))
        self.broker = BrokerProcess(find_broker(folder, allow_install=False))
        self._processes: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file of the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def add(self, name: str, text: str) -> None:
        """Append to a file of the home."""
        self.write(name, (self.home / name).read_text() + text)

    def address(self, user: str) -> Address:
        """How `user` reaches the broker."""
        socket = str(self.home / self.socket) if self.socket else ""
        return Address(port=self._config.port, username=user, password=self._passwords[user], socket=socket)

    def start_broker(self) -> None:
        """Start it."""
        self.broker.start(device_config(self._config), self._folder, Address(port=self._config.port))

    def start(self, process: str, *program: str) -> subprocess.Popen[bytes]:
        """Start one process of the device, its log beside the home; `program` as in tests/device_process.py."""
        log = (self.home.parent / f"{process.replace('@', '-')}.log").open("ab")
        environment = os.environ | ({} if row(process.partition("@")[0]).checks else {HELD: "held"})
        child = subprocess.Popen(
            [sys.executable, "-m", *(program or ("edge.process",)), process, "--home", str(self.home)], cwd=ROOT,
            stdin=subprocess.PIPE if program else None, stdout=log, stderr=log, env=environment,
        )  # fmt: skip
        log.close()
        self._processes.append(child)
        return child

    def log(self, process: str) -> str:
        """What a process has said."""
        return (self.home.parent / f"{process.replace('@', '-')}.log").read_text()

    def stop(self) -> None:
        """End what was started."""
        for child in self._processes:
            if child.stdin is not None:
                child.stdin.close()
            child.terminate()
        for child in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
            child.kill()
            child.wait(5)
        self.broker.stop()
        forget(self.home)

    @contextlib.contextmanager
    def running(self) -> Iterator["Device"]:
        """With its broker, until the end of the block."""
        try:
            self.start_broker()
            yield self
        finally:
            self.stop()

    @contextlib.asynccontextmanager
    async def user(self, name: str) -> AsyncIterator["User"]:
        """A client under one of the identities."""
        async with HotBus(self.address(name), f"{name}-test") as bus:
            yield User(bus, self.place)


class User:
    """Speaks and listens by rows of the topic table."""

    def __init__(self, bus: Bus, place: Place) -> None:
        """Over a connected bus."""
        self.bus, self.place = bus, place

    async def hear(self, topic: Topic, **fields: str) -> "Heard":
        """Subscribe to a row."""
        heard = Heard(topic)
        await self.bus.subscribe(topic.filter(self.place, **fields), topic.qos, heard.take)
        return heard

    def say(self, topic: Topic, message: Message, **fields: str) -> None:
        """Publish one message as it is: epoch and seq are the test's."""
        self.raw(topic, encode(topic, message), **fields)

    def raw(self, topic: Topic, payload: bytes, **fields: str) -> None:
        """Publish any bytes."""
        assert self.bus.publish(topic.name(self.place, **fields), payload, qos=topic.qos, retain=topic.retain)


class Heard:
    """What came on a row: `await heard.until(condition)` returns the first message for which it holds."""

    def __init__(self, topic: Topic) -> None:
        """Start without any."""
        self.topic = topic
        self.all: list[Any] = []
        self._more = asyncio.Event()

    def take(self, delivery: Delivery) -> None:
        """Keep a delivery, decoded."""
        if delivery.payload:
            self.all.append(decode(self.topic, self.topic.message, bytes(delivery.payload)))
            self._more.set()

    async def until(self, holds: Callable[[Any], bool] = lambda _: True, within_s: float = WAIT_S) -> Any:
        """Return the first message, of those that came and come, for which `holds`."""
        seen, end = 0, time.monotonic() + within_s
        while True:
            for message in self.all[seen:]:
                if holds(message):
                    return message
            seen = len(self.all)
            self._more.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._more.wait()
            except TimeoutError:
                raise AssertionError(f"not on {self.topic.key} within {within_s} s; came: {self.all[-3:]}") from None

    async def count(self, wanted: int, within_s: float = WAIT_S) -> list[Any]:
        """Return all once there are `wanted`."""
        await self.until(lambda _: len(self.all) >= wanted, within_s)
        return self.all
