"""`python -m edge.runtime --models-dir`: models served without a device folder."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import asynccontextmanager, contextmanager

import numpy as np
import pytest

from bus import Address
from bus.hot import HotBus
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from edge.host.clock import boot_id
from edge.line.standalone import Given, read_models, write_home
from edge.settings import load_settings
from schemas.errors import ContractError
from schemas.messages import Frame, Verdict
from schemas.topics import FRAME, RESULT, Place
from tests.device import ROOT, User
from tests.edge.small_models import LENGTH, SHAPE, TAGS, write_anomaly, write_classifier

pytestmark = pytest.mark.slow


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "edge.runtime", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PLANTEDGE_DIR": str(folder / "work")},
    )  # fmt: skip


async def line_of(child, begins):
    """The first line of what a process says that begins so."""
    async with asyncio.timeout(30):
        while line := await asyncio.to_thread(child.stdout.readline):
            if line.startswith(begins):
                return line
    raise AssertionError(f"it ended without a line {begins!r}")


@contextmanager
def standalone(folder, *arguments):
    """The command, ended by SIGTERM: it must end well."""
    child = start(folder, *arguments)
    try:
        yield child
        child.send_signal(signal.SIGTERM)
        assert child.wait(15) == 0
    finally:
        child.kill()
        child.wait(5)
        child.stdout.close()


@pytest.mark.slow
async def test_models_of_a_folder_answer_frames_and_are_seen_in_opc_ua(tmp_path):
    write_classifier(tmp_path / "models")
    write_anomaly(tmp_path / "models")
    opcua = f"opc.tcp://127.0.0.1:{free_port()}"
    with standalone(tmp_path, "--models-dir", str(tmp_path / "models"), "--opc-ua-endpoint", opcua) as child:
        assert "frame/caps" in await line_of(child, "model    caps")
        home = tmp_path / "work" / "standalone" / "device"
        settings = load_settings(home)
        passwords = json.loads((home / settings.broker.credentials).read_text())

        def address(user):
            return Address(port=settings.broker.port, username=user, password=passwords[user])

        async with _answered(address("camera-caps"), address("historian"), settings.place):
            assert (await _in_opc_ua(opcua, "local/local/edge/Pipelines/caps/ResultId", tmp_path)).startswith("caps-1-")
    with pytest.raises(OSError, match="refused"):
        probe(Address(port=settings.broker.port))


@pytest.mark.slow
async def test_a_broker_that_is_there_is_used(tmp_path):
    write_classifier(tmp_path / "models")
    port = free_port()
    address = Address(port=port)
    with BrokerProcess(find_broker(tmp_path, allow_install=False)) as broker:
        broker.start(f"listener {port} 127.0.0.1\nallow_anonymous true\n", tmp_path / "broker", address)
        given = ("--broker", f"mqtt://127.0.0.1:{port}", "--opc-ua-endpoint", f"opc.tcp://127.0.0.1:{free_port()}")
        with standalone(tmp_path, "--models-dir", str(tmp_path / "models"), *given) as child:
            assert f":{port}" in await line_of(child, "broker")
            async with _answered(address, address, Place("local", "local", "edge")):
                pass


@asynccontextmanager
async def _answered(camera, historian, place):
    """White pictures all the while, of which one at least was answered rightly."""
    async with HotBus(camera, "camera-test") as shooter, HotBus(historian, "historian-test") as reader:
        results = await User(reader, place).hear(RESULT)
        shooting = asyncio.create_task(_shoot(User(shooter, place)))
        try:
            result = await results.until(lambda result: result.outcome == "result", within_s=20)
            assert (result.verdict, result.label) == (Verdict.NOK, "bad")
            yield
        finally:
            shooting.cancel()


async def _shoot(camera):
    """White pictures, until cancelled: the model is loaded some time, and OPC UA looks some time."""
    white = memoryview(np.full(SHAPE, 255, np.uint8).tobytes())
    for seq in itertools.count(1):
        frame = Frame(
            stream="caps", part_id=seq, boot=boot_id(), trigger_ns=time.monotonic_ns(), time_ns=0, shape=SHAPE,
            dtype="uint8", data=white, epoch=1, seq=seq,
        )  # fmt: skip
        camera.say(FRAME, frame, stream="caps")
        await asyncio.sleep(0.05)


async def _in_opc_ua(endpoint, path, folder):
    probing = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge.opcua_server.probe", endpoint, path, "--folder", folder / "client",
        "--timeout", "30", cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    said, _ = await probing.communicate()
    return said.decode().strip()


def test_a_folder_without_models_is_refused_with_what_to_put_there(tmp_path):
    child = start(tmp_path, "--models-dir", str(tmp_path), "--opc-ua-endpoint", f"opc.tcp://127.0.0.1:{free_port()}")
    said, _ = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "holds no model; put one there as <name>/<version>/model.toml" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--opc-ua-endpoint", "http://x:1"), "write opc.tcp://HOST:PORT"),
        (("--broker", "mqtt://user:word@x"), "a password has no place in a command line"),
    ],
)
def test_arguments_that_make_no_sense_are_explained(tmp_path, arguments, says):
    child = start(tmp_path, "--models-dir", str(tmp_path), *arguments)
    said, _ = child.communicate(timeout=30)
    assert child.returncode == 2
    assert says in said


def test_settings_are_derived_from_the_contracts(tmp_path):
    write_classifier(tmp_path / "models", version="9")
    write_classifier(tmp_path / "models", version="10")
    write_anomaly(tmp_path / "models", sample_s=0.2)
    given = Given(tmp_path / "models", "opc.tcp://0.0.0.0:4840", ("10.0.0.7", 1884))
    settings = write_home(tmp_path / "home", given)
    assert [contract.version for contract in read_models(given.models)] == ["10", "1"]
    caps, drift = settings.pipelines["caps"], settings.pipelines["drift"]
    assert (caps.input.frames, caps.decision.reject, caps.max_batch_size) == ("caps", ["bad"], 4)
    assert (drift.input.tags, drift.input.length, drift.decision.threshold) == (list(TAGS), LENGTH, 1.0)
    assert settings.sources["plant"].groups == {"drift": 200.0}
    assert (settings.broker.host, settings.broker.port, settings.broker.credentials) == ("10.0.0.7", 1884, "")
    assert tomllib.loads((tmp_path / "home" / "device.toml").read_text())["opcua"]["endpoint"] == given.opc_ua


def test_every_broken_model_is_told_at_once(tmp_path):
    for name in ("one", "two"):
        (write_classifier(tmp_path, name) / "model.onnx").write_bytes(b"cut")
    with pytest.raises(ContractError) as error:
        read_models(tmp_path)
    assert len(error.value.problems) == 2
