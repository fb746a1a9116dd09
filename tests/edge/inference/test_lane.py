"""Who runs next, who gives way, who is let in."""

import asyncio
import time

import numpy as np
import pytest

from edge.config.pipeline import Pipeline as PipelineSettings
from edge.engines import load_engine
from edge.inference.admission import ACTUATE_MS, TRANSPORT_MS, Load, largest_batch
from edge.inference.cpu_cap import SHARE, WINDOW_NS, CpuCap
from edge.inference.lane import Lane, choose
from edge.inference.pipeline import Pipeline
from edge.models.loaded import load_model
from schemas.errors import ContractError
from schemas.messages import Frame
from tests.edge.small_models import SHAPE, write_classifier

MS = 1_000_000
TIMES = {1: 1.0, 2: 1.5, 4: 2.5, 8: 4.5}


def load(name="new", deadline_ms=20.0, priority=1, actuates=False, times=None, largest=8):
    return Load(name, deadline_ms, priority, actuates, times or TIMES, largest)


def test_a_pipeline_alone_may_fill_its_deadline():
    assert largest_batch(load(deadline_ms=TRANSPORT_MS + 4.5), []) == 8
    assert largest_batch(load(deadline_ms=TRANSPORT_MS + 4.4), []) == 4
    assert largest_batch(load(deadline_ms=TRANSPORT_MS + ACTUATE_MS + 4.4, actuates=True), []) == 4
    assert largest_batch(load(largest=2), []) == 2


def test_what_can_not_keep_its_deadline_is_refused_with_the_figures():
    with pytest.raises(ContractError) as refused:
        largest_batch(load(deadline_ms=6.0), [load("slow", times={1: 3.5}, largest=1)])
    assert "a run takes 1.00 ms at worst, and its lane leaves 0.50 ms of the deadline of 6 ms" in str(refused.value)
    assert "3.50 for a run in progress" in str(refused.value)


def test_pipelines_of_higher_priority_are_waited_for_too():
    first = load("first", times={1: 2.0}, largest=1)
    assert largest_batch(load(deadline_ms=7.0, priority=1), [first]) == 4
    with pytest.raises(ContractError, match=r"2\.00 for pipelines of higher priority"):
        largest_batch(load(deadline_ms=6.5, priority=2), [first])


def test_a_pipeline_that_makes_another_one_late_is_refused_or_held_small():
    quick = load("quick", deadline_ms=TRANSPORT_MS + 3.0, times={1: 0.5}, largest=1)
    assert largest_batch(load(deadline_ms=500), [quick]) == 4
    with pytest.raises(ContractError, match=r"quick in the same lane can wait 2\.50 ms"):
        largest_batch(load(deadline_ms=500, times={1: 30.0}), [quick])


# --- the lane on its loop --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_classifier(tmp_path_factory.mktemp("models")), load_engine("cpu"))


class Heard:
    """A pipeline whose answers are kept, in one list for the whole lane."""

    actuates = False

    def __init__(self, lane, model, said, name, **settings):
        wanted = {"model": "caps", "input": {"frames": "c"}, "deadline_ms": 5_000, "decision": {"reject": ["bad"]}}
        self.pipeline = Pipeline(name, PipelineSettings.model_validate(wanted | settings), "boot")
        self.said = said
        if lane:
            lane.add(self)
        self.pipeline.use(model)

    def publish(self, answers):
        self.said += [(self.pipeline.name, a.result.source_seq, a.result.reason) for a in answers]

    def offer(self, seq, received_ns):
        data = memoryview(np.zeros(SHAPE, np.uint8).tobytes())
        one = Frame(stream="c", part_id=seq, boot="boot", trigger_ns=received_ns, time_ns=0, shape=SHAPE, dtype="uint8",
                    data=data, epoch=1, seq=seq)  # fmt: skip
        answer = self.pipeline.offer_frame(one, received_ns)
        if answer:
            self.publish([answer])


async def until(holds):
    """Let the loop turn until something holds."""
    end = time.monotonic() + 5
    while not holds() and time.monotonic() < end:  # noqa: ASYNC110 - the lane has no event to await
        await asyncio.sleep(0.001)
    assert holds()


def batching(level, **more):
    return {"dynamic_batching": {"priority_level": level, **more}}


