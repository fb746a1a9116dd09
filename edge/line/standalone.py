"""`python -m edge.runtime --models-dir DIR`: inference and an OPC UA server without a device folder of one's own.

A pipeline is made for each model of DIR from its contract: frames of a stream named like the model, or windows of the
source `plant` with the contract's channels as tags. The device folder that results lies in `.plantedge/standalone`;
copy it to begin one of your own. Without `--broker` a mosquitto is started with it, and the accounts to publish with
are in its credentials file. Results are read there (`inference/+`) or by OPC UA.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from bus.broker_ladder import find_broker
from bus.mosquitto import free_port
from edge.config.files import DEVICE_FILE
from edge.config.held import keep
from edge.config.overlay import to_toml
from edge.host.ports import insist, is_free
from edge.line.device_broker import CREDENTIALS, broker_command, broker_settings, write_accounts
from edge.line.plan import BROKER, accounts, process_commands
from edge.models.contract import CONTRACT_FILE, Contract, newest_version
from edge.process import serve
from edge.processes import OPCUA, RUNTIME
from edge.settings import load_settings
from edge.supervision.run_state import work_folder
from edge.supervision.supervisor import Supervisor
from schemas.errors import ContractError, PlantEdgeError, StartError
from schemas.topics import DECISION, FRAME, READING, RESULT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bus.broker_program import BrokerProgram
    from edge.settings import Settings
    from edge.supervision.child import Command

log = logging.getLogger(__name__)
LANE: Final = "bulk"
SOURCE: Final = "plant"
DEADLINE_MS: Final = 1000.0
START_S: Final = 15.0
_GOOD_LABELS: Final = frozenset({"ok", "good", "normal", "pass"})
_TAG_COLUMNS: Final = "name,address,type,access,group,unit"
_MQTT_PORT: Final = 1883


@dataclass(frozen=True)
class Given:
    """What the command line says; `broker` is (host, port), None to start one."""

    models: Path
    opc_ua: str
    broker: tuple[str, int] | None
    watch: bool = False


def read_models(folder: Path) -> list[Contract]:
    """Return the contract of each model's newest version.

    Raises:
        ContractError: a folder that does not keep its contract, or no model at all.
    """
    models = sorted({path.parent.parent for path in folder.glob(f"*/*/{CONTRACT_FILE}")})
    if not models:
        raise ContractError([f"{folder}: holds no model; put one there as <name>/<version>/{CONTRACT_FILE}"])
    found: list[Contract] = []
    problems: list[str] = []
    for model in models:
        try:
            found.append(Contract.load(model / newest_version(model)))
        except ContractError as error:
            problems += error.problems
    if problems:
        raise ContractError(problems)
    return found


def derived(contracts: Iterable[Contract], given: Given, broker: dict[str, object]) -> dict[str, object]:
    """Return the settings that serve these models."""
    pipelines = {contract.name: _pipeline(contract) for contract in contracts}
    frames = [name for name, pipeline in pipelines.items() if "frames" in pipeline["input"]]
    windows = {c.name: (c.inputs[0].sample_s or 1.0) * 1e3 for c in contracts if c.name not in frames}
    settings: dict[str, object] = {
        "device": {"site": "local", "line": "local", "node": "edge"},
        "broker": broker,
        "runtime": {"folder": str(given.models.resolve()), "watch": given.watch},
        "opcua": {
            "endpoint": given.opc_ua,
            "anonymous": True,
            "any_client": True,
        },  # nothing can be written: there is no PLC
        "cameras": {name: {"driver": "folder", "address": "."} for name in frames},  # not started: others publish
        "pipelines": pipelines,
    }
    if windows:
        settings["sources"] = {SOURCE: {"driver": "modbus", "tags": "tags.csv", "groups": windows}}
    return settings


def _pipeline(contract: Contract) -> dict[str, dict[str, object]]:
    tensor, output = contract.inputs[0], contract.outputs[0]
    given: dict[str, object] = {"frames": contract.name}
    if len(tensor.shape) == 3:  # [N, samples, tags]; pictures have four axes
        tags = [channel.name for channel in tensor.channels]
        given = {"source": SOURCE, "group": contract.name, "tags": tags, "length": tensor.shape[1]}
    rule: dict[str, object] = {"threshold": output.alarm_at if output.alarm_at is not None else 0.5}
    if contract.kind == "classifier" and _GOOD_LABELS & set(output.labels):
        rule["reject"] = [label for label in output.labels if label not in _GOOD_LABELS]
    plain: dict[str, object] = {
        "lane": LANE, "model": contract.name, "deadline_ms": DEADLINE_MS, "event": contract.kind == "anomaly",
        "max_batch_size": min(max(contract.warm_batches), 256),
    }  # fmt: skip
    return cast("dict[str, dict[str, object]]", plain) | {"input": given, "decision": rule}


def tag_list(contracts: Iterable[Contract]) -> str:
    """Return the tags that the window models name, each once, for the OPC UA server's address space."""
    rows: dict[str, str] = {}
    for contract in contracts:
        if len(contract.inputs[0].shape) == 3:
            for channel in contract.inputs[0].channels:
                address = f"ir:{2 * len(rows)}"
                rows.setdefault(channel.name, f"{channel.name},{address},float32,r,{contract.name},{channel.unit}")
    return "\n".join([_TAG_COLUMNS, *rows.values()]) + "\n"


