"""Drives node-opcua, a client that shares no code with asyncua: tests/peers/opcua_conformance.js, a line a request."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "peers" / "opcua_conformance.js"
ANSWER_S = 40.0


class Refused(Exception):
    """What the client was told instead of an answer."""


class NodeOpcua:
    """One process of node-opcua, with as many clients, sessions and subscriptions as a test names."""

    def __init__(self, modules: Path, home: Path) -> None:
        """Start it; `home` keeps what it writes about certificates."""
        self._log = (home / "node-opcua.log").open("ab")
        self._child = subprocess.Popen(
            ["node", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=os.environ | {"NODE_PATH": str(modules), "HOME": str(home)},
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    def stop(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait(5)
        for stream in (self._child.stdin, self._child.stdout, self._log):
            if stream is not None:
                stream.close()

    async def __call__(self, do: str, *, within_s: float = ANSWER_S, **asked: object) -> Any:
        """Ask for one thing; raises Refused with the client's own words."""
        try:
            async with asyncio.timeout(within_s):
                answer = await asyncio.to_thread(self._ask, {"do": do} | asked)
        except TimeoutError:
            self._child.kill()
            raise
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]

    def _ask(self, asked: dict[str, object]) -> Any:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(asked).encode() + b"\n")
        self._child.stdin.flush()
        while line := self._child.stdout.readline():
            if line.startswith((b'{"ok"', b'{"error"')):
                return json.loads(line)
        raise AssertionError("node-opcua has ended")
