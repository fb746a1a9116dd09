"""THE TABLE of metrics: every name that a scrape can show, with its labels and buckets.

A counter's name ends in `_total` where it is shown, as OpenMetrics demands. The `inference_*` rows are Triton's names
(nv_inference_*) under our prefix. `python -m edge.monitoring.reference` writes docs/reference/metrics.md from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

PREFIX = "plantedge_"


class Kind(StrEnum):
    """What a series can do, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row. `by`: the processes that have it. `buckets`: ascending upper bounds, without the infinite one."""

    name: str
    kind: Kind
    help: str
    by: tuple[str, ...]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a histogram without ascending bounds."""
        if (self.kind is Kind.HISTOGRAM) is not bool(self.buckets) or any(a >= b for a, b in pairwise(self.buckets)):
            raise ValueError(f"{self.name}: a histogram has ascending buckets, nothing else has any")

    @property
    def shown(self) -> str:
        """The name in a scrape."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


# 50 us to 1 s: what a frame waits, computes and travels.
STAGE_BUCKETS = (
    50e-6, 100e-6, 150e-6, 200e-6, 300e-6, 400e-6, 500e-6, 750e-6, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7.5e-3, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip
IO_BUCKETS = (100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

_DEVICE = ("agent", "camera", "connect", "historian", "hmi", "mirror", "monitor", "opcua", "runtime", "uplink")
_MODEL = ("pipeline", "model", "version")


def _counter(name: str, text: str, by: tuple[str, ...], *labels: str) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.COUNTER, help=text, by=by, labels=labels)


def _gauge(name: str, text: str, by: tuple[str, ...], *labels: str) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.GAUGE, help=text, by=by, labels=labels)


def _histogram(name: str, text: str, by: tuple[str, ...], buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.HISTOGRAM, help=text, by=by, labels=labels, buckets=buckets)


# -- runtime: Triton's names -------------------------------------------------------------------------------------------

_RUNTIME = ("runtime",)
REQUEST_SUCCESS = _counter(
    "inference_request_success", "Inputs that became a result in time.", _RUNTIME, *_MODEL)  # fmt: skip
REQUEST_FAILURE = _counter(
    "inference_request_failure",
    "Inputs that did not: late, dropped (expired, overload, no_model ...), or not to be believed.",
    _RUNTIME, *_MODEL, "reason")  # fmt: skip
INFERENCE_COUNT = _counter(
    "inference_count", "Inputs that a model was run on; a batch of n counts n.", _RUNTIME, *_MODEL)  # fmt: skip
EXEC_COUNT = _counter(
    "inference_exec_count", "Batches that were run.", _RUNTIME, *_MODEL)  # fmt: skip
REQUEST_US = _counter(
    "inference_request_duration_us", "Microseconds from receipt to published result, summed.",
    _RUNTIME, *_MODEL)  # fmt: skip
QUEUE_US = _counter(
    "inference_queue_duration_us", "Microseconds from receipt to taken into a batch, summed.",
    _RUNTIME, *_MODEL)  # fmt: skip
COMPUTE_INPUT_US = _counter(
    "inference_compute_input_duration_us", "Microseconds of making the model's inputs, summed over inputs.",
    _RUNTIME, *_MODEL)  # fmt: skip
COMPUTE_INFER_US = _counter(
    "inference_compute_infer_duration_us", "Microseconds of the engine's run, summed over inputs.",
    _RUNTIME, *_MODEL)  # fmt: skip
COMPUTE_OUTPUT_US = _counter(
    "inference_compute_output_duration_us", "Microseconds from the run's end to published, summed over inputs.",
    _RUNTIME, *_MODEL)  # fmt: skip
PENDING = _gauge(
    "inference_pending_request_count", "Inputs that wait for a batch.", _RUNTIME, "pipeline")  # fmt: skip
STAGE_SECONDS = _histogram(
    "inference_stage_seconds",
    "Where a result's time went: ingest (trigger to receipt), queue, preprocess, infer, publish, and total (trigger to"
    " published).",
    _RUNTIME, STAGE_BUCKETS, "pipeline", "stage")  # fmt: skip
BATCH_SIZE = _histogram(
    "inference_batch_size", "Inputs per run of a model.", _RUNTIME, BATCH_BUCKETS, "pipeline")  # fmt: skip
SELFTESTS = _counter(
    "inference_selftests", "Golden vectors that were run and held, on an idle line.", _RUNTIME, "pipeline")  # fmt: skip

# -- connect -----------------------------------------------------------------------------------------------------------

_CONNECT = ("connect",)
SCANS = _counter("scans", "Scans of a poll group.", _CONNECT, "source", "group")
SCAN_SECONDS = _histogram("scan_seconds", "How long a scan took.", _CONNECT, IO_BUCKETS, "source", "group")
SCAN_JITTER_SECONDS = _histogram(
    "scan_jitter_seconds", "How far the time between two scans was from the group's period.",
    _CONNECT, STAGE_BUCKETS, "source", "group")  # fmt: skip
SCAN_OVERRUNS = _counter("scan_overruns", "Scans that were left out because the one before took too long.",
                         _CONNECT, "source")  # fmt: skip
LINK_UP = _gauge("link_up", "1 while the PLC answers.", _CONNECT, "source")
LINK_LOSSES = _counter("link_losses", "How often the link to the PLC was lost.", _CONNECT, "source")
OUTPUTS = _counter("outputs", "Decisions that the PLC acknowledged.", _CONNECT, "pipeline")
OUTPUT_FAILSAFES = _counter("output_failsafes", "Decisions in whose place the fail-safe was written.",
                            _CONNECT, "pipeline")  # fmt: skip
FAILSAFE_LATCHED = _gauge("failsafe_latched", "1 while the fail-safe is latched.", _CONNECT, "pipeline")
ACTUATE_SECONDS = _histogram("output_actuate_seconds", "From a received decision to the PLC's acknowledgement.",
                             _CONNECT, STAGE_BUCKETS, "pipeline")  # fmt: skip
SLA_SECONDS = _histogram("sla_seconds", "From the trigger to the acknowledged output.",
                         _CONNECT, STAGE_BUCKETS, "pipeline")  # fmt: skip
SLA_MET = _counter("sla_met", "Outputs that the PLC acknowledged before the deadline.", _CONNECT, "pipeline")
SLA_MISSED = _counter("sla_missed", "Outputs that it acknowledged after the deadline.", _CONNECT, "pipeline")
DECISIONS_UNWRITTEN = _counter(
    "decisions_unwritten",
    "Decisions that were never written: lost (no link, overflow), expired (a newer one waited), failed (refused), "
    "dropped (waited too long for the PLC's acknowledgement); or written and unacknowledged.",
    _CONNECT, "source", "why")  # fmt: skip
WRITES = _counter("writes", "Requested writes of tags, by outcome.", _CONNECT, "source", "outcome")

# -- the other processes -----------------------------------------------------------------------------------------------

FRAMES = _counter("camera_frames", "Pictures that were published.", ("camera",), "camera", "quality")
GRAB_FAILURES = _counter("camera_grab_failures", "How often the camera could not be opened or read.",
                         ("camera",), "camera")  # fmt: skip
TRIGGERS = _counter("camera_triggers", "Triggers that a PLC's tag showed.", ("camera",), "camera")
TRIGGER_FAULTS = _counter(
    "camera_trigger_faults",
    "Triggers without a picture to judge: missed (a step of the counter was not seen), late, double, no_number,"
    " no_picture; no_trigger: a picture of an unknown part.",
    ("camera",), "camera", "why")  # fmt: skip

_HISTORIAN = ("historian",)
ROWS = _counter("historian_rows", "Points that were stored.", _HISTORIAN)
ROW_REPEATS = _counter("historian_repeats", "Points that were stored already.", _HISTORIAN)
READINGS_DROPPED = _counter("historian_readings_dropped", "Readings over the bound of what may wait.", _HISTORIAN)
COMMIT_SECONDS = _histogram("historian_commit_seconds", "How long a batch took to be on disk.",
                            _HISTORIAN, IO_BUCKETS)  # fmt: skip
HISTORIAN_QUEUE = _gauge("historian_queue", "Points that wait to be stored.", _HISTORIAN)
STORE_BYTES = _gauge("historian_store_bytes", "Size of the local store.", _HISTORIAN)
ARCHIVED = _counter("historian_archived", "Points that the archive (InfluxDB) took.", _HISTORIAN)
ARCHIVE_REFUSED = _counter("historian_archive_refused", "Points that the archive refuses for ever.", _HISTORIAN)
ARCHIVE_LOST = _counter("historian_archive_lost", "Points that went by age or quota before the archive had them.",
                        _HISTORIAN)  # fmt: skip
ARCHIVE_BEHIND = _gauge("historian_archive_behind_rows", "Points that the archive has not got yet.", _HISTORIAN)
ARCHIVE_LAG_SECONDS = _gauge("historian_archive_lag_seconds", "For how long the archive has taken nothing.",
                             _HISTORIAN)  # fmt: skip

EVIDENCE_KEPT = _counter("evidence_kept", "Inputs that are kept for `plantedge replay`.", _HISTORIAN)
EVIDENCE_DROPPED = _counter("evidence_dropped", "Inputs that could not be kept.", _HISTORIAN)
EVIDENCE_BYTES = _gauge("evidence_bytes", "Size of the ring of evidence.", _HISTORIAN)
PARTS = _counter("parts", "Parts by how far they came: decision, output (acknowledged by the PLC).",
                 _HISTORIAN, "pipeline", "stage")  # fmt: skip
PARTS_UNRECONCILED = _counter(
    "parts_unreconciled", "Parts that lack something 3 s after they should have it: decision (of a frame), output.",
    _HISTORIAN, "pipeline", "lacks")  # fmt: skip

NODE_WRITES = _counter("opcua_node_writes", "Values written to nodes of the address space.", ("opcua",))
OPCUA_HELD = _gauge("opcua_held", "What OPC UA clients hold: connections, sessions, subscriptions, items.",
                    ("opcua",), "what")  # fmt: skip
MES_REFUSED = _counter("mes_tags_refused", "Values that can't stand in a MES message.", ("mirror",))
SITE_ONLINE = _gauge("site_broker_online", "Whether the site's broker is reached.", ("mirror",))
SITE_WAITING = _gauge("site_broker_waiting", "Results and events that wait for the site's broker.", ("mirror",))
SITE_DROPPED = _counter(
    "site_broker_dropped", "Results and events that gave way while the site's broker was away.", ("mirror",)
)
SITE_REFUSED = _counter("site_broker_refused", "Messages that the site's broker refused.", ("mirror",))
SPARKPLUG_ONLINE = _gauge("sparkplug_online", "Whether the Sparkplug host has our birth.", ("mirror",))
SPARKPLUG_WAITING = _gauge("sparkplug_waiting", "Results and events that wait for the Sparkplug host.", ("mirror",))
SPARKPLUG_DROPPED = _counter(
    "sparkplug_dropped", "Results and events that gave way while the Sparkplug host was away.", ("mirror",)
)
OUTBOX = _gauge("uplink_outbox_messages", "Messages that wait for the fleet.", ("uplink",))
UPSTREAM_BYTES = _gauge("uplink_bytes_today", "Bytes to and from the fleet since midnight UTC.", ("uplink",))

# -- every process -----------------------------------------------------------------------------------------------------

BUS_MESSAGES = _counter("bus_messages", "Messages of a row of the topic table.", _DEVICE, "topic", "direction")
BUS_GAPS = _counter("bus_gaps", "Messages that never arrived, by their sequence numbers.", _DEVICE, "topic")
BUS_REPEATS = _counter("bus_repeats", "Messages that arrived again.", _DEVICE, "topic")
BUS_BAD = _counter("bus_bad", "Messages that could not be read.", _DEVICE, "topic")
BUS_LIMITED = _counter("bus_limited", "Messages over the row's rate, not sent.", _DEVICE, "topic")
BUS_DROPPED = _counter("bus_dropped", "Messages that the bus could not take.", _DEVICE, "topic")
BUS_CONNECTS = _counter("bus_connects", "Connections to the broker; more than one per bus: it was away.", _DEVICE)
BUS_BYTES = _counter("bus_bytes", "Bytes on the sockets to the broker.", _DEVICE, "direction")
SERIES_DROPPED = _gauge("metric_series_dropped", "Series that found no room in the process's file.", _DEVICE)

# -- what the monitor sees ---------------------------------------------------------------------------------------------

RESIDENT_BYTES = _gauge("process_resident_bytes", "Resident memory.", _DEVICE)
CPU_SECONDS = _counter("process_cpu_seconds", "Processor time, user and system.", _DEVICE)
UPTIME_SECONDS = _gauge("process_uptime_seconds", "Time since the process started.", _DEVICE)
STATE = _gauge("process_state", "1 for the state that the process says it is in.", _DEVICE, "state")
MODEL_READY = _gauge("model_ready", "1 while a model serves in each lane that names it.", ("monitor",), "model")
MODEL_SERVING = _gauge("model_serving", "1 for the version that a lane runs.", _RUNTIME, "model", "version")
DEVICE_READY = _gauge("device_ready", "1 while data flows: what /v2/health/ready says.", ("monitor",))

METRICS: tuple[Metric, ...] = tuple(found for found in list(globals().values()) if isinstance(found, Metric))
