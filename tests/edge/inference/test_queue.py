"""What waits: order, bounds, timeouts, preferred sizes, and that nothing leaves without its reason."""

from collections import Counter
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.config.pipeline import Pipeline as PipelineSettings
from edge.inference.queue import WorkQueue
from edge.inference.work import Work
from schemas.messages import Quality

US = 1_000


def queue(**settings):
    wanted = {"model": "m", "input": {"frames": "c"}, "deadline_ms": 50, "max_batch_size": 4} | settings
    return WorkQueue(PipelineSettings.model_validate(wanted))


def work(seq, *, at_us=0, deadline_us=50_000, timeout_us=None, variant=""):
    timeout_ns = (deadline_us if timeout_us is None else timeout_us) * US
    return Work("c", 1, seq, seq, at_us * US, at_us * US, deadline_us * US, timeout_ns, Quality.GOOD, "", {}, variant)


def warm(*sizes):
    return lambda _, waiting: max((size for size in sizes if size <= waiting), default=0)


def seqs(works):
    return [one.seq for one in works]


ALL = warm(1, 2, 3, 4)


def test_nothing_is_waited_for_by_default():
    waiting = queue()
    assert waiting.ready_ns(5, ALL) is None
    waiting.push(work(1))
    assert waiting.ready_ns(5, ALL) == 5
    assert seqs(waiting.take(5, ALL)[1]) == [1]


def test_a_delayed_batch_goes_when_its_size_is_there_or_its_delay_is_over():
    waiting = queue(dynamic_batching={"max_queue_delay_microseconds": 300, "preferred_batch_size": [2, 3]})
    waiting.push(work(1, at_us=100))
    assert waiting.ready_ns(100 * US, ALL) == 400 * US
    waiting.push(work(2, at_us=150))
    assert waiting.ready_ns(150 * US, ALL) == 400 * US
    waiting.push(work(3, at_us=160))
    assert waiting.ready_ns(160 * US, ALL) == 160 * US
    assert seqs(waiting.take(160 * US, ALL)[1]) == [1, 2, 3]
    waiting.push(work(4, at_us=200))
    assert seqs(waiting.take(500 * US, ALL)[1]) == [4]


def test_a_delay_never_outlives_the_timeout():
    waiting = queue(dynamic_batching={"max_queue_delay_microseconds": 9_000_000})
    waiting.push(work(1, timeout_us=700))
    assert waiting.ready_ns(0, ALL) == 700 * US


def test_what_has_timed_out_is_given_up_wherever_it_stands():
    waiting = queue()
    for seq, timeout_us in enumerate((900, 100, 900, 100), 1):
        waiting.push(work(seq, timeout_us=timeout_us))
    expired, batch = waiting.take(100 * US, ALL)
    assert (seqs(expired), seqs(batch)) == ([2, 4], [1, 3])


def test_what_may_be_late_runs_when_nothing_else_waits():
    waiting = queue(dynamic_batching={"default_queue_policy": {"timeout_action": "DELAY"}})
    waiting.push(work(1, timeout_us=100))
    waiting.push(work(2, timeout_us=900))
    assert [seqs(part) for part in waiting.take(200 * US, ALL)] == [[], [2]]
    assert waiting.ready_ns(300 * US, ALL) == 300 * US
    assert [seqs(part) for part in waiting.take(300 * US, ALL)] == [[], [1]]
    assert len(waiting) == 0


def test_the_newest_wins_when_it_is_full():
    waiting = queue(dynamic_batching={"default_queue_policy": {"max_queue_size": 2}})
    given_way = [dropped for seq in range(1, 5) for dropped in waiting.push(work(seq))]
    assert [(one.seq, reason) for one, reason in given_way] == [(1, "overload"), (2, "overload")]


def test_room_elsewhere_lets_all_stay():
    waiting = queue(dynamic_batching={"default_queue_policy": {"max_queue_size": 1}})
    assert not waiting.push(work(1), lambda: True)
    assert not waiting.push(work(2), lambda: True)
    assert seqs(waiting.take(0, ALL)[1]) == [1, 2]


def test_sampling_thins_out_evenly_under_overload_and_ends_with_it():
    waiting = queue(overload="sample", dynamic_batching={"default_queue_policy": {"max_queue_size": 4}})
    taken, why = [], Counter()
    for seq in range(1, 401):
        why.update(reason for _, reason in waiting.push(work(seq, deadline_us=10**9)))
        if seq % 8 == 0:  # a runner that has time for one of eight
            taken += seqs(waiting.take(seq, warm(1))[1])
    assert why["sampled"] > 300
    steps = [after - before for before, after in pairwise(taken)]
    assert max(steps) <= 64
    assert len(taken) == 50
    for seq in range(401, 480):  # time for all
        waiting.push(work(seq, deadline_us=10**9))
        while waiting.take(seq, ALL)[1]:
            pass
    assert not waiting.push(work(480))


def test_a_batch_has_one_variant_in_the_order_of_arrival():
    waiting = queue()
    for seq, variant in enumerate("aabba", 1):
        waiting.push(work(seq, variant=variant))
    assert [seqs(waiting.take(0, ALL)[1]) for _ in range(3)] == [[1, 2], [3, 4], [5]]


pushes = st.lists(
    st.tuples(st.integers(0, 3_000), st.integers(1, 2_000), st.sampled_from("ab"), st.booleans()), max_size=80
)


@given(
    pushes=pushes, policy=st.sampled_from(["shed_oldest", "sample"]), action=st.sampled_from(["REJECT", "DELAY"]),
    size=st.integers(1, 6), delay_us=st.sampled_from([0, 200]),
)  # fmt: skip
def test_what_goes_in_comes_out_once(pushes, policy, action, size, delay_us):
    waiting = queue(
        overload=policy,
        dynamic_batching={
            "max_queue_delay_microseconds": delay_us,
            "default_queue_policy": {"timeout_action": action, "max_queue_size": size},
        },
    )
    now_us, out = 0, Counter()
    for seq, (wait_us, life_us, variant, runs) in enumerate(pushes):
        now_us += wait_us
        item = work(seq, at_us=now_us, deadline_us=now_us + life_us, variant=variant)
        out.update(seqs(one for one, _ in waiting.push(item)))
        assert len(waiting) <= size
        if runs:
            out.update(seqs(chain(*waiting.take(now_us * US, ALL))))
    while waiting:
        ready_ns = waiting.ready_ns(now_us * US, ALL)
        assert ready_ns is not None
        expired, batch = waiting.take(max(ready_ns, now_us * US), ALL)
        assert expired or batch, "a queue that is ready gives something"
        out.update(seqs(expired + batch))
        now_us = max(now_us, ready_ns // US)
    assert out == Counter(range(len(pushes)))
