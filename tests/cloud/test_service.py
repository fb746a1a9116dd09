import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest

from bus import Delivery
from bus.typed import Reader
from cloud.accounts import Role
from cloud.device import DeviceState
from cloud.serve import keep_broker
from cloud.stream import BEAT_S
from schemas.fleet import FleetConfig, FleetRequest
from schemas.messages import Phase
from schemas.topics import DOWN_CONFIG, DOWN_REQUEST, UP_HEALTH
from tests.cloud.conftest import FleetDevice, RunningFleet
from tests.cloud.fleet_messages import alert, health, models, report

Until = Callable[..., Awaitable[None]]
MakeFleet = Callable[..., Awaitable[RunningFleet]]


async def seen(fleet: RunningFleet, node: str, until: Until, *messages: Any) -> FleetDevice:
    device = await fleet.device(node)
    await device.tell(*(messages or (health(),)))
    await until(lambda: node in fleet.service.fleet.rows)
    return device


async def events(client: httpx.AsyncClient, count: int, **arguments: Any) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    cursor = ""
    async with asyncio.timeout(10), client.stream("GET", "/api/v1/events", **arguments) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                cursor = line[4:]
            elif line.startswith("data: "):
                found.append((cursor, json.loads(line[6:])))
                if len(found) == count:
                    break
    return found


# --- up -------------------------------------------------------------------------------------------------------------


async def test_what_a_device_says_is_in_the_snapshot(fleet: RunningFleet, until: Until) -> None:
    await seen(fleet, "press-7", until, health(state="degraded", reasons=["plc_lost"]), models(caps="1.2.0"))
    await until(lambda: fleet.service.fleet.rows["press-7"].versions)
    snapshot = (await (await fleet.client()).get("/api/v1/snapshot")).json()
    (row,) = snapshot["rows"]
    assert (row["node"], row["state"], row["reason"]) == ("press-7", "degraded", "A PLC does not answer")
    assert row["versions"] == {"caps": "1.2.0"}
    assert snapshot["totals"]["degraded"] == snapshot["totals"]["devices"] == 1
    assert snapshot["broker"] is True


async def test_silence_makes_a_device_offline(make_fleet: MakeFleet, until: Until) -> None:
    fleet = await make_fleet(stale_after_s=0.5)
    device = await seen(fleet, "press-7", until)
    await until(lambda: fleet.service.fleet.rows["press-7"].state is DeviceState.OFFLINE)
    await device.tell(health(2))
    await until(lambda: fleet.service.fleet.rows["press-7"].state is DeviceState.OK)

    def told() -> list[str]:  # what is on its way to the store is in neither for a moment
        waiting = [line.text for line in fleet.service.fleet.happenings]
        return [line.text for line in fleet.service.store.history("press-7")] + waiting

    await until(lambda: "offline, was ok: No health received" in told())


FOREIGN: tuple[dict[str, object], ...] = (
    {"pixels": b"\x00\x01"},
    {"verdict": "nok"},
    {"site": "Berlin; DROP"},
    {"reasons": ["Part 4711 was scrapped"]},
    {"cpu_share": float("nan")},
    {"pipelines": [{"pipeline": "p", "rate_hz": 1, "p50_ms": 1, "p99_ms": 1, "late": 0, "dropped": 0, "score": 1}]},
    {"schema": "health/9"},
    {"processes": [{}] * 10_000},
)


async def test_what_is_not_of_the_closed_schema_is_refused_and_counted(fleet: RunningFleet, until: Until) -> None:
    device = await fleet.device("press-7")
    good = msgspec.to_builtins(health(2, state="alarm"))
    for change in FOREIGN:
        await device.bus.deliver(UP_HEALTH.name(device.place), msgspec.msgpack.encode(good | change))
    await until(lambda: fleet.service.fleet.totals.refused == len(FOREIGN))
    assert fleet.service.fleet.devices["press-7"].refused == len(FOREIGN)
    assert fleet.service.fleet.devices["press-7"].health is None
    await device.bus.deliver(UP_HEALTH.name(device.place), msgspec.msgpack.encode(good))
    await until(lambda: fleet.service.fleet.rows["press-7"].state is DeviceState.ALARM)


async def test_a_device_can_speak_for_itself_only(fleet: RunningFleet, until: Until) -> None:
    device = await fleet.device("press-7")
    other = FleetDevice("press-8", device.bus)
    payload = msgspec.msgpack.encode(health())
    device.bus.publish(UP_HEALTH.name(other.place), payload, qos=1)
    await device.tell(health())
    await until(lambda: "press-7" in fleet.service.fleet.rows)
    assert "press-8" not in fleet.service.fleet.rows


async def test_a_restart_of_the_service_keeps_devices_alerts_and_history(fleet: RunningFleet, until: Until) -> None:
    device = await seen(fleet, "press-7", until, health(state="alarm"), alert("ab", Phase.NEW, 1))
    await until(lambda: fleet.service.fleet.alerts())
    before = fleet.service.fleet.rows["press-7"]
    await fleet.stop()
    await device.tell(alert("cd", Phase.NEW, 2))  # said while nobody listens
    await fleet.start()
    assert fleet.service.fleet.rows["press-7"].seen_ms >= before.seen_ms
    await until(lambda: {view.key for view in fleet.service.fleet.alerts()} == {"ab", "cd"})
    assert fleet.service.fleet.rows["press-7"].state is DeviceState.ALARM
    assert fleet.service.store.history("press-7")


