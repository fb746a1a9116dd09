"""Tells OPC UA clients what happens, and keeps the alarms: what of the bus raises which.

A lost PLC, a missed deadline and a degraded model are conditions of the device; what raises them comes again and again
(readings, retained windows), so a server that starts later knows of them too.
"""

from __future__ import annotations

import time
from typing import Final

from asyncua import ua

from edge.opcua_server.access.certificate import Certificate
from edge.opcua_server.address_space.nodes import Ids, standard
from edge.opcua_server.address_space.picture import Picture
from edge.opcua_server.events.conditions import Conditions, Subject, Tell
from edge.opcua_server.events.happenings import SERVER, SEVERITY, Source, date_time
from edge.settings import Settings
from schemas.messages import LINK_LOST, Event, Insight, Quality, Reading, Result, Severity

T = ua.VariantType
DEGRADED: Final = "model_degraded"  # a level of Insight.drift
DRIFT_LIMIT: Final = 1.0  # a drift score of 1 lies on the limit that was learned
EXPIRING_DAYS: Final = 30
_DAY_S: Final = 86_400
_WARNING, _ALARM = SEVERITY[Severity.WARNING], SEVERITY[Severity.ALARM]


class Watch:
    """What is told of one device's messages, and the alarms that they raise."""

    def __init__(
        self, picture: Picture, conditions: Conditions, tell: Tell, settings: Settings, certificate: Certificate
    ) -> None:
        """Put the alarms into the address space."""
        self._picture, self._conditions, self._tell = picture, conditions, tell
        self._certificate = certificate
        space = picture.space
        self._device = Source(space.device, settings.device.node)
        self._above = (space.device, SERVER.node)
        self._pipelines = {name: Source(space.folder(f"Pipelines/{name}"), name) for name in settings.pipelines}
        self._sources = {name: Source(space.folder(f"Sources/{name}"), name) for name in settings.sources}
        for path, subject in self._subjects():
            conditions.add(space.identifier(path), space.folder(path.rpartition("/")[0]), subject)

    def _subjects(self) -> list[tuple[str, Subject]]:
        node = self._picture.space.node
        normal = {"NormalState": ua.Variant(ua.NodeId(), T.NodeId)}
        limit = {"HighLimit": ua.Variant(DRIFT_LIMIT, T.Double)}
        process, upkeep = Ids.ProcessConditionClassType, Ids.MaintenanceConditionClassType
        found: list[tuple[str, Subject]] = []
        for name, source in self._pipelines.items():
            tellers, below = (source.node, *self._above), f"Pipelines/{name}"
            found += [
                (_path(below, "ModelDegraded"), Subject(
                    "ModelDegraded", Ids.ExclusiveLevelAlarmType, upkeep, source, tellers, node(f"{below}/DriftScore"),
                    _WARNING, limit,
                )),
                (_path(below, "DeadlineMissed"), Subject(
                    "DeadlineMissed", Ids.OffNormalAlarmType, process, source, tellers, node(f"{below}/LateInWindow"),
                    _WARNING, normal,
                )),
            ]  # fmt: skip
        for name, source in self._sources.items():
            subject = Subject("PlcLost", Ids.OffNormalAlarmType, process, source, (source.node, *self._above),
                              ua.NodeId(), _ALARM, normal)  # fmt: skip
            found.append((_path(f"Sources/{name}", "PlcLost"), subject))
        found.append((_EXPIRING, Subject(
            "CertificateExpiring", Ids.CertificateExpirationAlarmType, Ids.SystemConditionClassType, SERVER,
            (SERVER.node,), ua.NodeId(), _WARNING, normal | _certificate_fields(self._certificate),
        )))  # fmt: skip
        return found

    def _set(self, path: str, cause: str | None, ended: str = "") -> None:
        self._conditions.set(self._picture.space.identifier(path), cause, ended=ended)

    # -- what comes ---------------------------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Tell an event of the device."""
        self._tell(self._above, lambda: self._picture.types.event(event, self._device))

    def result(self, result: Result) -> None:
        """Tell a result, of its pipeline and all above it."""
        source = self._pipelines.get(result.pipeline)
        if source is not None:
            self._tell((source.node, *self._above), lambda: self._picture.types.result(result, source))

    def reading(self, reading: Reading) -> None:
        """Look whether a source can be reached: if not, each of its tags says so."""
        sample = next(iter(reading.tags.values()), None)
        if sample is None or reading.source not in self._sources:
            return
        lost = sample.quality is Quality.BAD and sample.reason.startswith(LINK_LOST)
        cause = f"{reading.source}: {sample.reason}" if lost else None
        self._set(_path(f"Sources/{reading.source}", "PlcLost"), cause, f"{reading.source}: the link is back")

    def insight(self, insight: Insight) -> None:
        """Look how a pipeline's model and deadlines are."""
        name, below = insight.pipeline, f"Pipelines/{insight.pipeline}"
        if name not in self._pipelines:
            return
        degraded = insight.drift.level == DEGRADED
        self._set(
            _path(below, "ModelDegraded"), f"{name}: the model is not as it was" if degraded else None,
            f"{name}: the model is as it was",
        )  # fmt: skip
        self._set(
            _path(below, "DeadlineMissed"), f"{name}: results came after their deadline" if insight.late else None,
            f"{name}: all results came in time",
        )  # fmt: skip

    def look_at_certificate(self) -> None:
        """Look whether the server's certificate runs out soon; a restart renews it."""
        left_s = self._certificate.until.timestamp() - time.time()
        text = f"the server's certificate runs out on {self._certificate.until:%Y-%m-%d}; restart to renew it"
        self._set(_EXPIRING, text if left_s < EXPIRING_DAYS * _DAY_S else None, "the server's certificate is renewed")


_EXPIRING: Final = "Alarms/Server/CertificateExpiring"


def _path(below: str, name: str) -> str:
    return f"Alarms/{below}/{name}"


def _certificate_fields(certificate: Certificate) -> dict[str, ua.Variant]:
    """Return the fields of CertificateExpirationAlarmType (OPC 10000-9, 5.8.22)."""
    return {
        "ExpirationDate": ua.Variant(date_time(int(certificate.until.timestamp()) * 10**9), T.DateTime),
        "ExpirationLimit": ua.Variant(EXPIRING_DAYS * _DAY_S * 1000.0, T.Double),
        "CertificateType": ua.Variant(standard(Ids.RsaSha256ApplicationCertificateType), T.NodeId),
        "Certificate": ua.Variant(certificate.der, T.ByteString),
    }
