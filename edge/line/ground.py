"""What one `plantedge up` stands on: folders, settings with the ports of this machine, the broker's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bus.broker_ladder import find_broker
from bus.broker_program import BrokerProgram
from edge.config.boards import board_of
from edge.config.files import DEVICE_FILE, OVERLAY_FILE, read_settings
from edge.config.held import keep
from edge.config.overlay import write_overlay
from edge.config.tree import merged
from edge.host.ports import PortChoice, insist
from edge.line.demo import PLANT, DemoPorts, choose_ports, copy_demo, demo_overlay, plant_command
from edge.line.device_broker import CREDENTIALS, broker_command, broker_settings, write_accounts
from edge.line.influx_server import INFLUX, InfluxServer
from edge.line.local_fleet import FLEET, LocalFleet
from edge.line.plan import BROKER, accounts, process_commands
from edge.line.timeline import Say
from edge.settings import Hmi, Settings
from edge.supervision.child import Command


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person asked `plantedge up` for. No `home`: the demo line, whose reset nobody presses if `manual_rearm`.

    `settings`: over those of the device's files, for this run.
    """

    home: Path | None = None
    for_s: float | None = None
    plain: bool = False
    report: Path | None = None
    parts_per_s: float = 20.0
    fleet: bool = True
    influx: str = ""
    influx_local: bool = False
    watch: bool = False
    manual_rearm: bool = False
    settings: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where and with what a device runs. `demo` and `fleet` are None for a device of its own."""

    work: Path
    home: Path
    settings: Settings
    port: int
    own_broker: bool
    demo: DemoPorts | None = None
    fleet: LocalFleet | None = None
    influx: InfluxServer | None = None
    parts_per_s: float = 20.0
    manual_rearm: bool = False
    overlay: Mapping[str, object] = field(default_factory=dict[str, object])
    warning: str = ""  # what this broker can't do
    operators: str = ""  # the demo's link to the operators' page

    def outside(self) -> list[Command]:
        """Return what stands beside the device: its plant, its fleet, an InfluxDB."""
        found: list[Command] = []
        if self.demo:
            found.append(plant_command(self.work, self.demo, self.parts_per_s, self.manual_rearm))
        if self.fleet:
            found.append(self.fleet.command())
        if self.influx:
            found.append(self.influx.command())
        return found

    def inside(self, program: BrokerProgram | None) -> list[Command]:
        """Return the device itself; writes its broker's files."""
        beside = ((PLANT, self.demo), (FLEET, self.fleet), (INFLUX, self.influx))
        outlives = tuple(name for name, there in beside if there)
        if program is None:
            return process_commands(self.home, self.settings, (), outlives)
        write_accounts(self.home / CREDENTIALS, self.settings.place, accounts(self.settings))
        board = board_of(self.settings.device.hardware)
        broker = broker_command(program, self.home, self.port, board.cpus(BROKER) if board else ())
        return [broker, *process_commands(self.home, self.settings, before=outlives)]

    def find_broker(self, say: Say) -> BrokerProgram | None:
        """Return the broker's program, None where the device has a broker of its own."""
        return find_broker(self.work, say=say, amqtt=True) if self.own_broker else None

    def on(self, program: BrokerProgram | None, say: Say) -> Ground:
        """Return the ground for this broker: with amqtt other settings, and no fleet service."""
        if program is None or program.kind == "mosquitto":
            return self
        overlay = dict(self.overlay) | {"broker": broker_settings(self.home, self.port, program)}
        if self.fleet:
            say("          left out: the fleet service, whose own broker has to be a mosquitto")
            overlay.pop("uplink")
        write_overlay(self.home, overlay)
        return replace(self, settings=_kept(self.home), fleet=None, overlay=overlay, warning=program.warning)


