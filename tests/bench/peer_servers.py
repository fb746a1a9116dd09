"""How each peer of `bench serve` is run: in its best form that was found, on loopback, with one thread per model.

What was tried (requests a second with 1 and 16 in flight, real-time class, 2 cores): MLServer in the server's own
process 891 and 1404, with 1 worker 350 and 1278, with 2 346 and 1456; LitServe with 1 worker 850 and 1657, with 2 691
and 1354, its two queues alike; BentoML with 1 worker 1627 and 1493, with 2 1662 and 3154, without uvloop and httptools
924 and 2092.
"""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from schemas.topics import DECISION, FRAME, RESULT
from tests.bench.clients import Client
from tests.bench.line import mqtt_client
from tests.bench.peer_install import PEERS, Absent, node_peers, python_peer
from tests.conftest import bind_free_port
from tests.device import Device

START_S = 60.0
PYTHON, NODE = "python", "node"
OCTETS = "Content-Type: application/octet-stream\r\n"


@dataclass(frozen=True)
class Ground:
    """What all are given: the same model file, the same pictures, a scratch folder, and the device with its broker."""

    model: Path
    images: Path
    folder: Path
    device: Device
    console: Console


class Server:
    """A running peer and its client."""

    def __init__(self, command: list[str], ground: Ground, name: str, env: dict[str, str], told: str = "") -> None:
        """Start it; `told` goes to its stdin."""
        self._log = ground.folder / f"{name}.log"
        self.client: Client
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                command, cwd=ground.folder, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | env,
            )  # fmt: skip
        assert self._child.stdin
        if told:
            self._child.stdin.write(told.encode() + b"\n")
            self._child.stdin.flush()

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until it serves.

        Raises:
            Absent: it ended, or it does not.
        """
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._child.poll() is not None:
                raise Absent(f"it ended with status {self._child.returncode}: {self.said()}")
            if ready():
                return
            time.sleep(0.1)
        raise Absent(f"it did not serve within {START_S:g} s: {self.said()}")

    def said(self) -> str:
        """Return the last line that it has said."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def log_has(self, text: str) -> bool:
        """Return whether it has said so."""
        return text in self._log.read_text(errors="replace")

    def family(self) -> list[int]:
        """Return its processes."""
        try:
            return [self._child.pid, *(child.pid for child in psutil.Process(self._child.pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """End it and all that it has started."""
        if hasattr(self, "client"):
            self.client.close()
        family = self.family()
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        with self._child:  # its pipe, too
            self._child.wait(5)


@dataclass(frozen=True)
class Peer:
    """One row: its name in table and JSON, what it runs on, and how it is started."""

    name: str
    kind: str
    start: Callable[[Ground], Server]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _started(server: Server, ready: Callable[[], bool], client: Callable[[], Client]) -> Server:
    try:
        server.wait(ready)
        server.client = client()
    except BaseException:
        server.close()
        raise
    return server


def _mlserver(ground: Ground) -> Server:
    """The V2 protocol over gRPC, without metrics, logs and workers."""
    binaries = python_peer("mlserver", ground.console)
    folder = ground.folder / "caps"
    folder.mkdir()
    http, port = bind_free_port(), bind_free_port()
    settings = {
        "debug": False, "host": "127.0.0.1", "http_port": http, "grpc_port": port, "metrics_endpoint": None,
        "parallel_workers": 0, "gzip_enabled": False,
    }  # fmt: skip
    model = {"name": "caps", "implementation": "mlserver_model.Caps", "parameters": {"uri": str(ground.model)}}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    server = Server([str(binaries / "mlserver"), "start", str(folder)], ground, "mlserver", {"PYTHONPATH": str(PEERS)})
    return _started(
        server, lambda: _answers(f"http://127.0.0.1:{http}/v2/models/caps/ready"),
        lambda: Client({"port": port, "images": str(ground.images)},
                       (str(binaries / "python"), str(PEERS / "grpc_client.py"))),
    )  # fmt: skip


def _litserve(ground: Ground) -> Server:
    """A raw body over HTTP, the model in one worker process."""
    python, port = python_peer("litserve", ground.console) / "python", bind_free_port()
    server = Server([str(python), str(PEERS / "litserve_server.py"), str(ground.model), str(port), "1", "zmq"],
                    ground, "litserve", {})  # fmt: skip
    return _started(
        server, lambda: _answers(f"http://127.0.0.1:{port}/health"), lambda: _http(ground, port, "/predict")
    )


def _bentoml(ground: Ground) -> Server:
    """A raw body over HTTP into `@bentoml.api`, two workers, uvloop and httptools beside it."""
    program, port = python_peer("bentoml", ground.console) / "bentoml", bind_free_port()
    env = {
        "MODEL": str(ground.model),
        "WORKERS": "2",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(ground.folder),
    }
    command = [str(program), "serve", "bentoml_service:Caps", "--host", "127.0.0.1", "--port", str(port),
               "--working-dir", str(PEERS)]  # fmt: skip
    server = Server(command, ground, "bentoml", env)
    return _started(
        server, lambda: _answers(f"http://127.0.0.1:{port}/readyz"), lambda: _http(ground, port, "/classify")
    )


def _http(ground: Ground, port: int, path: str) -> Client:
    return Client({"kind": "http", "port": port, "path": path, "headers": OCTETS, "images": str(ground.images)})


def _mqtt_js(ground: Ground, name: str, decides: bool) -> Server:
    """A small service on the device's broker, by its unix socket as ours."""
    node, place = node_peers(ground.console), ground.device.place
    told: dict[str, Any] = asdict(ground.device.address(f"runtime-{name}")) | {
        "name": f"bench-{name}", "model": str(ground.model), "frame": FRAME.name(place, stream=name),
        "decision": DECISION.name(place, pipeline=name) if decides else "", "result": RESULT.name(place, pipeline=name),
    }  # fmt: skip
    server = Server([node.program, str(PEERS / "mqtt_node.js")], ground, name, _node_path(node.folder),
                    json.dumps(told))  # fmt: skip
    return _started(server, lambda: server.log_has("ready"),
                    lambda: mqtt_client(ground.device, ground.images, name, name))  # fmt: skip


def _node_red(ground: Ground) -> Server:
    """A flow of mqtt in, one function node, mqtt out; its broker node speaks TCP."""
    node, place = node_peers(ground.console), ground.device.place
    address, home = ground.device.address("runtime-nodered"), ground.folder / "node-red"
    home.mkdir()
    flow = (PEERS / "node_red_flow.json").read_text()
    for name, value in {"$PORT": str(address.port), "$FRAME": FRAME.name(place, stream="nodered"),
                        "$RESULT": RESULT.name(place, pipeline="nodered")}.items():  # fmt: skip
        flow = flow.replace(name, value)
    (home / "flows.json").write_text(flow)
    credentials = home / "flows_cred.json"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({"broker": {"user": address.username, "password": address.password}}))
    program = node.folder / "node_modules" / "node-red" / "red.js"
    env = _node_path(node.folder) | {"MODEL": str(ground.model), "PORT": str(bind_free_port()), "HOME": str(home)}
    server = Server([node.program, str(program), "--userDir", str(home), "--settings",
                     str(PEERS / "node_red_settings.js")], ground, "node_red", env)  # fmt: skip
    return _started(server, lambda: server.log_has("Connected to broker") and server.log_has("ready"),
                    lambda: mqtt_client(ground.device, ground.images, "nodered", "nodered"))  # fmt: skip


def _node_path(folder: Path) -> dict[str, str]:
    return {"NODE_PATH": str(folder / "node_modules"), "NODE_ENV": "production"}


PEER_ROWS = (
    Peer("MLServer", PYTHON, _mlserver),
    Peer("LitServe", PYTHON, _litserve),
    Peer("BentoML", PYTHON, _bentoml),
    Peer("mqtt.js + onnxruntime-node", NODE, lambda ground: _mqtt_js(ground, "node", decides=False)),
    Peer("mqtt.js, what we send", NODE, lambda ground: _mqtt_js(ground, "node2", decides=True)),
    Peer("Node-RED", NODE, _node_red),
)
USERS = ("runtime-node", "runtime-node2", "runtime-nodered")