async def test_a_repeat_from_the_broker_changes_nothing(fleet: RunningFleet, until: Until) -> None:
    device = await seen(fleet, "press-7", until, health(5))
    cursor = fleet.service.fleet.cursor
    await device.tell(health(5, state="alarm"), health(4, state="alarm"), models(1))
    await until(lambda: fleet.service.fleet.devices["press-7"].models)
    assert fleet.service.fleet.rows["press-7"].state is DeviceState.OK
    assert fleet.service.fleet.since(cursor).full is False


@pytest.mark.slow
async def test_a_broker_that_is_killed_is_started_again_and_nobody_is_called_offline_for_it(
    make_fleet: MakeFleet, until: Until
) -> None:
    fleet = await make_fleet(stale_after_s=2)
    device = await seen(fleet, "press-7", until)
    keeping = asyncio.create_task(
        keep_broker(fleet.broker, fleet.home, fleet.authority, fleet.address, fleet.address.host)
    )
    try:
        os.kill(fleet.broker.pid, signal.SIGKILL)
        await until(lambda: not fleet.service.fleet.hearing)
        await until(lambda: fleet.service.fleet.hearing)
        await device.tell(health(2, state="degraded"))
        await until(lambda: fleet.service.fleet.rows["press-7"].state is DeviceState.DEGRADED)
    finally:
        keeping.cancel()
    assert not [line for line in fleet.service.store.history("press-7") if "offline, was" in line.text]


async def test_a_full_disk_loses_nothing_and_says_so_to_who_changes_something(
    fleet: RunningFleet, until: Until
) -> None:
    device = await seen(fleet, "press-7", until)
    store = fleet.service.store
    await store.run(lambda: store._db.execute("PRAGMA max_page_count = 1"))  # it can grow no further
    client = await fleet.client()
    body = {"sections": {"mirror": {"text": "x" * 60_000}}}
    answer = await client.post("/api/v1/devices/press-7/config", json=body)
    assert (answer.status_code, fleet.service.commands.config("press-7").generation) == (507, 0)
    await device.tell(alert("ab", Phase.NEW, 1))
    await until(lambda: fleet.service.fleet.alerts())
    await store.run(lambda: store._db.execute("PRAGMA max_page_count = 1000000"))
    assert (await client.post("/api/v1/devices/press-7/config", json=body)).json()["generation"] == 1
    await fleet.stop()
    await fleet.start()
    assert [view.key for view in fleet.service.fleet.alerts()] == ["ab"]
    assert fleet.service.commands.config("press-7").generation == 1


# --- down -----------------------------------------------------------------------------------------------------------


async def test_configuration_reaches_the_device_also_later_and_its_report_comes_back(
    fleet: RunningFleet, until: Until
) -> None:
    device = await seen(fleet, "press-7", until)
    client = await fleet.client(Role.ENGINEER)
    answer = await client.post("/api/v1/devices/press-7/config", json={"sections": {"mirror": {"period_ms": 500}}})
    assert (answer.status_code, answer.json()["generation"], answer.json()["outcome"]) == (202, 1, "pending")
    answer = await client.post(
        "/api/v1/devices/press-7/config", json={"sections": {"opcua": {"port": 4841}}, "base": 1}
    )
    assert answer.json()["generation"] == 2
    got: asyncio.Queue[FleetConfig] = asyncio.Queue()

    def take(config: FleetConfig, _: Delivery) -> None:
        got.put_nowait(config)

    await Reader(DOWN_CONFIG, FleetConfig, take).attach(device.bus, device.place)  # retained: it subscribes late
    config = await asyncio.wait_for(got.get(), 5)
    assert (config.generation, set(config.sections)) == (2, {"mirror", "opcua"})
    await device.tell(report("config", "2", ok=False, reason="rejected"))
    await until(lambda: fleet.service.commands.config("press-7").outcome == "rejected")
    detail = (await client.get("/api/v1/devices/press-7")).json()
    assert (detail["config_desired"]["outcome"], detail["config_desired"]["by"]) == ("rejected", "token test")


async def test_two_people_can_not_overwrite_each_other(fleet: RunningFleet, until: Until) -> None:
    await seen(fleet, "press-7", until)
    client = await fleet.client()
    body = {"sections": {"mirror": {}}, "base": 0}
    assert (await client.post("/api/v1/devices/press-7/config", json=body)).status_code == 202
    answer = await client.post("/api/v1/devices/press-7/config", json=body)
    assert (answer.status_code, "generation 1, not 0" in answer.json()["detail"]) == (409, True)


