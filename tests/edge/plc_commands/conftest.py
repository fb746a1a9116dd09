"""`plantedge plc` as a person runs it, and a plant of one's own with all its faces."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.cli import make_parser
from edge.commands.plc.arguments import look
from schemas.errors import PlantEdgeError
from tests.conftest import ROOT


@dataclass(frozen=True)
class Ended:
    """What a command said."""

    status: int
    out: str
    err: str

    def rows(self) -> dict[str, list[str]]:
        """The cells of each line of a table (two spaces are between two), by the first."""
        found = [[cell for cell in line.split("  ") if cell.strip()] for line in self.out.splitlines()]
        return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in found if cells}


Plc = Callable[..., Ended]


@pytest.fixture
def plc(capsys: pytest.CaptureFixture[str]) -> Plc:
    """Run `plantedge plc` here: its arguments as a person types them."""

    def run(*words: object) -> Ended:
        given = make_parser().parse_args(["plc", *map(str, words)])
        capsys.readouterr()
        try:
            status = look(given)
        except PlantEdgeError as error:  # as edge.cli says it
            print(f"plantedge plc: {error}", file=sys.stderr)
            status = 1
        out, err = capsys.readouterr()
        return Ended(status, out, err)

    return run


def plantedge(*words: object, **env: str) -> list[object]:
    """The words that start `plantedge` as a process."""
    return [sys.executable, "-P", "-m", "edge.cli", *words]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A plant with all its faces, and the URL of each; it stands still but for its process values."""
    folder = tmp_path_factory.mktemp("plant")
    serial = folder / "tty"
    argv = [
        *plantedge("sim", "plant", "--modbus-port", "0", "--camera-port", "0", "--s7-port", "0"),
        "--ethernetip-port", "0", "--rtu", str(serial), "--parts-per-s", "5",
    ]  # fmt: skip
    env = {**os.environ, "PLANTEDGE_DIR": str(folder / "work")}
    with subprocess.Popen([str(word) for word in argv], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            ports = json.loads(child.stdout.readline())
            urls = {name: f"{name}://127.0.0.1:{ports[f'{name}_port']}" for name in ("modbus", "s7", "ethernetip")}
            yield urls | {"modbus_rtu": f"modbus_rtu://{serial}"}
        finally:
            child.terminate()


DEMO = Path(ROOT) / "edge/sim/demo"
LISTS = {
    "modbus": "plant.csv",
    "modbus_rtu": "plant-rtu.csv",
    "s7": "plant-s7.csv",
    "ethernetip": "plant-ethernetip.csv",
}
