"""A device's settings: `device.toml`, `pipelines/*.toml`, and the sections that the agent holds over them.

A device folder ("home") holds `device.toml`, `tags/`, `pipelines/`, `models/<name>/<version>/`, `identity/` and
`state/` (the agent's, historian's and uplink's own files). `load_settings` reports every problem at once.
Paths in settings are relative to the home.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from bus import MqttVersion
from edge.config.held import HELD, held_settings
from edge.config.pipeline import Pipeline
from edge.config.section import Field, Milliseconds, Options, Port, Section, Slug, model_validator
from schemas.topics import Place

MONITOR_PORT = 8002  # Triton's for metrics
HMI_PORT = 8003


class Device(Section):
    """Where the device stands and what it is."""

    site: Slug
    line: Slug
    node: Slug
    hardware: Annotated[str, Field(pattern=r"^[a-z0-9_.+-]{0,64}$")] = "generic"


class Broker(Section):
    """The device's own broker. `credentials`: JSON of user -> password; `socket` wins over host and port.

    `mqtt`: the version that it speaks; with 3.1.1 there are no writes and no configuration by request.
    """

    host: str = "127.0.0.1"
    port: Port = 1883
    socket: str = ""
    credentials: str = ""
    mqtt: MqttVersion = "5"


class Source(Section):
    """A PLC or gateway: `driver` is a file of edge/connectors/. `tags`: a CSV or TOML tag list.

    `groups`: poll group -> period in milliseconds. `options` are the driver's own. `alive`: a tag that the PLC's
    program keeps changing; when it stands still for `alive_ms`, the PLC counts as lost though it answers.
    """

    driver: Slug
    host: str = "127.0.0.1"
    port: Port = 502
    timeout_ms: Milliseconds = 500
    tags: str
    groups: dict[str, Milliseconds]
    alive: str = ""
    alive_ms: Milliseconds = 1000
    options: dict[str, str | int | float | bool] = {}


class Outputs(Section):
    """Where a pipeline's decisions go: tags of one source, `rw` where the device writes them.

    `verdict` is written before `part` and `result_id` (whose change latches it in the PLC). `failsafe` is the verdict
    tag's value for anything but a timely OK. No decision or self-test for `lease_ms`: fail-safe, latched until `rearm`
    reads true. `heartbeat` is advanced every `heartbeat_ms` while the lease holds; the PLC's watchdog watches it. With
    `result_id` the next result is written once the PLC has put the same number into `result_ack`: up to
    `results_waiting` wait, the oldest gives way, and no answer within `ack_timeout_ms` latches the fail-safe.
    `data_valid`: the verdict is the pipeline's, not the fail-safe. A rising `request` of the PLC is answered by `busy`,
    then `done`, with `error` where no decision came within `request_timeout_ms` or the fail-safe stands in. While the
    PLC's `manual` reads true, the outputs are the operator's.
    """

    source: Slug
    verdict: str
    part: str = ""
    failsafe: bool = True
    armed: str = ""
    rearm: str = ""
    heartbeat: str = ""
    heartbeat_ms: Milliseconds = 100
    lease_ms: Milliseconds = 500
    result_id: str = ""
    result_ack: str = ""
    ack_timeout_ms: Milliseconds = 250
    results_waiting: Annotated[int, Field(ge=1, le=256)] = 16
    data_valid: str = ""
    request: str = ""
    busy: str = ""
    done: str = ""
    error: str = ""
    request_timeout_ms: Milliseconds = 1000
    manual: str = ""


class CameraRecipe(Section):
    """What a tag's value changes of a camera while it runs: `choices` are its values, with `exposure` and the like."""

    source: Slug
    tag: str
    choices: Annotated[dict[str, dict[str, float]], Field(min_length=1)]


class Camera(Section):
    """A camera: `driver` is a file of edge/cameras/, `address` its own notation (host:port, folder, device).

    `trigger`, `part`: "SOURCE/TAG", both of one source. A part counter that moves or a bit that rises is a trigger; the
    part's number is the counter, or `part`. `triggered_by`: `plc`, the picture is taken when the tag is read; `wire`,
    the camera has a trigger input, and the tag only says which part it was. `wait_ms`: how long a trigger and its
    picture wait for each other, less than from part to part. `faulty`: a part whose trigger is missed, late or double
    gets a frame that is Bad, so that it is decided fail-safe, or is skipped. `ring_mb`: memory for large pictures.
    """

    driver: Slug
    address: str
    stream: str = ""
    timeout_ms: Milliseconds = 1000
    trigger: str = ""
    part: str = ""
    triggered_by: Literal["plc", "wire"] = "plc"
    wait_ms: Milliseconds = 100
    faulty: Literal["failsafe", "skip"] = "failsafe"
    ring_mb: Annotated[int, Field(ge=0, le=1024)] = 64
    recipe: CameraRecipe | None = None
    options: dict[str, str | int | float | bool] = {}