def write_home(home: Path, given: Given, program: BrokerProgram | None = None) -> Settings:
    """Make the device folder anew; the broker's accounts of an earlier run stay.

    Raises:
        PlantEdgeError: the models, or settings that come of them, can't be used.
    """
    contracts = read_models(given.models)
    home.mkdir(parents=True, exist_ok=True)
    for old in ("state", "run/broker/data"):
        shutil.rmtree(home / old, ignore_errors=True)
    if given.broker:
        broker: dict[str, object] = {"host": given.broker[0], "port": given.broker[1]}
    else:
        broker = broker_settings(home, _MQTT_PORT if is_free(_MQTT_PORT) else free_port(), program)
    (home / "tags.csv").write_text(tag_list(contracts), encoding="utf-8")
    first = (
        "# Made by `python -m edge.runtime --models-dir` from the contracts of the models; made anew at each start.\n"
    )
    (home / DEVICE_FILE).write_text(first + to_toml(derived(contracts, given, broker)), encoding="utf-8")
    settings = load_settings(home)
    keep(home, settings)
    return settings


async def run(given: Given, work: Path) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        PlantEdgeError: something did not come up; the message says what to do.
    """
    home = work / "device"
    program = None if given.broker else await asyncio.to_thread(find_broker, work, say=print, amqtt=True)
    settings = write_home(home, given, program)
    async with Supervisor(work, home) as supervisor:
        commands: list[Command] = []
        if program:
            write_accounts(home / CREDENTIALS, settings.place, accounts(settings))
            commands.append(broker_command(program, home, settings.broker.port))
            supervisor.apply(commands)
            if not await supervisor.until(lambda: supervisor.ready(BROKER), START_S):
                raise StartError(f"the broker did not come up; see {work / 'log' / 'broker.log'}")
        children = process_commands(home, settings, after=tuple(command.name for command in commands))
        supervisor.apply([*commands, *(child for child in children if child.name == OPCUA.identity())])
        _say(settings, home)
        await serve(RUNTIME, LANE, home)


def _say(settings: Settings, home: Path) -> None:
    """Tell what goes where."""
    broker = settings.broker
    print(f"broker   mqtt://{broker.host}:{broker.port}" + (f"  accounts in {home / CREDENTIALS}" if broker.credentials
                                                             else ""))  # fmt: skip
    print(f"OPC UA   {settings.opcua.endpoint}")
    for name, pipeline in settings.pipelines.items():
        rows = (READING, SOURCE) if hasattr(pipeline.input, "source") else (FRAME, name)
        taken = rows[0].name(settings.place, **{"source" if rows[0] is READING else "stream": rows[1]})
        answers = ", ".join(row.name(settings.place, pipeline=name) for row in (RESULT, DECISION))
        print(f"model    {name}: {taken} -> {answers}", flush=True)


def _given(arguments: list[str] | None) -> Given:
    parser = argparse.ArgumentParser(prog="python -m edge.runtime", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--models-dir", type=Path, required=True, help="holds <name>/<version>/model.onnx, model.toml")
    parser.add_argument("--opc-ua-endpoint", default="opc.tcp://127.0.0.1:4840", help="where the OPC UA server listens")
    parser.add_argument("--broker", default="", help="mqtt://HOST:PORT of a broker that is there; anonymous")
    parser.add_argument("--watch", action="store_true", help="load versions as they are put there or changed")
    found = parser.parse_args(arguments)
    opc_ua, broker = urlsplit(cast(str, found.opc_ua_endpoint)), urlsplit(cast(str, found.broker))
    try:
        address = (broker.hostname or "127.0.0.1", broker.port or _MQTT_PORT) if found.broker else None
        listens = opc_ua.port or 0
    except ValueError as error:
        parser.error(str(error))
    if opc_ua.scheme != "opc.tcp" or not listens:
        parser.error(f"--opc-ua-endpoint {found.opc_ua_endpoint}: write opc.tcp://HOST:PORT")
    if found.broker and (broker.scheme != "mqtt" or broker.username or broker.password):
        parser.error("--broker: write mqtt://HOST:PORT; a password has no place in a command line")
    return Given(cast(Path, found.models_dir), cast(str, found.opc_ua_endpoint), address, cast(bool, found.watch))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m edge.runtime`."""
    import uvloop  # the runtime's loop

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    given = _given(arguments)
    try:
        port = urlsplit(given.opc_ua).port or 0
        insist(port, "the OPC UA server", "stop it, or choose another one by --opc-ua-endpoint")
        uvloop.run(run(given, work_folder() / "standalone"))
    except PlantEdgeError as error:
        print(f"edge.runtime: {error}", file=sys.stderr)
        return 1
    return 0