def test_the_highest_priority_goes_first_and_the_earliest_deadline_within_it(model):
    said = []
    low, early = Heard(None, model, said, "low", **batching(2)), Heard(None, model, said, "early", deadline_ms=4_000)
    high = Heard(None, model, said, "high")
    for one in (low, high, early):
        one.offer(1, 1_000 * MS)
    order = []
    while (chosen := choose([low, high, early], 1_001 * MS)[0]) is not None:
        order.append(chosen.pipeline.name)
        chosen.pipeline.step()
    assert order == ["early", "high", "low"]


async def test_a_lane_runs_all_that_waits_by_priority(model):
    said = []
    lane = Lane()
    low, high = Heard(lane, model, said, "low", **batching(2)), Heard(lane, model, said, "high")
    now_ns = time.monotonic_ns()
    for seq in range(1, 4):
        low.offer(seq, now_ns)
        high.offer(seq, now_ns)
    lane.wake()
    await until(lambda: len(said) == 6)
    assert [name for name, _, _ in said] == ["high"] * 3 + ["low"] * 3


async def test_a_delayed_batch_is_run_by_a_timer(model):
    said = []
    lane = Lane()
    slow = Heard(lane, model, said, "slow", **batching(1, max_queue_delay_microseconds=30_000))
    slow.offer(1, time.monotonic_ns())
    lane.wake()
    await asyncio.sleep(0.005)
    assert not said
    await until(lambda: said)


async def test_the_lowest_priority_gives_way_first(model):
    said = []
    lane = Lane()
    policy = {"default_queue_policy": {"max_queue_size": 2}}
    high = Heard(lane, model, said, "high", overload="shed_lowest_priority", **batching(1, **policy))
    low = Heard(lane, model, said, "low", **batching(3, **policy))
    middle = Heard(lane, model, said, "middle", **batching(2, **policy))
    for one in (low, middle):
        one.offer(1, 1_000 * MS)
        one.offer(2, 1_000 * MS)
    for seq in range(1, 8):
        high.offer(seq, 1_000 * MS)
    shed = [(name, seq) for name, seq, _ in said]
    assert shed == [("low", 1), ("low", 2), ("middle", 1), ("middle", 2), ("high", 1)]
    assert all(reason.startswith("overload") for _, _, reason in said)


async def test_a_lane_refuses_a_pipeline_that_does_not_fit(model):
    lane = Lane()
    quick = Heard(None, model, [], "quick", deadline_ms=TRANSPORT_MS + 1e-3)
    lane.add(quick)
    (problem,) = quick.pipeline.problems_of(model)
    assert problem.startswith("pipeline quick: not admitted: a run takes")


# --- what a lane may take of its core --------------------------------------------------------------------------------


def test_a_real_time_lane_leaves_a_part_of_each_window():
    now_ns = used_ns = idle_ns = 0
    cap = CpuCap(lambda: now_ns, lambda: used_ns, lambda: True)
    while now_ns < 50 * WINDOW_NS:
        wait_ns = cap.wait_ns()
        idle_ns += wait_ns
        now_ns += wait_ns or MS // 10
        used_ns += 0 if wait_ns else MS // 10
    assert SHARE - 0.02 < 1 - idle_ns / now_ns <= SHARE + 0.02


@pytest.mark.parametrize("run_ms", [0.6, 7, 30])
def test_a_run_that_does_not_fit_its_window_is_paid_for_in_the_next(run_ms: float):
    now_ns = used_ns = 0
    cap = CpuCap(lambda: now_ns, lambda: used_ns, lambda: True)
    while now_ns < 200 * WINDOW_NS:
        wait_ns = cap.wait_ns()
        now_ns += wait_ns or int(run_ms * MS)
        used_ns += 0 if wait_ns else int(run_ms * MS)
    assert 0.5 < used_ns / now_ns <= SHARE + 0.01


def test_a_lane_of_the_normal_class_takes_what_it_gets():
    now_ns = 0
    cap = CpuCap(lambda: now_ns, lambda: now_ns, lambda: False)
    for _ in range(1_000):
        now_ns += MS
        assert cap.wait_ns() == 0


async def test_a_capped_lane_waits_and_then_goes_on(model):
    said, waits = [], [0, 20 * MS, 0, 0]

    class Capped(CpuCap):
        def wait_ns(self):
            return waits.pop(0) if waits else 0

    lane = Lane(Capped())
    one = Heard(lane, model, said, "one")
    one.offer(1, time.monotonic_ns())
    lane.wake()
    await until(lambda: len(said) == 1)
    one.offer(2, time.monotonic_ns())
    lane.wake()
    began = time.monotonic()
    one.offer(3, time.monotonic_ns())
    lane.wake()
    await until(lambda: len(said) == 3)
    assert time.monotonic() - began > 0.015
