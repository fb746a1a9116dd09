"""One suite for every Bus: HotBus and ControlBus, on both loops, with MQTT 5 and 3.1.1.

What it asks for is the contract of `bus.Bus`.
"""

import asyncio
import gc
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bus import Address, Delivery, Will
from bus.client import ControlBus, PahoLink
from bus.hot import HotBus, HotLink
from bus.session import Session
from schemas.errors import BusDisconnected, BusRefused, RequestTimeout
from tests.bus.conftest import KINDS, WAIT_S, Broker, Inbox, MakeBus, Relay, eventually, make_certificates

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """Each implementation with each version of MQTT."""
    name: str = request.param
    return name


async def _sync(bus: Session) -> None:
    """All that was published on `bus` before has reached the broker."""
    await bus.deliver("t/sync", b"", timeout_s=WAIT_S)


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_arrives_as_it_was_sent(bus: MakeBus, qos: int) -> None:
    inbox = Inbox()
    async with bus("reader") as reader, bus("writer") as writer:
        await reader.subscribe("t/+/a", qos, inbox)
        before = time.monotonic_ns()
        assert writer.publish("t/ä/a", b"\x00\xffdata", qos=qos)
        got = await inbox.take()
    assert (got.topic, got.payload, got.retained, got.correlation) == ("t/ä/a", b"\x00\xffdata", False, b"")
    assert before < got.received_ns <= time.monotonic_ns()


@pytest.mark.parametrize("qos", [0, 1])
async def test_order_is_kept_over_many_messages(bus: MakeBus, qos: int) -> None:
    inbox = Inbox()
    async with bus("both") as both:
        await both.subscribe("t/n", qos, inbox)
        for n in range(500):
            assert both.publish("t/n", str(n).encode(), qos=qos)
        assert await inbox.payloads(500) == [str(n).encode() for n in range(500)]


