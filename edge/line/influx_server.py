"""A private InfluxDB 1.x beside the demo (`--influx-local`), and the settings for one that runs elsewhere."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import time
import urllib.parse
from pathlib import Path

from bus.mosquitto import free_port
from edge.settings import Influx
from edge.supervision.child import Command
from schemas.errors import StartError

INFLUX = "influx"
_CONFIG = """\
# Written by `plantedge up --influx-local`; do not edit.
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[monitor]
store-enabled = false
"""


class InfluxServer:
    """Runs Debian's influxd with everything in the work folder, on ports of its own."""

    def __init__(self, work: Path) -> None:
        """Find the program.

        Raises:
            StartError: there is none.
        """
        program = shutil.which("influxd")
        if program is None:
            raise StartError("--influx-local needs influxd on PATH; install influxdb, or use --influx URL")
        self._program, self._folder = program, work / "influx"
        self._port, self._rpc = free_port(), free_port()
        self._began_ns = time.time_ns()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    async def has_result(self) -> bool:
        """Return whether a result that was made since we began can be read from it."""
        query = f'SELECT count("total_ms") FROM "result" WHERE time >= {self._began_ns}'  # noqa: S608 - a number
        path = "/query?" + urllib.parse.urlencode({"db": Influx(url=self.url).database, "q": query})
        try:
            return b'"values"' in await asyncio.to_thread(_get, self._port, path)
        except (OSError, http.client.HTTPException):
            return False

    def settings(self) -> dict[str, object]:
        """Return the `[historian.influx]` table of the overlay."""
        return {"version": 1, "url": self.url}

    @staticmethod
    def settings_of(url: str) -> dict[str, object]:
        """Return the same table for a server elsewhere: `http://host:8086/?org=..&bucket=..&token_file=..` for 2 and 3.

        Raises:
            StartError: the address can't be read.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StartError(f"--influx {url}: write it as http://HOST:PORT, or http://HOST:PORT/?org=O&bucket=B")
        given = dict(urllib.parse.parse_qsl(parts.query))
        version = int(given.get("version", 2 if "bucket" in given else 1))
        taken = ("database", "org", "bucket", "token_file", "user", "password_file")
        known: dict[str, object] = {key: given[key] for key in taken if key in given}
        return {"version": version, "url": f"{parts.scheme}://{parts.netloc}", **known}

    def command(self) -> Command:
        """Write the configuration and return the command that runs it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "influxdb.conf"
        config.write_text(_CONFIG.format(folder=self._folder, port=self._port, rpc=self._rpc))

        async def answers() -> bool:
            await asyncio.to_thread(_get, self._port, "/ping")
            return True

        return Command(name=INFLUX, argv=(self._program, "-config", str(config)), probe=answers)


def _get(port: int, path: str) -> bytes:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        link.request("GET", path)
        return link.getresponse().read()
    finally:
        link.close()
