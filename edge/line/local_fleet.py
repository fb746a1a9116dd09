"""A fleet service beside the device, for the demo: started as its own program, asked over REST like any other.

Nothing of `cloud` is imported: what it says of itself is in `fleet.json`.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from pathlib import Path

import msgspec

from edge.host.ports import PortChoice
from edge.supervision import spawn
from edge.supervision.child import Command
from edge.supervision.spawn import python
from schemas.errors import StartError

FLEET = "fleet"
_HTTP, _MQTT = 8470, 8883
_ENROL_S = 20.0
_RENEW_BEFORE_NS = 7 * 86_400 * 10**9


class FleetFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a running fleet service says of itself. `login` works once; `token` is for its API."""

    url: str
    login: str
    mqtt_host: str
    mqtt_port: int
    token: str
    pid: int


class FleetRow(msgspec.Struct, frozen=True):
    """What the fleet says of a device."""

    node: str
    state: str
    seen_ms: int = 0
    upstream_bytes: int = 0


class _Rows(msgspec.Struct, frozen=True):
    rows: list[FleetRow]


class LocalFleet:
    """The fleet service of one `plantedge up`: its folder, its ports, and what it knows of a device."""

    def __init__(self, work: Path, ports: PortChoice) -> None:
        """Choose ports: the usual ones where they are free."""
        self.folder = work / "fleet"
        self.http_port, self.mqtt_port = ports.choose(_HTTP), ports.choose(_MQTT)
        self._work = work
        self._began_ms = time.time_ns() // 1_000_000

    @property
    def moved(self) -> dict[str, tuple[int, int]]:
        """What could not have its usual port: name -> (usual, chosen)."""
        both = {"dashboard": (_HTTP, self.http_port), "fleet broker": (_MQTT, self.mqtt_port)}
        return {name: pair for name, pair in both.items() if pair[0] != pair[1]}

    def command(self) -> Command:
        """Return the command that runs it; an old `fleet.json` must not be taken for its own."""
        (self.folder / "fleet.json").unlink(missing_ok=True)

        async def answers() -> bool:
            return self.read() is not None

        ports = ("--http-port", str(self.http_port), "--mqtt-port", str(self.mqtt_port))
        argv = python("cloud.cli", "serve", "--home", str(self.folder), *ports)
        return Command(name=FLEET, argv=argv, probe=answers, stop_s=4.0)

    def read(self) -> FleetFile | None:
        """Return what the service says of itself, None before it is ready."""
        try:
            return msgspec.json.decode((self.folder / "fleet.json").read_bytes(), type=FleetFile)
        except (OSError, msgspec.DecodeError):
            return None

    def uplink_settings(self) -> dict[str, object]:
        """Return the `[uplink]` table of the overlay."""
        return {"host": "localhost", "port": self.mqtt_port}

    def enrolled(self, identity: Path, node: str) -> bool:
        """Return whether the device has a certificate of this fleet's CA that is good for some time yet."""
        from edge.security.identity import CA, IdentityError, read_identity  # slow to import: the plant starts first

        try:
            held = read_identity(identity)
            same = (identity / CA).read_bytes() == (self.folder / "pki" / CA).read_bytes()
        except (IdentityError, OSError):
            return False
        return same and held.node == node and held.until_ns > time.time_ns() + _RENEW_BEFORE_NS

    async def enrol(self, identity: Path, node: str) -> None:
        """Make the device's key and let the fleet's CA sign its request.

        Raises:
            StartError: it did not; with what it said.
        """
        from edge.security.identity import CERTIFICATE, make_request

        request = make_request(identity, node)
        log = self._work / "log" / "enroll.log"
        out = ("--node", node, "--out", str(identity))
        argv = python("cloud.cli", "enroll", "--home", str(self.folder), "--csr", str(request), *out)
        process = await spawn.spawn(argv, log=log, run=self._work, env={})
        try:
            async with asyncio.timeout(_ENROL_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            code = await process.wait()
        if code or not (identity / CERTIFICATE).exists():
            raise StartError(f"the fleet did not enrol {node}: {' | '.join(spawn.last_lines(log, 4))}; see {log}")

    async def heard_of(self, node: str) -> FleetRow | None:
        """Return the fleet's row of a device that reported since we began, None before that."""
        file = self.read()
        if file is None:
            return None
        try:
            answer = await asyncio.to_thread(_get, file, f"/api/v1/devices?q={node}")
            rows = msgspec.json.decode(answer, type=_Rows).rows
        except (OSError, msgspec.DecodeError):
            return None
        return next((row for row in rows if row.node == node and row.seen_ms >= self._began_ms), None)


def _get(file: FleetFile, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {file.token}"}
    request = urllib.request.Request(file.url + path, headers=headers)  # noqa: S310 - the address of our own child
    with urllib.request.urlopen(request, timeout=2.0) as answer:  # noqa: S310 - the same
        return bytes(answer.read())