async def test_the_generation_goes_on_after_a_restart(fleet: RunningFleet, until: Until) -> None:
    await seen(fleet, "press-7", until)
    body = {"sections": {"mirror": {}}}
    await (await fleet.client()).post("/api/v1/devices/press-7/config", json=body)
    await fleet.stop()
    await fleet.start()
    answer = await (await fleet.client()).post("/api/v1/devices/press-7/config", json=body)
    assert answer.json()["generation"] == 2


@pytest.mark.slow
async def test_a_ping_is_answered_or_expires(fleet: RunningFleet, until: Until) -> None:
    device = await seen(fleet, "press-7", until)
    asked: asyncio.Queue[FleetRequest] = asyncio.Queue()

    def take(request: FleetRequest, _: Delivery) -> None:
        asked.put_nowait(request)

    await Reader(DOWN_REQUEST, FleetRequest, take).attach(device.bus, device.place)
    client = await fleet.client(Role.OPERATOR)
    made = (await client.post("/api/v1/devices/press-7/requests", json={"verb": "ping"})).json()
    request = await asyncio.wait_for(asked.get(), 5)
    assert (request.id, request.verb) == (made["id"], "ping")
    await device.tell(report("request", request.id))

    async def outcome(request_id: str) -> str:
        detail = (await client.get("/api/v1/devices/press-7")).json()
        return next(r["outcome"] for r in detail["requests"] if r["id"] == request_id)

    async def answered() -> bool:
        return await outcome(request.id) == "done"

    await until(answered)
    lost = (await client.post("/api/v1/devices/press-7/requests", json={"verb": "ping", "ttl_s": 1})).json()

    async def expired() -> bool:
        return await outcome(lost["id"]) == "expired"

    await until(expired, 8)


async def test_an_alert_is_acknowledged_with_who_and_why(fleet: RunningFleet, until: Until) -> None:
    device = await seen(fleet, "press-7", until, health(), alert("ab", Phase.NEW, 1))
    await until(lambda: fleet.service.fleet.alerts())
    client = await fleet.client(Role.OPERATOR)
    answer = await client.post("/api/v1/alerts/press-7/ab/ack", json={"note": "cable"})
    assert answer.status_code == 204
    (view,) = (await client.get("/api/v1/alerts")).json()
    assert (view["state"], view["acked_by"], view["note"]) == ("active_acked", "token test", "cable")
    assert (await client.post("/api/v1/alerts/press-7/ab/ack", json={})).status_code == 409
    await device.tell(alert("ab", Phase.END, 2))
    await until(lambda: not fleet.service.fleet.alerts())
    assert fleet.service.fleet.totals.unacked == 0


# --- the stream -----------------------------------------------------------------------------------------------------


async def test_the_stream_starts_full_and_goes_on_with_what_changed(fleet: RunningFleet, until: Until) -> None:
    device = await seen(fleet, "press-7", until)
    await seen(fleet, "press-8", until)
    client = await fleet.client()
    reading = asyncio.create_task(events(client, 2))
    await asyncio.sleep(0.5)
    await device.tell(health(2, state="alarm"))
    (_, first), (_, second) = await reading
    assert (first["full"], {row["node"] for row in first["rows"]}) == (True, {"press-7", "press-8"})
    assert (second["full"], [(row["node"], row["state"]) for row in second["rows"]]) == (False, [("press-7", "alarm")])
    assert second["totals"]["alarm"] == 1


async def test_a_reader_resumes_where_it_was_and_gets_each_device_once(fleet: RunningFleet, until: Until) -> None:
    device = await seen(fleet, "press-7", until)
    await seen(fleet, "press-8", until)
    client = await fleet.client()
    ((cursor, _),) = await events(client, 1)
    for seq in range(2, 12):  # while the reader is away
        await device.tell(health(seq, outbox=seq))
    await until(lambda: fleet.service.fleet.rows["press-7"].queue == 11)
    ((_, delta),) = await events(client, 1, headers={"Last-Event-ID": cursor})
    assert (delta["full"], [(row["node"], row["queue"]) for row in delta["rows"]]) == (False, [("press-7", 11)])
    for unknown in ("0-0", "nonsense", "ff-99999999999999999999", cursor.partition("-")[0] + "-999999"):
        ((_, fresh),) = await events(client, 1, params={"after": unknown})
        assert (fresh["full"], len(fresh["rows"])) == (True, 2)


@pytest.mark.slow
async def test_a_calm_stream_still_beats(fleet: RunningFleet) -> None:
    found = await events(await fleet.client(), 2)
    assert [data["full"] for _, data in found] == [True, False]
    assert found[1][1]["time_ms"] - found[0][1]["time_ms"] == pytest.approx(BEAT_S * 1000, abs=1500)


async def test_a_reader_that_does_not_read_costs_no_memory_and_ends_with_the_service(
    fleet: RunningFleet, until: Until
) -> None:
    device = await seen(fleet, "press-7", until)
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.service.port, limit=1024)
    token = fleet.service.accounts.add_run_token("slow", Role.VIEWER)
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    await reader.readline()
    for seq in range(2, 40):
        await device.tell(health(seq))
    await asyncio.wait_for(fleet.stop(), 3)
    await fleet.start()
    writer.transport.abort()