class Engine(Section):
    """How models run: `engine` is a file of edge/engines/, or `auto` for what `plantedge probe` measured to be best.

    `options`: a table per engine, each engine's own. `watch`: follow changes of `folder`, for development.
    """

    engine: Slug = "cpu"
    options: dict[Slug, Options] = {}
    folder: str = "models"
    watch: bool = False


class OpcUaLimits(Section):
    """What the OPC UA server gives: `subscriptions` to a session, `items` to a subscription, `all_items` to all."""

    connections: Annotated[int, Field(ge=2, le=1000)] = 60
    sessions: Annotated[int, Field(ge=1, le=500)] = 50
    subscriptions: Annotated[int, Field(ge=1, le=100)] = 10
    items: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    all_items: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000


class Machine(Section):
    """The machine's nameplate, as OPC UA shows it under Machines (OPC 40001-1). `product_instance_uri`: the maker's."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    manufacturer: Annotated[str, Field(min_length=1)]
    serial_number: Annotated[str, Field(min_length=1)]
    product_instance_uri: str = ""
    model: str = ""
    year_of_construction: Annotated[int | None, Field(ge=1900, le=9999)] = None
    location: str = ""


class OpcUa(Section):
    """The OPC UA server. `anonymous` lets a client without credentials read (never write).

    `users`: JSON of name -> hash (`plantedge opcua user`). `roles`: name -> what that user or user certificate may do;
    who has none observes. An observer reads, also history; an operator writes `rw` tags too, switches outputs to manual
    and back, and calls; an engineer hears the audit too. `any_client` takes every client's certificate, for trials;
    otherwise `plantedge opcua trust` says which are taken. A folder `pki` is below `state/opcua`.
    """

    endpoint: str = "opc.tcp://127.0.0.1:4840"
    anonymous: bool = False
    any_client: bool = False
    users: str = ""
    roles: dict[str, Literal["observer", "operator", "engineer"]] = {}
    tick_ms: Milliseconds = 100
    limits: OpcUaLimits = OpcUaLimits()
    machine: Machine | None = None


class Influx(Section):
    """An InfluxDB: version 1 takes `database` (and optionally user and password), 2 and 3 take org, bucket, token.

    What piled up during an outage follows beside what comes now, at no more than `backfill_per_s` points a second.
    """

    version: Literal[1, 2, 3] = 1
    url: str
    database: str = "plantedge"
    org: str = ""
    bucket: str = ""
    token_file: str = ""
    user: str = ""
    password_file: str = ""
    timeout_ms: Milliseconds = 5000
    backfill_per_s: Annotated[float, Field(ge=100)] = 10_000.0


class Historian(Section):
    """The local store, and where it is copied to. `evidence_mb`: the ring of what `plantedge replay` reads.

    What was read and decided is kept for `raw_days`, its aggregates by the second for `second_days` and by the minute
    for `minute_days` (windows of insight too), events for `event_days`; all within `quota_mb`, past which the oldest
    readings go first. A new key seals the ring every `evidence_key_days`; the older ones go with what they sealed.
    """

    quota_mb: Annotated[int, Field(ge=16)] = 2048
    raw_days: Annotated[float, Field(gt=0)] = 7.0
    second_days: Annotated[float, Field(gt=0)] = 90.0
    minute_days: Annotated[float, Field(gt=0)] = 365.0
    event_days: Annotated[float, Field(gt=0)] = 365.0
    flush_ms: Milliseconds = 250
    evidence_mb: Annotated[int, Field(ge=4)] = 512
    evidence_key_days: Annotated[float, Field(gt=0)] = 90.0
    influx: Influx | None = None


class Mirror(Section):
    """What MES and SCADA see. `tag_hz` bounds each tag's rate; sinks are files of edge/sinks/."""

    tag_hz: Annotated[float, Field(gt=0, le=10)] = 1.0
    sinks: list[Slug] = ["mes"]