async def test_payloads_of_every_size_arrive_whole(bus: MakeBus) -> None:
    inbox = Inbox()
    async with bus("both") as both:
        await both.subscribe("t/size", 1, inbox)
        for size in (0, 1, 127, 128, 16_383, 16_384, 65_536, 190_000, 1_000_000):
            payload = (bytes(range(256)) * (size // 256 + 1))[:size]
            for qos in (0, 1, 0):
                assert both.publish("t/size", payload, qos=qos)
            assert await inbox.payloads(3) == [payload] * 3


async def test_large_and_small_payloads_in_a_row_are_not_mixed_up(bus: MakeBus) -> None:
    inbox = Inbox()
    sent = [bytes([n]) * size for n, size in enumerate([190_000, 10, 70_000, 190_000, 1, 65_536, 190_000, 3] * 4)]
    async with bus("both") as both:
        await both.subscribe("t/mix", 0, inbox)
        for payload in sent:
            assert both.publish("t/mix", payload)
        assert await inbox.payloads(len(sent)) == sent


async def test_a_retained_message_reaches_a_later_reader_and_can_be_cleared(bus: MakeBus) -> None:
    live, late, later = Inbox(), Inbox(), Inbox()
    async with bus("both") as both:
        await both.subscribe("t/state", 1, live)
        await both.deliver("t/state", b"on", retain=True)
        assert (await live.take()).retained is False
        async with bus("late") as reader:
            await reader.subscribe("t/state", 1, late)
            got = await late.take()
            assert (got.payload, got.retained) == (b"on", True)
        await both.deliver("t/state", b"", retain=True)
        async with bus("later") as reader:
            await reader.subscribe("t/state", 1, later)
            await reader.deliver("t/state", b"live")
            got = await later.take()
            assert (got.payload, got.retained) == (b"live", False)


@pytest.mark.mqtt5("copies of a message can't be told apart, so overlaps are refused")
async def test_overlapping_subscriptions_call_each_handler_once(bus: MakeBus) -> None:
    wide, narrow, exact, end = Inbox(), Inbox(), Inbox(), Inbox()
    async with bus("both") as both:
        for topic_filter, inbox in (("t/#", wide), ("t/+", narrow), ("t/a", exact), ("t/end", end)):
            await both.subscribe(topic_filter, 1, inbox)
        both.publish("t/a", b"one", qos=1)
        both.publish("t/end", b"", qos=1)
        await end.take()
        await wide.take()
        await eventually(lambda: narrow.queue.qsize() == 2 and wide.queue.qsize() == 1, "each copy")
    assert exact.queue.qsize() == 1


async def test_two_handlers_of_one_filter_are_both_called(bus: MakeBus) -> None:
    first, second = Inbox(), Inbox()
    async with bus("both") as both:
        await both.subscribe("t/a", 0, first)
        await both.subscribe("t/a", 1, second)
        both.publish("t/a", b"x", qos=1)
        assert await first.payloads(1) == await second.payloads(1) == [b"x"]


async def test_a_handler_that_raises_is_counted_and_logged_and_stops_nothing(
    bus: MakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()

    def handler(delivery: Delivery) -> None:
        if delivery.payload == b"bad":
            raise RuntimeError("planted")
        inbox(delivery)

    async with bus("both") as both:
        await both.subscribe("t/a", 1, handler)
        for payload in (b"bad", b"good", b"bad", b"good"):
            both.publish("t/a", payload, qos=1)
        assert await inbox.payloads(2) == [b"good", b"good"]
        assert both.stats.handler_errors == 2
        assert both.connected
    assert "planted" in caplog.text and "t/a" in caplog.text


async def test_a_name_with_a_wildcard_is_refused(bus: MakeBus) -> None:
    async with bus("both") as both:
        for topic in ("", "t/+", "t/#", "t/\0"):
            for qos in (0, 1):
                with pytest.raises(ValueError, match="topic"):
                    both.publish(topic, b"", qos=qos)
        await _sync(both)


async def test_a_filter_that_is_none_and_qos_2_are_refused(bus: MakeBus) -> None:
    async with bus("both") as both:
        with pytest.raises(ValueError, match="filter"):
            await both.subscribe("t/a#", 1, Inbox())
        with pytest.raises(ValueError, match="QoS"):
            await both.subscribe("t/a", 2, Inbox())
        with pytest.raises(ValueError, match="QoS"):
            both.publish("t/a", b"", qos=2)


# --- acknowledgements -------------------------------------------------------------------------------------------------


async def test_deliver_returns_after_the_brokers_word(bus: MakeBus) -> None:
    async with bus("both") as both:
        await both.deliver("t/a", b"x")
        assert both.stats.published == 1


@pytest.mark.mqtt5("an acknowledgement has no reason")
async def test_deliver_raises_what_the_broker_refused(bus: MakeBus) -> None:
    async with bus("both") as both:
        with pytest.raises(BusRefused, match=r"forbidden/a.*not authorized"):
            await both.deliver("forbidden/a", b"x")
        assert both.stats.refused == 1
        await _sync(both)


async def test_deliver_without_a_broker_raises_and_sends_nothing_later(bus: MakeBus, broker: Broker) -> None:
    inbox = Inbox()
    async with bus("both") as both:
        await both.subscribe("t/a", 1, inbox)
        broker.kill()
        with pytest.raises(BusDisconnected, match="t/a"):
            await both.deliver("t/a", b"given up", timeout_s=0.2)
        broker.start()
        await eventually(lambda: both.connected, "reconnected")
        await both.deliver("t/a", b"new")
        assert (await inbox.take()).payload == b"new"


async def test_a_burst_of_qos_1_keeps_the_brokers_window_and_loses_nothing(bus: MakeBus, relay: Relay) -> None:
    inbox = Inbox()
    async with bus("both", port=relay.port) as both:
        await both.subscribe("t/burst", 1, inbox)
        for n in range(3_000):
            assert both.publish("t/burst", str(n).encode(), qos=1)
        assert await inbox.payloads(3_000, within_s=10) == [str(n).encode() for n in range(3_000)]
        assert both.stats.dropped == 0
        assert both.stats.connects == 1  # mosquitto ends connections that exceed its Receive Maximum of 20


async def test_what_was_not_acknowledged_comes_again_after_a_reconnect(bus: MakeBus, relay: Relay) -> None:
    taken: list[Delivery] = []
    async with bus("writer") as writer, bus("reader", port=relay.port, session_expiry_s=60) as reader:
        await reader.subscribe("t/a", 1, taken.append, manual_ack=True)
        for n in range(3):
            await writer.deliver("t/a", str(n).encode())
        await eventually(lambda: len(taken) == 3, "first delivery")
        taken[0].ack()
        taken[0].ack()  # twice does no harm
        await _sync(reader)  # the acknowledgement went out before
        relay.cut()
        await eventually(lambda: len(taken) == 5, "redelivery of the two")
        for old in taken[:3]:
            old.ack()  # of a connection that is gone: must not acknowledge anything on the new one
        await _sync(reader)
        relay.cut()
        await eventually(lambda: len(taken) == 7, "redelivery once more")
        for delivery in taken[-2:]:
            delivery.ack()
        await _sync(reader)
        relay.cut()
        await eventually(lambda: reader.stats.connects == 4, "connected again")
        await writer.deliver("t/a", b"last")
        await eventually(lambda: len(taken) == 8, "only the new one")


async def test_a_reader_that_acknowledges_nothing_gets_only_the_window(bus: MakeBus) -> None:
    taken: list[Delivery] = []
    async with bus("writer") as writer, bus("reader") as reader:
        await reader.subscribe("t/a", 1, taken.append, manual_ack=True)
        for _ in range(40):
            await writer.deliver("t/a", b"x")
        await _sync(reader)
        assert len(taken) == 20
        for delivery in list(taken):
            delivery.ack()
        await eventually(lambda: len(taken) == 40, "the rest")


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.mqtt5("no response topics")
async def test_concurrent_requests_each_get_their_own_reply(bus: MakeBus) -> None:
    async with bus("server") as server, bus("client") as client:
        waiting: list[tuple[str, bytes, bytes]] = []

        def answer(delivery: Delivery) -> None:
            waiting.append((delivery.response_topic, bytes(delivery.payload), delivery.correlation))
            if len(waiting) == 20:
                for topic, payload, correlation in reversed(waiting):
                    server.publish(topic, b"re " + payload, qos=1, correlation=correlation)

        await server.subscribe("t/ask", 1, answer)
        replies = await asyncio.gather(
            *(client.request("t/ask", str(n).encode(), reply_to="t/reply/client") for n in range(20))
        )
        assert [reply.payload for reply in replies] == [b"re " + str(n).encode() for n in range(20)]
        assert all(topic == "t/reply/client" for topic, _, _ in waiting)


@pytest.mark.mqtt5("no response topics")
async def test_a_request_without_a_reply_times_out(bus: MakeBus) -> None:
    async with bus("client") as client:
        began = time.monotonic()
        with pytest.raises(RequestTimeout, match="t/ask"):
            await client.request("t/ask", b"", reply_to="t/reply/client", timeout_s=0.2)
        assert 0.15 < time.monotonic() - began < 2


@pytest.mark.mqtt5("no response topics")
async def test_a_reply_to_an_earlier_request_answers_no_later_one(bus: MakeBus) -> None:
    async with bus("server") as server, bus("client") as client:
        asked: list[bytes] = []
        await server.subscribe("t/ask", 1, lambda delivery: asked.append(delivery.correlation))
        with pytest.raises(RequestTimeout):
            await client.request("t/ask", b"1", reply_to="t/reply", timeout_s=0.2)
        second = asyncio.create_task(client.request("t/ask", b"2", reply_to="t/reply"))
        await eventually(lambda: len(asked) == 2, "both asked")
        server.publish("t/reply", b"late", qos=1, correlation=asked[0])
        server.publish("t/reply", b"nobody's", qos=1)
        server.publish("t/reply", b"right", qos=1, correlation=asked[1])
        assert (await second).payload == b"right"


@pytest.mark.mqtt5("no response topics")
async def test_a_request_that_timed_out_is_not_carried_out_later(bus: MakeBus, broker: Broker) -> None:
    inbox = Inbox()
    async with bus("server") as server, bus("client") as client:
        await server.subscribe("t/ask", 1, inbox)
        broker.kill()
        await eventually(lambda: not client.connected, "the end seen")
        with pytest.raises(RequestTimeout):
            await client.request("t/ask", b"late write", reply_to="t/reply", timeout_s=0.2)
        broker.start()
        await eventually(lambda: client.connected and server.connected, "reconnected")
        await client.deliver("t/ask", b"after")
        assert (await inbox.take()).payload == b"after"


# --- MQTT 3.1.1 -------------------------------------------------------------------------------------------------------


OLD = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("-311")])


@OLD
async def test_what_needs_mqtt_5_is_refused_with_what_to_do(bus: MakeBus) -> None:
    async with bus("both") as both:
        with pytest.raises(BusRefused, match=r"t/ask.*need MQTT 5.*install mosquitto"):
            await both.request("t/ask", b"", reply_to="t/reply")
        for qos in (0, 1):
            with pytest.raises(BusRefused, match="need MQTT 5"):
                both.publish("t/reply", b"", qos=qos, correlation=b"1")
        await _sync(both)
        assert both.stats.published == 1


@OLD
async def test_subscriptions_that_overlap_are_refused(bus: MakeBus) -> None:
    inbox = Inbox()
    async with bus("both") as both:
        await both.subscribe("t/+/a", 1, inbox)
        for topic_filter in ("t/#", "t/b/+", "#", "t/b/a", "t/b/a/#"):
            with pytest.raises(BusRefused, match=r"overlaps t/\+/a.*MQTT 3.1.1"):
                await both.subscribe(topic_filter, 1, inbox)
        await both.subscribe("t/b", 1, inbox)
        await both.subscribe("t/+/a", 1, inbox)
        await both.deliver("t/b/a", b"one")
        assert await inbox.payloads(2) == [b"one"] * 2
        await both.deliver("t/b", b"two")
        assert (await inbox.take()).payload == b"two"
    assert inbox.empty


# --- connections ------------------------------------------------------------------------------------------------------


async def test_bad_credentials_are_refused_at_once(bus: MakeBus, broker: Broker) -> None:
    began = time.monotonic()
    with pytest.raises(BusRefused, match=r"not authorized|user name") as raised:
        async with bus("both", address=replace(broker.address, password="wrong-7162")):
            pass
    assert time.monotonic() - began < 2
    assert "wrong-7162" not in str(raised.value)


async def test_no_broker_within_the_time_is_said(bus: MakeBus, broker: Broker) -> None:
    broker.kill()
    began = time.monotonic()
    with pytest.raises(BusDisconnected, match=str(broker.port)):
        async with bus("both", connect_timeout_s=0.4):
            pass
    assert 0.3 < time.monotonic() - began < 2


async def test_a_peer_that_accepts_and_says_nothing_is_no_broker(bus: MakeBus, free_tcp: socket.socket) -> None:
    port = free_tcp.getsockname()[1]
    with pytest.raises(BusDisconnected, match=str(port)):
        async with bus("both", address=Address(port=port), connect_timeout_s=0.4):
            pass


async def test_a_connection_that_ends_unanswered_is_tried_again_at_once(bus: MakeBus, relay: Relay) -> None:
    relay.freeze()
    entering = asyncio.create_task(bus("both", port=relay.port).__aenter__())
    await eventually(lambda: bool(relay.from_client), "CONNECT")
    relay.thaw()
    relay.cut()
    both = await asyncio.wait_for(entering, 1.0)
    await both.__aexit__()


async def test_entering_waits_for_a_broker_that_starts_later(bus: MakeBus, broker: Broker) -> None:
    broker.kill()
    both = bus("both")
    entering = asyncio.create_task(both.__aenter__())
    await asyncio.sleep(0.1)
    assert not entering.done()
    broker.start()
    await asyncio.wait_for(entering, WAIT_S)
    assert both.connected
    await both.__aexit__()


async def test_a_restarted_broker_is_found_again_and_subscriptions_hold(bus: MakeBus, broker: Broker) -> None:
    inbox, changes = Inbox(), []
    async with bus("both", on_connection=changes.append) as both:
        await both.subscribe("t/a", 1, inbox)
        broker.kill()
        await eventually(lambda: not both.connected, "the end seen")
        assert not both.publish("t/a", b"QoS 0 while away")
        assert both.stats.dropped == 1
        assert both.publish("t/a", b"QoS 1 while away", qos=1)
        await both.subscribe("t/b", 1, inbox)  # while away
        broker.start()
        assert (await inbox.take()).payload == b"QoS 1 while away"
        assert both.publish("t/b", b"b", qos=1)
        assert (await inbox.take()).payload == b"b"
        assert both.stats.connects == 2
    assert changes == [True, False, True, False]


async def test_qos_1_while_away_is_bounded_and_the_rest_is_counted(bus: MakeBus, broker: Broker) -> None:
    inbox = Inbox()
    async with bus("both", queue_limit=50) as both:
        await both.subscribe("t/a", 1, inbox)
        broker.kill()
        await eventually(lambda: not both.connected, "the end seen")
        taken = [both.publish("t/a", str(n).encode(), qos=1) for n in range(60)]
        assert taken == [True] * 50 + [False] * 10
        assert both.stats.dropped == 10
        broker.start()
        assert await inbox.payloads(50) == [str(n).encode() for n in range(50)]


async def test_qos_1_sent_into_a_dying_connection_is_not_lost(bus: MakeBus, broker: Broker) -> None:
    got: set[bytes] = set()
    sent: set[bytes] = set()
    async with bus("writer") as writer, bus("reader") as reader:
        await reader.subscribe("t/a", 1, lambda delivery: got.add(bytes(delivery.payload)))
        for n in range(300):
            if n == 100:
                broker.kill()
                await eventually(lambda: not reader.connected and not writer.connected, "both away")
                got.clear()  # what the dead broker had taken is lost with it: count from here
                sent.clear()
                broker.start()
                await eventually(lambda: reader.connected, "the reader is back")
            payload = str(n).encode()
            sent.add(payload)
            assert writer.publish("t/a", payload, qos=1)
        await eventually(lambda: sent <= got, "everything sent since")


async def test_the_broker_keeps_qos_1_for_a_session_while_it_is_away(bus: MakeBus) -> None:
    inbox = Inbox()
    async with bus("writer") as writer:
        async with bus("keeper", session_expiry_s=60) as keeper:
            await keeper.subscribe("t/a", 1, inbox)
        for n in range(10):
            await writer.deliver("t/a", str(n).encode())
        async with bus("keeper", session_expiry_s=60) as keeper:  # as after a restart of the process
            await _sync(keeper)  # the broker has sent what it kept before anyone subscribed
            await keeper.subscribe("t/a", 1, inbox)
            assert await inbox.payloads(10) == [str(n).encode() for n in range(10)]


async def test_without_a_session_nothing_old_arrives(bus: MakeBus) -> None:
    inbox = Inbox()
    async with bus("writer") as writer:
        async with bus("plain") as plain:
            await plain.subscribe("t/a", 1, inbox)
        await writer.deliver("t/a", b"old")
        async with bus("plain") as plain:
            await plain.subscribe("t/a", 1, inbox)
            await writer.deliver("t/a", b"new")
            assert (await inbox.take()).payload == b"new"


async def test_the_will_is_published_after_an_abrupt_end_only(bus: MakeBus, relay: Relay) -> None:
    inbox = Inbox()
    will = Will("t/status", b"gone", qos=1, retain=True)
    async with bus("watch") as watch:
        await watch.subscribe("t/status", 1, inbox)
        async with bus("one", will=will) as one:
            await _sync(one)
        async with bus("two", will=will, port=relay.port) as two:
            await two.deliver("t/status", b"here", retain=True)
            assert (await inbox.take()).payload == b"here"  # so the clean end of `one` published nothing
            relay.cut()
            got = await inbox.take()
            assert (got.topic, got.payload) == ("t/status", b"gone")
            await eventually(lambda: two.connected, "reconnected")


@pytest.mark.slow
async def test_a_dead_peer_is_noticed_by_keepalive(bus: MakeBus, relay: Relay) -> None:
    async with bus("both", port=relay.port, keepalive_s=1) as both:
        await _sync(both)
        relay.freeze()
        await eventually(lambda: not both.connected, "the half-open connection noticed", within_s=6)
        relay.thaw()
        await eventually(lambda: both.connected, "reconnected")
        await _sync(both)


@pytest.mark.slow
async def test_a_broker_that_forgets_a_subscription_is_asked_again(bus: MakeBus, relay: Relay) -> None:
    # amqtt 0.12.1 loses a connection that is made while another one subscribes, and answers its pings all the same.
    inbox = Inbox()
    async with bus("both", port=relay.port, keepalive_s=60, connect_timeout_s=1.0) as both:
        relay.freeze()
        sent = len(relay.from_client)
        asking = asyncio.create_task(both.subscribe("t/forgotten", 1, inbox))
        await eventually(lambda: len(relay.from_client) > sent, "SUBSCRIBE")
        relay.thaw()
        await asking
        await eventually(lambda: both.stats.connects > 1 and both.connected, "a new connection")
        await both.deliver("t/forgotten", b"here")
        assert (await inbox.take()).payload == b"here"


@pytest.mark.slow
async def test_an_idle_connection_stays(bus: MakeBus) -> None:
    async with bus("both", keepalive_s=1) as both:
        await asyncio.sleep(2.5)
        await _sync(both)
        assert both.stats.connects == 1


async def test_a_takeover_of_the_client_id_is_survived(bus: MakeBus) -> None:
    async with bus("same") as first:
        async with bus("same") as second:
            await eventually(lambda: first.stats.connects + second.stats.connects > 2, "the first came back")
        await eventually(lambda: first.connected, "alone again")
        await _sync(first)


async def test_the_socket_sends_at_once(bus: MakeBus) -> None:
    async with bus("both") as both:
        link = both._link
        assert link is not None
        sock: socket.socket = link.sock  # type: ignore[attr-defined]  # a detail of both links
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_a_unix_socket_serves_as_well(bus: MakeBus, broker: Broker) -> None:
    inbox = Inbox()
    async with bus("both", address=replace(broker.address, socket=broker.socket_path, port=1)) as both:
        await both.subscribe("t/a", 1, inbox)
        both.publish("t/a", bytes(190_000), qos=1)
        assert len((await inbox.take()).payload) == 190_000


async def test_closing_sends_what_is_queued(bus: MakeBus) -> None:
    inbox = Inbox()
    async with bus("reader") as reader:
        await reader.subscribe("t/#", 1, inbox)
        async with bus("writer") as writer:
            for n in range(300):
                writer.publish("t/a", str(n).encode(), qos=1)
            writer.publish("t/end", bytes(150_000))
        got = await inbox.payloads(301)
    assert got.count(bytes(150_000)) == 1
    assert [g for g in got if len(g) < 4] == [str(n).encode() for n in range(300)]


@pytest.mark.slow
async def test_closing_takes_a_second_at_most(bus: MakeBus, relay: Relay) -> None:
    both = bus("both", port=relay.port)
    await both.__aenter__()
    relay.freeze()
    both.publish("t/a", b"never acknowledged", qos=1)
    waiting = asyncio.create_task(both.deliver("t/a", b"nor this"))
    await asyncio.sleep(0)
    began = time.monotonic()
    await both.__aexit__()
    assert time.monotonic() - began < 3.5
    with pytest.raises(BusDisconnected):
        await waiting
    assert both.stats.dropped == 2
    assert not both.publish("t/a", b"after", qos=1)


async def test_nothing_is_left_behind(bus: MakeBus, broker: Broker) -> None:
    before = asyncio.all_tasks()
    async with bus("both") as both:
        await both.subscribe("t/a", 1, Inbox())
        await _sync(both)
        broker.kill()
        await eventually(lambda: not both.connected, "the end seen")
    await eventually(lambda: asyncio.all_tasks() == before, "all tasks ended", within_s=1)
    both = bus("both")
    entering = asyncio.create_task(both.__aenter__())
    await asyncio.sleep(0.1)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await eventually(lambda: asyncio.all_tasks() == before, "all tasks ended", within_s=1)
    gc.collect()  # an open socket would now warn, and warnings are errors


async def test_a_callback_that_raises_stops_nothing(bus: MakeBus, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: bool) -> None:
        raise RuntimeError("planted")

    async with bus("both", on_connection=fail) as both:
        await _sync(both)
    assert "planted" in caplog.text


async def test_secrets_stand_in_no_repr_and_no_log(
    bus: MakeBus, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with bus("both") as both:
        assert broker.address.password not in repr(both) + repr(both.address) + repr(vars(both))
        await _sync(both)
    assert broker.address.password not in caplog.text


async def test_bytes_are_counted_as_they_cross_the_wire(bus: MakeBus, relay: Relay) -> None:
    inbox = Inbox()
    async with bus("both", port=relay.port) as both:
        await both.subscribe("t/a", 1, inbox)
        both.publish("t/a", bytes(10_000), qos=1)
        await inbox.take()
        await _sync(both)
        assert both.stats.bytes_out == len(relay.from_client)
        assert both.stats.bytes_in == len(relay.from_broker)
    assert (both.stats.published, both.stats.received) == (2, 1)


@pytest.mark.mqtt5("a broker does not say what it takes")
async def test_a_message_that_the_broker_does_not_take_is_dropped_not_fatal(
    peer: Callable[..., object], bus: MakeBus, broker: Broker
) -> None:
    broker.kill()
    broker.extra = "max_packet_size 20000"
    broker.start()
    async with bus("both") as both:
        assert not both.publish("t/a", bytes(30_000))
        both.publish("t/a", bytes(30_000), qos=1)
        assert both.stats.dropped == 2
        await _sync(both)
        assert both.stats.connects == 1


async def test_hundreds_of_topics_and_many_changes_of_subscription_are_routed_right(bus: MakeBus) -> None:
    inboxes = [Inbox() for _ in range(8)]
    async with bus("both") as both:
        for n, inbox in enumerate(inboxes):
            await both.subscribe(f"t/{n}/+", n % 2, inbox)
            for m in range(40):
                both.publish(f"t/{n}/{m}", f"{n} {m}".encode(), qos=m % 2)
        for n, inbox in enumerate(inboxes):
            assert sorted(await inbox.payloads(40)) == sorted(f"{n} {m}".encode() for m in range(40))
    assert all(inbox.empty for inbox in inboxes)


# --- one implementation alone -----------------------------------------------------------------------------------------


async def test_mutual_tls_serves_the_control_bus(tls_broker: Broker) -> None:
    inbox = Inbox()
    async with ControlBus(tls_broker.address, "both") as both:
        await both.subscribe("t/a", 1, inbox)
        await both.deliver("t/a", bytes(190_000))
        assert len((await inbox.take()).payload) == 190_000
        link = both._link
        assert isinstance(link, PahoLink) and isinstance(link.sock, ssl.SSLSocket)
        assert link.sock.version() == "TLSv1.3"
        assert link.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert both.stats.bytes_out > 190_000 + 1_000  # the handshake counts
        tls_broker.kill()
        await eventually(lambda: not both.connected, "the end seen")
        tls_broker.start()
        await both.deliver("t/a", b"again")


async def test_a_broker_of_another_ca_is_refused_at_once(tls_broker: Broker, tmp_path: Path) -> None:
    address = tls_broker.address
    assert address.tls
    other = make_certificates(tmp_path / "other")
    with pytest.raises(BusRefused, match="not signed by our CA"):
        async with ControlBus(replace(address, tls=replace(address.tls, ca=other.ca)), "both"):
            pass


async def test_a_client_of_another_ca_gets_no_connection(tls_broker: Broker, tmp_path: Path) -> None:
    address = tls_broker.address
    assert address.tls
    other = replace(make_certificates(tmp_path / "other"), ca=address.tls.ca)
    with pytest.raises(BusDisconnected, match="may not accept our certificate"):
        async with ControlBus(replace(address, tls=other), "both", connect_timeout_s=0.5):
            pass


async def test_tls_files_that_are_missing_are_named(tls_broker: Broker, tmp_path: Path) -> None:
    address = tls_broker.address
    assert address.tls
    with pytest.raises(BusRefused, match=r"nowhere\.key"):
        async with ControlBus(replace(address, tls=replace(address.tls, key=tmp_path / "nowhere.key")), "both"):
            pass


async def test_the_hot_bus_speaks_no_tls(tls_broker: Broker) -> None:
    with pytest.raises(BusRefused, match="ControlBus"):
        async with HotBus(tls_broker.address, "both"):
            pass


async def test_a_payload_of_the_hot_bus_is_a_view_into_its_buffer(broker: Broker) -> None:
    kinds: list[type] = []
    async with HotBus(broker.address, "both") as both:
        await both.subscribe("t/a", 0, lambda delivery: kinds.append(type(delivery.payload)))
        both.publish("t/a", b"x")
        await eventually(lambda: kinds == [memoryview], "a memoryview")
        assert isinstance(both._link, HotLink)


@pytest.fixture
def free_tcp() -> object:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening
