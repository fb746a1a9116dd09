"""Batches that run side by side: both at once, each input answered once and in its turn."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.pipeline import DecisionRule, FrameInput
from edge.config.pipeline import Pipeline as PipelineSettings
from edge.engines import load_engine
from edge.inference.pipeline import Pipeline
from edge.models.loaded import load_model
from schemas.errors import ContractError
from schemas.messages import Frame
from tests.edge.small_models import SHAPE, write_classifier

BOOT, MS = "thisboot", 1_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_classifier(tmp_path_factory.mktemp("models")), load_engine("cpu"))


def inspection(model, instances, **settings):
    made = PipelineSettings(
        model="caps", input=FrameInput(frames="cam1"), deadline_ms=50, instances=instances, max_batch_size=4,
        decision=DecisionRule(reject=["bad"], threshold=0.5), **settings,
    )  # fmt: skip
    pipeline = Pipeline("inspect", made, BOOT, lambda: 1_001 * MS)
    pipeline.use(model)
    return pipeline


def offer(pipeline, bright):
    for seq, white in enumerate(bright, 1):
        pixels = np.full(SHAPE, 255 if white else 0, np.uint8)
        frame = Frame(
            stream="cam1", part_id=seq, boot=BOOT, trigger_ns=1_000 * MS, time_ns=0, shape=SHAPE, dtype="uint8",
            data=memoryview(pixels.tobytes()), epoch=7, seq=seq,
        )  # fmt: skip
        assert pipeline.offer_frame(frame, 1_000 * MS) is None


class Together:
    """A session whose runs end only when so many of them are under way at once."""

    concurrent = True

    def __init__(self, session, parties):
        self.session, self.barrier = session, threading.Barrier(parties)

    def run(self, feed):
        self.barrier.wait(timeout=10)
        return self.session.run(feed)

    def close(self):
        pass


def test_what_waits_is_shared_out_and_runs_at_the_same_time(model):
    pipeline = inspection(replace(model, session=Together(model.session, 2)), 2)
    offer(pipeline, [False] * 4)
    answers = pipeline.step()
    assert [answer.batch for answer in answers] == [2, 2, 2, 2]
    assert pipeline.waiting == 0
    pipeline.close()


def test_one_input_needs_no_second_thread(model):
    pipeline = inspection(replace(model, session=Together(model.session, 1)), 2)
    before = threading.active_count()
    offer(pipeline, [True])
    assert [answer.batch for answer in pipeline.step()] == [1]
    assert threading.active_count() == before
    pipeline.close()


@given(bright=st.lists(st.booleans(), min_size=1, max_size=16), instances=st.integers(1, 4))
def test_each_input_has_the_answer_that_one_instance_gives_in_its_turn(model, bright, instances):
    pipeline = inspection(model, instances)
    offer(pipeline, bright)
    answers = []
    while pipeline.waiting:
        answers += pipeline.step()
    pipeline.close()
    assert [answer.result.part_id for answer in answers] == list(range(1, len(bright) + 1))
    assert [answer.decision.verdict for answer in answers] == ["nok" if white else "ok" for white in bright]


class FailsForWhite:
    """A session that breaks down on a batch whose first picture is white."""

    concurrent = True

    def __init__(self, session):
        self.session = session

    def run(self, feed):
        (pixels,) = feed.values()
        if pixels[0].all():
            raise ContractError(["the accelerator is gone"])
        return self.session.run(feed)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("bright", "verdicts"),
    [
        ([True, True, False, False], ["unknown", "unknown", "ok", "ok"]),
        ([False, False, True, True], ["ok", "ok", "unknown", "unknown"]),
    ],
)
def test_a_run_that_fails_takes_no_other_with_it(model, bright, verdicts):
    pipeline = inspection(replace(model, session=FailsForWhite(model.session)), 2)
    offer(pipeline, bright)
    answers = pipeline.step()
    assert [answer.decision.verdict for answer in answers] == verdicts
    assert all("accelerator" in answer.result.reason for answer in answers if answer.decision.verdict == "unknown")
    pipeline.close()


def test_a_batch_that_is_waited_for_is_not_shared_out(model):
    pipeline = inspection(
        model, 2, dynamic_batching={"preferred_batch_size": [4], "max_queue_delay_microseconds": 10**6}
    )
    offer(pipeline, [False] * 5)
    assert [answer.batch for answer in pipeline.step()] == [4] * 4
    assert pipeline.waiting == 1, "it waits for three more"
    pipeline.close()


class OneAtATime:
    """A session as OpenVINO's: busy until it has answered."""

    concurrent = False

    def run(self, feed):
        raise AssertionError("it is not asked")

    def close(self):
        pass


def test_an_engine_that_takes_one_call_at_a_time_is_refused_with_what_to_do(model):
    with pytest.raises(ContractError, match=r"instances = 2: caps .* take instances away"):
        inspection(replace(model, session=OneAtATime()), 2)
