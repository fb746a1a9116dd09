"""Debian's influxd for tests and benchmarks: it can be stopped, and started again on the same data."""

import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bus.mosquitto import free_port

WAIT_S = 20.0


@dataclass
class Influx:
    """One server, on ports of its own."""

    program: Path
    folder: Path
    port: int = field(default_factory=free_port)
    rpc: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        config = self.folder / "influxdb.conf"
        config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{self.rpc}"\n[meta]\ndir = "{self.folder}/meta"\n'
            f'[data]\ndir = "{self.folder}/data"\nwal-dir = "{self.folder}/wal"\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        )
        with (self.folder / "influxd.log").open("ab") as log:
            self.process = subprocess.Popen([self.program, "-config", config], stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, (self.folder / "influxd.log").read_text()[-2000:]
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process:
            self.process.terminate()
            self.process.wait(WAIT_S)
            self.process = None

    def query(self, text: str) -> list[Any]:
        """Return the values of the first series of an InfluxQL query, [] without one."""
        asked = urllib.parse.urlencode({"db": "plantedge", "q": text, "epoch": "ns"})
        with urllib.request.urlopen(f"{self.url}/query?{asked}", timeout=10) as answer:
            series = json.load(answer)["results"][0].get("series", [])
        return list(series[0]["values"]) if series else []

    def count(self) -> int:
        """Return how many results it holds."""
        rows = self.query("select count(result_id) from result")
        return int(rows[0][1]) if rows else 0