class Sparkplug(Section):
    """A broker of the site for the mirror's sink `sparkplug`: `servers` are HOST:PORT, tried in turn.

    `group` and `node`: the ids of group and edge node, by default site and node. `primary_host`: the id of the host
    without which nothing is told. `aliases`: numbers in place of names between births. `keep`: results and events that
    wait for the host. `ca` makes it TLS; `certificate` and `key` are ours, where the broker wants some.
    """

    servers: Annotated[list[Annotated[str, Field(pattern=r"^.+:[0-9]{1,5}$")]], Field(min_length=1)]
    group: Annotated[str, Field(pattern=r"^[^+/#]{0,64}$")] = ""
    node: Annotated[str, Field(pattern=r"^[^+/#]{0,64}$")] = ""
    primary_host: Annotated[str, Field(pattern=r"^[^+/#]{0,64}$")] = ""
    aliases: bool = True
    keep: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    user: str = ""
    password_file: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""


class Monitor(Section):
    """Metrics and health by HTTP, read only and without a password. `window_s`: silence after which no data flows."""

    host: str = "127.0.0.1"
    port: Port = MONITOR_PORT
    window_s: Annotated[float, Field(gt=0, le=86_400)] = 5.0


class Hmi(Section):
    """The page for the operators of the line; without this table there is none.

    `users`: JSON of name -> hash as `plantedge opcua user` writes it, by default that of the OPC UA server; `judges`:
    those of them who may judge parts, by default all. `hosts`: further names under which the page is asked for;
    `https`: a proxy in front of it speaks HTTPS. `pipelines`: whose results are shown, by default those that have
    outputs. `shifts`: when each begins, HH:MM of the device's own time. `ideal_per_min`: the line's ideal rate, 0 for
    none. No result for `stopped_after_s`: the line stands. `sample`: how many good parts of a shift are drawn to be
    judged. `thumbnails`: pictures of parts, in memory and on this page alone.
    """

    host: str = "127.0.0.1"
    port: Port = HMI_PORT
    users: str = ""
    judges: list[str] = []
    hosts: list[str] = []
    https: bool = False
    thumbnails: bool = True
    pipelines: list[Slug] = []
    shifts: Annotated[list[str], Field(min_length=1, max_length=24)] = ["06:00", "14:00", "22:00"]
    ideal_per_min: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    stopped_after_s: Annotated[float, Field(ge=1, le=3600)] = 10.0
    sample: Annotated[int, Field(ge=10, le=200)] = 30

    @model_validator(mode="after")
    def _times_of_day(self) -> Self:
        for text in self.shifts:
            if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
                raise ValueError(f'shifts: {text!r} is no time of day; write it as "06:00"')
        return self


class Uplink(Section):
    """The fleet bus, by mutual TLS; `identity` holds ca.pem, device.pem, device.key. No host: no uplink."""

    host: str = ""
    port: Port = 8883
    identity: str = "identity"
    policy: Literal["strict", "aggregates"] = "strict"
    health_s: Annotated[float, Field(ge=10, le=15)] = 10.0  # the fleet calls a device offline after 30 s of silence
    outbox_mb: Annotated[int, Field(ge=1)] = 64


class Settings(Section):
    """Everything that a device's processes are told."""

    device: Device
    broker: Broker = Broker()
    sources: dict[Slug, Source] = {}
    outputs: dict[Slug, Outputs] = {}
    cameras: dict[Slug, Camera] = {}
    pipelines: dict[Slug, Pipeline] = {}
    runtime: Engine = Engine()
    opcua: OpcUa = OpcUa()
    historian: Historian = Historian()
    mirror: Mirror = Mirror()
    sparkplug: Sparkplug | None = None
    monitor: Monitor = Monitor()
    hmi: Hmi | None = None
    uplink: Uplink = Uplink()

    @property
    def place(self) -> Place:
        """The device's place in topics."""
        return Place(self.device.site, self.device.line, self.device.node)

    @property
    def lanes(self) -> dict[str, list[str]]:
        """Lane -> its pipelines, the runtime's instances."""
        found: dict[str, list[str]] = {}
        for name, pipeline in self.pipelines.items():
            found.setdefault(pipeline.lane, []).append(name)
        return found

    def instances(self, table: str) -> list[str]:
        """Return the instances of a process row's `instances_of`; [""] for a single process."""
        return sorted(getattr(self, table)) if table else [""]


def load_settings(home: Path) -> Settings:
    """Read and check a device folder, with the agent's overrides and `overlay.toml` (written by `plantedge up`).

    A process that does not check settings gets them as another one has checked them (`edge.config.held`).

    Raises:
        SettingsError: every problem of every file, as `file:line: what, what to do`.
    """
    if os.environ.get(HELD) == "held":
        return held_settings(home)
    from edge.config.files import read_settings  # the loader is larger than the model; it imports us

    return read_settings(home)