def lay(options: Options, work: Path, ports: PortChoice, say: Say) -> Ground:
    """Read the settings, choose ports, and write the overlay.

    Raises:
        SettingsError: every problem of the device's files.
        StartError: a port that somebody chose is taken.
    """
    home = options.home.resolve() if options.home else copy_demo(work / "demo" / "device")
    lift(home)  # of an earlier run that was killed: its ports may be taken now
    settings = _examined(home, say) if options.home else read_settings(home)
    demo = None if options.home else choose_ports(ports)
    fleet = LocalFleet(work, ports) if options.fleet and demo else None
    influx = InfluxServer(work) if options.influx_local else None
    own_broker = not settings.broker.credentials
    port = demo.broker if demo else _device_port(settings, own_broker, ports)
    overlay: dict[str, object] = demo_overlay(demo) if demo else {}
    if own_broker:
        overlay = merged(overlay, {"broker": broker_settings(home, port)})
    if not demo:
        overlay["monitor"] = {"port": _monitor_port(settings, ports)}
        if settings.hmi is not None:
            overlay["hmi"] = {"port": _hmi_port(settings.hmi, ports)}
    if options.watch:
        overlay["runtime"] = {"watch": True}
    if fleet:
        overlay["uplink"] = fleet.uplink_settings()
    if influx:
        overlay["historian"] = {"influx": influx.settings()}
    elif options.influx:
        overlay["historian"] = {"influx": InfluxServer.settings_of(options.influx)}
    overlay = merged(overlay, options.settings)
    write_overlay(home, overlay)
    for name, (usual, chosen) in {**(demo.moved if demo else {}), **(fleet.moved if fleet else {})}.items():
        say(f"          port {usual} is taken; {name} is on {chosen}")
    kept = _kept(home)
    return Ground(
        work=work, home=home, settings=kept, port=port, own_broker=own_broker, demo=demo, fleet=fleet,
        influx=influx, parts_per_s=options.parts_per_s, manual_rearm=options.manual_rearm, overlay=overlay,
        operators=_operators(home, kept) if demo else "",
    )  # fmt: skip


def lift(home: Path) -> None:
    """Remove the overlay: without `up`, and under systemd, the device is what its files say."""
    (home / OVERLAY_FILE).unlink(missing_ok=True)


def again(ground: Ground) -> Ground:
    """Return the ground with the settings as they are now.

    Raises:
        SettingsError: they can't be used; what runs goes on with the old ones.
    """
    return replace(ground, settings=_kept(ground.home))


def _device_port(settings: Settings, own_broker: bool, ports: PortChoice) -> int:
    """Return the broker's port: the one that a person wrote must be free, the default may move."""
    port = settings.broker.port
    if not own_broker:
        return port
    if "port" in settings.broker.model_fields_set:
        insist(port, f"the broker ({DEVICE_FILE}, broker.port)", "stop it, or write another port there")
    opcua = settings.opcua.endpoint.rpartition(":")[2].partition("/")[0]
    if opcua.isdigit():
        insist(int(opcua), f"the OPC UA server ({DEVICE_FILE}, opcua.endpoint)", "stop it, or write another one there")
    return ports.choose(port)


def _monitor_port(settings: Settings, ports: PortChoice) -> int:
    """Return where metrics and health are served: the port that a person wrote must be free, the default may move."""
    port = settings.monitor.port
    if "port" not in settings.monitor.model_fields_set:
        return ports.choose(port)
    insist(port, f"the monitor ({DEVICE_FILE}, monitor.port)", "stop it, or write another port there")
    return port


def _hmi_port(hmi: Hmi, ports: PortChoice) -> int:
    """Return where the operators' page is served, by the same rule."""
    if "port" not in hmi.model_fields_set:
        return ports.choose(hmi.port)
    insist(hmi.port, f"the operators' page ({DEVICE_FILE}, hmi.port)", "stop it, or write another port there")
    return hmi.port


def _operators(home: Path, settings: Settings) -> str:
    """Return a link that logs a person in: the demo has no users' file."""
    from edge.commands.operator_page import login_link  # it asks us where the page is

    return login_link(home, settings) if settings.hmi is not None else ""


def _kept(home: Path) -> Settings:
    """Read and check a device's settings, and leave them for the processes that don't."""
    settings = read_settings(home)
    keep(home, settings)
    return settings


def _examined(home: Path, say: Say) -> Settings:
    """Return the settings of a device of one's own, whose tag lists and models nobody has looked at yet."""
    from edge.config.contents import missing_models  # it imports drivers and numpy, which the demo need not wait for

    settings = read_settings(home, with_contents=True)
    for warning in missing_models(settings, home):
        say(f"warning   {warning}")
    return settings
