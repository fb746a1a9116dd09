"""monitor: what others are told of this device by HTTP. In: status, slot state. Out: Prometheus, KServe's health.

It reads the metric files of the other processes (`edge/host/metric_file.py`), so that a scrape costs them nothing, and
shows nothing that could be changed. `device_ready` and `/v2/health/ready` say whether data flows.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from bus import Delivery
from edge.host import metric_names as names
from edge.host.metric_file import MetricView, look, metric_folder
from edge.host.web import listen, serve
from edge.inference.reasons import LATE
from edge.line.plan import wanted
from edge.monitoring.exposition import Known, families, rendered
from edge.monitoring.models import ModelFolder, ModelMetadata
from edge.monitoring.readiness import Answers, Readiness, Reason
from edge.monitoring.web import CONNECTIONS, MonitorProtocol, ServerMetadata, application
from edge.processes import RUNTIME
from schemas.messages import Slot, State, Status
from schemas.topics import SLOT_STATE, STATUS

if TYPE_CHECKING:
    from edge.process import Process

LOOK_S: Final = 0.5
_ANSWERS: Final = (names.REQUEST_SUCCESS.name, names.REQUEST_FAILURE.name)


class Monitor:
    """A device, as its processes, their files and its broker show it."""

    def __init__(self, process: Process) -> None:
        """Know what the settings ask for; nothing has been seen yet."""
        settings = process.settings
        self._process = process
        self._folder = metric_folder(process.home)
        self._models = ModelFolder(process.home / settings.runtime.folder)
        self._views: dict[str, MetricView] = {}
        self._slots: dict[tuple[str, str], Slot] = {}
        self._lanes = {RUNTIME.identity(lane): pipelines for lane, pipelines in settings.lanes.items()}
        expected = [row.identity(instance) for row, instance in wanted(settings)]
        self._readiness = Readiness(settings, [name for name in expected if name != process.identity], self._lanes)
        self.metadata = ServerMetadata("plantedge", importlib.metadata.version("plantedge"), [])

    # -- what is seen -------------------------------------------------------------------------------------------------

    def status(self, status: Status, _: Delivery) -> None:
        """Take a process's last words."""
        self._readiness.status(status, time.monotonic())

    def slot(self, slot: Slot, _: Delivery) -> None:
        """Take the state of one model in one runtime."""
        self._slots[slot.model, slot.process] = slot

    async def keep_looking(self) -> None:
        """See which processes live and which pipelines answer, until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        self._views = look(self._folder, self._views)
        runtimes = [view for name, view in self._views.items() if name in self._lanes]
        self._readiness.look(answers_of(runtimes), time.monotonic())

    # -- what is told -------------------------------------------------------------------------------------------------

    def metrics(self, process: str, accept: str) -> tuple[bytes, str] | None:
        """Return the metrics of one process or of all, and their content type."""
        self._look()
        if process and process not in self._views:
            return None
        known = Known(
            views=self._views, statuses=self._readiness.statuses, ready=not self.reasons(),
            models={name: not self.model_reasons(name, "") for name in self._model_names()},
            serving=[(model, slot.serving, of) for (model, of), slot in self._slots.items()
                     if slot.serving and of in self._views],
            monitor=self._process.identity,
        )  # fmt: skip
        return rendered(families(known, process), accept)

    def reasons(self) -> list[Reason]:
        """Return why the device is not ready."""
        if not self._process.bus.connected:
            return [Reason("broker", "the device's broker does not answer")]
        return self._readiness.reasons(time.monotonic())

    def model(self, name: str, version: str) -> ModelMetadata | None:
        """Return a model's metadata; of the version that serves, without one."""
        versions = self._models.versions(name)
        serving = [slot.serving for (model, _), slot in self._slots.items() if model == name and slot.serving]
        return self._models.metadata(name, version or next(iter([*serving, *reversed(versions)]), ""), versions)

    def model_reasons(self, name: str, version: str) -> list[Reason] | None:
        """Return why a model does not serve in a lane that names it; None for a model that the device does not know."""
        slots = {process: slot for (model, process), slot in self._slots.items() if model == name}
        versions = {*self._models.versions(name), *(slot.serving for slot in slots.values())}
        if not versions or (version and version not in versions):
            return None
        if not slots:
            return [Reason(name, "no lane has loaded it")]
        found = [_why(process, slot, version, process in self._views) for process, slot in slots.items()]
        return [reason for reason in found if reason]

    def _model_names(self) -> set[str]:
        return {*self._models.names(), *(model for model, _ in self._slots)}


def _why(process: str, slot: Slot, version: str, lives: bool) -> Reason | None:
    if not lives:
        return Reason(process, "is not running")
    if not slot.serving:
        return Reason(process, f"{slot.phase}: {slot.reason}".rstrip(": "))
    if version and version != slot.serving:
        return Reason(process, f"serves version {slot.serving}")
    return None


def answers_of(views: Iterable[MetricView]) -> Mapping[str, Answers]:
    """Return what each pipeline has answered: a late result is a result, a drop is not."""
    found: dict[str, Answers] = {}
    for view in views:
        for series in view.refresh():
            if series.name not in _ANSWERS:
                continue
            labels = dict(zip(series.labels, series.values, strict=True))
            (count,) = view.values(series)
            before = found.get(labels["pipeline"], Answers())
            if labels.get("reason", LATE) == LATE:
                found[labels["pipeline"]] = Answers(before.results + count, before.others)
            else:
                found[labels["pipeline"]] = Answers(before.results, before.others + count)
    return found


async def main(process: Process) -> None:
    """Run until cancelled."""
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a broken request is not ours to log, one line each
    settings = process.settings.monitor
    monitor = Monitor(process)
    with listen(settings.host, settings.port, "the monitor", "monitor") as listener:
        await process.read(STATUS, Status, monitor.status)
        await process.read(SLOT_STATE, Slot, monitor.slot)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(monitor.keep_looking(), name="look")
            serving = serve(application(monitor), listener, MonitorProtocol, CONNECTIONS)
            tasks.create_task(serving, name="serve")
            process.report(State.ACTIVE)
